"""DNSSEC keys of zones and TSIG keys; their secrets are held encrypted only."""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.document import DomainNameText, document
from pdns_gtm_backend.domain.violation import Violation, shown

ALGORITHM: Final = re.compile(r"[a-z0-9.-]{1,64}", re.ASCII)
SEALED: Final = re.compile(r"[A-Za-z0-9_=-]+", re.ASCII)
FLAGS: Final = frozenset({256, 257, 384, 385})
"""ZSK and KSK, and both revoked (RFC 4034 section 2.1.1, RFC 5011 section 3)."""
Sealed = Annotated[str, MinLen(1), MaxLen(65_536)]
"""An encrypted secret (`operations.sealing`)."""


@document
class ZoneKey:
    """A DNSSEC key of a zone. number: PowerDNS's id of it. sealed: the private key, encrypted.

    active: signs. published: stands in the DNSKEY records.
    """

    zone: DomainNameText
    number: Annotated[int, Ge(1), Le(2**31 - 1)]
    flags: Annotated[int, Ge(0), Le(65_535)]
    active: bool
    published: bool = True
    sealed: Sealed

    @property
    def key(self) -> str:
        """Names this document in the store."""
        return zone_key_key(self.zone, self.number)


@document
class TsigKey:
    """A key that transfers and updates are signed with (RFC 8945). sealed: the shared secret, encrypted."""

    name: DomainNameText
    algorithm: Annotated[str, MinLen(1), MaxLen(64)]
    sealed: Sealed


def zone_key_key(zone: str, number: int) -> str:
    """The key of a DNSSEC key in the store."""
    return f"{zone}|{number}"


def zone_key_violations(held: ZoneKey) -> Iterator[Violation]:
    """Every rule of its own that a DNSSEC key breaks."""
    if held.flags not in FLAGS:
        yield Violation("/flags", f"{held.flags} is not allowed: one of {', '.join(map(str, sorted(FLAGS)))}")
    yield from _sealed(held.sealed)


def tsig_key_violations(held: TsigKey) -> Iterator[Violation]:
    """Every rule of its own that a TSIG key breaks."""
    if not ALGORITHM.fullmatch(held.algorithm):
        yield Violation("/algorithm", f"{shown(held.algorithm)} is no algorithm, such as hmac-sha256")
    yield from _sealed(held.sealed)


def _sealed(text: str) -> Iterator[Violation]:
    # The text itself may be a secret that was never encrypted: it is not shown.
    if not SEALED.fullmatch(text):
        yield Violation("/sealed", "is no encrypted secret")
