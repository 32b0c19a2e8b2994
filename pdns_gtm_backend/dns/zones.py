"""Zones as they are answered: which names exist in each, and the static records there.

Made whole when zones come or go; else patched, so that a change costs in proportion to itself.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from immutables import Map

from pdns_gtm_backend.dns.authority import Authority
from pdns_gtm_backend.domain.names import ancestors, domain_name_error, is_below, parents
from pdns_gtm_backend.domain.record import content_error, record_type_error, written_name
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Prepared
from pdns_gtm_backend.store.snapshot import Change, map_of

log = logging.getLogger(__name__)

T = TypeVar("T")
Sets = tuple[RRset, ...]


@dataclass(frozen=True, slots=True)
class ServedZone:
    """A zone and the names in it, in canonical form.

    defaults: records that settings give where no document does; always some at the apex. static: the documents'
    records. owned: names that instances are answered at. below: how many of all these names are below a name.
    cuts: names that are delegated away (RFC 1034 section 4.2.1).
    """

    zone: Zone
    defaults: Mapping[str, Sets]
    static: Map[str, Sets]
    owned: Map[str, None]
    below: Map[str, int]
    cuts: frozenset[str]

    def exists(self, name: str) -> bool:
        """Is there anything at `name` itself?"""
        return name in self.owned or name in self.static or name in self.defaults

    def names(self) -> Iterator[str]:
        """Every name that exists."""
        return iter(dict.fromkeys((*self.defaults, *self.static, *self.owned)))

    def sets(self, name: str) -> Sets:
        """The static records at a name, and those of settings that they do not replace."""
        static = self.static.get(name, ())
        defaults = self.defaults.get(name)
        if not defaults:
            return static
        if name != self.zone.name:
            return static if static or name in self.owned else defaults
        held = {rrset.type for rrset in static}
        return (*(rrset for rrset in defaults if rrset.type not in held), *static)

    @property
    def serial(self) -> int:
        """The serial in its SOA record."""
        soa = next(rrset for rrset in self.sets(self.zone.name) if rrset.type == "SOA")
        return int(soa.records[0].split()[2])

    def authoritative(self, name: str, rrtype: str) -> bool:
        """Are records here this zone's own: neither a delegation nor below one (glue)?"""
        if not self.cuts:
            return True
        cut = next((parent for parent in parents(name) if parent in self.cuts), None)
        return cut is None or (cut == name and rrtype == "DS")

    def with_static(self, name: str, sets: Sets) -> ServedZone:
        """This zone with `sets` as the documents' records at `name`."""
        static = self.static.set(name, sets) if sets else _without(self.static, name)
        cuts = self.cuts | {name} if _delegates(self.zone, name, sets) else self.cuts - {name}
        return replace(self, static=static, cuts=cuts)._counted(self, name)

    def with_owned(self, name: str, *, owned: bool) -> ServedZone:
        """This zone with or without an instance at `name`."""
        held = self.owned.set(name, None) if owned else _without(self.owned, name)
        return replace(self, owned=held)._counted(self, name)

    def _counted(self, before: ServedZone, name: str) -> ServedZone:
        step = self.exists(name) - before.exists(name)
        if not step:
            return self
        below = self.below
        for parent in _between(name, self.zone.name):
            count = below.get(parent, 0) + step
            below = below.set(parent, count) if count else below.delete(parent)
        return replace(self, below=below)


@dataclass(frozen=True, slots=True)
class Zones:
    """Every zone, by name."""

    authority: Authority
    by_name: Map[str, ServedZone]

    def find(self, name: str, number: int = -1) -> ServedZone | None:
        """The zone that `name` is looked up in: the longest that holds it, unless another of them has this `number`.

        number: PowerDNS's id of the zone that it looks in, since the name of a cut is in parent and child; -1 = none.
        """
        closest = None
        for parent in parents(name):
            found = self.by_name.get(parent)
            if found is None:
                continue
            if number < 0 or found.zone.number == number:
                return found
            closest = closest or found
        return closest

    def changed(self, before: Prepared, after: Prepared, changes: Iterable[Change]) -> Zones:
        """The zones after `changes`, which lead from `before` (these zones are of it) to `after`."""
        zones, old, new = self, before.snapshot, after.snapshot
        touched = dict.fromkeys((change.kind, change.id) for change in changes)
        if any(kind == kinds.ZONES and (name in old.zones) != (name in new.zones) for kind, name in touched):
            return build(after, self.authority)
        for kind, identifier in touched:
            if kind == kinds.ZONES and identifier in new.zones:
                zones = zones._with_document(identifier, new.zones[identifier])
            elif kind == kinds.RRSETS:
                zones = zones._with_rrset(old.rrsets.get(identifier), new.rrsets.get(identifier))
            elif kind == kinds.INSTANCES:
                zones = zones._with_owners(identifier, before, after)
        return zones

    def _with(self, zone: ServedZone) -> Zones:
        return replace(self, by_name=self.by_name.set(zone.zone.name, zone))

    def _with_document(self, name: str, document: Zone) -> Zones:
        zone = replace(document, name=name)
        return self._with(
            replace(self.by_name[name], zone=zone, defaults=_defaults(zone, self.authority, self.by_name))
        )

    def _with_rrset(self, old: RRset | None, new: RRset | None) -> Zones:
        zones = self
        for rrset, kept in ((usable_rrset(old, quiet=True), False), (usable_rrset(new), True)):
            if rrset is None or (zone := zones.by_name.get(rrset.zone)) is None:
                continue
            others = tuple(held for held in zone.static.get(rrset.name, ()) if held.type != rrset.type)
            zones = zones._with(zone.with_static(rrset.name, (*others, rrset) if kept else others))
        return zones

    def _with_owners(self, instance: str, before: Prepared, after: Prepared) -> Zones:
        zones = self
        for name in {*_owned_names(before, instance), *_owned_names(after, instance)}:
            if (zone := zones.find(name)) is not None:
                zones = zones._with(zone.with_owned(name, owned=name in after.names))
        return zones


