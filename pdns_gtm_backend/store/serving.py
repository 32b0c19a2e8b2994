"""What is answered, prepared from a snapshot: views of pools and instances, remade only where a change touches them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from immutables import Map

from pdns_gtm_backend.domain.answer import ServedInstance, serve
from pdns_gtm_backend.domain.availability import PoolView, view_pool
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot, empty

AT_ONCE: Final = 50
"""More instances that a change touches, such as those that share a pool, are prepared as they are asked for."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What answers are made from: a snapshot, and what is derived from it.

    pools: views by pool id. instances: by id. names: the instance that answers at a domain name in canonical form.
    """

    snapshot: Snapshot
    pools: Mapping[str, PoolView]
    instances: Mapping[str, ServedInstance]
    names: Mapping[str, ServedInstance]


@dataclass(frozen=True, slots=True)
class Serving(Prepared):
    """A whole snapshot and everything derived from it that an answer needs."""

    pools: Map[str, PoolView]
    instances: Map[str, ServedInstance]
    names: Map[str, ServedInstance]

    def changed(self, snapshot: Snapshot, changes: Iterable[Change]) -> Serving:
        """The serving state of `snapshot`, which `changes` lead to from this one's."""
        listed = tuple(changes)
        pools, instances = touched(self.snapshot, snapshot, listed)
        after = self.with_pools(snapshot, pools)
        return _with_instances(self, snapshot, after.pools, instances, later=len(instances) > AT_ONCE)

    def with_pools(self, snapshot: Snapshot, pools: Iterable[str]) -> Serving:
        """The serving state of `snapshot`, but for what its instances answer. pools: ids of those that have changed."""
        return replace(self, snapshot=snapshot, pools=_remade_pools(self.pools, snapshot, pools))


def prepare(snapshot: Snapshot) -> Serving:
    """The serving state of a whole snapshot."""
    nothing = Serving(empty(), Map(), Map(), Map())
    pools = _remade_pools(Map(), snapshot, snapshot.pools)
    return _with_instances(nothing, snapshot, pools, set(snapshot.instances), later=False)


def touched(before: Snapshot, after: Snapshot, changes: Iterable[Change]) -> tuple[set[str], set[str]]:
    """The ids of the pools and of the instances whose answers `changes` can alter, also of those that are gone."""
    listed = tuple(changes)
    pools = set(_touched_pools(before, after, listed))
    return pools, set(_touched_instances(before, after, listed, pools))


def _remade_pools(views: Map[str, PoolView], snapshot: Snapshot, names: Iterable[str]) -> Map[str, PoolView]:
    mutation = views.mutate()
    for name in names:
        pool = snapshot.pools.get(name)
        if pool is not None:
            mutation[name] = view_pool(pool, snapshot.target_states, snapshot.overrides_on_pool(pool))
        else:
            mutation.pop(name, None)
    return mutation.finish()


def _with_instances(
    before: Serving, snapshot: Snapshot, pools: Map[str, PoolView], changed: set[str], *, later: bool
) -> Serving:
    instances = before.instances.mutate()
    same_lines = before.snapshot.lines is snapshot.lines
    owned: set[str] = set()
    for name in changed:
        old = instances.pop(name, None)
        owned.update(old.instance.owned_names() if old else ())
        instance = snapshot.instances.get(name)
        if instance is not None:
            overrides = snapshot.overrides_on_instance(name)
            table = old.lines if old is not None and same_lines and old.instance is instance else None
            states = snapshot.policy_states
            instances[name] = serve(instance, snapshot.lines, pools.get, states, overrides, table, later=later)
            owned.update(instance.owned_names())
    served, names = instances.finish(), before.names.mutate()
    for name in owned:
        owner = snapshot.name_owner(name)
        if owner is None:
            names.pop(name, None)
        else:
            names[name] = served[owner]
    return Serving(snapshot, pools, served, names.finish())


def _touched_pools(before: Snapshot, after: Snapshot, changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        if change.kind == kinds.POOLS:
            yield change.id
        elif change.kind == kinds.TARGET_STATES:
            yield from _pools_of_target(after, change.id)
        elif change.kind == kinds.OVERRIDES:
            for override in (before.overrides.get(change.id), after.overrides.get(change.id)):
                yield from _pools_of_override(after, override)


def _pools_of_target(snapshot: Snapshot, target: str) -> Iterator[str]:
    check, _, rest = target.partition("|")
    for name in snapshot.pools_with_address(rest.partition("|")[0]):
        if check in snapshot.pools[name].health_checks:
            yield name


def _pools_of_override(snapshot: Snapshot, override: Override | None) -> Iterator[str]:
    if override is None or override.selector.instance is not None:
        return
    if override.selector.pool is not None:
        yield override.selector.pool
        return
    if override.selector.address is not None:
        yield from snapshot.pools_with_address(override.selector.address)
    elif override.selector.label is not None:
        yield from snapshot.pools_with_label(override.selector.label)


def _touched_instances(
    before: Snapshot, after: Snapshot, changes: Iterable[Change], pools: Iterable[str]
) -> Iterator[str]:
    for pool in pools:
        yield from after.instances_using_pool(pool)
    for change in changes:
        if change.kind == kinds.INSTANCES:
            yield change.id
        elif change.kind == kinds.LINES:
            yield from after.instances_using_line(change.id)
        elif change.kind == kinds.POLICY_STATES:
            yield change.id.partition("|")[0]
        elif change.kind == kinds.OVERRIDES:
            for override in (before.overrides.get(change.id), after.overrides.get(change.id)):
                if override is not None and override.selector.instance is not None:
                    yield override.selector.instance
