"""What the leader decides, as pure functions: states of targets and policies, and the events that tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdns_gtm_backend.domain.answer import PolicyView, ServedInstance
from pdns_gtm_backend.domain.availability import AddressView, Availability, PoolView
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.override import Override, policy_override
from pdns_gtm_backend.domain.quorum import (
    configured_vantages,
    judge,
    next_target_state,
    reporting_vantages,
    stale_reason,
)
from pdns_gtm_backend.domain.state import Heartbeat, PolicyState, TargetState, VantageVerdict, policy_state_key
from pdns_gtm_backend.domain.statuses import request_status
from pdns_gtm_backend.domain.switchover import Command, decide
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the vantages say. verdicts: by target, then by vantage. now: seconds since the epoch by Redis's clock."""

    verdicts: Mapping[str, Mapping[str, VantageVerdict]]
    heartbeats: Mapping[str, Heartbeat]
    now: float


@dataclass(frozen=True, slots=True)
class TargetDecision:
    """states: new states by target. waiting: what cannot be decided while too few vantages report."""

    states: Mapping[str, TargetState]
    waiting: frozenset[tuple[str, str]]


def decide_targets(snapshot: Snapshot, news: Iterable[tuple[str, str]], evidence: Evidence) -> TargetDecision:
    """The states of targets on which the verdict of a vantage changed; `news` holds (vantage, target)."""
    states: dict[str, TargetState] = {}
    waiting: set[tuple[str, str]] = set()
    for vantage, target in news:
        check = snapshot.health_checks.get(target.partition("|")[0])
        verdicts = evidence.verdicts.get(target, {})
        changed = verdicts.get(vantage)
        if check is None or changed is None or not is_probed(snapshot, target):
            continue
        previous = states.get(target) or snapshot.target_states.get(target)
        if previous is not None and previous.health == ("up" if changed.up else "down"):
            continue
        reporting = reporting_vantages(check, target, evidence.heartbeats, evidence.now)
        configured = len(configured_vantages(check, evidence.heartbeats))
        judgement = judge(check, verdicts, reporting, configured)
        if judgement.frozen:
            waiting.add((vantage, target))
            continue
        state = next_target_state(previous, changed, judgement, verdicts, evidence.now)
        if state is not None:
            states[target] = state
    return TargetDecision(states, frozenset(waiting))


def is_probed(snapshot: Snapshot, target: str) -> bool:
    """Does a pool still have this target?"""
    check, _, rest = target.partition("|")
    address = rest.partition("|")[0]
    pools = (snapshot.pools[name] for name in snapshot.pools_with_address(address))
    return any(check in p.health_checks and target_key(check, address, p.host, p.sni) == target for p in pools)


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """changes: states of policies to write, and failback overrides that are carried out, to delete.

    again_at: the earliest moment at which a policy must be decided again by itself, by instance.
    """

    changes: tuple[Change, ...]
    again_at: Mapping[str, float]


def decide_policies(serving: Serving, instances: Iterable[str], now: float) -> PolicyDecision:
    """The states of all policies of `instances`."""
    changes: list[Change] = []
    again: dict[str, float] = {}
    for name in sorted(instances):
        served = serving.instances.get(name)
        if served is None:
            continue
        for views in served.views.values():
            for view in views:
                change, moment = _decide_policy(served.instance, view, serving.snapshot, now)
                changes += change
                if moment is not None:
                    again[name] = min(moment, again.get(name, moment))
        changes += _carried_out(served.instance, serving.snapshot)
    return PolicyDecision(tuple(changes), again)


def _decide_policy(
    instance: Instance, view: PolicyView, snapshot: Snapshot, now: float
) -> tuple[list[Change], float | None]:
    if not view.sets:
        return [], None
    overrides = tuple(snapshot.overrides.values())
    pin = policy_override(instance.id, view.policy.name, "pin", overrides)
    command = Command(
        pinned=pin.set if pin else None,
        pinned_by=pin.owner if pin else "",
        failback_now=policy_override(instance.id, view.policy.name, "failback", overrides) is not None,
    )
    policy = view.policy
    decision = decide(view.sets, view.state, policy.failback, policy.failback_delay, command, now)
    if decision.state == view.state:
        return [], decision.again_at
    key = policy_state_key(instance.id, policy.name, view.family)
    return [Change(kinds.POLICY_STATES, key, decision.state)], decision.again_at


def _carried_out(instance: Instance, snapshot: Snapshot) -> Iterator[Change]:
    for identifier, override in snapshot.overrides.items():
        if override.effect == "failback" and override.selector.instance == instance.id:
            yield Change(kinds.OVERRIDES, identifier, None)


def expired_overrides(snapshot: Snapshot, now: float) -> list[Override]:
    """The overrides whose end has come."""
    return [o for o in snapshot.overrides.values() if o.until is not None and o.until.timestamp() <= now]


