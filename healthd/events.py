"""What operators are told when states change, as pure functions of the serving state before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pdns_gtm_backend.domain.answer import PolicyView, ServedInstance
from pdns_gtm_backend.domain.availability import AddressView, Availability, PoolView
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.state import PolicyState, TargetState, policy_state_key
from pdns_gtm_backend.domain.statuses import request_status
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Snapshot

Event = dict[str, Any]


def events_between(before: Serving, after: Serving, pools: Iterable[str], instances: Iterable[str]) -> Iterator[Event]:
    """What an operator is told: everything that differs in `pools` and `instances`.

    Of an instance that was not there before, only that it begins with another set than its first.
    """
    for name in sorted(pools):
        old, new = before.pools.get(name), after.pools.get(name)
        if old is not None and new is not None:
            yield from _pool_events(old, new, after.snapshot)
    for name in sorted(instances):
        was, served = before.instances.get(name), after.instances.get(name)
        if served is not None:
            yield from _switch_events(was, served, after.snapshot)
        if was is not None and served is not None:
            yield from _status_events(was, served)


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
        "vantages": _seen(states),
        "since": rfc3339(max((state.since for state in states), default=0.0)) if states else None,
    }


def _seen(states: Iterable[TargetState]) -> dict[str, str]:
    """How vantages see an address by several checks: down where it is down by one."""
    seen: dict[str, str] = {}
    for state in states:
        for vantage, health in state.vantages.items():
            seen[vantage] = "down" if "down" in (health, seen.get(vantage)) else health
    return seen


def _named(instance: Instance) -> Event:
    return {"instance": instance.id, "instance_name": instance.name}


def _switch_events(was: ServedInstance | None, served: ServedInstance, snapshot: Snapshot) -> Iterator[Event]:
    instance = served.instance
    for family, views in served.answers.views.items():
        earlier = {view.policy.name: view for view in was.answers.views.get(family, ())} if was else {}
        for view in views:
            old = earlier.get(view.policy.name)
            old_state = old.state if old else None
            state = snapshot.policy_states.get(policy_state_key(instance.id, view.policy.name, family))
            if state is None or not view.sets or (old_state is not None and old_state.set == state.set):
                continue
            if old_state is None and state.set == view.sets[0].name:
                continue
            yield _named(instance) | _switch_event(view, old_state, state)


def _status_events(was: ServedInstance, served: ServedInstance) -> Iterator[Event]:
    instance = served.instance
    status, earlier_status = request_status(served), request_status(was)
    if (status == "unavailable") != (earlier_status == "unavailable"):
        yield _named(instance) | {
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
