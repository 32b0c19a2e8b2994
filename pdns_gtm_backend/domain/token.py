"""Tokens: who may use the API, and for what. Only the hash of a token is kept."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

from annotated_types import MaxLen

from pdns_gtm_backend.domain.document import DisplayName, document
from pdns_gtm_backend.domain.violation import Violation, shown

Role = Literal["viewer", "operator", "admin"]
RANKS: Final[Mapping[Role, int]] = {"viewer": 1, "operator": 2, "admin": 3}


@document
class Token:
    """A bearer token.

    id: part of the token itself, which names it in logs and audit.
    role: `viewer` reads, `operator` also sets overrides and switches, `admin` does everything.
    hash: SHA-256 of the token in hexadecimal; a token is 256 random bits, which need no slow hash.
    label: `key=value` that restricts it to the instances with that label; None = no restriction.
    expires: from when on it is refused; None = never.
    """

    id: Annotated[str, MaxLen(63)] = ""
    name: DisplayName
    role: Role
    hash: Annotated[str, MaxLen(64)] = ""
    label: Annotated[str, MaxLen(320)] | None = None
    created: datetime | None = None
    expires: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Is it refused from `now` on?"""
        return self.expires is not None and self.expires <= now


def allows(role: Role, needed: Role) -> bool:
    """May a holder of `role` do what `needed` may?"""
    return RANKS[role] >= RANKS[needed]


def has_label(labels: Mapping[str, str], label: str) -> bool:
    """Do `labels` hold `label`, which is written `key=value`?"""
    key, _, value = label.partition("=")
    return labels.get(key) == value


def token_violations(token: Token) -> Iterator[Violation]:
    """Every rule of its own that a token breaks."""
    if token.label is not None and not all(token.label.partition("=")):
        yield Violation("/label", f"{shown(token.label)} is not of the form key=value")
    if token.expires is not None and token.expires.tzinfo is None:
        yield Violation("/expires", "needs a time zone: write it as 2030-01-31T12:00:00Z")
