import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.geo.database import GeoDatabaseError
from pdns_gtm_backend.geo.mmdb import COUNTRY_SCHEMAS, open_countries, open_systems
from tests.support.strategies import examples


def maxmind(country: str, continent: str, *subdivisions: str) -> dict[str, Any]:
    names = {"de": "Ein Land", "en": "A country", "zh-CN": "国家"}
    record: dict[str, Any] = {
        "continent": {"code": continent, "geoname_id": 1, "names": names},
        "country": {"iso_code": country, "geoname_id": 2, "names": names},
        "registered_country": {"iso_code": "ZW", "geoname_id": 3},
    }
    if subdivisions:
        record["subdivisions"] = [{"iso_code": code, "names": names} for code in subdivisions]
    return record


COUNTRIES = {
    "1.2.4.0/24": ("CN", "AS"),
    "8.8.8.0/24": ("US", "NA"),
    "192.0.2.0/25": ("DE", "EU"),
    "192.0.2.128/25": ("FR", "EU"),
    "198.51.100.0/24": ("BR", "SA"),
    "203.0.113.0/24": ("ZA", "AF"),
    "2001:4860::/32": ("US", "NA"),
    "240e::/18": ("CN", "AS"),
    "2001:db8:1::/48": ("AU", "OC"),
    "2001:db8:2:3::/64": ("NZ", "OC"),
}
MAXMIND = {network: maxmind(*codes) for network, codes in COUNTRIES.items()}
FLAT = {network: {"country_code": country} for network, (country, _) in COUNTRIES.items()}
SYSTEMS = {
    "1.2.4.0/24": {"autonomous_system_number": 24151, "autonomous_system_organization": "CNNIC"},
    "8.8.8.0/24": {"autonomous_system_number": 15169, "autonomous_system_organization": "GOOGLE"},
    "192.0.2.0/24": {"autonomous_system_number": 64496, "autonomous_system_organization": "Documentation"},
    "2001:db8::/32": {"autonomous_system_number": 4200000000, "autonomous_system_organization": "Documentation"},
}


def write_mmdb(path: Path, records: Mapping[str, Any], kind: str = "Test-Country", version: int = 6) -> Path:
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(("records", "schema"), [(MAXMIND, "maxmind"), (FLAT, "ip-location-db")])
def test_each_schema_gives_the_same_places(tmp_path: Path, records: Mapping[str, Any], schema: str) -> None:
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", records))
    assert schema in database.kind and "Test-Country" in database.kind
    for network, (country, continent) in COUNTRIES.items():
        first = parse_network(network)
        last = int(ipaddress.ip_network(network).broadcast_address)
        assert database.find(first) == Place(continent, country)
        assert database.find(Network(first.version, last, 32 if first.version == 4 else 128)) == Place(
            continent, country
        )
    for address in ("192.0.1.255", "192.0.3.0", "0.0.0.0", "255.255.255.255", "::", "2001:db8:3::", "ffff::"):
        assert database.find(parse_network(address)) is NOWHERE, address
    assert database.failures == 0


@pytest.mark.parametrize("records", [MAXMIND, FLAT])
def test_equal_bits_of_both_families_are_told_apart(tmp_path: Path, records: Mapping[str, Any]) -> None:
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", {k: v for k, v in records.items() if ":" not in k}))
    bits = parse_network("8.8.8.8").bits
    assert database.find(Network(4, bits, 32)).country == "US"
    assert database.find(Network(6, bits << 64, 128)) is NOWHERE


def test_a_database_of_ipv4_alone(tmp_path: Path) -> None:
    ipv4 = {network: record for network, record in FLAT.items() if ":" not in network}
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", ipv4, version=4))
    assert database.find(parse_network("192.0.2.200")).country == "FR"
    assert database.find(parse_network("240e::1")) is NOWHERE
    assert database.failures == 0


