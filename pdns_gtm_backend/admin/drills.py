"""Drills: list, create, change, delete; preview, execute, roll back."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import flag, json_body, limit, parameters, precondition
from pdns_gtm_backend.admin.writing import answer, found, listed, written
from pdns_gtm_backend.operations import drills
from pdns_gtm_backend.operations.listing import FILTERS, page
from pdns_gtm_backend.operations.overrides import preview_data
from pdns_gtm_backend.store import kinds

blueprint = Blueprint("drills", __name__)
KNOWN = FILTERS[kinds.DRILLS]
DRILL = "/drills/<identifier>"


@blueprint.get("/drills")
def list_drills() -> Response:
    """Every drill."""
    given = parameters("limit", "cursor", *KNOWN)
    filters = {name: text for name, text in given.items() if name in KNOWN}
    operator().require_unrestricted("drills")
    return listed(page(operator(), kinds.DRILLS, filters, given.get("cursor"), limit(given)))


@blueprint.post("/drills")
@needs("operator")
def create_drill() -> Response:
    """Make a drill; nothing fails before it is executed."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = drills.create(operator(), json_body(), dry_run=dry_run)
    return written(outcome, ("drills", outcome.value.id))


@blueprint.get(DRILL)
def get_drill(identifier: str) -> Response:
    """One drill."""
    parameters()
    one = drills.get(operator(), identifier)
    return found(one.value, one.version)


@blueprint.patch(DRILL)
@needs("operator")
def patch_drill(identifier: str) -> Response:
    """Change a drill that does not run."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = drills.patch(operator(), identifier, json_body(patch=True), precondition(), dry_run=dry_run)
    return written(outcome, ("drills", identifier))


@blueprint.delete(DRILL)
@needs("operator")
def delete_drill(identifier: str) -> Response:
    """Delete a drill that does not run."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(drills.delete(operator(), identifier, precondition(), dry_run=dry_run), ())


@blueprint.get(f"{DRILL}/preview")
def preview_drill(identifier: str) -> Response:
    """Every policy that would switch, from where to where."""
    parameters()
    return answer({"preview": preview_data(drills.preview(operator(), identifier))})


@blueprint.post(f"{DRILL}/execute")
@needs("operator")
def execute_drill(identifier: str) -> Response:
    """Treat what the drill selects as failed."""
    given = parameters("dry_run", "force")
    dry_run, force = flag(given, "dry_run"), flag(given, "force")
    return written(drills.execute(operator(), identifier, force=force, dry_run=dry_run), ("drills", identifier))


@blueprint.post(f"{DRILL}/rollback")
@needs("operator")
def roll_drill_back(identifier: str) -> Response:
    """Lift what the drill has set."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(drills.rollback(operator(), identifier, dry_run=dry_run), ("drills", identifier))
