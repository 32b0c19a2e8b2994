import ipaddress
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.geo import text
from pdns_gtm_backend.geo.continents import place_of
from pdns_gtm_backend.geo.database import GeoDatabaseError
from tests.support.strategies import examples

DEBIAN = Path("/usr/share/tor/geoip")
Ranges = list[tuple[int, int, str]]

GOOD4 = "16777216,16777471,AU\n"
GOOD6 = "2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP\n"


def write_pair(folder: Path, ipv4: str | bytes = GOOD4, ipv6: str | bytes = GOOD6) -> Path:
    path = folder / "geoip"
    path.write_bytes(ipv4.encode() if isinstance(ipv4, str) else ipv4)
    text.sibling(path).write_bytes(ipv6.encode() if isinstance(ipv6, str) else ipv6)
    return path


def lines4(ranges: Ranges) -> str:
    return "".join(f"{first},{last},{code}\n" for first, last, code in ranges)


def lines6(ranges: Ranges) -> str:
    address = ipaddress.IPv6Address
    return "".join(f"{address(first)},{address(last)},{code}\n" for first, last, code in ranges)


def scanned(ranges: Ranges, address: int) -> Place:
    return next((place_of(code) for first, last, code in ranges if first <= address <= last), NOWHERE)


@st.composite
def range_sets(draw: st.DrawFn, addresses: st.SearchStrategy[int]) -> Ranges:
    ends = sorted(draw(st.lists(addresses, min_size=2, max_size=40, unique=True)))
    joined = draw(st.booleans())
    pairs = list(pairwise(ends)) if joined else list(zip(ends[::2], ends[1::2], strict=False))
    codes = st.sampled_from(["CN", "US", "DE", "??", "EU", "A1", "UK", "0"])
    return [(first, last - 1 if joined else last, draw(codes)) for first, last in pairs]


IPV4 = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(2**32 - 40, 2**32 - 1))
HIGH = st.one_of(st.sampled_from([0, 1, 0x2001_0506_0009_0000, 0x2001_0506_0009_0001, 2**64 - 1]), st.integers(0, 9))
LOW = st.one_of(st.sampled_from([0, 1, 2**63, 2**64 - 2, 2**64 - 1]), st.integers(0, 2**64 - 1))
IPV6 = st.builds(lambda high, low: (high << 64) + low, HIGH, LOW)


def around(ranges: Ranges, limit: int) -> set[int]:
    near = {end + step for first, last, _ in ranges for end in (first, last) for step in (-1, 0, 1)}
    return {address for address in near if 0 <= address < limit} | {0, limit - 1}


@examples(80)
@given(
    ipv4=range_sets(IPV4),
    ipv6=range_sets(IPV6),
    others=st.lists(st.tuples(IPV4, IPV6), max_size=20),
    chunk=st.sampled_from([1, 50, 300, 1 << 15]),
)
def test_a_lookup_finds_what_a_linear_scan_finds(
    ipv4: Ranges, ipv6: Ranges, others: list[tuple[int, int]], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "CHUNK", chunk)
        database = text.open_text(write_pair(Path(folder), lines4(ipv4), lines6(ipv6)))
    assert [file.entries for file in database.files] == [len(ipv4), len(ipv6)]
    for address in around(ipv4, 2**32) | {one for one, _ in others}:
        assert database.find(Network(4, address, 32)) == scanned(ipv4, address), address
    for address in around(ipv6, 2**128) | {other for _, other in others}:
        assert database.find(Network(6, address, 128)) == scanned(ipv6, address), address


def test_boundaries_and_gaps(tmp_path: Path) -> None:
    database = text.open_text(write_pair(tmp_path, "# a comment\n256,511,CN\n# another\n512,767,US\n1024,1024,DE\n"))
    found = {
        address: database.find(Network(4, address, 32)).country for address in (255, 256, 511, 512, 767, 768, 1024)
    }
    assert found == {255: "", 256: "CN", 511: "CN", 512: "US", 767: "US", 768: "", 1024: "DE"}
    assert database.find(Network(4, 1025, 32)) is NOWHERE


