"""What alert receivers have beside their documents: how far they are told, and a test."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import parameters
from pdns_gtm_backend.admin.writing import answer, data_of
from pdns_gtm_backend.operations import alerts

blueprint = Blueprint("alert-parts", __name__)


@blueprint.get("/alerts/<identifier>/status")
def status(identifier: str) -> Response:
    """How far a receiver is told, and what failed last."""
    parameters()
    return answer(data_of(alerts.status(operator(), identifier)))


@blueprint.post("/alerts/<identifier>/test")
@needs("operator")
def test(identifier: str) -> Response:
    """Have the leader send a receiver a test event."""
    parameters()
    return answer(data_of(alerts.send_test(operator(), identifier)))
