"""Reports on the addresses of external checks: read them, push one, push many."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import flag, json_body, parameters
from pdns_gtm_backend.admin.writing import answer, data_of
from pdns_gtm_backend.operations import reports

blueprint = Blueprint("reports", __name__)
REPORTS = "/health-checks/<identifier>/reports"


@blueprint.get(REPORTS)
def list_reports(identifier: str) -> Response:
    """The last report on each address of a check."""
    parameters()
    return answer({"items": [data_of(report) for report in reports.every(operator(), identifier)], "next": None})


@blueprint.post(REPORTS)
@needs("operator")
def push_reports(identifier: str) -> Response:
    """Report many addresses, all or none."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    pushed = reports.push_many(operator(), identifier, json_body(), dry_run=dry_run)
    return answer({"items": [data_of(report) for report in pushed], "next": None})


@blueprint.get(f"{REPORTS}/<address>")
def get_report(identifier: str, address: str) -> Response:
    """The last report on one address."""
    parameters()
    return answer(data_of(reports.one(operator(), identifier, address)))


@blueprint.put(f"{REPORTS}/<address>")
@needs("operator")
def push_report(identifier: str, address: str) -> Response:
    """Report one address."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return answer(data_of(reports.push(operator(), identifier, address, json_body(), dry_run=dry_run)))
