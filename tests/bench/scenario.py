"""What every contender is asked to do: 1,000 names, China gets the two addresses of A, everybody else those of B.

The networks are those of Debian's tor-geoipdb. What is right is decided here from the data, by no contender's code.
"""

import bisect
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network, summarize_address_range
from pathlib import Path
from typing import Final

from mmdb_writer import MMDBWriter
from netaddr import IPSet

Network = IPv4Network | IPv6Network
ZONE: Final = "gtm.example"
CHINA: Final = "CN"
TTL: Final = 60
GEOIP: Final = {4: Path("/usr/share/tor/geoip"), 6: Path("/usr/share/tor/geoip6")}
SOURCE_PREFIX: Final = {4: 24, 6: 56}
"""What resolvers send of their clients' addresses (RFC 7871 section 11.1)."""
TRANSITION: Final = {0x2001_0000, *range(0x2002_0000, 0x2003_0000)}
"""First 32 bits of Teredo (RFC 4380) and 6to4 (RFC 3056): gdnsd looks up the IPv4 address inside, others do not."""
EDNS_SIZE: Final = 1232
ECS: Final = 8


@dataclass(frozen=True, slots=True)
class Service:
    """A name; the addresses for clients in China and for all others."""

    label: str
    china: tuple[str, str]
    world: tuple[str, str]

    @property
    def name(self) -> str:
        return f"{self.label}.{ZONE}"

    def addresses(self, in_china: bool) -> tuple[str, str]:
        return self.china if in_china else self.world


@dataclass(frozen=True, slots=True)
class Client:
    """A client's network as its resolver sends it."""

    network: Network
    in_china: bool


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses from first to last, both as numbers, are of one country."""

    version: int
    first: int
    last: int
    country: str

    @property
    def networks(self) -> Sequence[Network]:
        kind = IPv4Address if self.version == 4 else IPv6Address
        return list(summarize_address_range(kind(self.first), kind(self.last)))

    def client(self, chosen: random.Random) -> Network | None:
        """A client's network that lies wholly in this range; None where it holds none."""
        host = (32 if self.version == 4 else 128) - SOURCE_PREFIX[self.version]
        low, high = -(-self.first >> host), (self.last + 1 >> host) - 1
        if high < low:
            return None
        kind = IPv4Address if self.version == 4 else IPv6Address
        return ip_network((kind(chosen.randint(low, high) << host), SOURCE_PREFIX[self.version]))


@dataclass(frozen=True)
class Scenario:
    """The same for every contender and every run."""

    services: Sequence[Service]
    clients: Sequence[Client]
    ranges: Sequence[Range]

    def write_mmdb(self, path: Path) -> Path:
        """The country database that all contenders read: every network of China, and those of the clients."""
        writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True, languages=["en"])
        for one in self.ranges:
            record = {"country": {"iso_code": one.country}, "continent": {"code": _CONTINENT.get(one.country, "NA")}}
            writer.insert_network(IPSet([str(network) for network in one.networks]), record)
        writer.to_db_file(str(path))
        return path

    @cached_property
    def names(self) -> Sequence[bytes]:
        """Each service's name as it is sent."""
        return [encoded(service.name) for service in self.services]

    @cached_property
    def options(self) -> Sequence[bytes]:
        """Each client's EDNS client subnet option (RFC 7871 section 6)."""
        return [_subnet(client.network) for client in self.clients]

    def query(self, service: int, client: int | None, number: int = 0) -> bytes:
        """A query for A; client None: with EDNS, but without client subnet."""
        option = b"" if client is None else self.options[client]
        opt = struct.pack("!BHHIH", 0, 41, EDNS_SIZE, 0, len(option)) + option
        return struct.pack("!6H", number, 0, 1, 0, 0, 1) + self.names[service] + struct.pack("!2H", 1, 1) + opt

    def write_queries(self, path: Path, count: int, chosen: random.Random, *, subnets: bool) -> Path:
        """Queries of random clients for random names, for dnsperf."""
        services = (chosen.randrange(len(self.services)) for _ in range(count))
        return self.write_asked(path, services, chosen, subnets=subnets)

    def write_asked(self, path: Path, services: Iterable[int], chosen: random.Random, *, subnets: bool) -> Path:
        """Queries of random clients for these names, for dnsperf -B: each after its length (RFC 1035 section 4.2.2)."""
        clients = len(self.clients)
        with path.open("wb") as file:
            for service in services:
                message = self.query(service, chosen.randrange(clients) if subnets else None)
                file.write(struct.pack("!H", len(message)) + message)
        return path


_CONTINENT: Final[dict[str, str]] = {
    CHINA: "AS",
    "JP": "AS",
    "KR": "AS",
    "DE": "EU",
    "FR": "EU",
    "GB": "EU",
    "BR": "SA",
}


def encoded(name: str) -> bytes:
    """A name on the wire."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _subnet(network: Network) -> bytes:
    octets = network.network_address.packed[: (network.prefixlen + 7) // 8]
    data = struct.pack("!HBB", 1 if network.version == 4 else 2, network.prefixlen, 0) + octets
    return struct.pack("!2H", ECS, len(data)) + data


def make_scenario(services: int = 1000, clients: int = 10_000, seed: int = 1) -> Scenario:
    """Half of the clients are in China, half by IPv6; those of a country are spread over its networks by their size."""
    chosen = random.Random(seed)
    found = [_service(number) for number in range(services)]
    used: list[Range] = []
    asking: list[Client] = []
    for version in GEOIP:
        ranges = list(_ranges(version))
        china = [one for one in ranges if one.country == CHINA]
        others = [one for one in ranges if one.country != CHINA]
        used += china
        for in_china, group in ((True, china), (False, others)):
            for one, network in _clients(group, clients // 4, chosen):
                asking.append(Client(network, in_china))
                if not in_china:
                    used.append(one)
    chosen.shuffle(asking)
    return Scenario(found, asking, list(dict.fromkeys(used)))


def _service(number: int) -> Service:
    high, low = divmod(number, 250)
    a, b, c, d = (f"10.{side}.{high}.{low + 1}" for side in range(1, 5))
    return Service(f"gtm{10_000_000 + number}", (a, b), (c, d))


def _clients(ranges: Sequence[Range], count: int, chosen: random.Random) -> Iterator[tuple[Range, Network]]:
    totals: list[int] = []
    for one in ranges:
        totals.append((totals[-1] if totals else 0) + one.last - one.first + 1)
    while count:
        one = ranges[bisect.bisect_right(totals, chosen.randrange(totals[-1]))]
        network = one.client(chosen)
        if network is not None:
            count -= 1
            yield one, network


def _ranges(version: int) -> Iterator[Range]:
    for line in GEOIP[version].read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        first, last, country = line.split(",")
        one = Range(version, _number(first), _number(last), country)
        if country.isalpha() and not (version == 6 and one.first >> 96 in TRANSITION):
            yield one


def _number(text: str) -> int:
    return int(text) if text.isdigit() else int(IPv6Address(text))
