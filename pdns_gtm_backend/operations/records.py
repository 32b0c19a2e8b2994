"""Static records of hosted zones: a set of records of one name and type is written and deleted as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from pdns_gtm_backend.domain.names import canonical, is_below
from pdns_gtm_backend.domain.record import record_type_error, written_name
from pdns_gtm_backend.domain.record import stored_content as stored_content
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.domain.zone import MAX_SERIAL, RRset, Zone, rrset_key
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import READ_ONLY, Found, beside
from pdns_gtm_backend.operations.errors import NotFound
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

ADDRESS_TYPES: Final = frozenset({"A", "AAAA", "CNAME", "DNAME"})
SINGLE_TYPES: Final = frozenset({"CNAME", "SOA", "DNAME"})
SOA_SERIAL: Final = 2
SOA_FIELDS: Final = 7


def of_zone(operator: Operator, zone: str) -> Mapping[str, RRset]:
    """Every set of records of a zone, by key. Raises NotFound."""
    snapshot = operator.writer.reading().snapshot
    held = _zone(snapshot, zone)
    return {key: rrset for key, rrset in snapshot.rrsets.items() if rrset.zone == held.name}


def get(operator: Operator, zone: str, name: str, rrtype: str) -> Found:
    """Raises NotFound."""
    snapshot = operator.writer.reading().snapshot
    key = _key(_zone(snapshot, zone), name, rrtype)
    rrset = snapshot.rrsets.get(key)
    if rrset is None:
        raise NotFound(f"zone {canonical(zone)} has no {rrtype.upper()} records at {shown(canonical(name))}")
    return Found(rrset, snapshot.version(kinds.RRSETS, key))


def put(
    operator: Operator,
    zone: str,
    name: str,
    rrtype: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Write all records of a name and type, of JSON data with `ttl` and `records`.

    Raises InvalidConfiguration, NotFound, NotPermitted, PreconditionFailed, PreconditionRequired, Unavailable.
    """
    operator.require_unrestricted("records")

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        held = _zone(snapshot, zone)
        key = _key(held, name, rrtype)
        before = snapshot.rrsets.get(key)
        version = snapshot.version(kinds.RRSETS, key)
        precondition.check(f"record set {key}", str(version) if before else "")
        value = _valid(snapshot, held, name, rrtype, raw)
        if value == before:
            return Plan(value, (), audit.entry("replace", kinds.RRSETS, key, before, value), version=version)
        noted = audit.entry("replace" if before else "create", kinds.RRSETS, key, before, value)
        changes = [Change(kinds.RRSETS, key, value), *_next_serial(snapshot, held, value.type, value)]
        return Plan(value, changes, noted, version=version)

    return operator.write(decide, dry_run=dry_run)


