"""What pdnsutil and PowerDNS's other doors write, over the unix transport, and on another PowerDNS.

The other modules run by HTTP on the installed PowerDNS. GTM_TEST_PDNS_ROOT: a folder that Debian packages of another
one are unpacked in (pdns-server, pdns-backend-remote, pdns-tools, and all that they depend on).
"""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pdns_gtm_backend.dns.pdns_conf import socket_path
from pdns_gtm_backend.dns.transactions import MAX_OPEN
from tests.support.dns_system import DnsSystem, running_system
from tests.support.ports import free_port
from tests.support.powerdns import BackendConnection, Programs, wait_for
from tests.support.writable_system import DOCUMENTS, KEY_SECRET, ZONE, command, listed, serial, util

ROOT = "GTM_TEST_PDNS_ROOT"
KEY = "an-api-key"
WWW = {("www.shop.example", "60", "A", "192.0.2.1"), ("www.shop.example", "60", "A", "192.0.2.2")}
MASTER = """
$ORIGIN shop.example.
@ 300 IN SOA ns1.shop.example. h.shop.example. 77 1 2 3 4
@ 300 IN NS ns1.shop.example.
ns1 300 IN A 192.0.2.53
*.w 60 IN TXT "a;b"
www 60 IN A 192.0.2.99
"""
VARIANTS = (("unix", False), ("http", True), ("unix", True))


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: f"{v[0]}-{'other' if v[1] else 'installed'}")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    transport, other = request.param
    root = os.environ.get(ROOT)
    if other and not root:
        pytest.skip(f"{ROOT} names no folder with another PowerDNS unpacked in it")
    folder = tmp_path_factory.mktemp("d")
    overrides = {
        "api": "yes",
        "api-key": KEY,
        "webserver": "yes",
        "webserver-address": "127.0.0.1",
        "webserver-port": str(free_port()),
    }
    programs = Programs(Path(root)) if other and root else Programs()
    decided: dict[str, Any] = {"transport": transport, "key_secret": KEY_SECRET}
    decided["pdns_control"] = folder / "p" / "pdns.controlsocket"
    with running_system(folder, geo=False, decided=decided, overrides=overrides, programs=programs) as running:
        running.api = f"http://127.0.0.1:{overrides['webserver-port']}/api/v1/servers/localhost"
        running.write(*DOCUMENTS)
        running.forget()
        yield running


@pytest.fixture(autouse=True)
def _empty(system: DnsSystem) -> None:
    util(system, "clear-zone", ZONE)


def shown(system: DnsSystem) -> set[tuple[str, str, str, str]]:
    """What list-zone shows, the names without the dot that PowerDNS 5.1 ends them by."""
    return {(name.removesuffix("."), ttl, rrtype, content) for name, ttl, rrtype, content in listed(system)}


def static(system: DnsSystem) -> set[tuple[str, str, str, str]]:
    return {line for line in shown(system) - WWW if line[0] != ZONE}


def patch(system: DnsSystem, name: str, *contents: str) -> int:
    """The status of a PATCH of PowerDNS's REST API that replaces the addresses of a name."""
    records = [{"content": content, "disabled": False} for content in contents]
    rrset = {"name": name, "type": "A", "ttl": 60, "changetype": "REPLACE", "records": records}
    url = f"{system.api}/zones/{ZONE}."
    return requests.patch(url, json={"rrsets": [rrset]}, headers={"X-API-Key": KEY}, timeout=10).status_code


def test_records_are_added_replaced_and_deleted(system: DnsSystem) -> None:
    owner = system.powerdns.owner("mail", ZONE)
    before = serial(system)
    util(system, "add-record", ZONE, owner, "A", "300", "192.0.2.9")
    said = util(system, "add-record", ZONE, owner, "A", "300", "192.0.2.10")
    assert "192.0.2.9" in said and "192.0.2.10" in said
    assert system.client.a("mail.shop.example") == ["192.0.2.10", "192.0.2.9"]
    util(system, "replace-rrset", ZONE, owner, "MX", "60", "10 mx.example.net")
    util(system, "delete-rrset", ZONE, owner, "A")
    assert static(system) == {("mail.shop.example", "60", "MX", "10 mx.example.net.")}
    assert serial(system) == before + 4
    util(system, "increase-serial", ZONE)
    assert serial(system) == before + 5


def test_what_an_instance_answers_is_not_written(system: DnsSystem) -> None:
    done = system.powerdns.util("replace-rrset", ZONE, system.powerdns.owner("www", ZONE), "A", "60", "192.0.2.99")
    assert "did not accept" in done.stdout + done.stderr
    assert "A of www.shop.example is answered by instance gtm00000001" in command(system, "refusals")
    assert shown(system) >= WWW


def test_a_zone_file_is_loaded_edited_and_cleared(system: DnsSystem, tmp_path: Path) -> None:
    file = tmp_path / "zone"
    file.write_text(MASTER)
    util(system, "load-zone", ZONE, str(file))
    nameserver, wildcard = ("ns1.shop.example", "300", "A"), ("*.w.shop.example", "60", "TXT", '"a;b"')
    assert static(system) == {(*nameserver, "192.0.2.53"), wildcard}
    assert serial(system) == 77
    assert "0 errors" in util(system, "check-zone", ZONE)
    said = system.powerdns.edit(ZONE, "s/192.0.2.53/192.0.2.54/; s/192.0.2.1$/192.0.2.101/")
    assert static(system) == {(*nameserver, "192.0.2.54"), wildcard}, said
    assert shown(system) >= WWW
    util(system, "clear-zone", ZONE)
    assert static(system) == set()