def test_subdivisions_are_found_and_known_to_be(tmp_path: Path) -> None:
    city = {
        "8.8.8.0/24": maxmind("US", "NA", "CA"),
        "192.0.2.0/24": maxmind("GB", "EU", "ENG", "WSX"),
        "198.51.100.0/24": maxmind("BR", "SA"),
    }
    database = open_countries(write_mmdb(tmp_path / "city.mmdb", city, "GeoLite2-City"))
    assert database.find(parse_network("8.8.8.8")) == Place("NA", "US", "CA")
    assert database.find(parse_network("192.0.2.1")) == Place("EU", "GB", "ENG")
    assert database.find(parse_network("198.51.100.1")) == Place("SA", "BR")
    assert database.capabilities.has_subdivision
    assert not open_countries(write_mmdb(tmp_path / "country.mmdb", MAXMIND)).capabilities.has_subdivision


def test_subdivisions_without_codes_as_in_dbip_city_lite(tmp_path: Path) -> None:
    record = maxmind("US", "NA") | {"subdivisions": [{"names": {"en": "California"}}]}
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", {"8.8.8.0/24": record}, "DBIP-City-Lite"))
    assert database.find(parse_network("8.8.8.8")) == Place("NA", "US")
    assert not database.capabilities.has_subdivision


def test_capabilities_and_status(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", MAXMIND)
    database = open_countries(path)
    capabilities = database.capabilities
    assert (capabilities.has_country, capabilities.has_asn) == (True, False)
    assert capabilities.countries is None and capabilities.continents is None
    (file,) = database.files
    assert (file.path, file.size, file.modified) == (str(path), path.stat().st_size, path.stat().st_mtime)
    assert file.built is not None and abs(file.built - path.stat().st_mtime) < 60
    assert file.entries is None


def test_odd_records_say_nothing(tmp_path: Path) -> None:
    odd: list[Any] = [
        {},
        "text",
        7,
        [1, 2],
        {"country": "CN"},
        {"country": {"iso_code": 7}},
        {"country": {}, "subdivisions": "CA"},
        {"country": {"iso_code": ["CN"]}, "continent": {"code": 3}},
        {"country": {"iso_code": "??"}},
        {"registered_country": {"iso_code": "CN"}},
    ]
    records = {f"10.0.{index}.0/24": record for index, record in enumerate(odd)}
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", records | {"8.8.8.0/24": maxmind("US", "NA")}))
    assert {database.find(parse_network(network)) for network in records} == {NOWHERE}


@pytest.mark.parametrize(
    ("subdivisions", "expected"),
    [([{"iso_code": "ca"}], ""), ([{"iso_code": "TOOLONG"}], ""), ([], ""), (["CA"], ""), ([{"iso_code": "13"}], "13")],
)
def test_odd_subdivisions_are_left_out(tmp_path: Path, subdivisions: list[Any], expected: str) -> None:
    record = maxmind("JP", "AS") | {"subdivisions": subdivisions}
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", {"192.0.2.0/24": record}))
    assert database.find(parse_network("192.0.2.1")) == Place("AS", "JP", expected)


def test_a_continent_without_a_country(tmp_path: Path) -> None:
    records = {"8.8.8.0/24": maxmind("US", "NA"), "192.0.2.0/24": {"continent": {"code": "AF"}}}
    database = open_countries(write_mmdb(tmp_path / "x.mmdb", records))
    assert database.find(parse_network("192.0.2.1")) == Place("AF")


JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(0, 2**31), st.text(max_size=4), st.sampled_from(["CN", "US", "CA"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["country", "continent", "iso_code", "code", "subdivisions", "country_code"]), inner
        ),
    ),
    max_leaves=12,
)


@examples(200)
@given(st.dictionaries(st.sampled_from(["country", "continent", "subdivisions", "country_code"]), JSON))
def test_no_record_makes_a_lookup_fail(record: dict[str, Any]) -> None:
    for schema in COUNTRY_SCHEMAS:
        place = schema.read(record)
        assert place.continent in ("", "AF", "AN", "AS", "EU", "NA", "OC", "SA")
        assert place.country == "" or len(place.country) == 2
        assert place.country or not place.subdivision


