"""What is answered, prepared when it is asked for: a process answers before everything on its disk is decoded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, TypeVar

from pdns_gtm_backend.domain.answer import ServedInstance, serve
from pdns_gtm_backend.domain.availability import PoolView, view_pool
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Prepared
from pdns_gtm_backend.store.snapshot import build
from pdns_gtm_backend.store.stored import Stored

V = TypeVar("V")

DECODED: Final = (
    *(kinds.LINES, kinds.OVERRIDES, kinds.ZONES, kinds.RRSETS),
    *(kinds.ZONE_METADATA, kinds.ZONE_KEYS, kinds.TSIG_KEYS),
)
"""Kinds that answers are found by or need as a whole. Instances too, but only the names that they own."""


class OnDemand(Mapping[str, V]):
    """Values made when they are asked for first. `make` gives one for each of `keys`. Safe for threads."""

    def __init__(self, keys: Collection[str], make: Callable[[str], V]) -> None:
        self._keys, self._make = keys, make
        self._made: dict[str, V] = {}

    def __getitem__(self, key: str) -> V:
        value = self._made.get(key)
        if value is not None:
            return value
        if key not in self._keys:
            raise KeyError(key)
        return self._made.setdefault(key, self._make(key))

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def prepare_on_demand(stored: Stored) -> Prepared:
    """What answers of a stored snapshot are made from: the same as of the whole, by the same functions.

    Its snapshot holds the kinds in DECODED alone.
    """
    documents = stored.documents
    held = {kind: documents[kind].every() for kind in DECODED}
    instances: dict[str, Instance] = documents[kinds.INSTANCES].every()
    versions = {key: version for key, version in stored.versions.items() if key[0] in held}
    snapshot = build(stored.position, stored.configuration_revision, held, versions, stored.known_problems())

    def view(name: str) -> PoolView:
        pool = documents[kinds.POOLS][name]
        return view_pool(pool, documents[kinds.TARGET_STATES], snapshot.overrides_on_pool(pool))

    def served(name: str) -> ServedInstance:
        overrides = snapshot.overrides_on_instance(name)
        return serve(instances[name], snapshot.lines, pools.get, documents[kinds.POLICY_STATES], overrides)

    pools = OnDemand(documents[kinds.POOLS], view)
    by_id = OnDemand(instances, served)
    owners = _owners(instances)
    return Prepared(snapshot, pools, by_id, OnDemand(owners, lambda name: by_id[owners[name]]))


def _owners(instances: Mapping[str, Instance]) -> Mapping[str, str]:
    """The instance that answers at each name, as `Snapshot.name_owner` has it."""
    owners: dict[str, str] = {}
    for identifier, instance in instances.items():
        for name in instance.owned_names():
            owners[name] = min(identifier, owners.get(name, identifier))
    return owners