def obsolete_states(snapshot: Snapshot, targets: Iterable[str], instances: Iterable[str]) -> Iterator[Change]:
    """States of targets that no pool has any more, and of policies that are gone."""
    for target in targets:
        if target in snapshot.target_states and not is_probed(snapshot, target):
            yield Change(kinds.TARGET_STATES, target, None)
    gone = {name for name in instances if name not in snapshot.instances}
    if gone:
        for key in snapshot.policy_states:
            if key.partition("|")[0] in gone:
                yield Change(kinds.POLICY_STATES, key, None)


def stale_checks(snapshot: Snapshot, heartbeats: Mapping[str, Heartbeat], now: float) -> dict[str, str]:
    """The checks in use whose states are frozen since too few vantages report, with the reason."""
    found = {}
    for name, check in snapshot.health_checks.items():
        if not snapshot.pools_using_check(name):
            continue
        reason = stale_reason(check, heartbeats, now)
        if reason is not None:
            found[name] = reason
    return found


def events_between(before: Serving, after: Serving, pools: Iterable[str], instances: Iterable[str]) -> Iterator[Event]:
    """What an operator is told: everything that differs in `pools` and `instances`."""
    for name in sorted(pools):
        old, new = before.pools.get(name), after.pools.get(name)
        if old is not None and new is not None:
            yield from _pool_events(old, new, after.snapshot)
    for name in sorted(instances):
        was, served = before.instances.get(name), after.instances.get(name)
        if was is not None and served is not None:
            yield from _instance_events(was, served, after.snapshot)


_ADDRESS_KINDS = {
    Availability.UP: "address.up",
    Availability.DOWN: "address.down",
    Availability.UNKNOWN: "address.unknown",
    Availability.OFFLINE: "address.offline",
}


def _pool_events(old: PoolView, new: PoolView, snapshot: Snapshot) -> Iterator[Event]:
    users = sorted(snapshot.instances_using_pool(new.pool.id))
    earlier = {view.address.address: view for view in old.addresses}
    for view in new.addresses:
        was = earlier.get(view.address.address)
        if was is not None and was.availability != view.availability:
            yield _address_event(new, was, view, users, snapshot)
    if old.available != new.available:
        yield {
            "kind": "pool.available" if new.available else "pool.unavailable",
            "pool": new.pool.id,
            "instances": users,
            "from": _word(old),
            "to": _word(new),
            "reason": new.reason,
        }


def _word(view: PoolView) -> str:
    return "available" if view.available else "unavailable"


def _address_event(pool: PoolView, was: AddressView, view: AddressView, users: list[str], snapshot: Snapshot) -> Event:
    address = view.address.address
    states = [
        state
        for check in pool.pool.health_checks
        if (state := snapshot.target_states.get(target_key(check, address, pool.pool.host, pool.pool.sni)))
    ]
    return {
        "kind": _ADDRESS_KINDS[view.availability],
        "pool": pool.pool.id,
        "address": address,
        "instances": users,
        "from": was.availability.name.lower(),
        "to": view.availability.name.lower(),
        "reason": view.reason,
        "vantages": {vantage: seen for state in states for vantage, seen in state.vantages.items()},
        "since": rfc3339(max((state.since for state in states), default=0.0)) if states else None,
    }


def _instance_events(was: ServedInstance, served: ServedInstance, snapshot: Snapshot) -> Iterator[Event]:
    instance = served.instance
    named = {"instance": instance.id, "instance_name": instance.name}
    for family, views in served.views.items():
        earlier = {view.policy.name: view for view in was.views[family]} if family in was.views else {}
        for view in views:
            old = earlier.get(view.policy.name)
            old_state = old.state if old else None
            state = snapshot.policy_states.get(policy_state_key(instance.id, view.policy.name, family))
            if state is None or not view.sets or (old_state is not None and old_state.set == state.set):
                continue
            if old_state is None and state.set == view.sets[0].name:
                continue
            yield named | _switch_event(view, old_state, state)
    status, earlier_status = request_status(served), request_status(was)
    if (status == "unavailable") != (earlier_status == "unavailable"):
        yield named | {
            "kind": "instance.all_down" if status == "unavailable" else "instance.recovered",
            "from": earlier_status,
            "to": status,
            "reason": f"when_all_down: {instance.when_all_down}" if status == "unavailable" else "a set is available",
        }


def _switch_event(view: PolicyView, old: PolicyState | None, state: PolicyState) -> Event:
    return {
        "kind": "set.switched",
        "policy": view.policy.name,
        "family": view.family,
        "from": old.set if old else None,
        "to": state.set,
        "reason": state.reason,
        "since": rfc3339(state.since),
    }
