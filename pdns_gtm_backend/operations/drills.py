"""Drills: write one, see what it would do, execute it, roll it back."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pdns_gtm_backend.domain.configuration import check_override
from pdns_gtm_backend.domain.drill import Drill, drill_violations
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import READ_ONLY, Found, beside
from pdns_gtm_backend.operations.errors import NotFound, NotNow
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.overrides import Effect, brake, canonical_override, effects, store_time
from pdns_gtm_backend.operations.parsing import Parsed, merge_patch, parse, to_json
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

KEPT: Final = ("id", "state", "owner", "created", "executed", "rolled_back")
"""Fields that the server keeps."""


def get(operator: Operator, identifier: str) -> Found:
    """Raises NotFound, NotPermitted."""
    operator.require_unrestricted("drills")
    snapshot = operator.writer.reading().snapshot
    return Found(_drill(snapshot, identifier), snapshot.version(kinds.DRILLS, identifier))


def create(operator: Operator, raw: object, *, dry_run: bool = False) -> Outcome:
    """Make a drill of JSON data: name, selectors, reason. Raises InvalidConfiguration, NotPermitted, Unavailable."""
    operator.require_unrestricted("drills")
    parsed: Parsed[Drill] = parse(Drill, raw)
    identifier, now = f"drill-{secrets.token_hex(4)}", store_time(operator)

    def decide(serving: Serving) -> Plan:
        value = _valid(serving.snapshot, parsed, Drill(name="new", selectors=()))
        made = replace(value, id=identifier, owner=operator.actor.name, created=now)
        return _written(serving.snapshot, "create", None, made)

    return operator.write(decide, dry_run=dry_run)


def patch(
    operator: Operator,
    identifier: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Change some fields of a drill that does not run (RFC 7396).

    Raises InvalidConfiguration, NotFound, NotNow, PreconditionFailed, PreconditionRequired, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("drills")
    if not isinstance(raw, dict):
        raise InvalidConfiguration([Violation("", "a merge patch is an object of the fields to change (RFC 7396)")])
    change = {name: value for name, value in raw.items() if name != READ_ONLY}

    def decide(serving: Serving) -> Plan:
        before = _at_rest(serving.snapshot, identifier, precondition)
        parsed: Parsed[Drill] = parse(Drill, merge_patch(to_json(before), change))
        return _written(serving.snapshot, "patch", before, _valid(serving.snapshot, parsed, before))

    return operator.write(decide, dry_run=dry_run)


def delete(
    operator: Operator, identifier: str, precondition: Precondition = UNCONDITIONAL, *, dry_run: bool = False
) -> Outcome:
    """Delete a drill that does not run. Raises what `patch` does."""
    operator.require_unrestricted("drills")

    def decide(serving: Serving) -> Plan:
        before = _at_rest(serving.snapshot, identifier, precondition)
        return _written(serving.snapshot, "delete", before, None)

    return operator.write(decide, dry_run=dry_run)


def preview(operator: Operator, identifier: str) -> Sequence[Effect]:
    """What a drill does to the answers of every policy: done when it is executed, or undone when it is rolled back.

    Raises InvalidConfiguration where it selects what is no more, NotFound, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("drills")
    serving, now = operator.writer.reading(), store_time(operator)
    drill = _drill(serving.snapshot, identifier)
    if drill.state == "executed":
        return effects(serving, _lifting(serving.snapshot, drill))
    return effects(serving, _setting(serving.snapshot, drill, operator, now))


def execute(operator: Operator, identifier: str, *, force: bool = False, dry_run: bool = False) -> Outcome:
    """Treat what a drill selects as failed from now on.

    force: also where that leaves a policy without an available set. Raises NotNow where it runs already, Braked,
    InvalidConfiguration where it selects what is no more, NotFound, NotPermitted, Unavailable.
    """
    now = store_time(operator)

    def decide(serving: Serving, drill: Drill) -> tuple[Drill, Sequence[Change]]:
        if drill.state == "executed":
            raise NotNow(f"drill {drill.name} is executed already: roll it back first")
        changes = _setting(serving.snapshot, drill, operator, now)
        if not force:
            brake(effects(serving, changes))
        return replace(drill, state="executed", executed=now), changes

    return _step(operator, identifier, "execute", decide, dry_run)


