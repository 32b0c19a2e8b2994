"""What is said of units of addresses is what a lookup of each says."""

import random
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_geo_mmdb import FLAT, MAXMIND, SYSTEMS, write_mmdb

from pdns_gtm_backend.domain.client import Network
from pdns_gtm_backend.domain.edge import BITS
from pdns_gtm_backend.domain.line import SCOPES
from pdns_gtm_backend.geo.cells import in_units
from pdns_gtm_backend.geo.locator import Locator
from tests.support.strategies import bounded


def same_as_lookups(locator: Locator, count: int = 3000) -> None:
    chance, places = random.Random(3), locator.places()
    for version in (4, 6):
        pieces, bits = places.of(version), SCOPES[version]
        starts = [start for start, _ in pieces]
        assert starts == sorted(set(starts)) and starts[0] == 0
        edges = [start + step for start in chance.sample(starts, min(len(starts), count)) for step in (-1, 0)]
        for unit in (*edges, *(chance.getrandbits(bits) for _ in range(count))):
            if 0 <= unit < 1 << bits:
                network = Network(version, unit << (BITS[version] - bits), bits)
                assert pieces[bisect_right(starts, unit) - 1][1] == locator.locate(network), network


def test_debians_files() -> None:
    same_as_lookups(Locator(default_paths=["/usr/share/tor/geoip"]))


@pytest.mark.parametrize("records", [FLAT, MAXMIND])
def test_mmdb_files(tmp_path: Path, records: dict[str, object]) -> None:
    country = write_mmdb(tmp_path / "country.mmdb", records)
    same_as_lookups(Locator(country, write_mmdb(tmp_path / "asn.mmdb", SYSTEMS, "GeoLite2-ASN")), 300)
    same_as_lookups(Locator(country), 300)


def test_no_file_at_all(tmp_path: Path) -> None:
    same_as_lookups(Locator(tmp_path / "none.mmdb"), 10)


@bounded
@given(st.lists(st.integers(0, 2**14), min_size=2, max_size=20, unique=True))
def test_the_first_address_of_a_unit_decides(bounds: list[int]) -> None:
    ordered = sorted(bounds)
    ranges = [(a, b - 1, f"{a}") for a, b in zip(ordered[::2], ordered[1::2], strict=False)]
    pieces = in_units(ranges, 4, "")
    for unit in range(2**6 + 2):
        held = next((value for first, last, value in ranges if first <= unit << 8 <= last), "")
        assert max((start, value) for start, value in pieces if start <= unit)[1] == held
