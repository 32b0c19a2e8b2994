"""Regions of the edge: networks that no line in use tells apart, so that one answer is right for all of a region.

A network is counted in units of what answers are scoped to at the finest without a finer cidr line: /24 and /56.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pdns_gtm_backend.domain.answer import ServedInstance
from pdns_gtm_backend.domain.client import IPV4_BITS, IPV6_BITS, NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.line import SCOPES, Kind, Line, TermValue, expand_line
from pdns_gtm_backend.domain.selection import draws_nothing

A = TypeVar("A")
B = TypeVar("B")
Pieces = Sequence[tuple[int, A]]
"""What holds from a unit on until the next piece's; the first piece begins at unit 0."""
TermKey = tuple[Kind, TermValue]

Key = tuple[int, Network | None] | None
END: Final = 1 << 64
"""Behind every unit."""
NO_REGION: Final = 0xFFFE
"""Clients that are answered by their own network."""
ALONE: Final = 0xFFFF
"""Clients that a line tells apart within their unit: they are answered by their own address."""
MAX_REGIONS: Final = 1000
"""The smaller ones of more have no region."""
TRANSLATED: Final = tuple(map(parse_network, ("::/8", "2001::/32", "2002::/16")))
"""Where IPv4 is kept within IPv6 (reserved, Teredo, 6to4): databases find it there, and leave it out of their lists."""
BITS: Final[Mapping[int, int]] = {4: IPV4_BITS, 6: IPV6_BITS}


@dataclass(frozen=True, slots=True)
class Places:
    """What the geo databases say of every unit, by family."""

    ipv4: Pieces[Place] = ((0, NOWHERE),)
    ipv6: Pieces[Place] = ((0, NOWHERE),)

    def of(self, version: int) -> Pieces[Place]:
        """Those of one family (4 or 6)."""
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(frozen=True, slots=True)
class Regions:
    """The region of every unit.

    terms: of the lines that it is for. canonical: for each region one network of its own in each family that it has.
    """

    terms: frozenset[TermKey]
    ipv4: Pieces[int]
    ipv6: Pieces[int]
    canonical: tuple[Mapping[int, Network], ...]


NO_REGIONS: Final = Regions(frozenset(), ((0, NO_REGION),), ((0, NO_REGION),), ())


def is_regional(served: ServedInstance) -> bool:
    """Do all clients of a line get the same answer, by configuration alone, until a state changes?

    A CNAME may lead to a name whose answers are drawn, and PowerDNS follows it: so no instance of kind `domain`.
    """
    if served.instance.kind != "address":
        return False
    sets = [pool_set for views in served.answers.views.values() for view in views for pool_set in view.sets]
    return all(len(s.members) == 1 and draws_nothing(s.members[0][0].pool) for s in sets)


def terms_of(served: ServedInstance, lines: Mapping[str, Line]) -> frozenset[TermKey]:
    """What the lines of an instance ask of a client. A line that does not parse matches nobody."""
    found: set[TermKey] = set()
    for policy in served.instance.policies:
        for text in policy.lines:
            try:
                found.update((term.kind, term.value) for e in expand_line(text, lines) for term in e.terms)
            except ValueError:
                continue
    return frozenset(found)


def finer_terms(terms: Iterable[TermKey]) -> frozenset[TermKey]:
    """Those of `terms` that tell clients of one unit apart."""
    return frozenset((k, v) for k, v in terms if isinstance(v, Network) and v.length > SCOPES[v.version])


def plan_regions(terms: frozenset[TermKey], places: Places) -> Regions:
    """The coarsest regions that `terms` do not tell apart, largest first."""
    kinds: dict[Place, int] = {}
    keys = {version: _keys(terms, places.of(version), version, kinds) for version in (4, 6)}
    sizes: Counter[Key] = Counter()
    for version, pieces in keys.items():
        end = 1 << SCOPES[version]
        for index, (start, key) in enumerate(pieces):
            stop = pieces[index + 1][0] if index + 1 < len(pieces) else end
            if key is not None:
                # A unit of either family is a small share of it: a /24 of 2**24, a /56 of 2**56.
                sizes[key] += (stop - start) << (SCOPES[6] - SCOPES[version])
    numbers = {key: number for number, (key, _) in enumerate(sizes.most_common(MAX_REGIONS))}
    canonical: list[dict[int, Network]] = [{} for _ in numbers]
    numbered = {}
    for version, pieces in keys.items():
        cells = [(start, ALONE if key is None else numbers.get(key, NO_REGION)) for start, key in pieces]
        translated = _nested([network for network in TRANSLATED if network.version == version], version)
        numbered[version] = _merged(
            (start, cell if network is None or cell == ALONE else NO_REGION)
            for start, (cell, network) in overlaid(cells, translated)
        )
        for start, number in numbered[version]:
            if number < len(canonical):
                canonical[number].setdefault(version, _network(version, start))
    return Regions(terms, numbered[4], numbered[6], tuple(canonical))