def test_ranges_inside_one_64(tmp_path: Path) -> None:
    ipv6 = "2001:506:8::,2001:506:9::3,US\n2001:506:9::4,2001:506:9::5,BR\n2001:506:9::8,2001:506:a::,RO\n"
    database = text.open_text(write_pair(tmp_path, ipv6=ipv6))
    expected = {
        "8:1::": "US",
        "9::": "US",
        "9::3": "US",
        "9::4": "BR",
        "9::5": "BR",
        "9::6": "",
        "9::8": "RO",
        "a::": "RO",
    }
    found = {end: database.find(parse_network(f"2001:506:{end}")).country for end in expected}
    assert found == expected
    assert database.find(parse_network("2001:506:a::1")) is NOWHERE


def test_status_and_capabilities_say_what_the_files_hold(tmp_path: Path) -> None:
    header = "# Generated: Thu, 25 Jun 2026 04:33:59 GMT\n"
    path = write_pair(tmp_path, header + "0,255,CN\n256,511,EU\n512,767,??\n")
    database = text.open_text(path)
    ipv4, ipv6 = database.files
    assert (ipv4.path, ipv4.size, ipv4.entries) == (str(path), path.stat().st_size, 3)
    assert ipv4.built == 1782362039.0
    assert ipv4.modified == path.stat().st_mtime
    assert (ipv6.path, ipv6.built, ipv6.entries) == (f"{path}6", None, 1)
    capabilities = database.capabilities
    assert (capabilities.has_country, capabilities.has_subdivision, capabilities.has_asn) == (True, False, False)
    assert capabilities.countries == {"CN", "JP"}
    assert capabilities.continents == {"AS", "EU"}


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Thu, 99 Jun 2026 04:33:59 GMT", "Mon, 01 Jan 99999999999999 00:00:00 GMT"]
)
def test_a_wrong_date_is_no_date(tmp_path: Path, date: str) -> None:
    database = text.open_text(write_pair(tmp_path, f"# Generated: {date}\n{GOOD4}"))
    assert database.files[0].built is None


