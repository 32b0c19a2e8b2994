"""Writes by PowerDNS's REST API and by DNS UPDATE (RFC 2136)."""

from collections.abc import Iterator

import pytest
import requests

from tests.support.dns_system import DnsSystem
from tests.support.ports import free_port
from tests.support.writable_system import ZONE, listed, serial, util, writable_system

KEY = "an-api-key"
Api = tuple[DnsSystem, str]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    port = free_port()
    overrides = {
        "api": "yes",
        "api-key": KEY,
        "webserver": "yes",
        "webserver-address": "127.0.0.1",
        "webserver-port": str(port),
        "dnsupdate": "yes",
        "allow-dnsupdate-from": "",
    }
    with writable_system(tmp_path_factory.mktemp("d"), overrides) as system:
        util(system, "set-meta", ZONE, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8")
        yield system, f"http://127.0.0.1:{port}/api/v1/servers/localhost"


def patch(api: Api, name: str, rrtype: str, *contents: str, change: str = "REPLACE") -> requests.Response:
    records = [{"content": content, "disabled": False} for content in contents]
    rrset = {"name": f"{name}.", "type": rrtype, "ttl": 60, "changetype": change, "records": records}
    return requests.patch(f"{api[1]}/zones/{ZONE}.", json={"rrsets": [rrset]}, headers={"X-API-Key": KEY}, timeout=10)


def test_the_api_writes_records_and_moves_the_serial_once(api: Api) -> None:
    system = api[0]
    before = serial(system)
    assert patch(api, "api.shop.example", "A", "192.0.2.44", "192.0.2.45").status_code == 204
    assert system.client.a("api.shop.example") == ["192.0.2.44", "192.0.2.45"]
    assert serial(system) == before + 1
    assert patch(api, "api.shop.example", "A", change="DELETE").status_code == 204
    assert system.client.ask("api.shop.example").code == "NXDOMAIN"


def test_the_api_moves_the_serial_as_metadata_says(api: Api) -> None:
    system = api[0]
    util(system, "set-meta", ZONE, "SOA-EDIT-API", "EPOCH")
    system.powerdns.control("purge")
    assert patch(api, "api.shop.example", "A", "192.0.2.46").status_code == 204
    assert serial(system) > 1_700_000_000
    util(system, "set-meta", ZONE, "SOA-EDIT-API")


@pytest.mark.parametrize(
    ("name", "rrtype", "content"),
    [
        ("www.shop.example", "A", "192.0.2.44"),
        ("www.shop.example", "CNAME", "mail.shop.example."),
        ("other.example", "A", "192.0.2.1"),
        ("x.shop.example", "A", "nonsense"),
    ],
)
def test_the_api_refuses_what_the_other_doors_refuse(api: Api, name: str, rrtype: str, content: str) -> None:
    before = listed(api[0])
    assert patch(api, name, rrtype, content).status_code == 422
    assert listed(api[0]) == before


def test_the_api_searches_static_records_and_instances(api: Api) -> None:
    patch(api, "found.shop.example", "TXT", '"needle [1]"')

    def search(pattern: str, limit: int = 10) -> set[tuple[str, str]]:
        parameters = {"q": pattern, "max": str(limit)}
        reply = requests.get(f"{api[1]}/search-data", params=parameters, headers={"X-API-Key": KEY}, timeout=10)
        return {(found["name"], found["content"]) for found in reply.json() if found["object_type"] == "record"}

    assert search("*needle?[1*") == {("found.shop.example.", '"needle [1]"')}
    assert search("w?w.shop.example") == {
        ("www.shop.example.", "192.0.2.1"),
        ("www.shop.example.", "192.0.2.2"),
    }
    assert len(search("*", 2)) <= 2


def test_an_update_adds_and_deletes_and_reads_what_it_wrote(api: Api) -> None:
    system = api[0]
    before = serial(system)
    said = system.update(
        ZONE,
        "prereq nxdomain upd.shop.example",
        "update add upd.shop.example 60 A 192.0.2.66",
        "update add upd.shop.example 60 A 192.0.2.67",
        'update add upd.shop.example 60 TXT "hi"',
    )
    assert said.count("status: NOERROR") == 2
    assert system.client.a("upd.shop.example") == ["192.0.2.66", "192.0.2.67"]
    assert serial(system) > before
    system.update(ZONE, "update delete upd.shop.example A 192.0.2.66")
    assert system.client.a("upd.shop.example") == ["192.0.2.67"]
    assert "YXDOMAIN" in system.update(
        ZONE, "prereq nxdomain upd.shop.example", "update add upd.shop.example 60 A 192.0.2.68"
    )
    system.update(ZONE, "update delete upd.shop.example")
    assert system.client.ask("upd.shop.example").code == "NXDOMAIN"


def test_an_update_of_what_an_instance_answers_changes_nothing_there(api: Api) -> None:
    system = api[0]
    system.update(
        ZONE,
        "update add www.shop.example 60 A 192.0.2.99",
        "update delete www.shop.example A",
        "update add beside.shop.example 60 A 192.0.2.70",
    )
    assert system.client.a("www.shop.example") == ["192.0.2.1", "192.0.2.2"]
    assert system.client.a("beside.shop.example") == ["192.0.2.70"]


def test_an_update_from_elsewhere_is_refused(api: Api) -> None:
    system = api[0]
    util(system, "set-meta", ZONE, "ALLOW-DNSUPDATE-FROM", "192.0.2.0/24")
    system.powerdns.control("purge")
    assert "REFUSED" in system.update(ZONE, "update add no.shop.example 60 A 192.0.2.71")
    util(system, "set-meta", ZONE, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8")
    system.powerdns.control("purge")
    assert system.client.ask("no.shop.example").code == "NXDOMAIN"
