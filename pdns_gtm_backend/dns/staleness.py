"""Which names PowerDNS may hold old answers for after a change."""

from collections.abc import Iterable, Iterator, Sequence

from pdns_gtm_backend.dns.purge import EVERYTHING
from pdns_gtm_backend.domain.names import ancestors, canonical
from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Prepared, touched
from pdns_gtm_backend.store.snapshot import Change


def stale_names(before: Prepared, after: Prepared, changes: Sequence[Change] | None) -> tuple[list[str], bool]:
    """The names to purge, as PowerDNS writes them in a purge, and whether the list of zones has changed.

    changes: what leads from `before` to `after`; None = anything may have changed.
    """
    if changes is None:
        return [EVERYTHING], True
    _, instances = touched(before.snapshot, after.snapshot, changes)
    names = dict.fromkeys(_names_of(before, instances))
    names |= dict.fromkeys(_names_of(after, instances))
    zones = [change.id for change in changes if change.kind in OF_A_ZONE]
    for change in changes:
        if change.kind == kinds.INSTANCES:
            names |= dict.fromkeys(_above(_owned(before, change.id) | _owned(after, change.id)))
        elif change.kind == kinds.RRSETS:
            names |= dict.fromkeys(_static(before.snapshot.rrsets.get(change.id), change.value))
    names |= {f"{canonical(zone.partition('|')[0])}$": None for zone in zones}
    return list(names), any(change.kind == kinds.ZONES for change in changes)


OF_A_ZONE = frozenset({kinds.ZONES, kinds.ZONE_METADATA, kinds.ZONE_KEYS})
"""Kinds whose documents say something about all names of the zone that their id begins with."""


def _owned(serving: Prepared, instance: str) -> frozenset[str]:
    served = serving.instances.get(instance)
    return frozenset(served.instance.owned_names() if served else ())


def _names_of(serving: Prepared, instances: Iterable[str]) -> Iterator[str]:
    for instance in instances:
        for name in _owned(serving, instance):
            yield _below_wildcard(name)


def _below_wildcard(name: str) -> str:
    """A name as a purge takes it: a wildcard stands for everything below its parent."""
    return f"{name[2:]}$" if name.startswith("*.") else name


def _above(names: Iterable[str]) -> Iterator[str]:
    """The names above these: an empty non-terminal comes and goes with what is below it."""
    for name in names:
        yield from ancestors(name)


def _static(old: RRset | None, new: RRset | None) -> Iterator[str]:
    """A record at a name can be a delegation or a wildcard, and so decide over everything below."""
    for rrset in (old, new):
        if rrset is not None:
            name = canonical(rrset.name)
            yield f"{name.removeprefix('*.')}$"
            yield from ancestors(name)
