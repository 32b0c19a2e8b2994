"""The static records of zones."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import operator
from pdns_gtm_backend.admin.reading import flag, json_body, limit, parameters, precondition
from pdns_gtm_backend.admin.writing import found, listed, written
from pdns_gtm_backend.operations import records
from pdns_gtm_backend.operations.listing import page_of

blueprint = Blueprint("zone-records", __name__)
RECORDS = "/zones/<zone>/rrsets/<name>/<rrtype>"


@blueprint.get("/zones/<zone>/rrsets")
def list_records(zone: str) -> Response:
    """Every set of records of a zone."""
    given = parameters("limit", "cursor")
    return listed(page_of(records.of_zone(operator(), zone), given.get("cursor"), limit(given)))


@blueprint.get(RECORDS)
def get_records(zone: str, name: str, rrtype: str) -> Response:
    """The records of one name and type."""
    parameters()
    one = records.get(operator(), zone, name, rrtype)
    return found(one.value, one.version)


@blueprint.put(RECORDS)
def put_records(zone: str, name: str, rrtype: str) -> Response:
    """Write all records of one name and type."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = records.put(operator(), zone, name, rrtype, json_body(), precondition(), dry_run=dry_run)
    return written(outcome, ("zones", zone, "rrsets", name, rrtype))


@blueprint.delete(RECORDS)
def delete_records(zone: str, name: str, rrtype: str) -> Response:
    """Delete all records of one name and type."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(records.delete(operator(), zone, name, rrtype, precondition(), dry_run=dry_run), ())