def delete(
    operator: Operator,
    zone: str,
    name: str,
    rrtype: str,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Delete all records of a name and type. Raises NotFound, NotPermitted, PreconditionFailed, Unavailable."""
    operator.require_unrestricted("records")

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        held = _zone(snapshot, zone)
        key = _key(held, name, rrtype)
        before = snapshot.rrsets.get(key)
        if before is None:
            raise NotFound(f"zone {held.name} has no {rrtype.upper()} records at {shown(canonical(name))}")
        version = snapshot.version(kinds.RRSETS, key)
        precondition.check(f"record set {key}", str(version))
        noted = audit.entry("delete", kinds.RRSETS, key, before, None)
        changes = [Change(kinds.RRSETS, key, None), *_next_serial(snapshot, held, before.type, None)]
        return Plan(None, changes, noted, version=version)

    return operator.write(decide, dry_run=dry_run)


def _zone(snapshot: Snapshot, name: str) -> Zone:
    zone = snapshot.zones.get(canonical(name))
    if zone is None:
        raise NotFound(f"there is no zone {shown(name)}")
    return zone


def _key(zone: Zone, name: str, rrtype: str) -> str:
    return rrset_key(zone.name, canonical(name), rrtype.upper())


def _valid(snapshot: Snapshot, zone: Zone, name: str, rrtype: str, raw: object) -> RRset:
    wanted = {"zone": zone.name, "name": canonical(name), "type": rrtype.upper()}
    given = raw
    if isinstance(raw, dict):
        given = wanted | {field: value for field, value in raw.items() if field != READ_ONLY}
    parsed: Parsed[RRset] = parse(RRset, given)
    known = list(parsed.violations)
    if parsed.value is None:
        raise InvalidConfiguration(known)
    value = replace(
        parsed.value,
        zone=canonical(parsed.value.zone),
        name=canonical(parsed.value.name),
        type=parsed.value.type.upper(),
    )
    for field, text in wanted.items():
        if getattr(value, field) != text:
            known.append(Violation(pointer(field), f"{shown(getattr(value, field))} is not that of the path, {text!r}"))
    known += beside(known, record_violations(value, zone, snapshot))
    if known:
        raise InvalidConfiguration(known)
    return replace(value, records=tuple(dict.fromkeys(stored_content(value.type, text) for text in value.records)))


def record_violations(rrset: RRset, zone: Zone, snapshot: Snapshot) -> Iterator[Violation]:
    """Every rule that a set of records breaks among the other records and the instances of a snapshot."""
    if error := _name_error(rrset.name):
        yield Violation("/name", f"{shown(rrset.name)} {error}")
    elif not is_below(rrset.name, zone.name):
        yield Violation("/name", f"{shown(rrset.name)} is not in zone {zone.name}")
    if error := record_type_error(rrset.type):
        yield Violation("/type", f"{shown(rrset.type)} {error}")
        return
    for index, text in enumerate(rrset.records):
        try:
            stored_content(rrset.type, text)
        except ValueError as error:
            yield Violation(pointer("records", index), f"{shown(text)} is no {rrset.type} record: {error}")
    if rrset.type in SINGLE_TYPES and len(rrset.records) > 1:
        yield Violation("/records", f"{len(rrset.records)} records: a name has one {rrset.type} at most")
    yield from _apex_violations(rrset, zone)
    yield from _neighbour_violations(rrset, snapshot)


def _name_error(name: str) -> str | None:
    try:
        written = written_name(name)
    except ValueError as error:
        return str(error)
    return None if written == name else f"is written {shown(written)}"


def _apex_violations(rrset: RRset, zone: Zone) -> Iterator[Violation]:
    apex = rrset.name == zone.name
    if rrset.type == "SOA" and not apex:
        yield Violation("/type", "'SOA' is at the apex of a zone only (RFC 1035 section 3.3.13)")
    if rrset.type == "CNAME" and apex:
        yield Violation("/type", "'CNAME' cannot be at the apex of a zone (RFC 1034 section 3.6.2)")
    if apex and zone.kind == "access" and rrset.type in ("SOA", "NS"):
        yield Violation("/type", f"{rrset.type!r} of an access zone comes from GTM_NAMESERVERS and GTM_HOSTMASTER")


def _neighbour_violations(rrset: RRset, snapshot: Snapshot) -> Iterator[Violation]:
    others = sorted(snapshot.static_types(rrset.name) - {rrset.type})
    if rrset.type == "CNAME" and others:
        yield Violation("/type", f"'CNAME' cannot be beside other records ({', '.join(others)}) at {rrset.name}")
    if "CNAME" in others:
        yield Violation("/type", f"{rrset.type!r} cannot be beside the CNAME record at {rrset.name}")
    owner = snapshot.name_owner(rrset.name)
    if owner is None:
        return
    if snapshot.instances[owner].kind == "domain" or rrset.type in ADDRESS_TYPES:
        yield Violation("/type", f"{rrset.type!r} would conflict with instance {owner}, which answers at {rrset.name}")


def _next_serial(snapshot: Snapshot, zone: Zone, rrtype: str, written: RRset | None) -> Iterator[Change]:
    """The zone with its next serial, which its own SOA record has too; with that of an SOA record that is written."""
    key = rrset_key(zone.name, zone.name, "SOA")
    soa = snapshot.rrsets.get(key)
    own = None if soa is None else soa_serial(soa)
    serial = following_serial(zone.serial if own is None else own)
    if rrtype == "SOA":
        given = None if written is None else soa_serial(written)
        yield Change(kinds.ZONES, zone.name, replace(zone, serial=serial if given is None else given))
        return
    yield Change(kinds.ZONES, zone.name, replace(zone, serial=serial))
    if soa is not None and own is not None:
        yield Change(kinds.RRSETS, key, with_serial(soa, serial))


def soa_serial(soa: RRset) -> int | None:
    """The serial in an SOA record, None where it cannot be read."""
    fields = soa.records[0].split()
    if len(fields) != SOA_FIELDS or not fields[SOA_SERIAL].isdecimal():
        return None
    return int(fields[SOA_SERIAL])


def with_serial(soa: RRset, serial: int) -> RRset:
    """An SOA record with another serial."""
    fields = soa.records[0].split()
    fields[SOA_SERIAL] = str(serial)
    return replace(soa, records=(" ".join(fields),))


def following_serial(serial: int) -> int:
    """The next serial (RFC 1982); 0 is left out, as it means none in many tools."""
    return 1 if serial >= MAX_SERIAL else serial + 1
