"""`/livez` and `/readyz`: without a token, for supervisors and load balancers."""

import time

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import services
from pdns_gtm_backend.admin.writing import answer
from pdns_gtm_backend.operations.readiness import readiness

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """This process answers."""
    return answer({"state": "alive"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 while a snapshot serves, also without Redis; the body says how it stands."""
    held = services()
    body = readiness(held.follower, held.locator.status(), time.time())
    return answer({**body, "preparing": held.preparing}, 200 if held.follower.loaded else 503)
