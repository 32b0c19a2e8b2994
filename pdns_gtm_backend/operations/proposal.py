"""What a configuration file asks for, held against what there is: each object before and after."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.record import stored_content, written_name
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.domain.zone import MAX_SERIAL, RRset, Zone, rrset_key
from pdns_gtm_backend.operations.configuration_file import SECTIONS, ConfigurationFile, Records, ZoneWithRecords
from pdns_gtm_backend.operations.documents import canonical_or_same
from pdns_gtm_backend.operations.records import following_serial, soa_serial, with_serial
from pdns_gtm_backend.operations.resources import RESOURCES
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot

NEW: Final = "new-instance-"
"""How a new instance is called, with its index in the file, until it has an id of its own."""
HALF: Final = 2**31


@dataclass(frozen=True, slots=True)
class Item:
    """One object. place: pointer into the file, "" where it is not in it. before, after: None where there is none."""

    kind: str
    id: str
    place: str
    before: Any | None
    after: Any | None

    @property
    def changes(self) -> bool:
        """Is it another one afterwards?"""
        return bool(self.before != self.after)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Every object of the sections that a file has, in the order of their references, those that go last and backwards.

    companions: serials that move since records do. violations: of what shows without the rules between objects.
    """

    items: Sequence[Item]
    companions: Sequence[Change]
    violations: Sequence[Violation]


def propose(file: ConfigurationFile, snapshot: Snapshot, cname_of: Callable[[str], str]) -> Proposal:
    """What `file` makes of `snapshot`. cname_of: the name that an instance of an id gets where none is given."""
    violations: list[Violation] = []
    kept: list[Item] = []
    gone: list[Item] = []
    companions: list[Change] = []
    for section, kind in SECTIONS.items():
        given = getattr(file, section)
        if given is None:
            continue
        if kind == kinds.ZONES:
            zones = _Zones(snapshot, given)
            kept += [*zones.zones, *zones.records]
            gone += [*_gone(zones.managed, zones.zones), *zones.gone]
            companions += zones.serials
            violations += zones.violations
            continue
        if kind == kinds.INSTANCES:
            items, found = _instances(given, snapshot, cname_of)
            violations += found
        else:
            items = [_item(kind, value, pointer(section, i), snapshot) for i, value in enumerate(given)]
        kept += items
        gone += _gone(_held(kind, snapshot), items)
    return Proposal((*kept, *reversed(gone)), companions, violations)


def _held(kind: str, snapshot: Snapshot) -> Sequence[tuple[str, str, Any]]:
    return [(kind, identifier, value) for identifier, value in sorted(snapshot.documents[kind].items())]


def _gone(held: Sequence[tuple[str, str, Any]], items: Sequence[Item]) -> Sequence[Item]:
    wanted = {(item.kind, item.id) for item in items}
    return [Item(kind, name, "", value, None) for kind, name, value in held if (kind, name) not in wanted]


def _item(kind: str, value: Any, place: str, snapshot: Snapshot) -> Item:
    before = snapshot.documents[kind].get(value.id)
    after = before if value == before else canonical_or_same(RESOURCES[kind], value)
    return Item(kind, value.id, place, before, after)


def _instances(
    given: Sequence[Instance], snapshot: Snapshot, cname_of: Callable[[str], str]
) -> tuple[list[Item], list[Violation]]:
    """Instances by their id where it is given and known, else by their name."""
    claimed = {instance.id for instance in given if instance.id in snapshot.instances}
    items, violations = [], []
    for index, instance in enumerate(given):
        place = pointer("instances", index)
        before = _counterpart(instance, snapshot, claimed)
        if before is None:
            identifier = instance.id or f"{NEW}{index}"
            after = replace(instance, id=identifier, cname=instance.cname or cname_of(identifier))
        else:
            violations += [v.under(place) for v in _kept(instance, before)]
            after = replace(instance, id=before.id, cname=before.cname)
        after = canonical_or_same(RESOURCES[kinds.INSTANCES], after)
        items.append(Item(kinds.INSTANCES, after.id, place, before, after))
    return items, violations


def _counterpart(instance: Instance, snapshot: Snapshot, claimed: set[str]) -> Instance | None:
    if instance.id in snapshot.instances:
        return snapshot.instances[instance.id]
    named = snapshot.instance_named(instance.name)
    return None if named is None or named in claimed else snapshot.instances[named]


def _kept(instance: Instance, before: Instance) -> Iterator[Violation]:
    """Violations for an id or a CNAME domain name that would be another one."""
    if instance.id not in ("", before.id):
        yield Violation("/id", f"{shown(instance.id)} is not allowed: {shown(before.name)} is {before.id}, for good")
    if canonical(instance.cname) not in ("", before.cname):
        yield Violation("/cname", f"{shown(instance.cname)} is not allowed: it is {before.cname}, for good")


