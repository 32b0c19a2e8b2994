"""A whole configuration as one document: what `/export` gives and `/apply` takes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.document import DomainNameText, document
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.domain.zone import MAX_SERIAL, RRset, Zone
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Snapshot

VERSION: Final = 1
SECTIONS: Final[Mapping[str, str]] = {
    "health_checks": kinds.HEALTH_CHECKS,
    "lines": kinds.LINES,
    "zones": kinds.ZONES,
    "pools": kinds.POOLS,
    "instances": kinds.INSTANCES,
    "alerts": kinds.ALERTS,
}
"""The sections by their member, with the kind that each holds. What is named comes before what names it."""


@document
class Records:
    """The static records of one name and type. name: the whole name, not relative to the zone."""

    name: DomainNameText
    type: Annotated[str, MinLen(1), MaxLen(16)]
    ttl: Annotated[int, Ge(0), Le(2**31 - 1)] = 3600
    records: Annotated[tuple[Annotated[str, MaxLen(65_535)], ...], MinLen(1), MaxLen(5000)]


@document
class ZoneWithRecords:
    """A zone and all its static records.

    kind: an `access` zone is there only for its records, as the server makes it by itself.
    serial: what a zone that is not there yet begins with, null = 1; that of one that is there only ever moves on.
    """

    name: DomainNameText
    kind: Literal["access", "hosted"] = "hosted"
    serial: Annotated[int, Ge(0), Le(MAX_SERIAL)] | None = None
    rrsets: tuple[Records, ...] = ()


@document
class ConfigurationFile:
    """Everything that operators configure. A section that is left out is left as it is; an empty one is none.

    instances: named by `name`; `id` and `cname` are kept where they are given, and generated where not.
    alerts: their secrets are kept where they are left out, and where what was exported stands for them.
    """

    version: Literal[1] = VERSION
    health_checks: tuple[HealthCheck, ...] | None = None
    lines: tuple[Line, ...] | None = None
    zones: tuple[ZoneWithRecords, ...] | None = None
    pools: tuple[Pool, ...] | None = None
    instances: tuple[Instance, ...] | None = None
    alerts: tuple[Alert, ...] | None = None


def export(operator: Operator) -> ConfigurationFile:
    """The configuration as it is: no tokens, overrides, drills, states or keys. Raises NotPermitted, Unavailable."""
    operator.require_unrestricted("the whole configuration")
    snapshot = operator.writer.reading().snapshot
    return ConfigurationFile(
        health_checks=_by_id(snapshot.health_checks),
        lines=_by_id(snapshot.lines),
        zones=tuple(_zones(snapshot)),
        pools=_by_id(snapshot.pools),
        instances=tuple(sorted(snapshot.instances.values(), key=lambda instance: instance.name)),
        alerts=tuple(alert.hidden() for alert in _by_id(snapshot.alerts)),
    )


def twins(file: ConfigurationFile) -> Iterator[Violation]:
    """Objects that are in a file twice."""
    yield from _twins("health_checks", "id", [check.id for check in file.health_checks or ()])
    yield from _twins("lines", "id", [line.id for line in file.lines or ()])
    yield from _twins("zones", "name", [canonical(zone.name) for zone in file.zones or ()])
    for index, zone in enumerate(file.zones or ()):
        named = [f"{canonical(records.name)} {records.type.upper()}" for records in zone.rrsets]
        yield from (v.under(pointer("zones", index)) for v in _twins("rrsets", "name", named))
    yield from _twins("pools", "id", [pool.id for pool in file.pools or ()])
    yield from _twins("alerts", "id", [alert.id for alert in file.alerts or ()])
    for field in ("name", "id", "cname"):
        yield from _twins("instances", field, [getattr(instance, field) for instance in file.instances or ()])


def _twins(section: str, field: str, names: Sequence[str]) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name and first.setdefault(name, index) != index:
            place = pointer(section, index, field)
            yield Violation(place, f"{shown(name)} is already at {pointer(section, first[name])}")


def _by_id(held: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(held[identifier] for identifier in sorted(held))


def _zones(snapshot: Snapshot) -> Iterator[ZoneWithRecords]:
    records: dict[str, list[RRset]] = {}
    for rrset in snapshot.rrsets.values():
        records.setdefault(rrset.zone, []).append(rrset)
    for name in sorted(snapshot.zones):
        held = sorted(records.get(name, ()), key=lambda rrset: (_reversed(rrset.name), rrset.type))
        if held or snapshot.zones[name].kind == "hosted":
            yield _zone(snapshot.zones[name], held)


def _zone(zone: Zone, held: Sequence[RRset]) -> ZoneWithRecords:
    rrsets = tuple(Records(name=r.name, type=r.type, ttl=r.ttl, records=r.records) for r in held)
    serial = zone.serial if zone.kind == "hosted" else None
    return ZoneWithRecords(name=zone.name, kind=zone.kind, serial=serial, rrsets=rrsets)


def _reversed(name: str) -> tuple[str, ...]:
    """Sorts a name behind those above it."""
    return tuple(reversed(name.split(".")))
