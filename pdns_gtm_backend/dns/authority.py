"""Who is authoritative: the name servers and the mailbox of zones that have no SOA and NS of their own."""

import ipaddress
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from pdns_gtm_backend.domain.names import canonical, domain_name_error, parents
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.settings import Settings

REFRESH: Final = 10_800
RETRY: Final = 3_600
EXPIRE: Final = 604_800
MINIMUM: Final = 60
"""Seconds for which resolvers keep that a name does not exist (RFC 2308): a new instance waits no longer."""
TTL: Final = 3_600


@dataclass(frozen=True, slots=True)
class Nameserver:
    """A name server, and its addresses as far as they are known."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """What settings say of zones.

    access_zone: answered even before its document is written. hostmaster: a mailbox as a domain name (RFC 1035 section
    3.3.13).
    """

    access_zone: str
    nameservers: tuple[Nameserver, ...]
    hostmaster: str

    def apex(self, zone: Zone) -> tuple[RRset, ...]:
        """SOA and NS of a zone."""
        numbers = f"{zone.serial} {REFRESH} {RETRY} {EXPIRE} {MINIMUM}"
        soa = f"{self.nameservers[0].name} {self.hostmaster} {numbers}"
        names = tuple(server.name for server in self.nameservers)
        return _rrset(zone.name, zone.name, "SOA", (soa,)), _rrset(zone.name, zone.name, "NS", names)

    def addresses(self, zone: Zone, zones: Container[str]) -> dict[str, tuple[RRset, ...]]:
        """The address records of the name servers that of all `zones` are in this one, by name; none where unknown."""
        inside = (server for server in self.nameservers if _first_in(zones, server.name) == zone.name)
        return {server.name: tuple(_address_sets(zone.name, server)) for server in inside}


def authority(settings: Settings) -> Authority:
    """Read GTM_ACCESS_ZONE, GTM_NAMESERVERS and GTM_HOSTMASTER. Raises ValueError with the setting and what is allowed.

    A name server without an address has the one that PowerDNS listens on (GTM_LISTEN), unless that is all of them.
    """
    try:
        listen = ipaddress.ip_address(settings.listen)
    except ValueError:
        raise ValueError(f"GTM_LISTEN: {shown(settings.listen)} is no IP address") from None
    known = () if listen.is_unspecified else (str(listen),)
    servers = parse_nameservers(settings.nameservers) or (Nameserver(f"ns1.{settings.access_zone}"),)
    if error := domain_name_error(settings.zone_hostmaster):
        raise ValueError(f"GTM_HOSTMASTER: {shown(settings.hostmaster)} {error}")
    named = tuple(Nameserver(server.name, server.addresses or known) for server in servers)
    return Authority(settings.access_zone, named, settings.zone_hostmaster)


def parse_nameservers(text: str) -> tuple[Nameserver, ...]:
    """Read `ns1.gtm.example=192.0.2.53,2001:db8::53 ns2.gtm.example`. Raises ValueError.

    Words are parted by commas, spaces or `=`; an address belongs to the name before it.
    """
    found: dict[str, list[str]] = {}
    name = ""
    for word in filter(None, re.split(r"[,\s=]+", text)):
        if (address := _address(word)) is None:
            name = canonical(word)
            if name.rpartition(".")[2].isdecimal():
                raise ValueError(f"GTM_NAMESERVERS: {shown(word)} is neither a name nor an IP address")
            if error := domain_name_error(name):
                raise ValueError(f"GTM_NAMESERVERS: {shown(word)} {error}")
            found.setdefault(name, [])
        elif name:
            found[name].append(address)
        else:
            raise ValueError(f"GTM_NAMESERVERS: {shown(word)} has no name before it: write ns1.gtm.example={word}")
    return tuple(Nameserver(server, tuple(addresses)) for server, addresses in found.items())


def _first_in(zones: Container[str], name: str) -> str | None:
    return next((parent for parent in parents(name) if parent in zones), None)


def _address(word: str) -> str | None:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return None


def _address_sets(zone: str, server: Nameserver) -> Iterator[RRset]:
    for rrtype, version in (("A", 4), ("AAAA", 6)):
        contents = tuple(a for a in server.addresses if ipaddress.ip_address(a).version == version)
        if contents:
            yield _rrset(zone, server.name, rrtype, contents)


def _rrset(zone: str, name: str, rrtype: str, records: tuple[str, ...]) -> RRset:
    return RRset(zone=zone, name=name, type=rrtype, ttl=TTL, records=records)
