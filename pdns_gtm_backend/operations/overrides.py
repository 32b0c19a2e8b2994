"""Overrides: set and lift what operators do at run time, with a preview of the answers and a brake."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.answer import Choice, ServedInstance
from pdns_gtm_backend.domain.configuration import check_override
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Family, canonical_address
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import Found, beside
from pdns_gtm_backend.operations.errors import Braked, NotFound, Unavailable
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.serving import Serving, touched
from pdns_gtm_backend.store.snapshot import Change, Snapshot

GENERATED: Final = ("id", "created", "drill")
FAMILIES: Final[tuple[Family, ...]] = ("ipv4", "ipv6")


@dataclass(frozen=True, slots=True)
class Answering:
    """Where a policy answers from for a family. rule: see `domain.answer.Rule`; policy, set: "" where nowhere."""

    rule: str
    policy: str = ""
    set: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to the answers of one policy for one family."""

    instance: str
    instance_name: str
    policy: str
    family: str
    before: Answering
    after: Answering


def get(operator: Operator, identifier: str) -> Found:
    """Raises NotFound."""
    snapshot = operator.writer.reading().snapshot
    override = snapshot.overrides.get(identifier)
    if override is None or not visible(operator, snapshot, override):
        raise NotFound(f"there is no override {shown(identifier)}")
    return Found(override, snapshot.version(kinds.OVERRIDES, identifier))


def create(operator: Operator, raw: object, *, force: bool = False, dry_run: bool = False) -> Outcome:
    """Set an override of JSON data.

    force: also where it leaves a policy without an available set. Raises InvalidConfiguration, Braked, NotPermitted,
    Unavailable.
    """
    parsed: Parsed[Override] = parse(Override, raw)
    chosen = [
        Violation(pointer(name), "is generated: leave it out")
        for name in GENERATED
        if parsed.value is not None and getattr(parsed.value, name)
    ]
    identity = new_identity(operator)

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        known = [*parsed.violations, *chosen]
        if parsed.value is None:
            raise InvalidConfiguration(known)
        value = replace(
            canonical_override(parsed.value, snapshot),
            id=identity.id,
            created=identity.created,
            owner=parsed.value.owner or operator.actor.name,
        )
        known += beside(known, (*check_override(value, snapshot), *ended(value, identity.created)))
        if known:
            raise InvalidConfiguration(known)
        if not visible(operator, snapshot, value):
            operator.require_unrestricted("overrides of what other instances use too")
        changes = [Change(kinds.OVERRIDES, value.id, value)]
        preview = effects(serving, changes)
        if not force:
            brake(preview)
        noted = audit.entry("create", kinds.OVERRIDES, value.id, None, value)
        return Plan(value, changes, noted, preview=preview)

    return operator.write(decide, dry_run=dry_run)


def delete(
    operator: Operator, identifier: str, precondition: Precondition = UNCONDITIONAL, *, dry_run: bool = False
) -> Outcome:
    """Lift an override. Raises NotFound, PreconditionFailed, PreconditionRequired, NotPermitted, Unavailable."""

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        before = snapshot.overrides.get(identifier)
        if before is None or not visible(operator, snapshot, before):
            raise NotFound(f"there is no override {shown(identifier)}")
        version = snapshot.version(kinds.OVERRIDES, identifier)
        precondition.check(f"override {identifier}", str(version))
        changes = [Change(kinds.OVERRIDES, identifier, None)]
        noted = audit.entry("delete", kinds.OVERRIDES, identifier, before, None)
        return Plan(None, changes, noted, preview=effects(serving, changes), version=version)

    return operator.write(decide, dry_run=dry_run)


def visible(operator: Operator, snapshot: Snapshot, override: Override) -> bool:
    """Does the actor's token cover what the override acts on?"""
    if operator.actor.label is None:
        return True
    instance = snapshot.instances.get(override.selector.instance or "")
    return instance is not None and operator.sees(instance.labels)


def canonical_override(override: Override, snapshot: Snapshot) -> Override:
    """The form that is stored: the address as its pool has it, moments in UTC."""
    selector = override.selector
    if selector.address is not None:
        selector = replace(selector, address=_canonical_address(selector, snapshot))
    until = override.until
    if until is not None and until.tzinfo is not None:
        until = until.astimezone(UTC)
    return replace(override, selector=selector, until=until)


def _canonical_address(selector: Selector, snapshot: Snapshot) -> str:
    text = selector.address or ""
    pool = snapshot.pools.get(selector.pool or "")
    families: Sequence[Family] = (pool.type,) if pool is not None else FAMILIES
    for family in families:
        try:
            return canonical_address(text, family)
        except ValueError:
            continue
    return canonical(text)


def effects(serving: Serving, changes: Sequence[Change]) -> Sequence[Effect]:
    """What `changes` do at once to the answers of every policy that they touch; without those that stay as they are."""
    candidate = serving.snapshot.changed(changes)
    after = serving.changed(candidate, changes)
    _, instances = touched(serving.snapshot, candidate, changes)
    return [
        effect
        for name in sorted(instances)
        if name in serving.instances and name in after.instances
        for effect in _effects(serving.instances[name], after.instances[name])
    ]


def _effects(before: ServedInstance, after: ServedInstance) -> Iterator[Effect]:
    instance = after.instance
    if not instance.enabled:
        return
    for family, views in after.answers.views.items():
        pairs = zip(views, before.answers.choices[family], after.answers.choices[family], strict=True)
        for view, was, chosen in pairs:
            if not view.sets or answering(was) == answering(chosen):
                continue
            yield Effect(instance.id, instance.name, view.policy.name, family, answering(was), answering(chosen))


def answering(choice: Choice) -> Answering:
    """Where a choice answers from."""
    return Answering(choice.rule, *(choice.source or ("", "")))


def brake(preview: Sequence[Effect]) -> None:
    """Raises Braked where a policy that answers from an available set would no longer do so."""
    left = [e for e in preview if e.before.rule == "set" and e.after.rule != "set"]
    if not left:
        return
    named = ", ".join(f"{e.instance_name}/{e.policy} ({e.family})" for e in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    raise Braked(f"this leaves no available set for {named}{more}: send force=true if you mean it", left)


@dataclass(frozen=True, slots=True)
class Identity:
    """The id of a new override, and when it was made by Redis's clock, by which overrides end."""

    id: str
    created: datetime


def new_identity(operator: Operator) -> Identity:
    """Raises Unavailable."""
    return Identity(f"ov-{secrets.token_hex(5)}", store_time(operator))


def store_time(operator: Operator) -> datetime:
    """Now, by Redis's clock, to the millisecond. Raises Unavailable."""
    try:
        now = operator.writer.follower.repository.time()
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return datetime.fromtimestamp(round(now, 3), UTC)


def ended(override: Override, now: datetime) -> Iterator[Violation]:
    """A violation where the override would have ended before it began."""
    until = override.until
    if until is not None and until.tzinfo is not None and until <= now:
        yield Violation("/until", f"{until.isoformat()} is over: the store's clock says {now.isoformat()}")


def preview_data(preview: Sequence[Effect]) -> Sequence[Mapping[str, Any]]:
    """A preview as JSON data."""
    return [
        {
            "instance": effect.instance,
            "instance_name": effect.instance_name,
            "policy": effect.policy,
            "family": effect.family,
            "before": _answering_data(effect.before),
            "after": _answering_data(effect.after),
        }
        for effect in preview
    ]


def _answering_data(where: Answering) -> Mapping[str, Any]:
    return {"rule": where.rule, "policy": where.policy or None, "set": where.set or None}
