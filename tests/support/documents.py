"""Short forms of documents for tests of what is answered, and the changes that write them."""

from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, InstanceKind, PoolSet, SetMember
from pdns_gtm_backend.domain.pool import Address, Family, Pool, Strategy
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change

Document = Instance | Pool | Zone | RRset


def pool(name: str, family: Family, *addresses: str, strategy: Strategy = "all", enabled: bool = True) -> Pool:
    """A pool without health checks: its addresses are available."""
    held = tuple(Address(address=address) for address in addresses)
    return Pool(id=name, type=family, strategy=strategy, enabled=enabled, addresses=held)


def policy(name: str, line: str, *sets: str) -> AccessPolicy:
    """A policy for one line; each set is the ids of its pools, parted by spaces."""
    pool_sets = tuple(PoolSet(pools=tuple(SetMember(pool=pool) for pool in pools.split())) for pools in sets)
    return AccessPolicy(name=name, lines=(line,), pool_sets=pool_sets)


def instance(
    identifier: str,
    *policies: AccessPolicy,
    kind: InstanceKind = "address",
    names: tuple[str, ...] = (),
    enabled: bool = True,
    ttl: int = 60,
    fail_closed: bool = False,
) -> Instance:
    """An instance with its name in the access zone gtm.example."""
    return Instance(
        id=identifier,
        name=identifier,
        cname=f"{identifier}.gtm.example",
        kind=kind,
        ttl=ttl,
        enabled=enabled,
        names=names,
        when_all_down="fail_closed" if fail_closed else "fail_open",
        policies=policies,
    )


def rrset(zone: str, name: str, rrtype: str, *records: str, ttl: int = 300) -> RRset:
    """Static records."""
    return RRset(zone=zone, name=name, type=rrtype, ttl=ttl, records=records)


def written(document: Document) -> Change:
    """The change that writes a document."""
    if isinstance(document, Instance):
        return Change(kinds.INSTANCES, document.id, document)
    if isinstance(document, Pool):
        return Change(kinds.POOLS, document.id, document)
    if isinstance(document, Zone):
        return Change(kinds.ZONES, document.name, document)
    return Change(kinds.RRSETS, document.key, document)


def deleted(document: Document) -> Change:
    """The change that deletes a document."""
    change = written(document)
    return Change(change.kind, change.id, None)
