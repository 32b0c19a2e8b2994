"""The application: every resource, behind one door that checks who asks and turns every error into a problem."""

import logging
import time

from flask import Flask, Response, g, request

from pdns_gtm_backend.admin import (
    alerts,
    auth,
    configuration,
    documentation,
    drills,
    health,
    insight,
    instances,
    metrics,
    overrides,
    pools,
    problems,
    reports,
    resources,
    tokens,
    zones,
)
from pdns_gtm_backend.admin.problems import MAX_BODY_BYTES
from pdns_gtm_backend.admin.services import Services
from pdns_gtm_backend.admin.writing import PREFIX
from pdns_gtm_backend.domain.moment import rfc3339

log = logging.getLogger(__name__)


def create_app(services: Services) -> Flask:
    """The application on `services`, which are started already."""
    app = Flask("pdns_gtm_backend.admin", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["TRAP_HTTP_EXCEPTIONS"] = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    app.extensions["gtm"] = services
    problems.register(app)
    app.before_request(_begin)
    auth.register(app)
    for blueprint in (
        *resources.blueprints(),
        instances.blueprint,
        pools.blueprint,
        zones.blueprint,
        reports.blueprint,
        overrides.blueprint,
        tokens.blueprint,
        insight.blueprint,
        configuration.blueprint,
        drills.blueprint,
        alerts.blueprint,
        documentation.blueprint,
    ):
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    app.register_blueprint(health.blueprint)
    metrics.register(app, services)
    app.after_request(_finish)
    return app


def _begin() -> None:
    g.began = time.perf_counter()


def _finish(response: Response) -> Response:
    """Headers of every answer, and the log of every change."""
    headers = response.headers
    headers["Cache-Control"] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers["Referrer-Policy"] = "no-referrer"
    status = auth.services().follower.status
    if status.state != "following" and request.path.startswith(PREFIX):
        headers["GTM-Stale"] = f"{status.state}; since={rfc3339(status.since)}"
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        who = g.operator.actor.name if "operator" in g else "nobody"
        log.info("%s %s by %s: %s", request.method, request.path, who, response.status, extra={"event": "admin.change"})
    return response
