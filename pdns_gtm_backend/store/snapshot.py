"""All documents at one revision, immutable: a change makes a new snapshot that shares what did not change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from immutables import Map

from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.configuration import line_users
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import PolicyState, TargetState
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.domain.zone_key import TsigKey, ZoneKey
from pdns_gtm_backend.domain.zone_metadata import ZoneMetadata
from pdns_gtm_backend.store import kinds

K = TypeVar("K")
V = TypeVar("V")
Members = Map[str, None]
"""A set of ids; one more or less costs the same, however many there are."""
Index = Map[str, Members]
NO_MEMBERS: Final[Members] = Map()
INDEXES: Final = (
    *("instance-names", "names", "pool-users", "line-users", "check-users", "static"),
    *("address-pools", "label-pools", "overrides", "zone-documents"),
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the history of the store a snapshot is: store id, replication id of the master, revision."""

    store_id: str = ""
    replication_id: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One document written (`value`) or deleted (None)."""

    kind: str
    id: str
    value: Any | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All documents at one position; a `domain.configuration.Catalog`.

    documents: by kind, then by id. versions: revision that wrote a document, by (kind, id). problems: documents that
    could not be read, with the reason. configuration_revision: of the last write of configuration.
    """

    position: Position
    configuration_revision: int
    documents: Map[str, Map[str, Any]]
    versions: Map[tuple[str, str], int]
    problems: Map[tuple[str, str], str]
    indexes: Map[str, Index]

    @property
    def revision(self) -> int:
        """Of the store when this was read."""
        return self.position.revision

    @property
    def instances(self) -> Map[str, Instance]:
        return self.documents[kinds.INSTANCES]

    @property
    def pools(self) -> Map[str, Pool]:
        return self.documents[kinds.POOLS]

    @property
    def health_checks(self) -> Map[str, HealthCheck]:
        return self.documents[kinds.HEALTH_CHECKS]

    @property
    def lines(self) -> Map[str, Line]:
        return self.documents[kinds.LINES]

    @property
    def zones(self) -> Map[str, Zone]:
        return self.documents[kinds.ZONES]

    @property
    def rrsets(self) -> Map[str, RRset]:
        return self.documents[kinds.RRSETS]

    @property
    def zone_metadata(self) -> Map[str, ZoneMetadata]:
        return self.documents[kinds.ZONE_METADATA]

    @property
    def zone_keys(self) -> Map[str, ZoneKey]:
        return self.documents[kinds.ZONE_KEYS]

    @property
    def tsig_keys(self) -> Map[str, TsigKey]:
        return self.documents[kinds.TSIG_KEYS]

    @property
    def alerts(self) -> Map[str, Alert]:
        return self.documents[kinds.ALERTS]

    @property
    def overrides(self) -> Map[str, Override]:
        return self.documents[kinds.OVERRIDES]

    @property
    def target_states(self) -> Map[str, TargetState]:
        return self.documents[kinds.TARGET_STATES]

    @property
    def policy_states(self) -> Map[str, PolicyState]:
        return self.documents[kinds.POLICY_STATES]

    def version(self, kind: str, identifier: str) -> int:
        """The revision that wrote a document, 0 where there is none."""
        return self.versions.get((kind, identifier), 0)

    def members(self, index: str, key: str) -> frozenset[str]:
        """What an index holds under a key."""
        return frozenset(self.indexes[index].get(key, NO_MEMBERS))

    def instance_named(self, name: str) -> str | None:
        return min(self.members("instance-names", name), default=None)

    def name_owner(self, name: str) -> str | None:
        return min(self.members("names", name), default=None)

    def instances_using_pool(self, pool: str) -> frozenset[str]:
        return self.members("pool-users", pool)

    def pools_using_check(self, check: str) -> frozenset[str]:
        return self.members("check-users", check)

    def instances_using_line(self, line: str) -> frozenset[str]:
        return self.members("line-users", line)

    def pools_with_address(self, address: str) -> frozenset[str]:
        """Ids of the pools that hold an address."""
        return self.members("address-pools", address)

    def pools_with_label(self, label: str) -> frozenset[str]:
        """Ids of the pools that hold an address with a label, written `key=value`."""
        return self.members("label-pools", label)

    def overrides_on_pool(self, pool: Pool) -> tuple[Override, ...]:
        """The overrides whose selector can select an address of `pool`."""
        if not self.overrides:
            return ()
        scopes = {f"pool|{pool.id}"}
        for address in pool.addresses:
            scopes.add(f"address|{address.address}")
            scopes.update(f"label|{label}" for label in labels_of(address))
        return self._overrides(scopes)

    def overrides_on_instance(self, instance: str) -> tuple[Override, ...]:
        """The overrides on policies of an instance."""
        return self._overrides((f"instance|{instance}",)) if self.overrides else ()

    def _overrides(self, scopes: Iterable[str]) -> tuple[Override, ...]:
        index = self.indexes["overrides"]
        found = {identifier for scope in scopes for identifier in index.get(scope, NO_MEMBERS)}
        return tuple(self.overrides[identifier] for identifier in sorted(found))

    def static_types(self, name: str) -> frozenset[str]:
        return frozenset(key.rpartition("|")[2] for key in self.members("static", name))

    def of_zone(self, kind: str, zone: str) -> Mapping[str, Any]:
        """The records, metadata or keys (`kind`) of a zone, by id."""
        held = self.documents[kind]
        return {identifier: held[identifier] for identifier in self.members("zone-documents", f"{kind}|{zone}")}

    def changed(
        self, changes: Iterable[Change], position: Position | None = None, *, configuration: bool = False
    ) -> Snapshot:
        """The snapshot after `changes`, at `position` (this one's where None). Costs in proportion to the changes.

        configuration: were they a write of configuration?
        """
        documents, versions, problems, indexes = self.documents, self.versions, self.problems, self.indexes
        at = position or self.position
        for change in changes:
            held = documents[change.kind]
            before = held.get(change.id)
            key = (change.kind, change.id)
            indexes = _reindexed(indexes, change.id, before, change.value)
            if change.value is None:
                held = held.delete(change.id) if before is not None else held
                versions = versions.delete(key) if key in versions else versions
            else:
                held = held.set(change.id, change.value)
                if kinds.versioned(change.kind):
                    versions = versions.set(key, at.revision)
            problems = problems.delete(key) if key in problems else problems
            documents = documents.set(change.kind, held)
        revision = at.revision if configuration else self.configuration_revision
        return Snapshot(at, revision, documents, versions, problems, indexes)

    def with_problems(self, found: Mapping[tuple[str, str], str]) -> Snapshot:
        """This snapshot, with documents named that were written at its revision and could not be read."""
        if not found:
            return self
        written = {key: self.revision for key in found if kinds.versioned(key[0])}
        return replace(self, problems=self.problems.update(dict(found)), versions=self.versions.update(written))