def rollback(operator: Operator, identifier: str, *, dry_run: bool = False) -> Outcome:
    """Lift what an executed drill has set.

    Raises NotNow where it is not executed, NotFound, NotPermitted, Unavailable.
    """
    now = store_time(operator)

    def decide(serving: Serving, drill: Drill) -> tuple[Drill, Sequence[Change]]:
        if drill.state != "executed":
            raise NotNow(f"drill {drill.name} is {drill.state.replace('_', ' ')}: there is nothing to roll back")
        return replace(drill, state="rolled_back", rolled_back=now), _lifting(serving.snapshot, drill)

    return _step(operator, identifier, "rollback", decide, dry_run)


Step = Callable[[Serving, Drill], tuple[Drill, Sequence[Change]]]


def _step(operator: Operator, identifier: str, action: str, step: Step, dry_run: bool) -> Outcome:
    operator.require_unrestricted("drills")

    def decide(serving: Serving) -> Plan:
        before = _drill(serving.snapshot, identifier)
        after, changes = step(serving, before)
        plan = _written(serving.snapshot, action, before, after)
        return replace(plan, changes=[*plan.changes, *changes], preview=effects(serving, changes))

    return operator.write(decide, dry_run=dry_run)


def _drill(snapshot: Snapshot, identifier: str) -> Drill:
    drill: Drill | None = snapshot.documents[kinds.DRILLS].get(identifier)
    if drill is None:
        raise NotFound(f"there is no drill {shown(identifier)}")
    return drill


def _at_rest(snapshot: Snapshot, identifier: str, precondition: Precondition) -> Drill:
    drill = _drill(snapshot, identifier)
    precondition.check(f"drill {identifier}", str(snapshot.version(kinds.DRILLS, identifier)))
    if drill.state == "executed":
        raise NotNow(f"drill {drill.name} is executed: roll it back first")
    return drill


def _valid(snapshot: Snapshot, parsed: Parsed[Drill], before: Drill) -> Drill:
    """The drill in the form that is stored. Raises InvalidConfiguration with every violation."""
    known = list(parsed.violations)
    if parsed.value is None:
        raise InvalidConfiguration(known)
    drill = parsed.value
    known += [
        Violation(pointer(name), f"{shown(getattr(drill, name))} is not allowed: the server keeps it")
        for name in KEPT
        if getattr(drill, name) != getattr(before, name)
    ]
    known += beside(known, (*drill_violations(drill), *_missing(drill, snapshot)))
    if known:
        raise InvalidConfiguration(known)
    return replace(drill, selectors=tuple(o.selector for o in _canonical(drill, snapshot)))


def _canonical(drill: Drill, snapshot: Snapshot) -> Sequence[Override]:
    return [canonical_override(Override(selector=s, effect="failed"), snapshot) for s in drill.selectors]


def _missing(drill: Drill, snapshot: Snapshot) -> Sequence[Violation]:
    """Violations for what a drill selects and is not there."""
    own = set(drill_violations(drill))
    found = (
        Violation(pointer("selectors", index) + violation.pointer.removeprefix("/selector"), violation.detail)
        for index, override in enumerate(_canonical(drill, snapshot))
        for violation in check_override(override, snapshot)
    )
    return [violation for violation in found if violation not in own]


def _setting(snapshot: Snapshot, drill: Drill, operator: Operator, now: datetime) -> Sequence[Change]:
    if missing := _missing(drill, snapshot):
        raise InvalidConfiguration(missing)
    return [Change(kinds.OVERRIDES, o.id, o) for o in drill.overrides(operator.actor.name, now)]


def _lifting(snapshot: Snapshot, drill: Drill) -> Sequence[Change]:
    return [Change(kinds.OVERRIDES, o.id, None) for o in snapshot.overrides.values() if o.drill == drill.id]


def _written(snapshot: Snapshot, action: str, before: Drill | None, after: Drill | None) -> Plan:
    identifier = (after or before or Drill(name="", selectors=())).id
    noted: Mapping[str, Any] = audit.entry(action, kinds.DRILLS, identifier, before, after)
    version = snapshot.version(kinds.DRILLS, identifier)
    if before == after:
        return Plan(after, (), noted, version=version)
    return Plan(after, [Change(kinds.DRILLS, identifier, after)], noted, version=version)
