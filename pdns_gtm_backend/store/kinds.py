"""The kinds of documents, and their one way from JSON to a value and back. What the store sends is never trusted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pdns_gtm_backend.domain.alert import Alert, alert_violations
from pdns_gtm_backend.domain.drill import Drill, drill_violations
from pdns_gtm_backend.domain.health_check import HealthCheck, health_check_violations
from pdns_gtm_backend.domain.instance import Instance, instance_violations
from pdns_gtm_backend.domain.line import Line, line_violations
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.override import Override, override_violations
from pdns_gtm_backend.domain.pool import Pool, pool_violations
from pdns_gtm_backend.domain.state import PolicyState, TargetState
from pdns_gtm_backend.domain.token import Token, token_violations
from pdns_gtm_backend.domain.violation import Violation, shown
from pdns_gtm_backend.domain.zone import RRset, Zone, zone_violations
from pdns_gtm_backend.domain.zone_key import TsigKey, ZoneKey, tsig_key_violations, zone_key_violations
from pdns_gtm_backend.domain.zone_metadata import ZoneMetadata, zone_metadata_violations


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document. `configuration`: written by operators, versioned, exported; else state.

    identity: the id that a document names itself by, None where it holds none. violations: of the kind's own rules,
    which everything that works with a document relies on.
    """

    name: str
    adapter: TypeAdapter[Any]
    configuration: bool
    identity: Callable[[Any], str | None]
    violations: Callable[[Any], Iterable[Violation]]


def _id(document: Any) -> str | None:
    return str(document.id)


def _nothing(_document: Any) -> None:
    return None


def _no_rules(_document: Any) -> Iterable[Violation]:
    return ()


def _kind(
    name: str,
    document: type,
    violations: Callable[[Any], Iterable[Violation]] = _no_rules,
    identity: Callable[[Any], str | None] = _id,
    *,
    configuration: bool = True,
) -> Kind:
    return Kind(name, TypeAdapter(document), configuration, identity, violations)


INSTANCES: Final = "instances"
POOLS: Final = "pools"
HEALTH_CHECKS: Final = "health-checks"
LINES: Final = "lines"
ZONES: Final = "zones"
RRSETS: Final = "rrsets"
ZONE_METADATA: Final = "zone-metadata"
ZONE_KEYS: Final = "zone-keys"
TSIG_KEYS: Final = "tsig-keys"
OVERRIDES: Final = "overrides"
DRILLS: Final = "drills"
ALERTS: Final = "alerts"
TOKENS: Final = "tokens"
TARGET_STATES: Final = "target-states"
POLICY_STATES: Final = "policy-states"

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        _kind(INSTANCES, Instance, instance_violations),
        _kind(POOLS, Pool, pool_violations),
        _kind(HEALTH_CHECKS, HealthCheck, health_check_violations),
        _kind(LINES, Line, line_violations),
        _kind(ZONES, Zone, zone_violations, lambda zone: canonical(zone.name)),
        _kind(RRSETS, RRset, identity=lambda rrset: str(rrset.key)),
        _kind(ZONE_METADATA, ZoneMetadata, zone_metadata_violations, lambda metadata: str(metadata.key)),
        _kind(ZONE_KEYS, ZoneKey, zone_key_violations, lambda key: str(key.key)),
        _kind(TSIG_KEYS, TsigKey, tsig_key_violations, lambda key: str(key.name)),
        _kind(TOKENS, Token, token_violations),
        _kind(DRILLS, Drill, drill_violations),
        _kind(ALERTS, Alert, alert_violations),
        _kind(OVERRIDES, Override, override_violations, configuration=False),
        _kind(TARGET_STATES, TargetState, identity=_nothing, configuration=False),
        _kind(POLICY_STATES, PolicyState, identity=_nothing, configuration=False),
    )
}


class BrokenDocument(ValueError):
    """What the store holds is no document of its kind."""


def versioned(kind: str) -> bool:
    """Does a document of this kind have a version (and so an ETag)?"""
    return KINDS[kind].configuration or kind == OVERRIDES


def encode(kind: str, value: object) -> str:
    """The JSON of a document."""
    return KINDS[kind].adapter.dump_json(value).decode()


def decode(kind: str, text: str | bytes) -> Any:
    """The value of a document. Raises BrokenDocument with the first reason."""
    try:
        return KINDS[kind].adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])
        raise BrokenDocument(f"{place}: {first['msg']}" if place else first["msg"]) from None
    except RecursionError:
        raise BrokenDocument("is nested too deeply") from None


def decode_stored(kind: str, identifier: str, text: str | bytes) -> Any:
    """The value of a document that is stored under `identifier`. Raises BrokenDocument with the first reason.

    It also keeps its own rules and is the document that it is stored as: nothing that reads a snapshot asks again.
    """
    value = decode(kind, text)
    named = KINDS[kind].identity(value)
    if named is not None and named != identifier:
        raise BrokenDocument(f"names itself {shown(named)}")
    violation = next(iter(KINDS[kind].violations(value)), None)
    if violation is not None:
        raise BrokenDocument(f"{violation.pointer.removeprefix('/')}: {violation.detail}")
    return value
