"""Where a query comes from: the network of the client, and the place that a database gives for it."""

import ipaddress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

IPV4_BITS: Final = 32
IPV6_BITS: Final = 128


@dataclass(frozen=True, slots=True)
class Network:
    """An IP network as numbers: `bits` with everything behind the first `length` bits zero.

    version: 4 or 6. length: of the prefix, in bits.
    """

    version: int
    bits: int
    length: int

    def truncated(self, length: int) -> "Network":
        """This network cut to `length` bits where it is longer."""
        if length >= self.length:
            return self
        shift = (IPV4_BITS if self.version == 4 else IPV6_BITS) - length
        return Network(self.version, self.bits >> shift << shift, length)

    def holds(self, other: "Network") -> bool:
        """Does every address of `other` belong to this network?"""
        if self.version != other.version or self.length > other.length:
            return False
        return other.truncated(self.length).bits == self.bits

    def __str__(self) -> str:
        address = ipaddress.IPv4Address(self.bits) if self.version == 4 else ipaddress.IPv6Address(self.bits)
        return f"{address}/{self.length}"


@dataclass(frozen=True, slots=True)
class Place:
    """What the geo databases say of a network; "" and 0 where they say nothing.

    continent: AF, AN, AS, EU, NA, OC or SA. country: ISO 3166-1 alpha-2. subdivision: the second part of an ISO 3166-2
    code ("CA" of US-CA). asn: number of the autonomous system.
    """

    continent: str = ""
    country: str = ""
    subdivision: str = ""
    asn: int = 0


NOWHERE: Final = Place()
NOBODY: Final = Network(4, 0, 0)
"""The client of a lookup that no packet caused."""


def parse_network(text: str) -> Network:
    """Read `192.0.2.0/24`, `192.0.2.7` or the IPv6 forms; host bits are cut off.

    An IPv4-mapped IPv6 address is the IPv4 address that it maps. Raises ValueError where `text` is neither.
    """
    address, slash, length = text.partition("/")
    version, width = (6, IPV6_BITS) if ":" in address else (4, IPV4_BITS)
    bits = address_bits(address, version)
    if bits is not None and (not slash or (length.isascii() and length.isdecimal() and int(length) <= width)):
        return _unmapped(Network(version, bits, width).truncated(int(length or width)))
    parsed = ipaddress.ip_interface(text).network
    return _unmapped(Network(parsed.version, int(parsed.network_address), parsed.prefixlen))


def address_bits(text: str, version: int) -> int | None:
    """An address without scope or length as a number, at a tenth of the cost of `ipaddress`; None where it is none.

    IPv4 is read in its one form alone: four decimal numbers without leading zeros.
    """
    try:
        return int.from_bytes(inet_pton(AF_INET if version == 4 else AF_INET6, text), "big")
    except (OSError, ValueError):
        return None


def _unmapped(network: Network) -> Network:
    if network.version == 6 and network.bits >> IPV4_BITS == 0xFFFF and network.length >= IPV6_BITS - IPV4_BITS:
        return Network(4, network.bits & 0xFFFFFFFF, network.length - (IPV6_BITS - IPV4_BITS))
    return network
