"""Clients of every place that ask through the edge, and what they must get, by a reading of the geo data of its own."""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

GEOIP = {4: Path("/usr/share/tor/geoip"), 6: Path("/usr/share/tor/geoip6")}
UNIT = {4: 24, 6: 56}
ANSWER_SECONDS = 20.0


class Countries:
    """Debian's tor-geoipdb text files."""

    def __init__(self) -> None:
        self._ranges = {version: sorted(self._read(path)) for version, path in GEOIP.items()}

    @staticmethod
    def _read(path: Path) -> Iterator[tuple[int, int, str]]:
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                first, last, code = line.split(",")
                numbers = [int(text) if text.isdecimal() else int(ip_address(text)) for text in (first, last)]
                yield numbers[0], numbers[1], code

    def of(self, address: int, version: int) -> str:
        """The country of an address, "" where none is known."""
        ranges = self._ranges[version]
        index = bisect_right(ranges, (address, 1 << 129)) - 1
        return ranges[index][2] if index >= 0 and ranges[index][1] >= address else ""

    def some_address(self, version: int, chance: random.Random, code: str = "") -> int:
        """An address somewhere in a range of the country, or of any."""
        while True:
            first, last, held = chance.choice(self._ranges[version])
            if not code or held == code:
                return chance.randint(first, last)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks. address: of the packet. subnet: EDNS client subnet, None = none."""

    address: str
    subnet: str | None = None
    tcp: bool = False

    def ask(self, server: str, port: int, name: str, rrtype: str = "A") -> dns.message.Message:
        """One query from this client's address."""
        options = []
        if self.subnet is not None:
            network = ip_network(self.subnet)
            options = [dns.edns.ECSOption(str(network.network_address), network.prefixlen)]
        message = dns.message.make_query(name, rrtype, use_edns=0, options=options)
        carry = dns.query.tcp if self.tcp else dns.query.udp
        return carry(message, server, ANSWER_SECONDS, port, source=self.address)

    def counted(self) -> tuple[int, int]:
        """The first address and the version of the unit that decides what this client gets."""
        known = self.address
        if self.subnet is not None and not self.subnet.endswith("/0"):
            known = self.subnet.partition("/")[0]
        address = ip_address(known)
        width = address.max_prefixlen - UNIT[address.version]
        return int(address) >> width << width, address.version


def some_clients(countries: Countries, count: int, chance: random.Random) -> list[Client]:
    """Clients of both families: without a subnet, with their own in several lengths, and with one that says nothing."""
    made = []
    while len(made) < count:
        version = chance.choice((4, 6))
        code = chance.choice(("", "", "CN"))
        own = _address(version, countries.some_address(version, chance, code))
        source = own if chance.random() < 0.5 else _address(version, countries.some_address(version, chance))
        if not _usable(own) or not _usable(source):
            continue
        kind = chance.choice(("plain", "subnet", "subnet", "zero"))
        tcp = chance.random() < 0.05
        if kind == "plain":
            made.append(Client(own, tcp=tcp))
        elif kind == "zero":
            made.append(Client(own, "0.0.0.0/0" if version == 4 else "::/0", tcp))
        else:
            length = chance.choice((UNIT[version], UNIT[version], *((16, 32) if version == 4 else (48, 64, 128))))
            made.append(Client(source, str(ip_network(f"{own}/{length}", strict=False)), tcp))
    return made


def _address(version: int, number: int) -> str:
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def _usable(text: str) -> bool:
    """Can a packet come from there, to a server on loopback?"""
    address = ip_address(text)
    unusable = address.is_multicast or address.is_unspecified or address.is_link_local or address.is_loopback
    return not unusable and not (address.version == 4 and address.packed[0] in (0, *range(224, 256)))


def addresses(reply: dns.message.Message, rrtype: str = "A") -> list[str]:
    """The addresses of a reply, sorted; its code where it is no NOERROR."""
    if reply.rcode() != dns.rcode.NOERROR:
        return [dns.rcode.to_text(reply.rcode())]
    wanted = dns.rdatatype.from_text(rrtype)
    return sorted(record.to_text() for rrset in reply.answer if rrset.rdtype == wanted for record in rrset)


def subnets(reply: dns.message.Message) -> list[str]:
    """The EDNS client subnets of a reply, without their scopes."""
    return [f"{o.address}/{o.srclen}" for o in reply.options if isinstance(o, dns.edns.ECSOption)]


def server_for(client: Client) -> str:
    """The loopback address of the client's family."""
    return "::1" if ":" in client.address else "127.0.0.1"
