"""Errors as problem details (RFC 9457): one table of kinds, and one way from every exception to an answer."""

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from pdns_gtm_backend.domain.violation import InvalidConfiguration
from pdns_gtm_backend.operations.errors import (
    AlreadyExists,
    Braked,
    Busy,
    ForeignStore,
    InUse,
    InvalidParameters,
    NotFound,
    NotNow,
    NotPermitted,
    OperationError,
    PreconditionFailed,
    PreconditionRequired,
    QuotaReached,
    TooMuch,
    Unavailable,
)
from pdns_gtm_backend.operations.overrides import preview_data

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:pdns-gtm:problem:"
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_USERS: Final = 100
"""Users of an object that a problem names; it tells how many there are."""
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""Of a whole configuration: one of 10,000 instances and 50,000 addresses has about a quarter of this."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its HTTP status and its title, which never change for a kind."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "malformed": Kind(400, "The request body is not valid JSON"),
    "invalid-parameters": Kind(400, "A parameter of the request is not valid"),
    "bad-request": Kind(400, "The request is not valid"),
    "unauthenticated": Kind(401, "A valid token is needed"),
    "forbidden": Kind(403, "The token does not allow this"),
    "not-found": Kind(404, "There is no such object"),
    "method-not-allowed": Kind(405, "The method is not allowed here"),
    "exists": Kind(409, "There is an object of that id already"),
    "in-use": Kind(409, "The object is in use"),
    "quota": Kind(403, "A quota of this server is reached"),
    "brake": Kind(409, "The change would do so much harm that it must be forced"),
    "conflict": Kind(409, "The request contradicts the present state"),
    "precondition-failed": Kind(412, "The object is another version by now"),
    "too-large": Kind(413, "The request body is too large"),
    "unsupported-media-type": Kind(415, "The type of the request body is not supported"),
    "invalid": Kind(422, "The document breaks rules"),
    "precondition-required": Kind(428, "The request must say which version it changes"),
    "too-many-failures": Kind(429, "Too many requests without a valid token"),
    "busy": Kind(429, "As many of these are under way as may be at once"),
    "internal": Kind(500, "The server failed"),
    "unavailable": Kind(503, "The store cannot be used now"),
    "foreign-store": Kind(503, "The store is not the one that this server knows"),
}


class Problem(Exception):
    """A refusal that HTTP itself brings about."""

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        self.kind, self.detail, self.headers, self.more = kind, detail, headers or {}, more
        super().__init__(detail)


def problem(kind: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """The answer for a problem; `more` are members of its own, such as `errors`."""
    known = KINDS[kind]
    body = {"type": TYPE_PREFIX + kind, "title": known.title, "status": known.status, "detail": detail}
    body |= {"instance": request.path} | more
    response = Response(json.dumps(body, ensure_ascii=False) + "\n", known.status, mimetype=MEDIA_TYPE)
    response.headers.update(dict(headers or {}))
    return response


def _of_problem(error: Problem) -> Response:
    return problem(error.kind, error.detail, error.headers, **error.more)


def _of_violations(error: InvalidConfiguration) -> Response:
    errors = [{"pointer": v.pointer, "detail": v.detail} for v in error.violations]
    return problem("invalid", _summary(error.violations), errors=errors)


def _summary(violations: Sequence[Any]) -> str:
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return f"{first.pointer or '/'}: {first.detail}{more}"


def _of_parameters(error: InvalidParameters) -> Response:
    errors = [{"parameter": name, "detail": detail} for name, detail in error.errors]
    return problem("invalid-parameters", str(error), errors=errors)


def _of_users(error: InUse) -> Response:
    users = [{"kind": u.kind, "id": u.id, "name": u.name} for u in error.users[:MAX_USERS]]
    return problem("in-use", str(error), users=users, user_count=len(error.users))


def _of_brake(error: Braked) -> Response:
    return problem("brake", str(error), preview=preview_data(error.preview))


def _of_counts(error: TooMuch) -> Response:
    return problem("brake", str(error), counts=[asdict(count) for count in error.counts])


def _of_quota(error: QuotaReached) -> Response:
    return problem("quota", str(error), quota=error.quota, limit=error.limit, wanted=error.wanted)


def _of_version(error: PreconditionFailed) -> Response:
    headers = {"ETag": f'"{error.current}"'} if error.current else None
    return problem("precondition-failed", str(error), headers)


def _of_unavailable(error: Unavailable) -> Response:
    kind = "foreign-store" if isinstance(error, ForeignStore) else "unavailable"
    return problem(kind, str(error), {"Retry-After": str(error.retry_after)})


def _of_busy(error: Busy) -> Response:
    return problem("busy", str(error), {"Retry-After": str(error.retry_after)})


def _plain(kind: str) -> Callable[[Any], Response]:
    return lambda error: problem(kind, str(error))


HANDLERS: Final[Mapping[type[Exception], Callable[[Any], Response]]] = {
    Problem: _of_problem,
    InvalidConfiguration: _of_violations,
    InvalidParameters: _of_parameters,
    NotFound: _plain("not-found"),
    NotPermitted: _plain("forbidden"),
    AlreadyExists: _plain("exists"),
    InUse: _of_users,
    Braked: _of_brake,
    TooMuch: _of_counts,
    QuotaReached: _of_quota,
    NotNow: _plain("conflict"),
    PreconditionRequired: _plain("precondition-required"),
    PreconditionFailed: _of_version,
    Unavailable: _of_unavailable,
    Busy: _of_busy,
    OperationError: _plain("conflict"),
}

HTTP_KINDS: Final[Mapping[int, str]] = {
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


def too_large(limit: int) -> str:
    """What is said of a longer body."""
    return f"the body has more than {limit} octets"


def _of_http(error: HTTPException) -> Response:
    """What Flask itself refuses: no such path, another method, a body over the limit."""
    kind = HTTP_KINDS.get(error.code or 500, "bad-request" if (error.code or 500) < 500 else "internal")
    detail = {
        "not-found": f"there is nothing at {request.path}",
        "method-not-allowed": f"{request.method} is not allowed at {request.path}",
        "too-large": too_large(request.max_content_length or 0),
    }.get(kind, error.description or KINDS[kind].title)
    allow = error.get_response().headers.get("Allow")
    return problem(kind, detail, {"Allow": allow} if allow else None)


def _of_failure(error: Exception) -> Response:
    """An error of this software: the log says what, under a reference that the answer names."""
    reference = secrets.token_hex(6)
    log.error(
        "%s %s failed, reference %s", request.method, request.path, reference, exc_info=error, extra={"event": "failed"}
    )
    return problem("internal", f"this is an error of the server: its log tells of it under reference {reference}")


def register(app: Flask) -> None:
    """Answer every error with a problem."""
    for kind, handler in HANDLERS.items():
        app.register_error_handler(kind, handler)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_failure)
