"""Apply a whole configuration: all of it or nothing, in one write, judged as it will be afterwards."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from immutables import Map

from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.allocation import cname_of, instance_ids, note_instance_ids, zone_numbers
from pdns_gtm_backend.operations.configuration_file import ConfigurationFile, twins
from pdns_gtm_backend.operations.documents import beside, removed_override
from pdns_gtm_backend.operations.errors import TooMuch
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import MAX_VIOLATIONS, Parsed, parse, to_json
from pdns_gtm_backend.operations.proposal import NEW, Item, Proposal, counted, propose
from pdns_gtm_backend.operations.quotas import require_quotas
from pdns_gtm_backend.operations.records import record_violations
from pdns_gtm_backend.operations.resources import RESOURCES
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Index, Snapshot

BRAKE_SHARE: Final = 0.3
BRAKE_LEAST: Final = 10
"""Fewer objects than these may change as a whole (octoDNS: MAX_SAFE_UPDATE_PCENT, MIN_EXISTING_RECORDS)."""
ALL: Final = "all"
MAX_AUDITED: Final = 500
"""Changes of which the audit stream keeps before and after; of more than these, only which objects they were."""
APPLIED_SECONDS: Final = 30.0
PLACEHOLDER: Final = re.compile(rf"instance {NEW}(\d+)")


@dataclass(frozen=True, slots=True)
class Count:
    """How many objects of a kind (`all` = of every kind) there are, and what a file does to them."""

    kind: str
    existing: int
    updated: int
    deleted: int

    @property
    def brakes(self) -> bool:
        """Is that more than a file may do unless it is forced?"""
        return self.existing >= BRAKE_LEAST and self.updated + self.deleted > BRAKE_SHARE * self.existing


@dataclass(frozen=True, slots=True)
class Applied:
    """What a file changes. overrides: those in force, which it leaves alone. brake: what only `force` lets through."""

    changes: Sequence[Mapping[str, Any]]
    overrides: Sequence[Override]
    unchanged: int
    revision: int
    warnings: Sequence[Violation]
    brake: Sequence[Count]


def apply(operator: Operator, raw: object, *, force: bool = False, dry_run: bool = False) -> Applied:
    """Make the configuration what JSON data says (`ConfigurationFile`).

    force: also where it changes or deletes more than 30 % of 10 or more objects. dry_run: tell what it would do, and
    whether it would be held back. Raises InvalidConfiguration, TooMuch, NotPermitted, QuotaReached, Unavailable.
    """
    operator.require_unrestricted("the whole configuration")
    parsed: Parsed[ConfigurationFile] = parse(ConfigurationFile, raw)
    file = parsed.value
    if file is None:
        raise InvalidConfiguration(parsed.violations)
    known = (*parsed.violations, *twins(file))
    complete = _Completion(operator)

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        proposal = _settled(operator, propose(file, snapshot, lambda identifier: cname_of(operator, identifier)))
        items = [item for item in proposal.items if item.changes]
        candidate, companions = _candidate(snapshot, items, proposal)
        _refuse(known, proposal, items, candidate, operator)
        require_quotas(operator.rules.quotas, snapshot, candidate, [(item.before, item.after) for item in items])
        brake = [count for count in _counts(proposal.items) if count.brakes]
        if brake and not force and not dry_run:
            raise TooMuch(_braked(brake), brake)
        if not dry_run:
            items = complete(items)
        changes = [*(Change(item.kind, item.id, item.after) for item in items), *companions]
        value = Applied(
            changes=[_told(item) for item in items],
            overrides=[candidate.overrides[name] for name in sorted(candidate.overrides)],
            unchanged=sum(not item.changes for item in proposal.items),
            revision=snapshot.revision,
            warnings=[*_warnings(operator, items, candidate), *_removed(snapshot, companions)],
            brake=() if force else brake,
        )
        return Plan(value, changes, _audited(items))

    outcome = operator.write(decide, dry_run=dry_run)
    return _applied(operator, outcome)


def _applied(operator: Operator, outcome: Outcome) -> Applied:
    value: Applied = outcome.value
    if not outcome.written:
        return value
    operator.writer.follower.wait_for(outcome.version, APPLIED_SECONDS)
    return replace(value, revision=outcome.version)


def _settled(operator: Operator, proposal: Proposal) -> Proposal:
    """`proposal` with every object in the form that is stored, by what is there already."""
    items, violations = [], list(proposal.violations)
    for item in proposal.items:
        if item.kind not in RESOURCES or item.after is None:
            items.append(item)
            continue
        after, found = RESOURCES[item.kind].settle(operator.sealer, item.before, item.after)
        items.append(item if after is item.after else replace(item, after=after))
        violations += (violation.under(item.place) for violation in found)
    return replace(proposal, items=items, violations=violations)


def _candidate(snapshot: Snapshot, items: Sequence[Item], proposal: Proposal) -> tuple[Snapshot, Sequence[Change]]:
    """Everything as it would be, and what changes beside the items."""
    companions = list(proposal.companions)
    for item in items:
        if item.kind in RESOURCES and item.before is not None:
            found = RESOURCES[item.kind].companions(snapshot, item.before, item.after)
            companions += (change for change in found if change.kind != kinds.RRSETS)
    changes = [*(Change(item.kind, item.id, item.after) for item in items), *companions]
    return snapshot.changed(changes), companions


def _refuse(
    known: Sequence[Violation], proposal: Proposal, items: Sequence[Item], candidate: Snapshot, operator: Operator
) -> None:
    """Raises InvalidConfiguration with every violation, each with its place in the file."""
    violations = [*known, *beside(known, proposal.violations)]
    violations += beside(violations, _violations(proposal, items, candidate, operator))
    if not violations:
        return
    listed = [replace(v, detail=PLACEHOLDER.sub(r"the instance at /instances/\1", v.detail)) for v in violations]
    if len(listed) > MAX_VIOLATIONS:
        more = Violation("", f"has {len(listed)} errors, of which the first {MAX_VIOLATIONS} are listed")
        listed = [*listed[:MAX_VIOLATIONS], more]
    raise InvalidConfiguration(listed)


def _violations(
    proposal: Proposal, items: Sequence[Item], candidate: Snapshot, operator: Operator
) -> Iterator[Violation]:
    """Every rule that what changes breaks, and what depends on that: each object once, as it will be."""
    # Without users, so that no pool or line asks all of its instances: those that can break are asked themselves.
    nobody: Index = Map()
    alone = replace(candidate, indexes=candidate.indexes.update({"pool-users": nobody, "line-users": nobody}))
    places = {(item.kind, item.id): item.place for item in proposal.items}
    for kind, identifier in _affected(items, candidate):
        value = candidate.documents[kind].get(identifier)
        if value is None:
            continue
        if kind == kinds.RRSETS:
            found: Iterable[Violation] = record_violations(value, candidate.zones[value.zone], candidate)
        else:
            known = candidate if kind == kinds.INSTANCES else alone
            found = RESOURCES[kind].check(value, known, operator.rules)
        yield from _placed(found, kind, value, places.get((kind, identifier), ""))


def _placed(found: Iterable[Violation], kind: str, value: Any, place: str) -> Iterator[Violation]:
    if place:
        yield from (violation.under(place) for violation in found)
        return
    noun = RESOURCES[kind].noun if kind in RESOURCES else "record set"
    name = value.name if kind in (kinds.INSTANCES, kinds.ZONES) else getattr(value, "key", None) or value.id
    for violation in found:
        yield Violation(
            "", f"of {noun} {name}, which the file leaves as it is, {violation.pointer}: {violation.detail}"
        )


def _affected(items: Sequence[Item], candidate: Snapshot) -> Iterable[tuple[str, str]]:
    """What must keep its rules: what changes and what names it, each once."""
    affected = dict.fromkeys((item.kind, item.id) for item in items)
    zones_change = False
    for item in items:
        if item.kind == kinds.HEALTH_CHECKS and item.after is None:
            affected.update(dict.fromkeys((kinds.POOLS, name) for name in candidate.pools_using_check(item.id)))
        elif item.kind == kinds.POOLS and item.before is not None:
            affected.update(dict.fromkeys((kinds.INSTANCES, name) for name in candidate.instances_using_pool(item.id)))
        elif item.kind == kinds.LINES and item.before is not None:
            affected.update(dict.fromkeys((kinds.INSTANCES, name) for name in candidate.instances_using_line(item.id)))
        zones_change = zones_change or item.kind in (kinds.ZONES, kinds.RRSETS)
    if zones_change:
        named = (i.id for i in candidate.instances.values() if i.names or i.kind == "domain")
        affected.update(dict.fromkeys((kinds.INSTANCES, name) for name in named))
    return affected


def _counts(items: Sequence[Item]) -> Iterator[Count]:
    by_kind = counted(items)
    for kind, held in (*by_kind.items(), (ALL, items)):
        existing = [item for item in held if item.before is not None]
        deleted = sum(item.after is None for item in existing)
        yield Count(kind, len(existing), sum(item.changes for item in existing) - deleted, deleted)


def _braked(counts: Sequence[Count]) -> str:
    told = "; ".join(f"{c.kind}: {c.updated} changed and {c.deleted} deleted of {c.existing}" for c in counts)
    share = round(BRAKE_SHARE * 100)
    return f"this changes or deletes more than {share} % of what there is ({told}): send force=true if you mean it"


class _Completion:
    """Gives new instances and zones what is generated, once, however often the change is decided again."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._ids: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._noted: set[str] = set()

    def __call__(self, items: Sequence[Item]) -> list[Item]:
        """Raises Unavailable."""
        self._allocate(items)
        return [self._complete(item) for item in items]

    def _allocate(self, items: Sequence[Item]) -> None:
        new = [item.id for item in items if item.kind == kinds.INSTANCES and item.before is None]
        chosen = {name for name in new if not name.startswith(NEW)} - self._noted
        if chosen:
            note_instance_ids(self._operator, sorted(chosen))
            self._noted |= chosen
        wanted = [name for name in new if name.startswith(NEW) and name not in self._ids]
        self._ids |= zip(wanted, instance_ids(self._operator, len(wanted)), strict=True) if wanted else ()
        zones = [item.id for item in items if item.kind == kinds.ZONES and item.before is None]
        unnumbered = [name for name in zones if name not in self._numbers]
        self._numbers |= zip(unnumbered, zone_numbers(self._operator, len(unnumbered)), strict=True)

    def _complete(self, item: Item) -> Item:
        after = item.after
        if item.before is None and isinstance(after, Zone):
            return replace(item, after=replace(after, number=self._numbers[item.id]))
        if isinstance(after, Instance) and item.id in self._ids:
            identifier = self._ids[item.id]
            cname = after.cname.replace(item.id, identifier)
            return replace(item, id=identifier, after=replace(after, id=identifier, cname=cname))
        return item