def test_autonomous_systems(tmp_path: Path) -> None:
    database = open_systems(write_mmdb(tmp_path / "asn.mmdb", SYSTEMS, "GeoLite2-ASN"))
    found = [
        database.find(parse_network(text)) for text in ("1.2.4.8", "192.0.2.77", "2001:db8::1", "9.9.9.9", "240e::1")
    ]
    assert found == [24151, 64496, 4200000000, 0, 0]
    capabilities = database.capabilities
    assert (capabilities.has_asn, capabilities.has_country) == (True, False)
    assert "GeoLite2-ASN" in database.kind


def test_an_unknown_schema_is_refused_with_what_was_found(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", {"192.0.2.0/24": {"isp": "x", "land": {"iso": "CN"}}}, "Foo-ISP")
    with pytest.raises(GeoDatabaseError) as refusal:
        open_countries(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: unknown schema (database type 'Foo-ISP', records hold 'isp', 'land')")
    assert '{"country": {"iso_code": ...}}' in message and '{"country_code": ...}' in message


def test_the_two_kinds_are_not_mixed_up(tmp_path: Path) -> None:
    systems = write_mmdb(tmp_path / "asn.mmdb", SYSTEMS, "GeoLite2-ASN")
    with pytest.raises(GeoDatabaseError, match=r"'GeoLite2-ASN', records hold 'autonomous_system_number'"):
        open_countries(systems)
    countries = write_mmdb(tmp_path / "country.mmdb", MAXMIND)
    with pytest.raises(GeoDatabaseError, match=r"allowed is .*autonomous_system_number"):
        open_systems(countries)


def test_no_known_country_is_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", {"192.0.2.0/24": {"country_code": "China"}})
    with pytest.raises(GeoDatabaseError, match="unknown schema"):
        open_countries(path)


def test_no_records_are_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", {"192.0.2.0/24": "text alone"})
    with pytest.raises(GeoDatabaseError, match="no records"):
        open_countries(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", MAXMIND)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(GeoDatabaseError, match=r"x\.mmdb: is (no MaxMind database, or only a part of one|damaged)"):
        open_countries(path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(bytes(range(256)) * 400)
    with pytest.raises(GeoDatabaseError, match="is no MaxMind database"):
        open_countries(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoDatabaseError, match=r"x\.mmdb: cannot be read: No such file"):
        open_countries(tmp_path / "x.mmdb")


def test_damage_inside_is_refused_or_survived(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", MAXMIND)
    good = path.read_bytes()
    places = {NOWHERE} | {Place(continent, country) for country, continent in COUNTRIES.values()}
    refused = 0
    for start in range(0, len(good) - 400, 97):
        path.write_bytes(good[:start] + b"\xff" * 40 + good[start + 40 :])
        try:
            database = open_countries(path)
        except GeoDatabaseError as refusal:
            assert str(path) in str(refusal)
            refused += 1
            continue
        for network in COUNTRIES:
            place = database.find(parse_network(network))
            assert place in places or place.country in ("", *(code for code, _ in COUNTRIES.values()))
    assert refused > 0


def test_a_file_truncated_in_place_does_not_disturb_what_is_loaded(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", MAXMIND)
    database = open_countries(path)
    os.truncate(path, 0)
    assert database.find(parse_network("192.0.2.1")) == Place("EU", "DE")
    assert database.failures == 0


def test_loading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", MAXMIND)
    bad = tmp_path / "bad.mmdb"
    bad.write_bytes(b"bad")
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = [open_countries(path) for _ in range(3)]
    for _ in range(3):
        with pytest.raises(GeoDatabaseError):
            open_countries(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(database.find(parse_network("1.2.4.8")).country == "CN" for database in kept)
