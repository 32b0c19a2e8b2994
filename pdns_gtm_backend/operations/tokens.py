"""Tokens: making them, finding out whose one is, taking them back."""

import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from pdns_gtm_backend.domain.token import Token, token_violations
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import Found, beside
from pdns_gtm_backend.operations.errors import NotFound, NotNow
from pdns_gtm_backend.operations.operator import Actor, Operator, Outcome, Plan
from pdns_gtm_backend.operations.overrides import store_time
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

FORM: Final = re.compile(r"gtm_(?P<id>[0-9a-f]{10})_[A-Za-z0-9_-]{43}", re.ASCII)
"""A token holds its id, so that it is found without a search, and 256 random bits."""
GENERATED: Final = ("id", "hash", "created")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token as it is told once. secret: what its holder sends."""

    token: Token
    secret: str


def new_secret() -> str:
    """A token that was never given before."""
    return f"gtm_{secrets.token_hex(5)}_{secrets.token_urlsafe(32)}"


def token_id(secret: str) -> str | None:
    """The id in a token; None where it has not the form of one."""
    match = FORM.fullmatch(secret)
    return match["id"] if match else None


def digest(secret: str) -> str:
    """The hash of a token, as it is kept."""
    return sha256(secret.encode()).hexdigest()


def authenticate(snapshot: Snapshot, secret: str, origin: str, now: datetime) -> Actor | None:
    """Who sent `secret`; None where it is no valid token by now."""
    identifier = token_id(secret)
    token: Token | None = tokens_of(snapshot).get(identifier) if identifier else None
    # Compared also where there is none, so that time does not tell which ids exist.
    matches = hmac.compare_digest(digest(secret), token.hash if token else "0" * 64)
    if token is None or not matches or token.expired(now):
        return None
    return Actor(token.id, token.name, token.role, origin, token.label)


def tokens_of(snapshot: Snapshot) -> dict[str, Token]:
    """Every token by id, with those that are expired."""
    return dict(snapshot.documents[kinds.TOKENS])


def get(operator: Operator, identifier: str) -> Found:
    """Raises NotFound, NotPermitted."""
    operator.require_unrestricted("tokens")
    snapshot = operator.writer.reading().snapshot
    token = tokens_of(snapshot).get(identifier)
    if token is None:
        raise NotFound(f"there is no token {shown(identifier)}")
    return Found(token, snapshot.version(kinds.TOKENS, identifier))


def create(operator: Operator, raw: object, *, dry_run: bool = False) -> tuple[Outcome, NewToken]:
    """Make a token of JSON data: name, role, label, expires.

    Raises InvalidConfiguration, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("tokens")
    parsed: Parsed[Token] = parse(Token, raw)
    known: list[Violation] = [*parsed.violations]
    if parsed.value is None:
        raise InvalidConfiguration(known)
    known += [Violation(pointer(n), "is generated: leave it out") for n in GENERATED if getattr(parsed.value, n)]
    now = store_time(operator)
    known += beside(known, (*token_violations(parsed.value), *_expiry(parsed.value, now)))
    if known:
        raise InvalidConfiguration(known)
    made = _made(parsed.value, new_secret(), now)
    return operator.write(lambda _: _creation(made.token), dry_run=dry_run), made


def register(operator: Operator, secret: str, name: str) -> Outcome:
    """Make `secret` an admin token, unless there is any token. Raises Unavailable."""
    made = _made(Token(name=name, role="admin"), secret, store_time(operator))

    def decide(serving: Serving) -> Plan:
        return _creation(made.token) if not tokens_of(serving.snapshot) else Plan(None, (), {})

    return operator.write(decide)


def delete(
    operator: Operator, identifier: str, precondition: Precondition = UNCONDITIONAL, *, dry_run: bool = False
) -> Outcome:
    """Take a token back; it is refused from then on. Raises NotFound, NotNow for the last admin, PreconditionFailed,
    PreconditionRequired, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("tokens")

    def decide(serving: Serving) -> Plan:
        held = tokens_of(serving.snapshot)
        before = held.get(identifier)
        if before is None:
            raise NotFound(f"there is no token {shown(identifier)}")
        version = serving.snapshot.version(kinds.TOKENS, identifier)
        precondition.check(f"token {identifier}", str(version))
        if _is_last_admin(before, held.values()):
            raise NotNow("this is the last admin token that never expires: make another one first")
        noted = audit.entry("delete", kinds.TOKENS, identifier, before, None)
        return Plan(None, [Change(kinds.TOKENS, identifier, None)], noted, version=version)

    return operator.write(decide, dry_run=dry_run)


def _is_last_admin(token: Token, held: Iterable[Token]) -> bool:
    """Would nobody be left who can do everything for good?"""
    lasting = {t.id for t in held if t.role == "admin" and t.label is None and t.expires is None}
    return lasting == {token.id}


def _made(token: Token, secret: str, now: datetime) -> NewToken:
    expires = token.expires.astimezone(UTC) if token.expires is not None else None
    made = replace(token, id=token_id(secret) or "", hash=digest(secret), created=now, expires=expires)
    return NewToken(made, secret)


def _creation(token: Token) -> Plan:
    noted = audit.entry("create", kinds.TOKENS, token.id, None, token)
    return Plan(token, [Change(kinds.TOKENS, token.id, token)], noted)


def _expiry(token: Token, now: datetime) -> Sequence[Violation]:
    if token.expires is None or token.expires.tzinfo is None or token.expires > now:
        return ()
    return [Violation("/expires", f"{token.expires.isoformat()} is over: the store's clock says {now.isoformat()}")]
