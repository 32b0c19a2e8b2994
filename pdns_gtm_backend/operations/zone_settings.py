"""Metadata, DNSSEC keys and TSIG keys of zones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, shown
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.domain.zone_key import TsigKey, ZoneKey, tsig_key_violations, zone_key_key, zone_key_violations
from pdns_gtm_backend.domain.zone_metadata import ZoneMetadata, metadata_key, zone_metadata_violations
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.errors import NotFound
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.operations.sealing import Sealer
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot


def hosted_zone(snapshot: Snapshot, name: str) -> Zone:
    """The zone of this name. Raises NotFound."""
    zone = snapshot.zones.get(canonical(name))
    if zone is None:
        raise NotFound(f"there is no zone {shown(name)}")
    return zone


def set_metadata(operator: Operator, zone: str, kind: str, values: Sequence[object]) -> Outcome:
    """Replace the values of one kind of metadata, none = delete. Raises InvalidConfiguration, NotFound, Unavailable."""

    def decide(serving: Serving) -> Plan:
        held = hosted_zone(serving.snapshot, zone)
        key = metadata_key(held.name, kind.upper())
        before = serving.snapshot.zone_metadata.get(key)
        raw = {"zone": held.name, "kind": kind.upper(), "values": list(values)}
        after = _checked(parse(ZoneMetadata, raw), zone_metadata_violations) if values else None
        return _plan(kinds.ZONE_METADATA, key, before, after)

    return operator.write(decide)


def add_key(
    operator: Operator, sealer: Sealer, zone: str, content: str, flags: object, *, active: bool, published: bool
) -> Outcome:
    """Keep a DNSSEC key; the value of the outcome has its number. content: as PowerDNS writes private keys (ISC form).

    Raises InvalidConfiguration, NotFound, NotPermitted, Unavailable.
    """
    sealed = sealer.seal(zone_key_purpose(zone), content)

    def decide(serving: Serving) -> Plan:
        held = hosted_zone(serving.snapshot, zone)
        taken = (key.number for key in serving.snapshot.of_zone(kinds.ZONE_KEYS, held.name).values())
        number = max(taken, default=0) + 1
        raw = {"zone": held.name, "number": number, "flags": flags, "active": active, "published": published}
        after = _checked(parse(ZoneKey, raw | {"sealed": sealed}), zone_key_violations)
        return _plan(kinds.ZONE_KEYS, after.key, None, after)

    return operator.write(decide)


def remove_key(operator: Operator, zone: str, number: int) -> Outcome:
    """Delete a DNSSEC key. Raises NotFound, Unavailable."""

    def decide(serving: Serving) -> Plan:
        before = _zone_key(serving.snapshot, zone, number)
        return _plan(kinds.ZONE_KEYS, before.key, before, None)

    return operator.write(decide)


def switch_key(
    operator: Operator, zone: str, number: int, *, active: bool | None = None, published: bool | None = None
) -> Outcome:
    """Set `active` or `published` of a DNSSEC key, None = as it is. Raises NotFound, Unavailable."""

    def decide(serving: Serving) -> Plan:
        before = _zone_key(serving.snapshot, zone, number)
        after = replace(
            before,
            active=before.active if active is None else active,
            published=before.published if published is None else published,
        )
        return _plan(kinds.ZONE_KEYS, before.key, before, after)

    return operator.write(decide)


def put_tsig_key(operator: Operator, sealer: Sealer, name: str, algorithm: str, content: str) -> Outcome:
    """Keep a TSIG key. content: the shared secret in base64. Raises InvalidConfiguration, NotPermitted, Unavailable."""
    identifier = canonical(name)
    sealed = sealer.seal(tsig_purpose(identifier), content)
    raw = {"name": identifier, "algorithm": canonical(algorithm), "sealed": sealed}

    def decide(serving: Serving) -> Plan:
        after = _checked(parse(TsigKey, raw), tsig_key_violations)
        return _plan(kinds.TSIG_KEYS, identifier, serving.snapshot.tsig_keys.get(identifier), after)

    return operator.write(decide)


def delete_tsig_key(operator: Operator, name: str) -> Outcome:
    """Delete a TSIG key. Raises NotFound, Unavailable."""
    identifier = canonical(name)

    def decide(serving: Serving) -> Plan:
        before = serving.snapshot.tsig_keys.get(identifier)
        if before is None:
            raise NotFound(f"there is no TSIG key {shown(name)}")
        return _plan(kinds.TSIG_KEYS, identifier, before, None)

    return operator.write(decide)


def zone_key_purpose(zone: str) -> str:
    """What the private key of a zone is sealed for."""
    return f"DNSSEC key of {canonical(zone)}"


def tsig_purpose(name: str) -> str:
    """What a shared secret is sealed for."""
    return f"TSIG key {canonical(name)}"


def _zone_key(snapshot: Snapshot, zone: str, number: int) -> ZoneKey:
    held = snapshot.zone_keys.get(zone_key_key(canonical(zone), number))
    if held is None:
        raise NotFound(f"zone {canonical(zone)} has no key {number}")
    return held


def _checked(parsed: Parsed[Any], rules: Any) -> Any:
    violations: list[Violation] = list(parsed.violations)
    if parsed.value is not None:
        violations += rules(parsed.value)
    if violations:
        raise InvalidConfiguration(violations)
    return parsed.value


def _plan(kind: str, key: str, before: Any | None, after: Any | None) -> Plan:
    noted = audit.entry(_action(before, after), kind, key, _noted(before), _noted(after))
    changes = () if before == after else (Change(kind, key, after),)
    return Plan(after, changes, noted)


def _action(before: Any | None, after: Any | None) -> str:
    if after is None:
        return "delete"
    return "create" if before is None else "replace"


def _noted(value: Any | None) -> Mapping[str, Any] | None:
    """What the audit keeps of a document: nothing of a secret, not even encrypted."""
    if value is None:
        return None
    return {name: getattr(value, name) for name in value.__dataclass_fields__ if name != "sealed"}
