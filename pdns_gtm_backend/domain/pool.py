"""Address pools: addresses of one type that serve the same application."""

import ipaddress
import math
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.client import address_bits
from pdns_gtm_backend.domain.document import DomainNameText, Identifier, Labels, Weight, document
from pdns_gtm_backend.domain.names import canonical, domain_name_error, identifier_error, is_address
from pdns_gtm_backend.domain.violation import Violation, pointer, shown

Family = Literal["ipv4", "ipv6", "domain"]
"""The type of a pool's addresses; it decides the record type that they are answered as."""
Mode = Literal["auto", "online", "offline"]
Strategy = Literal["all", "weighted", "sequence", "sticky"]

MULTICAST: Final = 0xE
"""The first four bits of such an IPv4 address (RFC 5771 section 3)."""
NO_HOSTS: Final = (0, 0xFFFFFFFF)
NO_HOST: Final = "is not the address of a host"

RECORD_TYPES: Final[Mapping[Family, str]] = {"ipv4": "A", "ipv6": "AAAA", "domain": "CNAME"}


@document
class Address:
    """One address of a pool: an IP address, or the name of a `domain` pool.

    mode: `online` = always answered, `offline` = never, `auto` = its health decides.
    labels: free, for selecting with overrides (`site=hz`).
    """

    address: DomainNameText
    weight: Weight = 1
    mode: Mode = "auto"
    labels: Labels = field(default_factory=dict)


@document
class Pool:
    """Addresses of one type that serve the same application; shared by any number of instances.

    strategy: which addresses one answer holds (`selection`).
    min_available: available addresses that make the pool available: a count, or a share of all its addresses ("50%").
    max_answers: null = all for `all`, 1 for the others.
    require: must `all` health checks see an address up, or does `any` do?
    host, sni: the service's name in probes (Host header, TLS server name) in place of the address.
    """

    id: Identifier
    type: Family
    strategy: Strategy = "all"
    min_available: Annotated[int, Ge(1), Le(10_000)] | Annotated[str, MinLen(2), MaxLen(4)] = 1
    max_answers: Annotated[int, Ge(1), Le(1000)] | None = None
    enabled: bool = True
    health_checks: Annotated[tuple[Identifier, ...], MaxLen(10)] = ()
    require: Literal["all", "any"] = "all"
    host: DomainNameText | None = None
    sni: DomainNameText | None = None
    addresses: Annotated[tuple[Address, ...], MaxLen(1000)] = ()

    def needed(self) -> int:
        """How many available addresses make this pool available, at least 1."""
        if isinstance(self.min_available, int):
            return self.min_available
        return max(1, math.ceil(len(self.addresses) * int(self.min_available[:-1]) / 100))


def canonical_address(address: str, family: Family) -> str:
    """The one form of `address` (RFC 5952 for IPv6, lower case without trailing dot for names).

    Raises ValueError with a sentence where `address` is none of `family`.
    """
    if family == "domain":
        if is_address(canonical(address)):
            raise ValueError("is an IP address, a 'domain' pool holds names")
        if error := domain_name_error(address):
            raise ValueError(error)
        return canonical(address)
    bits = address_bits(address, 4) if family == "ipv4" else None
    if bits is not None:
        if bits >> 28 == MULTICAST or bits in NO_HOSTS:
            raise ValueError(NO_HOST)
        return address
    wanted = ipaddress.IPv4Address if family == "ipv4" else ipaddress.IPv6Address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f"is no {'IPv4' if family == 'ipv4' else 'IPv6'} address") from None
    if not isinstance(parsed, wanted):
        raise ValueError(f"is an IPv{parsed.version} address, the pool's type is {family}")
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id:
        raise ValueError("has a zone index, which means nothing outside its own host")
    if parsed.is_unspecified or parsed.is_multicast:
        raise ValueError(NO_HOST)
    return str(parsed)


def canonical_pool(pool: Pool) -> Pool:
    """The form that is stored: every address and name in its one form. Call it on a pool without violations."""
    addresses = tuple(replace(a, address=canonical_address(a.address, pool.type)) for a in pool.addresses)
    host = None if pool.host is None else canonical(pool.host)
    return replace(pool, addresses=addresses, host=host, sni=None if pool.sni is None else canonical(pool.sni))


def pool_violations(pool: Pool) -> Iterator[Violation]:
    """Every rule of its own that `pool` breaks; `configuration` holds the rules about its references."""
    if error := identifier_error(pool.id):
        yield Violation("/id", f"{shown(pool.id)} {error}")
    if isinstance(pool.min_available, str):
        share = pool.min_available.removesuffix("%")
        if not (pool.min_available.endswith("%") and share.isascii() and share.isdecimal() and 1 <= int(share) <= 100):
            yield Violation("/min_available", f"{shown(pool.min_available)} is neither a count nor '1%' to '100%'")
    if len(set(pool.health_checks)) != len(pool.health_checks):
        yield Violation("/health_checks", "names a check twice")
    for name in ("host", "sni"):
        value = getattr(pool, name)
        if value is not None and (error := domain_name_error(value)):
            yield Violation(f"/{name}", f"{shown(value)} {error}")
    if pool.type == "domain" and pool.max_answers not in (None, 1):
        yield Violation("/max_answers", f"{pool.max_answers}: a domain pool answers one CNAME (RFC 2181 section 10.1)")
    yield from _address_violations(pool)


def _address_violations(pool: Pool) -> Iterator[Violation]:
    seen: dict[str, int] = {}
    for index, address in enumerate(pool.addresses):
        try:
            text = canonical_address(address.address, pool.type)
        except ValueError as error:
            yield Violation(pointer("addresses", index, "address"), f"{shown(address.address)} {error}")
            continue
        if text in seen:
            place = pointer("addresses", index, "address")
            yield Violation(place, f"{shown(address.address)} is already at /addresses/{seen[text]}")
        seen.setdefault(text, index)
