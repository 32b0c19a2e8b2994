import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_geo_mmdb import FLAT, MAXMIND, SYSTEMS, maxmind, write_mmdb
from test_geo_text import GOOD4, write_pair

from pdns_gtm_backend.domain.client import NOWHERE, Place, parse_network
from pdns_gtm_backend.geo import locator as locator_module
from pdns_gtm_backend.geo.locator import DEFAULT_PATHS, DatabaseStatus, Locator, open_country

CLIENT = parse_network("192.0.2.1")
SPAN = "3221225984,3221226239"


def replace_file(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.rename(path)


def text_pair(folder: Path, country: str) -> Path:
    return write_pair(folder, f"{SPAN},{country}\n")


def country(locator: Locator) -> str:
    return locator.locate(CLIENT).country


def defaults(folder: Path) -> tuple[str, ...]:
    for name in ("var", "share", "tor"):
        (folder / name).mkdir()
    return (str(folder / "var/GeoLite2-Country.mmdb"), str(folder / "share/*.mmdb"), str(folder / "tor/geoip"))


def test_a_configured_text_pair(tmp_path: Path) -> None:
    locator = Locator(text_pair(tmp_path, "DE"))
    assert locator.locate(CLIENT) == Place("EU", "DE")
    status = locator.status()
    assert status.asn is None
    assert (status.country.kind, status.country.error) == ("tor-geoipdb text", "")
    assert [Path(file.path).name for file in status.country.files] == ["geoip", "geoip6"]


def test_a_configured_mmdb_and_asn(tmp_path: Path) -> None:
    locator = Locator(
        write_mmdb(tmp_path / "country.mmdb", FLAT), write_mmdb(tmp_path / "asn.mmdb", SYSTEMS, "GeoLite2-ASN")
    )
    assert locator.locate(CLIENT) == Place("EU", "DE", "", 64496)
    assert locator.locate(parse_network("203.0.113.1")) == Place("AF", "ZA")
    assert locator.locate(parse_network("2001:db8::")) == Place(asn=4200000000)
    assert locator.locate(parse_network("9.9.9.9")) == NOWHERE
    capabilities = locator.capabilities
    assert (capabilities.has_country, capabilities.has_subdivision, capabilities.has_asn) == (True, False, True)
    assert capabilities.countries is None
    asn = locator.status().asn
    assert asn is not None and "GeoLite2-ASN" in asn.kind and asn.error == ""


def test_equal_places_are_shared(tmp_path: Path) -> None:
    locator = Locator(text_pair(tmp_path, "DE"), write_mmdb(tmp_path / "asn.mmdb", SYSTEMS))
    assert locator.locate(CLIENT) is locator.locate(parse_network("192.0.2.200"))


def test_systems_without_countries(tmp_path: Path) -> None:
    locator = Locator(None, write_mmdb(tmp_path / "asn.mmdb", SYSTEMS), default_paths=())
    assert locator.locate(CLIENT) == Place(asn=64496)
    capabilities = locator.capabilities
    assert (capabilities.has_country, capabilities.has_asn, capabilities.countries) == (False, True, frozenset())


def test_no_database_is_said_and_is_no_crash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = defaults(tmp_path)
    with caplog.at_level(logging.WARNING):
        locator = Locator(default_paths=paths)
    assert locator.locate(CLIENT) is NOWHERE
    status = locator.status().country
    assert (status.kind, status.files) == ("", ())
    assert status.error == f"no file at {' or '.join(paths)}: no client has a place"
    assert status.error in caplog.text
    assert not locator.capabilities.has_country
    assert not locator.refresh()


@pytest.mark.parametrize("name", ["geoip", "x.mmdb"])
def test_a_configured_file_that_is_missing_may_come_later(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    locator = Locator(path)
    assert locator.locate(CLIENT) is NOWHERE
    assert locator.status().country == DatabaseStatus(error=f"{path}: cannot be read: No such file or directory")
    if name == "geoip":
        text_pair(tmp_path, "DE")
    else:
        write_mmdb(path, MAXMIND)
    assert locator.refresh()
    assert country(locator) == "DE"
    assert locator.status().country.error == ""


def test_a_configured_file_is_not_swapped_for_a_default_one(tmp_path: Path) -> None:
    paths = defaults(tmp_path)
    text_pair(tmp_path / "tor", "DE")
    locator = Locator(tmp_path / "none.mmdb", default_paths=paths)
    assert country(locator) == ""


def test_the_search_order(tmp_path: Path) -> None:
    paths = defaults(tmp_path)
    text_pair(tmp_path / "tor", "DE")
    locator = Locator(default_paths=paths)
    assert country(locator) == "DE"

    write_mmdb(tmp_path / "share/dbip-asn-lite.mmdb", SYSTEMS)
    assert not locator.refresh()

    write_mmdb(tmp_path / "share/dbip-country-lite.mmdb", {"192.0.2.0/24": {"country_code": "FR"}})
    assert locator.refresh()
    assert country(locator) == "FR"

    write_mmdb(tmp_path / "share/dbip-City.mmdb", {"192.0.2.0/24": maxmind("US", "NA", "CA")})
    assert locator.refresh()
    assert locator.locate(CLIENT) == Place("NA", "US", "CA")
    assert locator.capabilities.has_subdivision

    write_mmdb(tmp_path / "var/GeoLite2-Country.mmdb", {"192.0.2.0/24": maxmind("CN", "AS")})
    assert locator.refresh()
    assert country(locator) == "CN"
    assert not locator.capabilities.has_subdivision

    (tmp_path / "var/GeoLite2-Country.mmdb").unlink()
    assert locator.refresh()
    assert country(locator) == "US"
    assert locator.status().country.error == ""


def test_a_bad_file_in_the_search_is_passed_over_and_named(tmp_path: Path) -> None:
    paths = defaults(tmp_path)
    bad = tmp_path / "var/GeoLite2-Country.mmdb"
    bad.write_bytes(b"garbage")
    text_pair(tmp_path / "tor", "DE")
    locator = Locator(default_paths=paths)
    assert country(locator) == "DE"
    status = locator.status().country
    assert status.kind == "tor-geoipdb text"
    assert status.error == f"{bad}: is no MaxMind database, or only a part of one"


def test_a_used_file_gone_bad_is_not_swapped_for_a_later_one(tmp_path: Path) -> None:
    paths = defaults(tmp_path)
    text_pair(tmp_path / "tor", "DE")
    first = write_mmdb(tmp_path / "var/GeoLite2-Country.mmdb", {"192.0.2.0/24": maxmind("CN", "AS")})
    locator = Locator(default_paths=paths)
    replace_file(first, b"garbage")
    assert not locator.refresh()
    assert country(locator) == "CN"
    assert locator.status().country.error.endswith("; the data loaded before stays in use")


def test_the_last_default_file_gone_keeps_the_data(tmp_path: Path) -> None:
    paths = defaults(tmp_path)
    path = text_pair(tmp_path / "tor", "DE")
    locator = Locator(default_paths=paths)
    path.unlink()
    assert not locator.refresh()
    assert country(locator) == "DE"
    assert locator.status().country.error == f"{path}: is gone; the data loaded before stays in use"


def test_a_replaced_file_is_reloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def counted(path: Path) -> object:
        loads.append(path)
        return open_country(path)

    monkeypatch.setattr(locator_module, "open_country", counted)
    path = text_pair(tmp_path, "DE")
    locator = Locator(path)
    assert not locator.refresh()
    assert len(loads) == 1
    replace_file(path, f"{SPAN},FR\n".encode())
    assert locator.refresh()
    assert country(locator) == "FR"
    assert not locator.refresh()
    assert len(loads) == 2


def test_a_file_written_in_place_with_its_old_time_and_size_is_reloaded(tmp_path: Path) -> None:
    path = text_pair(tmp_path, "DE")
    locator = Locator(path)
    before = path.stat()
    path.write_text(f"{SPAN},FR\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert locator.refresh()
    assert country(locator) == "FR"


def test_a_new_ipv6_file_alone_is_noticed(tmp_path: Path) -> None:
    locator = Locator(text_pair(tmp_path, "DE"))
    client = parse_network("2001:db8::")
    assert locator.locate(client) is NOWHERE
    replace_file(tmp_path / "geoip6", b"2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,CN\n")
    assert locator.refresh()
    assert locator.locate(client) == Place("AS", "CN")


@pytest.mark.parametrize("bad", [b"", b"garbage\n", f"{SPAN},F".encode()])
def test_a_bad_new_text_file_keeps_the_old_data(tmp_path: Path, bad: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = text_pair(tmp_path, "DE")
    locator = Locator(path)
    files = locator.status().country.files
    replace_file(path, bad)
    with caplog.at_level(logging.WARNING):
        assert not locator.refresh()
        assert not locator.refresh()
    assert country(locator) == "DE"
    status = locator.status().country
    assert status.files == files
    assert status.error.startswith(f"{path}: ")
    assert status.error.endswith("; the data loaded before stays in use")
    assert len(caplog.records) == 1

    replace_file(path, f"{SPAN},FR\n".encode())
    assert locator.refresh()
    assert country(locator) == "FR"
    assert locator.status().country.error == ""


def test_a_bad_file_is_not_read_again_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def counted(path: Path) -> object:
        loads.append(path)
        return open_country(path)

    monkeypatch.setattr(locator_module, "open_country", counted)
    path = write_pair(tmp_path, "garbage\n")
    locator = Locator(path)
    locator.refresh()
    locator.refresh()
    assert len(loads) == 1
    path.write_text(GOOD4)
    assert locator.refresh()
    assert len(loads) == 2


def test_mmdb_files_replaced_or_truncated_in_place(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "x.mmdb", FLAT)
    systems = write_mmdb(tmp_path / "asn.mmdb", SYSTEMS)
    locator = Locator(path, systems)
    os.truncate(path, 100)
    os.truncate(systems, 0)
    assert not locator.refresh()
    assert locator.locate(CLIENT) == Place("EU", "DE", "", 64496)
    status = locator.status()
    assert status.asn is not None
    assert "only a part of one" in status.country.error and "only a part of one" in status.asn.error

    write_mmdb(path, {"192.0.2.0/24": maxmind("CN", "AS")})
    assert locator.refresh()
    assert locator.locate(CLIENT) == Place("AS", "CN", "", 64496)

    write_mmdb(systems, {"192.0.2.0/24": {"autonomous_system_number": 4134}})
    assert locator.refresh()
    assert locator.locate(CLIENT) == Place("AS", "CN", "", 4134)


def test_lookups_go_on_while_the_data_is_replaced(tmp_path: Path) -> None:
    path = text_pair(tmp_path, "DE")
    locator = Locator(path)
    stop = threading.Event()

    def look_up() -> set[str]:
        found = set()
        while not stop.is_set():
            found.add(country(locator))
        return found

    with ThreadPoolExecutor(2) as pool:
        lookups = [pool.submit(look_up) for _ in range(2)]
        try:
            for turn in range(10):
                replace_file(path, f"{SPAN},{'FR' if turn % 2 else 'DE'}\n".encode())
                locator.refresh()
        finally:
            stop.set()
    assert [lookup.result() for lookup in lookups] == [{"DE", "FR"}] * 2
    assert country(locator) == "FR"


@pytest.mark.skipif(not Path(DEFAULT_PATHS[-1]).exists(), reason="Debian's tor-geoipdb is not installed")
def test_the_default_search_finds_something() -> None:
    locator = Locator()
    assert locator.locate(parse_network("1.2.4.8")) == Place("AS", "CN")
    assert locator.locate(parse_network("8.8.8.8")).country == "US"
    assert locator.status().country.error == ""
