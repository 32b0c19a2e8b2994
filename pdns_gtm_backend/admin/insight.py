"""What operators look at: vantages, simulated clients, events, audit."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator, services
from pdns_gtm_backend.admin.reading import flag, limit, parameters
from pdns_gtm_backend.admin.writing import answer, data_of
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations import history
from pdns_gtm_backend.operations.errors import InvalidParameters
from pdns_gtm_backend.operations.observation import vantages
from pdns_gtm_backend.operations.simulation import simulate
from pdns_gtm_backend.operations.vantages import forget

blueprint = Blueprint("insight", __name__)
POSITIONS = ("after", "before", "order", "limit")


@blueprint.get("/vantages")
def list_vantages() -> Response:
    """Where probes come from, and whether they report."""
    parameters()
    return answer({"items": [data_of(vantage) for vantage in vantages(operator())], "next": None})


@blueprint.delete("/vantages/<identifier>")
def delete_vantage(identifier: str) -> Response:
    """Forget a vantage whose healthd has ended for good."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    forget(operator(), identifier, dry_run=dry_run)
    return answer({}) if dry_run else Response(status=204)


@blueprint.get("/simulate")
def simulate_client() -> Response:
    """What a client would get now, and why."""
    given = parameters("name", "type", "client")
    missing = [(name, "is required") for name in ("name", "client") if not given.get(name)]
    if missing:
        raise InvalidParameters(missing)
    result = simulate(operator(), services().locator, given["name"], given.get("type", "A"), given["client"])
    return answer(data_of(result))


@blueprint.get("/events")
def list_events() -> Response:
    """Changes of state."""
    given = parameters(*POSITIONS, "instance", "pool", "kind")
    entries = history.events(
        operator(),
        **_position(given),
        instance=given.get("instance"),
        pool=given.get("pool"),
        kind=given.get("kind"),
    )
    return answer({"items": entries.items, "next": entries.next})


@blueprint.get("/audit")
@needs("viewer")
def list_audit() -> Response:
    """Changes by operators."""
    given = parameters(*POSITIONS, "kind", "object", "actor")
    entries = history.audit(
        operator(),
        **_position(given),
        kind=given.get("kind"),
        identifier=given.get("object"),
        actor=given.get("actor"),
    )
    return answer({"items": entries.items, "next": entries.next})


def _position(given: Mapping[str, str]) -> dict[str, Any]:
    """Where to read from: behind `after`, oldest first, or before `before`, newest first."""
    order = given.get("order", "newest" if "before" in given else "oldest")
    if order not in ("oldest", "newest"):
        raise InvalidParameters([("order", f"{shown(order)} is not allowed: must be oldest or newest")])
    wrong = "after" if order == "newest" else "before"
    if wrong in given:
        raise InvalidParameters([(wrong, f"goes with order={'oldest' if wrong == 'after' else 'newest'}")])
    position = given.get("before" if order == "newest" else "after", "")
    return {"position": position, "newest_first": order == "newest", "limit": limit(given)}
