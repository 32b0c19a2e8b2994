"""The file that dnsdist reads: read here as its configuration does."""

import struct
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.edge_file import BUCKET, DIRECT, MAGIC, SEEDS, burtle, name_hashes, packed, packed_regions
from pdns_gtm_backend.domain.client import Network, parse_network
from pdns_gtm_backend.domain.edge import NO_REGION, NO_REGIONS, Pieces, Places, Regions, plan_regions, region_of
from tests.support.strategies import bounded, examples

WORDS = "<16I"
NAMES = [f"gtm{number:08}.gtm.example" for number in range(3000)]


class Reader:
    """Follows the offsets of the header."""

    def __init__(self, data: bytes) -> None:
        self.data, self.header = data, struct.unpack_from(WORDS, data)

    def region4(self, unit: int) -> int:
        (found,) = struct.unpack_from("<I", self.data, self.header[4] + 4 * (unit >> 8))
        if found < DIRECT:
            return int(found)
        return int(struct.unpack_from("<H", self.data, self.header[5] + 2 * ((found - DIRECT) * 256 + (unit & 255)))[0])

    def region6(self, unit: int) -> int:
        count, starts, cells = self.header[6:9]
        held = struct.unpack_from(f"<{count}Q", self.data, starts)
        return int(struct.unpack_from("<H", self.data, cells + 2 * (bisect_right(held, unit) - 1))[0])

    def canonical(self, region: int) -> bytes:
        return self.data[self.header[9] + 16 * region :][:16]

    def holds(self, name: str) -> bool:
        first, mark = name_hashes(name)
        slots = struct.unpack_from(f"<{BUCKET}I", self.data, self.header[12] + 4 * BUCKET * (first & self.header[11]))
        return mark in slots


def test_the_hash_is_dnsdists() -> None:
    """As dnsdist_ffi_dnsquestion_get_qname_hash of dnsdist 1.7.3 gives them for S3.shop.example and a.b."""
    assert [burtle(b"\2s3\4shop\7example\0", seed) for seed in (7, 4_000_000_000)] == [1606063478, 443287231]
    assert [burtle(b"\1a\1b\0", seed) for seed in (7, 4_000_000_000)] == [462882238, 1236089919]


@pytest.mark.parametrize("count", [0, 1, 5, len(NAMES)])
def test_names_are_found_and_no_others(count: int) -> None:
    reader = Reader(packed(packed_regions(NO_REGIONS), NAMES[:count]))
    assert reader.header[:3] == (MAGIC, 1, len(reader.data))
    assert reader.header[13:] == (*SEEDS, count)
    assert [name for name in NAMES if reader.holds(name)] == NAMES[:count]
    assert not reader.holds("gtm.example")


def pieces(bits: int) -> st.SearchStrategy[Pieces[int]]:
    starts = st.dictionaries(st.integers(1, (1 << bits) - 1), st.integers(0, 1000), max_size=8)
    return st.builds(lambda held, first: [(0, first), *sorted(held.items())], starts, st.just(NO_REGION))


@examples(20)
@given(pieces(24), pieces(56), st.data())
def test_every_unit_has_its_region(ipv4: Pieces[int], ipv6: Pieces[int], data: st.DataObject) -> None:
    regions = Regions(frozenset(), ipv4, ipv6, ())
    reader = Reader(packed(packed_regions(regions), []))
    for version, held, read in ((4, ipv4, reader.region4), (6, ipv6, reader.region6)):
        bits = 24 if version == 4 else 56
        edges = {max(0, start + step) for start, _ in held for step in (-1, 0, 1)}
        for unit in sorted(edges | {data.draw(st.integers(0, (1 << bits) - 1))}):
            if unit < 1 << bits:
                network = Network(version, unit << (8 if version == 4 else 72), bits)
                assert read(unit) == region_of(regions, network)


@bounded
@given(st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_the_hash_is_a_word(data: bytes, seed: int) -> None:
    assert 0 <= burtle(data, seed) < 2**32


def test_canonical_networks_are_found_by_region() -> None:
    network = parse_network("203.0.113.0/24")
    regions = plan_regions(frozenset({("cidr", network)}), Places())
    reader = Reader(packed(packed_regions(regions), []))
    region = region_of(regions, network)
    assert reader.canonical(region) == bytes([1, 203, 0, 113]).ljust(16, b"\0")
    assert reader.canonical(1 - region)[4] == 1
