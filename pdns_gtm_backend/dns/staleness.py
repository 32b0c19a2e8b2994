"""Which names PowerDNS may hold old answers for after a change."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pdns_gtm_backend.dns.purge import EVERYTHING, MAX_NAMES
from pdns_gtm_backend.domain.answer import ServedInstance
from pdns_gtm_backend.domain.names import ancestors, canonical
from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Prepared, touched
from pdns_gtm_backend.store.snapshot import Change


@dataclass(frozen=True, slots=True)
class Stale:
    """What to purge, as PowerDNS writes names in a purge.

    names: those that PowerDNS may hold old answers for. unkept: those whose answers have changed too, and are scoped,
    before and after: PowerDNS keeps none of them. zones: has the list of zones changed?
    """

    names: Sequence[str]
    unkept: Sequence[str] = ()
    zones: bool = False


def stale_names(before: Prepared, after: Prepared, changes: Sequence[Change] | None) -> Stale:
    """What to purge. changes: what leads from `before` to `after`; None = anything may have changed."""
    if changes is None:
        return Stale([EVERYTHING], zones=True)
    zones = any(change.kind == kinds.ZONES for change in changes)
    kept, unkept = dict[str, None](), dict[str, None]()
    instances = touched(before.snapshot, after.snapshot, changes)[1]
    if len(instances) > MAX_NAMES:
        states = all(change.kind in STATES for change in changes)
        scoped = states and all(_is_always_scoped(after.instances.get(instance)) for instance in instances)
        return Stale([], [EVERYTHING], zones) if scoped else Stale([EVERYTHING], zones=zones)
    for instance in instances:
        names = unkept if _is_scoped(before.instances.get(instance), after.instances.get(instance)) else kept
        names |= dict.fromkeys(_names_of(before, instance)) | dict.fromkeys(_names_of(after, instance))
    for change in changes:
        if change.kind == kinds.INSTANCES:
            kept |= dict.fromkeys(_above(_owned(before, change.id) | _owned(after, change.id)))
        elif change.kind == kinds.RRSETS:
            kept |= dict.fromkeys(_static(before.snapshot.rrsets.get(change.id), change.value))
        elif change.kind in OF_A_ZONE:
            kept[f"{canonical(change.id.partition('|')[0])}$"] = None
    return Stale(list(kept), list(unkept), zones)


def _is_scoped(before: ServedInstance | None, after: ServedInstance | None) -> bool:
    """Were and are all answers that an instance gives of its own scoped, for the same questions?"""
    if before is None or after is None or before.instance is not after.instance:
        return False
    old, new = before.answers, after.answers
    return not (old.uniform or new.uniform) and old.families == new.families


def _is_always_scoped(served: ServedInstance | None) -> bool:
    """Is this so whatever the states are? Known without what it answers, which may not be prepared."""
    return served is not None and len(served.instance.policies) > 1 and served.instance.when_all_down == "fail_open"


STATES = frozenset({kinds.TARGET_STATES, kinds.POLICY_STATES})
OF_A_ZONE = frozenset({kinds.ZONES, kinds.ZONE_METADATA, kinds.ZONE_KEYS})
"""Kinds whose documents say something about all names of the zone that their id begins with."""


def _owned(serving: Prepared, instance: str) -> frozenset[str]:
    served = serving.instances.get(instance)
    return frozenset(served.instance.owned_names() if served else ())


def _names_of(serving: Prepared, instance: str) -> Iterator[str]:
    return map(_below_wildcard, _owned(serving, instance))


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
