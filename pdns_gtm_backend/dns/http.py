"""The remote-backend protocol over HTTP, in the one form that is safe: `post=1,post_json=1`.

PowerDNS takes a 4xx other than 404, or a 5xx, for SERVFAIL; a 404 or 2xx with JSON for an answer. So errors are plain
text, and none is a 404 below `/dns`.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from pdns_gtm_backend.dns import status
from pdns_gtm_backend.dns.backend import Backend, NotReady
from pdns_gtm_backend.dns.counters import Counters
from pdns_gtm_backend.dns.methods import MAX_REQUEST_BYTES, BadRequest, UnknownMethod, call

log = logging.getLogger(__name__)

WRONG_FORM: Final = (
    "This backend is asked by POST with a JSON body and nothing behind its URL: "
    "set post=1,post_json=1 in remote-connection-string.\n"
)
ALL_VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
ERROR_LOG_SECONDS: Final = 1.0
"""At most one failure in this time is logged, or a flood of queries would be a flood of tracebacks."""


def create_app(backend: Backend, secret: str = "") -> Flask:
    """The application: `/dns/<secret>` (`/dns` where it is empty), `/livez`, `/readyz` and `/metrics`."""
    app = Flask("pdns_gtm_backend.dns", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    registry = status.registry(backend)
    answer = _answerer(backend, secret.encode(), Counters(registry))

    for rule in ("/dns", "/dns/", "/dns/<path:rest>"):
        app.add_url_rule(rule, rule, answer, methods=ALL_VERBS)
    _add_status(app, backend, registry)
    return app


def create_status_app(backend: Backend, registry: CollectorRegistry) -> Flask:
    """`/livez`, `/readyz` and `/metrics` alone, where PowerDNS asks by another transport. registry: of the metrics."""
    app = Flask("pdns_gtm_backend.dns", static_folder=None)
    _add_status(app, backend, registry)
    return app


def _add_status(app: Flask, backend: Backend, registry: CollectorRegistry) -> None:
    @app.get("/livez")
    def livez() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/readyz")
    def readyz() -> Response:
        response = jsonify(status.readiness(backend, time.time()))
        response.status_code = 200 if status.ready(backend) else 503
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _connection(environ: Mapping[str, object]) -> str:
    """PowerDNS keeps one connection for all that it does in one go, such as a transaction."""
    return f"{environ.get('REMOTE_ADDR')}:{environ['REMOTE_PORT']}" if "REMOTE_PORT" in environ else ""


def _answerer(backend: Backend, secret: bytes, counters: Counters) -> Callable[..., Response]:
    logged = 0.0

    def refuse(code: int, reason: str, text: str) -> Response:
        counters.failed[reason]()
        return Response(text, code, mimetype="text/plain")

    def answer(rest: str = "") -> Response:
        nonlocal logged
        given, _, more = rest.partition("/")
        if not hmac.compare_digest(given.encode(), secret):
            return refuse(403, "secret", "The URL in remote-connection-string does not hold this backend's secret.\n")
        if more or request.method != "POST" or request.mimetype == "application/x-www-form-urlencoded":
            return refuse(400, "form", WRONG_FORM)
        try:
            method, body = call(backend, request.get_data(cache=False), _connection(request.environ))
        except UnknownMethod as error:
            return refuse(501, "request", f"{error}\n")
        except BadRequest as error:
            return refuse(400, "request", f"{error}\n")
        except NotReady as error:
            return refuse(503, "not_ready", f"{error}\n")
        except Exception:
            if time.monotonic() - logged > ERROR_LOG_SECONDS:
                logged = time.monotonic()
                log.exception("a request of PowerDNS failed", extra={"event": "backend.failed"})
            return refuse(500, "internal", "The backend failed; its log says why.\n")
        counters.answered[method]()
        return Response(body, mimetype="application/json")

    return answer