class _Zones:
    """Zones with their records.

    managed: the zones that go where the file does not name them. gone: records that go. serials: see `Proposal`.
    """

    def __init__(self, snapshot: Snapshot, given: Sequence[ZoneWithRecords]) -> None:
        self._snapshot = snapshot
        self._held: dict[str, list[RRset]] = {}
        for rrset in snapshot.rrsets.values():
            self._held.setdefault(rrset.zone, []).append(rrset)
        hosted = [zone for _, zone in sorted(snapshot.zones.items()) if zone.kind == "hosted"]
        self.managed = [(kinds.ZONES, zone.name, zone) for zone in hosted]
        self.zones: list[Item] = []
        self.records: list[Item] = []
        self.gone: list[Item] = []
        self.serials: list[Change] = []
        self.violations: list[Violation] = []
        for index, entry in enumerate(given):
            self._take(entry, pointer("zones", index))
        named = {item.id for item in self.zones}
        for zone in hosted:
            if zone.name not in named:
                self.gone += _gone(self._records_of(zone.name), ())

    def _records_of(self, zone: str) -> Sequence[tuple[str, str, Any]]:
        held = sorted(self._held.get(zone, ()), key=lambda rrset: rrset.key)
        return [(kinds.RRSETS, rrset.key, rrset) for rrset in held]

    def _take(self, entry: ZoneWithRecords, place: str) -> None:
        name = canonical(entry.name)
        before = self._snapshot.zones.get(name)
        if before is None and entry.kind == "access":
            known = ", ".join(zone.name for zone in self._snapshot.zones.values() if zone.kind == "access") or "none"
            detail = f"{shown(entry.name)} is no access zone of this server (GTM_ACCESS_ZONE): it has {known}"
            self.violations.append(Violation(place + "/name", detail))
        elif before is not None and before.kind != entry.kind:
            detail = f"{shown(entry.kind)} is not allowed: zone {name} is {before.kind} and stays so"
            self.violations.append(Violation(place + "/kind", detail))
        zone = before or _new_zone(name, entry)
        self.zones.append(Item(kinds.ZONES, name, place, before, zone))
        items = [self._record(zone, r, place + pointer("rrsets", i)) for i, r in enumerate(entry.rrsets)]
        gone = _gone(self._records_of(name), items)
        self.gone += gone
        self._add(items, zone, before is not None and (bool(gone) or any(item.changes for item in items)))

    def _record(self, zone: Zone, given: Records, place: str) -> Item:
        name, rrtype = _written(given.name), given.type.upper()
        key = rrset_key(zone.name, name, rrtype)
        before = self._snapshot.rrsets.get(key)
        same = before is not None and given.records == before.records
        records = given.records if same else _stored(rrtype, given.records)
        after = RRset(zone=zone.name, name=name, type=rrtype, ttl=given.ttl, records=records)
        if before is not None and rrtype == "SOA":
            after = _with_later_serial(before, after)
        return Item(kinds.RRSETS, key, place, before, after)

    def _add(self, items: Sequence[Item], zone: Zone, moves: bool) -> None:
        """Add the records of a zone. moves: do they change what the zone holds?"""
        if not moves:
            self.records += items
            return
        key = rrset_key(zone.name, zone.name, "SOA")
        soa = next((item for item in items if item.id == key), None)
        serial = following_serial(zone.serial)
        self.records += (item for item in items if item is not soa)
        if soa is not None:
            moved = _moved(soa)
            serial = soa_serial(moved) or serial
            self.records.append(replace(soa, after=moved) if soa.changes else soa)
            if not soa.changes and moved != soa.after:
                self.serials.append(Change(kinds.RRSETS, key, moved))
        self.serials.append(Change(kinds.ZONES, zone.name, replace(zone, serial=serial)))


def _moved(soa: Item) -> RRset:
    """An SOA record of a zone that changes: with the next serial, unless the file gives it a later one."""
    wanted: RRset = cast("RRset", soa.after)
    serial = soa_serial(wanted)
    if soa.before is None or serial is None or serial != soa_serial(soa.before):
        return wanted
    return with_serial(wanted, following_serial(serial))


def _new_zone(name: str, entry: ZoneWithRecords) -> Zone:
    """A zone that is not there yet; its own SOA record has the serial, as PowerDNS answers it."""
    serials = (
        soa_serial(RRset(zone=name, name=name, type="SOA", records=records.records))
        for records in entry.rrsets
        if records.type.upper() == "SOA"
    )
    own = next((serial for serial in serials if serial is not None), None)
    serial = own if own is not None else 1 if entry.serial is None else entry.serial
    return Zone(name=name, kind=entry.kind, serial=serial)


def _written(name: str) -> str:
    """A name as it is stored; as it was given where it is none, which is told later."""
    try:
        return written_name(name)
    except ValueError:
        return name


def _stored(rrtype: str, records: Sequence[str]) -> tuple[str, ...]:
    """Records as they are stored; as they were given where one is none, which is told later."""
    try:
        return tuple(dict.fromkeys(stored_content(rrtype, text) for text in records))
    except ValueError:
        return tuple(records)


def _with_later_serial(before: RRset, wanted: RRset) -> RRset:
    """`wanted` with the later serial of both (RFC 1982): a file must not take a zone back in time."""
    held, given = soa_serial(before), soa_serial(wanted)
    if held is None or given is None or 0 < (given - held) % (MAX_SERIAL + 1) < HALF:
        return wanted
    return with_serial(wanted, held)


def counted(items: Sequence[Item]) -> Mapping[str, Sequence[Item]]:
    """Items by kind."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.kind, []).append(item)
    return found
