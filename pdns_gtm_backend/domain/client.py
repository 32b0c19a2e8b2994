"""Where a query comes from: the network of the client, and the place that a database gives for it."""

import ipaddress
from dataclasses import dataclass
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


def parse_network(text: str) -> Network:
    """Read `192.0.2.0/24`, `192.0.2.7` or the IPv6 forms; host bits are cut off.

    An IPv4-mapped IPv6 address is the IPv4 address that it maps. Raises ValueError where `text` is neither.
    """
    parsed = ipaddress.ip_interface(text)
    network = parsed.network
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return Network(4, int(mapped), network.prefixlen - 96)
    return Network(network.version, int(network.network_address), network.prefixlen)