def build(
    position: Position,
    configuration_revision: int,
    documents: Mapping[str, Mapping[str, Any]],
    versions: Mapping[tuple[str, str], int],
    problems: Mapping[tuple[str, str], str],
) -> Snapshot:
    """A snapshot of everything, made at once."""
    collected: dict[str, dict[str, dict[str, None]]] = {name: {} for name in INDEXES}
    alone: dict[str, Members] = {}
    for held in documents.values():
        for identifier, value in held.items():
            for index, key in entries(value):
                collected[index].setdefault(key, {})[identifier] = None
    indexes = {
        name: map_of({key: _members(ids, alone) for key, ids in held.items()}) for name, held in collected.items()
    }
    return Snapshot(
        position,
        configuration_revision,
        Map({kind: map_of(documents.get(kind, {})) for kind in kinds.KINDS}),
        map_of(versions),
        map_of(problems),
        Map(indexes),
    )


def _members(ids: dict[str, None], alone: dict[str, Members]) -> Members:
    """The set of `ids`. alone: the sets of one made so far, by their member: most sets are of one."""
    if len(ids) > 1:
        return Map(ids)
    only = next(iter(ids))
    found = alone.get(only)
    if found is None:
        found = alone[only] = Map(ids)
    return found


def map_of(held: Mapping[K, V]) -> Map[K, V]:
    """A map made step by step: made at once, a large one would stop all other threads meanwhile."""
    mutation = Map[K, V]().mutate()
    for key, value in held.items():
        mutation[key] = value
    return mutation.finish()


def empty() -> Snapshot:
    """A snapshot without documents."""
    return build(Position(), 0, {}, {}, {})


def entries(value: Any) -> Iterator[tuple[str, str]]:
    """Where a document is found by: pairs of index and key."""
    if isinstance(value, TargetState | PolicyState):
        return
    if isinstance(value, Instance):
        yield "instance-names", value.name
        yield from (("names", name) for name in value.owned_names())
        yield from (("pool-users", pool) for pool in value.pool_ids())
        yield from (("line-users", line) for line in line_users(value))
    elif isinstance(value, Pool):
        yield from (("check-users", check) for check in value.health_checks)
        yield from (("address-pools", address.address) for address in value.addresses)
        yield from (("label-pools", label) for address in value.addresses for label in labels_of(address))
    elif isinstance(value, Override):
        yield "overrides", override_scope(value.selector)
    elif isinstance(value, RRset):
        yield "static", value.name
        yield "zone-documents", f"{kinds.RRSETS}|{value.zone}"
    elif isinstance(value, ZoneMetadata):
        yield "zone-documents", f"{kinds.ZONE_METADATA}|{value.zone}"
    elif isinstance(value, ZoneKey):
        yield "zone-documents", f"{kinds.ZONE_KEYS}|{value.zone}"


def labels_of(address: Address) -> Iterator[str]:
    """The labels of an address as selectors write them: `key=value`."""
    return (f"{key}={value}" for key, value in address.labels.items())


def override_scope(selector: Selector) -> str:
    """The part of a selector that selects least: where an override is found by what it acts on."""
    if selector.instance is not None:
        return f"instance|{selector.instance}"
    if selector.pool is not None:
        return f"pool|{selector.pool}"
    if selector.address is not None:
        return f"address|{selector.address}"
    return f"label|{selector.label}"


def _reindexed(indexes: Map[str, Index], identifier: str, before: Any, after: Any) -> Map[str, Index]:
    old = set(entries(before)) if before is not None else set()
    new = set(entries(after)) if after is not None else set()
    for name, key in old - new:
        left = indexes[name][key].delete(identifier)
        indexes = indexes.set(name, indexes[name].set(key, left) if left else indexes[name].delete(key))
    for name, key in new - old:
        held = indexes[name].get(key, NO_MEMBERS)
        indexes = indexes.set(name, indexes[name].set(key, held.set(identifier, None)))
    return indexes
