"""The remote-backend protocol over HTTP, in the one form that is safe: `post=1,post_json=1`.

PowerDNS takes a 4xx other than 404, or a 5xx, for SERVFAIL; a 404 or 2xx with JSON for an answer. So errors are plain
text, and none is a 404 below `/dns`.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from pdns_gtm_backend.dns import status
from pdns_gtm_backend.dns.backend import Backend, NotReady
from pdns_gtm_backend.dns.counters import Counters
from pdns_gtm_backend.dns.methods import MAX_REQUEST_BYTES, BadRequest, UnknownMethod, call, may_wait

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

WRONG_FORM: Final = (
    "This backend is asked by POST with a JSON body and nothing behind its URL: "
    "set post=1,post_json=1 in remote-connection-string.\n"
)
ALL_VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_QUERY_DIGITS: Final = 4
"""Of the length of a request that takes the short cut."""
ERROR_LOG_SECONDS: Final = 1.0
"""At most one failure in this time is logged, or a flood of queries would be a flood of tracebacks."""


def create_app(backend: Backend, secret: str = "") -> Flask:
    """The application: `/dns/<secret>` (`/dns` where it is empty), `/livez`, `/readyz` and `/metrics`."""
    app = Flask("pdns_gtm_backend.dns", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    registry = status.registry(backend)
    counters = Counters(registry)
    answer = _answerer(backend, secret.encode(), counters)

    for rule in ("/dns", "/dns/", "/dns/<path:rest>"):
        app.add_url_rule(rule, rule, answer, methods=ALL_VERBS)
    _add_status(app, backend, registry)
    path = f"/dns/{secret}" if secret else "/dns"
    app.wsgi_app = _queries_first(app.wsgi_app, path.encode(), backend, counters)  # type: ignore[method-assign,assignment]
    return app


def _queries_first(flask: WSGIApplication, path: bytes, backend: Backend, counters: Counters) -> WSGIApplication:
    """A short cut for what PowerDNS asks for each query. All else goes to Flask, as does what fails: it says why."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH", "")
        here = hmac.compare_digest(environ["PATH_INFO"].encode("latin-1"), path) and environ["REQUEST_METHOD"] == "POST"
        if not (here and length.isdecimal() and len(length) <= MAX_QUERY_DIGITS):
            return flask(environ, start_response)
        body = environ["wsgi.input"].read(int(length))
        if not may_wait(body):
            with suppress(Exception):
                method, reply = call(backend, body, _connection(environ))
                counters.answered[method]()
                start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(reply)))])
                return (reply,)
        environ["wsgi.input"] = BytesIO(body)
        return flask(environ, start_response)

    return answer


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
