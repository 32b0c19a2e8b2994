"""The switch of an access policy: by itself, pinned to a set, or back to an earlier set now."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from annotated_types import MaxLen

from pdns_gtm_backend.domain.document import Identifier, document
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, set_names
from pdns_gtm_backend.domain.override import Override, Selector, policy_override
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import beside
from pdns_gtm_backend.operations.errors import NotFound, NotNow
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.overrides import (
    Identity,
    brake,
    canonical_override,
    effects,
    ended,
    new_identity,
)
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot


@document
class Switch:
    """What a policy shall do: decide by itself (`auto`), answer from `set` (`pinned`), or go back now (`failback`).

    until: when a pin undoes itself; None = when it is lifted.
    """

    mode: Literal["auto", "pinned", "failback"]
    set: Identifier | None = None
    reason: Annotated[str, MaxLen(1000)] = ""
    until: datetime | None = None


def switch(
    operator: Operator, instance_id: str, policy_name: str, raw: object, *, force: bool = False, dry_run: bool = False
) -> Outcome:
    """Carry out a switch; the value of the outcome is the override that does it, None for `auto`.

    Raises NotFound, NotNow, InvalidConfiguration, Braked, Unavailable.
    """
    parsed: Parsed[Switch] = parse(Switch, raw)
    identity = new_identity(operator)

    def decide(serving: Serving) -> Plan:
        instance, policy = _policy(operator, serving.snapshot, instance_id, policy_name)
        known = list(parsed.violations)
        if parsed.value is None:
            raise InvalidConfiguration(known)
        known += beside(known, _violations(parsed.value, policy))
        override = _override(operator, instance, policy, parsed.value, identity, serving.snapshot)
        known += beside(known, ended(override, identity.created) if override is not None else ())
        if known:
            raise InvalidConfiguration(known)
        return _plan(serving, instance, policy, parsed.value, override, force=force)

    return operator.write(decide, dry_run=dry_run)


def mode_of(pin: Override | None) -> Mapping[str, Any]:
    """What a policy does under a pin, or under none or what is no pin."""
    pinned = pin is not None and pin.effect == "pin"
    return {"mode": "pinned" if pinned else "auto", "set": pin.set if pin is not None else None}


def _policy(
    operator: Operator, snapshot: Snapshot, instance_id: str, policy_name: str
) -> tuple[Instance, AccessPolicy]:
    instance = snapshot.instances.get(instance_id)
    if instance is None or not operator.sees(instance.labels):
        raise NotFound(f"there is no instance {shown(instance_id)}")
    policy = next((p for p in instance.policies if p.name == policy_name), None)
    if policy is None:
        named = ", ".join(p.name for p in instance.policies)
        raise NotFound(f"instance {instance.name} has no policy {shown(policy_name)}: it has {named}")
    return instance, policy


def _violations(wanted: Switch, policy: AccessPolicy) -> Iterator[Violation]:
    names = set_names(policy)
    if wanted.mode != "pinned":
        for name in ("set", "until"):
            if getattr(wanted, name) is not None:
                yield Violation(f"/{name}", f"goes with mode 'pinned', not with {shown(wanted.mode)}")
    elif wanted.set is None:
        yield Violation("/set", f"is required for mode 'pinned': one of {', '.join(names)}")
    elif wanted.set not in names:
        yield Violation("/set", f"{shown(wanted.set)} is no set of policy {policy.name}: one of {', '.join(names)}")
    if wanted.until is not None and wanted.until.tzinfo is None:
        yield Violation("/until", "needs a time zone: write it as 2030-01-31T12:00:00Z")


def _override(
    operator: Operator,
    instance: Instance,
    policy: AccessPolicy,
    wanted: Switch,
    identity: Identity,
    snapshot: Snapshot,
) -> Override | None:
    if wanted.mode == "auto":
        return None
    override = Override(
        id=identity.id,
        selector=Selector(instance=instance.id, policy=policy.name),
        effect="pin" if wanted.mode == "pinned" else "failback",
        set=wanted.set,
        reason=wanted.reason,
        owner=operator.actor.name,
        until=wanted.until,
        created=identity.created,
    )
    return canonical_override(override, snapshot)


def _plan(
    serving: Serving,
    instance: Instance,
    policy: AccessPolicy,
    wanted: Switch,
    override: Override | None,
    *,
    force: bool,
) -> Plan:
    pin = policy_override(instance.id, policy.name, "pin", serving.snapshot.overrides_on_instance(instance.id))
    before = {"policy": policy.name, **mode_of(pin)}
    after = {"policy": policy.name, "mode": wanted.mode, "set": wanted.set}
    pins = _pins(serving.snapshot, instance, policy)
    if wanted.mode == "failback" and pins:
        raise NotNow(f"policy {policy.name} is pinned to {before['set']}: send mode auto first")
    noted = audit.entry("switch", kinds.INSTANCES, instance.id, before, after)
    if override is not None and len(pins) == 1 and _same(pins[0], override):
        return Plan(pins[0], (), noted)
    changes = [Change(kinds.OVERRIDES, pin.id, None) for pin in pins]
    if override is not None:
        changes.append(Change(kinds.OVERRIDES, override.id, override))
    preview = effects(serving, changes) if changes else ()
    if wanted.mode == "pinned" and not force:
        brake(preview)
    return Plan(override, changes, noted, preview=preview)


def _pins(snapshot: Snapshot, instance: Instance, policy: AccessPolicy) -> Sequence[Override]:
    return [
        o for o in snapshot.overrides_on_instance(instance.id) if o.effect == "pin" and o.selector.policy == policy.name
    ]


def _same(held: Override, wanted: Override) -> bool:
    return held == replace(wanted, id=held.id, created=held.created, owner=held.owner)
