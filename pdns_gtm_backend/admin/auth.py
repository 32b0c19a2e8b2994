"""Who asks: a bearer token (RFC 6750) decides, and what its role may do. Everything is refused that no rule allows."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from flask import Flask, current_app, g, request

from pdns_gtm_backend.admin.problems import Problem
from pdns_gtm_backend.admin.services import Services
from pdns_gtm_backend.admin.writing import PREFIX
from pdns_gtm_backend.domain.token import Role, allows
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.operations.tokens import authenticate

View = TypeVar("View", bound=Callable[..., Any])

READING: Final = frozenset({"GET", "HEAD"})
CHALLENGE: Final = 'Bearer realm="pdns-gtm"'


def needs(role: Role) -> Callable[[View], View]:
    """Mark a view: its role decides, whatever the method. Others need `viewer` to read and `admin` to change."""

    def mark(view: View) -> View:
        view.needed_role = role  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """Mark a view: it needs no token."""
    view.public = True  # type: ignore[attr-defined]
    return view


def operator() -> Operator:
    """The operator that asks."""
    found: Operator = g.operator
    return found


def services() -> Services:
    """What this process runs on."""
    found: Services = current_app.extensions["gtm"]
    return found


def register(app: Flask) -> None:
    """Check every request below the API's prefix."""
    app.before_request(_check)


def _check() -> None:
    if not (request.path == PREFIX or request.path.startswith(PREFIX + "/")) or request.method == "OPTIONS":
        return
    if request.endpoint is not None and getattr(current_app.view_functions[request.endpoint], "public", False):
        return
    held = services()
    snapshot = held.writer.reading().snapshot
    actor = authenticate(snapshot, _bearer(), request.remote_addr or "", datetime.now(UTC))
    if actor is None:
        detail = "the token is not valid: it is unknown, was deleted or has expired"
        raise _failure(detail, CHALLENGE + ', error="invalid_token"')
    held.token_uses.note(actor.id)
    g.operator = held.operator(actor)
    needed = _needed_role()
    if needed is not None:
        require(needed)


def require(needed: Role) -> None:
    """Raises Problem where the token's role may not do what `needed` may."""
    actor = operator().actor
    if not allows(actor.role, needed):
        detail = f"{request.method} {request.path} needs the role {needed}; the token {actor.name!r} has {actor.role}"
        raise Problem("forbidden", detail)


def _bearer() -> str:
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        detail = "send a token: 'Authorization: Bearer gtm_...' (the first one is in $GTM_VAR/admin-token)"
        raise _failure(detail, CHALLENGE)
    return token.strip()


def _failure(detail: str, challenge: str) -> Problem:
    """What a client without a valid token is told; one that fails often has to wait first."""
    seconds = services().failures.fail(request.remote_addr or "")
    if seconds:
        detail = f"{detail}; and too many requests from {request.remote_addr} were without a valid token"
        return Problem("too-many-failures", detail, {"Retry-After": str(seconds)})
    return Problem("unauthenticated", detail, {"WWW-Authenticate": challenge})


def _needed_role() -> Role | None:
    """None where there is nothing at the path, which is said next."""
    if request.endpoint is None:
        return None
    marked: Role | None = getattr(current_app.view_functions[request.endpoint], "needed_role", None)
    if marked is not None:
        return marked
    return "viewer" if request.method in READING else "admin"