def build(serving: Prepared, authority: Authority) -> Zones:
    """All zones of a snapshot, and the access zone of settings even where it has no document yet."""
    documents = {name: replace(zone, name=name) for name, zone in serving.snapshot.zones.items()}
    documents.setdefault(authority.access_zone, Zone(name=authority.access_zone, kind="access"))
    static: dict[str, dict[str, Sets]] = {name: {} for name in documents}
    for rrset in filter(None, map(usable_rrset, serving.snapshot.rrsets.values())):
        names = static.get(rrset.zone, {})
        names[rrset.name] = (*names.get(rrset.name, ()), rrset)
    owned: dict[str, list[str]] = {name: [] for name in documents}
    for name in filter(_answerable, serving.names):
        zone = next((parent for parent in parents(name) if parent in owned), None)
        if zone is not None:
            owned[zone].append(name)
    zones = {
        n: _whole(zone, _defaults(zone, authority, documents), static[n], owned[n]) for n, zone in documents.items()
    }
    return Zones(authority, Map(zones))


def _whole(zone: Zone, defaults: Mapping[str, Sets], static: Mapping[str, Sets], owned: Iterable[str]) -> ServedZone:
    held = dict.fromkeys(owned)
    below: dict[str, int] = {}
    for name in {*defaults, *static, *held}:
        for parent in _between(name, zone.name):
            below[parent] = below.get(parent, 0) + 1
    cuts = frozenset(name for name, sets in static.items() if _delegates(zone, name, sets))
    return ServedZone(zone, defaults, map_of(static), map_of(held), map_of(below), cuts)


def _defaults(zone: Zone, authority: Authority, zones: Container[str]) -> Mapping[str, Sets]:
    defaults = authority.addresses(zone, zones)
    defaults[zone.name] = (*authority.apex(zone), *defaults.get(zone.name, ()))
    return defaults


def _between(name: str, apex: str) -> Iterator[str]:
    """The names above `name` and below `apex`, which holds it."""
    return (parent for parent in ancestors(name) if len(parent) > len(apex))


def _delegates(zone: Zone, name: str, sets: Sets) -> bool:
    return name != zone.name and any(rrset.type == "NS" for rrset in sets)


def _owned_names(serving: Prepared, instance: str) -> Iterator[str]:
    served = serving.instances.get(instance)
    return filter(_answerable, served.instance.owned_names() if served is not None else ())


def _answerable(name: str) -> bool:
    return domain_name_error(name, wildcard=True) is None


def usable_rrset(rrset: RRset | None, *, quiet: bool = False) -> RRset | None:
    """A document of records in the form that is served; None, and an error in the log, where it cannot be.

    One record that PowerDNS cannot read makes every lookup of its name fail: what is broken stays out.
    """
    if rrset is None:
        return None
    try:
        return _canonical_rrset(rrset)
    except ValueError as error:
        if not quiet:
            log.error("records %s are left out: %s", shown(rrset.key), error, extra={"event": "records.broken"})
        return None


def _canonical_rrset(rrset: RRset) -> RRset:
    zone, name, rrtype = written_name(rrset.zone), written_name(rrset.name), rrset.type.upper()
    if not is_below(name, zone):
        raise ValueError(f"name {shown(rrset.name)} is not in zone {shown(rrset.zone)}")
    if error := record_type_error(rrtype):
        raise ValueError(f"type {shown(rrset.type)} {error}")
    if rrtype == "SOA" and (name != zone or len(rrset.records) != 1 or len(rrset.records[0].split()) != 7):
        raise ValueError("a zone has one SOA record of seven fields, at its apex")
    for content in rrset.records:
        if error := content_error(rrtype, content):
            raise ValueError(f"{shown(content)} is no {rrtype} record: {error}")
    return replace(rrset, zone=zone, name=name, type=rrtype)


def _without(held: Map[str, T], name: str) -> Map[str, T]:
    return held.delete(name) if name in held else held