def region_of(regions: Regions, client: Network) -> int:
    """The region of a client's network, which must be no shorter than a unit."""
    pieces = regions.ipv4 if client.version == 4 else regions.ipv6
    unit = client.bits >> (BITS[client.version] - SCOPES[client.version])
    return pieces[bisect_right(pieces, unit, key=lambda piece: piece[0]) - 1][1]


def overlaid(first: Pieces[A], second: Pieces[B]) -> Iterator[tuple[int, tuple[A, B]]]:
    """Both at once, cut wherever either is."""
    if len(second) == 1:
        only = second[0][1]
        yield from ((start, (value, only)) for start, value in first)
        return
    i, j, start = 0, 0, 0
    while True:
        yield start, (first[i][1], second[j][1])
        next_first = first[i + 1][0] if i + 1 < len(first) else END
        next_second = second[j + 1][0] if j + 1 < len(second) else END
        start = min(next_first, next_second)
        if start == END:
            return
        i += next_first == start
        j += next_second == start


def _keys(
    terms: frozenset[TermKey], places: Pieces[Place], version: int, kinds: dict[Place, int]
) -> list[tuple[int, Key]]:
    """What tells regions apart, by unit; None where clients of one unit are. kinds: numbers of places, added to."""
    # Numbers, as a place takes a hundred times as long to compare: there are few places, at a great many units.
    distinct = {id(place): place for _, place in places}
    seen = {key: kinds.setdefault(_seen(place, terms), len(kinds)) for key, place in distinct.items()}
    by_place = _merged((start, seen[id(place)]) for start, place in places)
    networks = [v for _, v in terms if isinstance(v, Network) and v.version == version]
    if not networks:
        return [(start, (kind, None)) for start, kind in by_place]
    pairs = overlaid(by_place, _nested(networks, version))
    return [
        (start, None if pair[1] is not None and pair[1].length > SCOPES[version] else pair) for start, pair in pairs
    ]


def _seen(place: Place, terms: Collection[TermKey]) -> Place:
    """As much of a place as lines ask for."""
    both = (place.country, place.subdivision)
    subdivision = ("subdivision", both) in terms
    return Place(
        place.continent if ("continent", place.continent) in terms else "",
        place.country if subdivision or ("country", place.country) in terms else "",
        place.subdivision if subdivision else "",
        place.asn if ("asn", place.asn) in terms else 0,
    )


def _nested(networks: Iterable[Network], version: int) -> Pieces[Network | None]:
    """The longest of some networks that each unit lies in, or that lies in it."""
    pieces: list[tuple[int, Network | None]] = [(0, None)]
    open_: list[tuple[int, Network]] = []
    ordered = sorted(networks, key=lambda n: (n.bits, n.length))

    def close(until: int) -> None:
        while open_ and open_[-1][0] <= until:
            end, _ = open_.pop()
            pieces.append((end, open_[-1][1] if open_ else None))

    for network in ordered:
        start, stop = _units(network)
        close(start)
        if open_ and open_[-1][1].length > SCOPES[version]:
            continue
        pieces.append((start, network))
        open_.append((stop, network))
    close(1 << SCOPES[version])
    at_end = {start: value for start, value in pieces if start < 1 << SCOPES[version]}
    return sorted(at_end.items())


def _units(network: Network) -> tuple[int, int]:
    """The first unit of a network, and the one behind its last."""
    unit = BITS[network.version] - SCOPES[network.version]
    count = 1 << max(0, SCOPES[network.version] - network.length)
    start = network.bits >> unit
    return start, start + count


def _network(version: int, unit: int) -> Network:
    return Network(version, unit << (BITS[version] - SCOPES[version]), SCOPES[version])


def _merged(pieces: Iterable[tuple[int, A]]) -> list[tuple[int, A]]:
    merged: list[tuple[int, A]] = []
    for start, value in pieces:
        if not merged or (merged[-1][1] is not value and merged[-1][1] != value):
            merged.append((start, value))
    return merged