def _told(item: Item) -> Mapping[str, Any]:
    """A change as JSON data; a new instance that has no id yet has none."""
    told: dict[str, Any] = {"action": _action(item), "kind": item.kind, "id": item.id}
    told |= {"before": _data(item.before), "after": _data(item.after)}
    value = item.after or item.before
    if not isinstance(value, Instance):
        return told
    if not item.id.startswith(NEW):
        return told | {"name": value.name}
    cname = "" if value.cname.startswith(NEW) else value.cname
    return told | {"id": None, "name": value.name, "after": {**told["after"], "id": "", "cname": cname}}


def _action(item: Item) -> str:
    if item.before is None:
        return "create"
    return "delete" if item.after is None else "update"


def _data(value: Any | None) -> Any:
    return None if value is None else to_json(value)


def _warnings(operator: Operator, items: Sequence[Item], candidate: Snapshot) -> Iterator[Violation]:
    capabilities = operator.capabilities() if operator.capabilities else None
    for item in items:
        if item.after is not None and item.kind in RESOURCES:
            found = RESOURCES[item.kind].warnings(item.after, candidate, capabilities)
            yield from (violation.under(item.place) for violation in found)


def _removed(snapshot: Snapshot, companions: Sequence[Change]) -> Iterator[Violation]:
    return (removed_override(snapshot.overrides[c.id]) for c in companions if c.kind == kinds.OVERRIDES)


def _audited(items: Sequence[Item]) -> Mapping[str, Any]:
    entries = [audit.entry(_action(item), item.kind, item.id, item.before, item.after) for item in items[:MAX_AUDITED]]
    more = [{"action": _action(item), "kind": item.kind, "object": item.id} for item in items[MAX_AUDITED:]]
    return {"action": "apply", "kind": "configuration", "object": "", "changes": [*entries, *more]}