@pytest.mark.parametrize(
    ("ipv4", "said"),
    [
        ("", "holds no ranges"),
        ("# only a comment\n", "holds no ranges"),
        ("0,255,CN\n256,511,U", "line 2: '256,511,U' is not of the form"),
        ("0,255,CN\n256,511\n", "line 2: '256,511\\n' is not of the form"),
        ("1,2\n3,4\n5,6\n", "line 1:"),
        ("1,2\n3,4,5,US\n", "line 1:"),
        ("0,255,CN,more\n", "line 1:"),
        ("0,255,cn\n", "line 1:"),
        ("0,255,CN\r\n", "line 1:"),
        ("0,1_0,CN\n", "line 1:"),
        ("-1,5,CN\n", "line 1:"),
        ("\n0,255,CN\n", "line 1:"),
        ("0,255,CN\n256,4294967296,US\n", "line 2: '256,4294967296,US\\n' is no range"),
        ("255,0,CN\n", "line 1: '255,0,CN\\n' is no range"),
        ("# x\n256,511,CN\n0,255,US\n", "line 3: '0,255,US\\n' begins before the end of the range above"),
        ("0,255,CN\n255,511,US\n", "line 2: '255,511,US\\n' begins before"),
        ("2001::,2001::1,CN\n", "line 1: '2001::,2001::1,CN\\n' is not of the form"),
        (b"\x00\xff\xab\xcd\xefMaxMind.com", "must be named *.mmdb"),
        (b"x" * 100_000, "line 1:"),
    ],
)
def test_a_wrong_ipv4_file_is_refused_by_line(tmp_path: Path, ipv4: str | bytes, said: str) -> None:
    path = write_pair(tmp_path, ipv4)
    with pytest.raises(GeoDatabaseError) as refusal:
        text.open_text(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("ipv6", "said"),
    [
        ("", "holds no ranges; allowed are lines 'first,last,CC' with IPv6 addresses"),
        ("2001:::1,2001::2,CN\n", "line 1: '2001:::1,2001::2,CN\\n' holds no address"),
        ("2001::2,2001::1,CN\n", "line 1: '2001::2,2001::1,CN\\n' is no range"),
        ("2001::,2001::5,CN\n2001::5,2001::9,US\n", "line 2: '2001::5,2001::9,US\\n' begins before"),
        ("2001::,2001::5,CN\n2001::6,20", "line 2: '2001::6,20' is not of the form"),
    ],
)
def test_a_wrong_ipv6_file_is_refused_by_line(tmp_path: Path, ipv6: str, said: str) -> None:
    path = write_pair(tmp_path, ipv6=ipv6)
    with pytest.raises(GeoDatabaseError) as refusal:
        text.open_text(path)
    assert str(refusal.value).startswith(f"{path}6: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize("chunk", [1, 64])
def test_faults_are_found_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(text, "CHUNK", chunk)
    lines = [f"{number * 10},{number * 10 + 5},CN\n" for number in range(100)]
    lines[70] = "oops\n"
    with pytest.raises(GeoDatabaseError, match=r"line 71: 'oops\\n'"):
        text.open_text(write_pair(tmp_path, "".join(lines)))
    lines[70] = "5,6,CN\n"
    with pytest.raises(GeoDatabaseError, match=r"line 71: '5,6,CN\\n' begins before"):
        text.open_text(write_pair(tmp_path, "".join(lines)))


def test_the_pair_needs_both_files(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    text.sibling(path).unlink()
    with pytest.raises(GeoDatabaseError, match=r"geoip6: cannot be read: No such file"):
        text.open_text(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoDatabaseError, match="no regular file"):
        text.open_text(tmp_path)


def test_a_file_written_to_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pair(tmp_path)

    def write(_seconds: float) -> None:
        if path.read_text() == GOOD4:
            path.write_text(GOOD4 + "# more\n")

    monkeypatch.setattr(text.time, "sleep", write)
    with pytest.raises(GeoDatabaseError, match="was written to while it was read"):
        text.open_text(path)


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's tor-geoipdb is not installed")
def test_debians_files() -> None:
    database = text.open_text(DEBIAN)
    expected = {
        "1.2.4.8": Place("AS", "CN"),
        "8.8.8.8": Place("NA", "US"),
        "8.8.8.0/24": Place("NA", "US"),
        "2001:4860:4860::8888": Place("NA", "US"),
        "240e::1": Place("AS", "CN"),
        "192.0.2.1": NOWHERE,
        "127.0.0.1": NOWHERE,
        "255.255.255.255": NOWHERE,
        "::1": NOWHERE,
        "2001:db8::1": NOWHERE,
    }
    assert {address: database.find(parse_network(address)) for address in expected} == expected
    assert all(file.entries is not None and file.entries > 100_000 for file in database.files)
    assert all(file.built is not None and file.built > 1.5e9 for file in database.files)
    assert database.capabilities.countries is not None and len(database.capabilities.countries) > 200
    assert database.capabilities.continents == {"AF", "AN", "AS", "EU", "NA", "OC", "SA"}


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's tor-geoipdb is not installed")
def test_debians_files_are_read_as_their_lines_say() -> None:
    database = text.open_text(DEBIAN)
    for path, version in ((DEBIAN, 4), (text.sibling(DEBIAN), 6)):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")][::997]
        for line in lines:
            first, last, code = line.split(",")
            for end in (first, last):
                bits = int(end) if version == 4 else int(ipaddress.IPv6Address(end))
                assert database.find(Network(version, bits, 32 if version == 4 else 128)) == place_of(code), line
