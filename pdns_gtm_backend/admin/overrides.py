"""Overrides: list, create, delete."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import flag, json_body, limit, parameters, precondition
from pdns_gtm_backend.admin.writing import found, listed, written
from pdns_gtm_backend.operations import overrides
from pdns_gtm_backend.operations.listing import FILTERS, page
from pdns_gtm_backend.store import kinds

blueprint = Blueprint("overrides", __name__)
KNOWN = FILTERS[kinds.OVERRIDES]


@blueprint.get("/overrides")
def list_overrides() -> Response:
    """What operators have set at run time."""
    given = parameters("limit", "cursor", *KNOWN)
    filters = {name: text for name, text in given.items() if name in KNOWN}
    return listed(page(operator(), kinds.OVERRIDES, filters, given.get("cursor"), limit(given)))


@blueprint.post("/overrides")
@needs("operator")
def create_override() -> Response:
    """Set an override; the answer tells what it does to every policy."""
    given = parameters("dry_run", "force")
    dry_run, force = flag(given, "dry_run"), flag(given, "force")
    outcome = overrides.create(operator(), json_body(), force=force, dry_run=dry_run)
    return written(outcome, ("overrides", outcome.value.id))


@blueprint.get("/overrides/<identifier>")
def get_override(identifier: str) -> Response:
    """One override."""
    parameters()
    one = overrides.get(operator(), identifier)
    return found(one.value, one.version)


@blueprint.delete("/overrides/<identifier>")
@needs("operator")
def delete_override(identifier: str) -> Response:
    """Lift an override."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(overrides.delete(operator(), identifier, precondition(), dry_run=dry_run), ())
