"""Tokens: list, create (told once), delete. For admins only."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator, services
from pdns_gtm_backend.admin.reading import flag, json_body, limit, parameters, precondition
from pdns_gtm_backend.admin.writing import answer, data_of, listed, written
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.operations import tokens
from pdns_gtm_backend.operations.listing import FILTERS, Page, page
from pdns_gtm_backend.operations.pool_status import moment
from pdns_gtm_backend.store import kinds

blueprint = Blueprint("tokens", __name__)
KNOWN = FILTERS[kinds.TOKENS]


@blueprint.get("/tokens")
@needs("admin")
def list_tokens() -> Response:
    """Every token, without what its holder sends."""
    given = parameters("limit", "cursor", *KNOWN)
    filters = {name: text for name, text in given.items() if name in KNOWN}
    operator().require_unrestricted("tokens")
    held = page(operator(), kinds.TOKENS, filters, given.get("cursor"), limit(given))
    return listed(Page(_with_uses(held.items), held.next))


def _with_uses(held: Sequence[Token]) -> Sequence[Mapping[str, Any]]:
    """Tokens as they are shown, with the moment of their last use; null = never."""
    uses = services().token_uses.all()
    return [{**data_of(token), "last_used": moment(uses.get(token.id))} for token in held]


@blueprint.post("/tokens")
@needs("admin")
def create_token() -> Response:
    """Make a token; `token` in the answer is told this once."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome, made = tokens.create(operator(), json_body(), dry_run=dry_run)
    told = {} if dry_run else {"token": made.secret}
    return written(outcome, ("tokens", made.token.id), **told)


@blueprint.get("/tokens/<identifier>")
@needs("admin")
def get_token(identifier: str) -> Response:
    """One token, without what its holder sends."""
    parameters()
    one = tokens.get(operator(), identifier)
    (shown,) = _with_uses([one.value])
    return answer(shown, etag=str(one.version or ""))


@blueprint.delete("/tokens/<identifier>")
@needs("admin")
def delete_token(identifier: str) -> Response:
    """Take a token back."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(tokens.delete(operator(), identifier, precondition(), dry_run=dry_run), ())
