"""The kinds of documents, and their one way from JSON to a value and back. What the store sends is never trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.state import PolicyState, TargetState
from pdns_gtm_backend.domain.zone import RRset, Zone


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document. `configuration`: written by operators, versioned, exported; else state."""

    name: str
    adapter: TypeAdapter[Any]
    configuration: bool


def _kind(name: str, document: type, *, configuration: bool = True) -> Kind:
    return Kind(name, TypeAdapter(document), configuration)


INSTANCES: Final = "instances"
POOLS: Final = "pools"
HEALTH_CHECKS: Final = "health-checks"
LINES: Final = "lines"
ZONES: Final = "zones"
RRSETS: Final = "rrsets"
OVERRIDES: Final = "overrides"
TARGET_STATES: Final = "target-states"
POLICY_STATES: Final = "policy-states"

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        _kind(INSTANCES, Instance),
        _kind(POOLS, Pool),
        _kind(HEALTH_CHECKS, HealthCheck),
        _kind(LINES, Line),
        _kind(ZONES, Zone),
        _kind(RRSETS, RRset),
        _kind(OVERRIDES, Override, configuration=False),
        _kind(TARGET_STATES, TargetState, configuration=False),
        _kind(POLICY_STATES, PolicyState, configuration=False),
    )
}


class BrokenDocument(ValueError):
    """What the store holds is no document of its kind."""


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
