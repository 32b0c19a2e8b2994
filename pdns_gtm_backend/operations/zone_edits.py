"""Several sets of records of a zone written at once, or a zone's whole contents replaced: all or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer
from pdns_gtm_backend.domain.zone import RRset, Zone, rrset_key
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.records import following_serial, record_violations, soa_serial, with_serial
from pdns_gtm_backend.operations.zone_settings import hosted_zone
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot

SHOWN_VIOLATIONS: Final = 20
AUDITED_SETS: Final = 50
"""Sets of one edit that the audit keeps in full; of more it keeps how many there were."""


@dataclass(frozen=True, slots=True)
class ZoneEdit:
    """A change of a zone's static records.

    sets: by name and type as they are stored; None = delete. replaces: what is not in `sets` goes. serial: that the
    zone shall have, None = that of an SOA record in `sets`, else the next one where anything changes.
    """

    zone: str
    sets: Mapping[tuple[str, str], RRset | None]
    replaces: bool = False
    serial: int | None = None


def apply(operator: Operator, edit: ZoneEdit) -> Outcome:
    """Carry out an edit. Raises InvalidConfiguration with the first violations, NotFound, NotPermitted, Unavailable."""
    operator.require_unrestricted("records")
    return operator.write(lambda serving: _plan(serving.snapshot, edit))


def _plan(snapshot: Snapshot, edit: ZoneEdit) -> Plan:
    zone = hosted_zone(snapshot, edit.zone)
    wanted = {rrset_key(zone.name, *named): rrset for named, rrset in edit.sets.items()}
    if edit.replaces:
        wanted = dict.fromkeys(snapshot.of_zone(kinds.RRSETS, zone.name)) | wanted
    changed = {key: rrset for key, rrset in wanted.items() if rrset != snapshot.rrsets.get(key)}
    serial = _serial(snapshot, zone, changed, edit.serial)
    changed |= _soa_with(snapshot, zone, changed, serial)
    changes = [Change(kinds.RRSETS, key, rrset) for key, rrset in changed.items()]
    if serial != zone.serial:
        changes.append(Change(kinds.ZONES, zone.name, replace(zone, serial=serial)))
    if violations := list(islice(_violations(snapshot, zone, changes), SHOWN_VIOLATIONS)):
        raise InvalidConfiguration(violations)
    before = {key: snapshot.rrsets[key] for key in changed if key in snapshot.rrsets}
    noted = audit.entry("edit", kinds.RRSETS, zone.name, _noted(before), _noted(changed))
    return Plan(None, changes, noted)


def _serial(snapshot: Snapshot, zone: Zone, changed: Mapping[str, RRset | None], given: int | None) -> int:
    """The serial after a change (RFC 1982): the one that the change sets, else the next one."""
    if given is not None:
        return given
    soa = changed.get(_soa_key(zone))
    if soa is not None and (own := soa_serial(soa)) is not None:
        return own
    return following_serial(_current(snapshot, zone)) if changed else zone.serial


def _current(snapshot: Snapshot, zone: Zone) -> int:
    soa = snapshot.rrsets.get(_soa_key(zone))
    own = None if soa is None else soa_serial(soa)
    return zone.serial if own is None else own


def _soa_with(
    snapshot: Snapshot, zone: Zone, changed: Mapping[str, RRset | None], serial: int
) -> Mapping[str, RRset | None]:
    """The zone's own SOA record with its serial, where it has one and keeps it."""
    key = _soa_key(zone)
    soa = changed[key] if key in changed else snapshot.rrsets.get(key)
    if soa is None or soa_serial(soa) in (None, serial):
        return {}
    return {key: with_serial(soa, serial)}


def _soa_key(zone: Zone) -> str:
    return rrset_key(zone.name, zone.name, "SOA")


def _violations(snapshot: Snapshot, zone: Zone, changes: Sequence[Change]) -> Iterator[Violation]:
    """Every rule that a written set breaks among all records as they will be."""
    candidate = snapshot.changed(changes)
    for change in changes:
        if change.kind == kinds.RRSETS and change.value is not None:
            place = pointer(change.value.name, change.value.type)
            yield from (violation.under(place) for violation in record_violations(change.value, zone, candidate))


def _noted(sets: Mapping[str, RRset | None]) -> Mapping[str, Any] | None:
    kept: dict[str, Any] = {
        f"{rrset.name} {rrset.type}": {"ttl": rrset.ttl, "records": list(rrset.records)}
        for rrset in islice(filter(None, sets.values()), AUDITED_SETS)
    }
    if len(sets) > AUDITED_SETS:
        kept["sets"] = len(sets)
    return kept