def test_the_api_writes_a_set(system: DnsSystem) -> None:
    assert patch(system, "api.shop.example.", "192.0.2.44", "192.0.2.45") == 204
    assert system.client.a("api.shop.example") == ["192.0.2.44", "192.0.2.45"]
    assert patch(system, "api.shop.example.", "192.0.2.46") == 204
    assert static(system) == {("api.shop.example", "60", "A", "192.0.2.46")}
    assert patch(system, "www.shop.example.", "192.0.2.44") == 422


def test_an_update_writes_and_reads_what_it_wrote(system: DnsSystem) -> None:
    util(system, "set-meta", ZONE, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8")
    system.powerdns.control("purge")
    before = serial(system)
    said = system.update(
        ZONE,
        "prereq nxdomain upd.shop.example",
        "update add upd.shop.example 60 A 192.0.2.66",
        "update add upd.shop.example 60 A 192.0.2.67",
    )
    assert said.count("status: NOERROR") == 2, said
    assert system.client.a("upd.shop.example") == ["192.0.2.66", "192.0.2.67"]
    assert serial(system) > before
    system.update(ZONE, "update delete upd.shop.example")
    assert system.client.ask("upd.shop.example").code == "NXDOMAIN"


def test_commands_of_the_backend_are_carried_out(system: DnsSystem) -> None:
    assert "zone new.example is made" in command(system, "zone add new.example")
    wait_for(lambda: system.client.ask("new.example", "SOA").code == "NOERROR", "the new zone")
    util(system, "add-record", "new.example", system.powerdns.owner("a", "new.example"), "A", "60", "192.0.2.1")
    assert system.client.a("a.new.example") == ["192.0.2.1"]
    assert "is deleted" in command(system, "zone delete new.example")
    assert "192.0.2.3" in command(system, "simulate www.shop.example 203.0.113.9")


@pytest.mark.parametrize("nsec3", [(), ("1 0 0 -", "narrow")], ids=["nsec", "nsec3-narrow"])
def test_a_signed_zone_is_valid(system: DnsSystem, nsec3: tuple[str, ...]) -> None:
    util(system, "add-record", ZONE, system.powerdns.owner("mail", ZONE), "A", "300", "192.0.2.9")
    util(system, "secure-zone", ZONE)
    try:
        if nsec3:
            util(system, "set-nsec3", ZONE, *nsec3)
        system.powerdns.control("purge")
        system.trust(ZONE)
        for name, rrtype in (("mail.shop.example", "A"), ("www.shop.example", "A"), (ZONE, "SOA")):
            assert "; fully validated" in system.delv(ZONE, name, rrtype)
        for name, rrtype in (("www.shop.example", "AAAA"), ("nope.shop.example", "A"), ("x.mail.shop.example", "A")):
            assert "; negative response, fully validated" in system.delv(ZONE, name, rrtype)
    finally:
        util(system, "disable-dnssec", ZONE)
        util(system, "unset-nsec3", ZONE)
        system.powerdns.control("purge")


def test_transactions_of_the_same_second_do_not_mix(system: DnsSystem) -> None:
    settings = system.backend.settings
    with BackendConnection(settings) as one, BackendConnection(settings) as other:
        for connection, name in ((one, "one.shop.example."), (other, "other.shop.example.")):
            record = {"qtype": "A", "qname": name, "content": "192.0.2.21", "ttl": 60, "auth": True}
            written = {"domain_id": 2, "qname": name, "qtype": "A", "trxid": 7, "rrset": [record]}
            assert connection.call("startTransaction", {"domain": f"{ZONE}.", "domain_id": -1, "trxid": 7})
            assert connection.call("replaceRRSet", written)
        for name, found in (("one.shop.example.", 1), ("other.shop.example.", 0)):
            assert len(one.call("lookup", {"qname": name, "qtype": "A", "zone-id": 2})) == found
        assert one.call("commitTransaction", {"trxid": 7})
    assert static(system) == {("one.shop.example", "60", "A", "192.0.2.21")}


def test_what_a_connection_began_ends_with_it(system: DnsSystem) -> None:
    settings = system.backend.settings
    if settings.transport == "http":
        pytest.skip("by HTTP the backend is not told of the end of a connection")
    parameters = {"domain": f"{ZONE}.", "domain_id": -1, "trxid": 7}
    line = json.dumps({"method": "startTransaction", "parameters": parameters}).encode() + b"\n"
    for number in range(MAX_OPEN + 1):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(socket_path(settings)))
            connection.sendall(line)
            if number % 2:
                assert json.loads(connection.recv(1000)) == {"result": True}

    def room() -> bool:
        try:
            return bool(system.backend.call("startTransaction", **parameters))
        except AssertionError:
            return False

    wait_for(room, "room for another transaction")


def test_what_powerdns_asks_is_counted(system: DnsSystem) -> None:
    before = system.backend.calls()
    assert system.client.a("www.shop.example", "198.51.100.0/24") == ["192.0.2.1", "192.0.2.2"]
    assert system.backend.calls() > before
