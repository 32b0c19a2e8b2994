"""Records written by pdnsutil, in transactions: what is written, what is refused, and that it is all or nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pdns_gtm_backend.dns.pdns_conf import backend_url
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.store.repository import Repository, parse
from tests.support.dns_system import DnsSystem
from tests.support.documents import deleted, rrset
from tests.support.writable_system import ZONE, command, listed, serial, util, writable_system

DYNAMIC = {("www.shop.example", "60", "A", "192.0.2.1"), ("www.shop.example", "60", "A", "192.0.2.2")}
MASTER = """
$ORIGIN shop.example.
@ 300 IN SOA ns1.shop.example. h.shop.example. 77 1 2 3 4
@ 300 IN NS ns1.shop.example.
ns1 300 IN A 192.0.2.53
*.w 60 IN TXT "a;b" "c\\"d"
a\\.b 60 IN TXT "dot"
sp\\032ace 60 IN TXT "space"
sub 60 IN NS ns.sub
ns.sub 60 IN A 192.0.2.77
www 60 IN A 192.0.2.99
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    with writable_system(tmp_path_factory.mktemp("d")) as system:
        yield system


@pytest.fixture
def system(whole: DnsSystem) -> DnsSystem:
    """The system with an empty zone of a low serial."""
    util(whole, "clear-zone", ZONE)
    whole.write(Zone(name=ZONE, number=2, serial=10))
    whole.forget()
    return whole


def static(system: DnsSystem) -> set[tuple[str, str, str, str]]:
    """What list-zone shows but for what instances answer, and the apex."""
    return {line for line in listed(system) - DYNAMIC if line[0] != ZONE}


def test_records_are_added_replaced_and_deleted_and_answered_at_once(system: DnsSystem) -> None:
    assert "192.0.2.9" in util(system, "add-record", ZONE, "mail", "A", "300", "192.0.2.9")
    said = util(system, "add-record", ZONE, "mail", "A", "300", "192.0.2.10")
    # pdnsutil reads its own write back before it commits it.
    assert "192.0.2.9" in said and "192.0.2.10" in said
    assert system.client.a("mail.shop.example") == ["192.0.2.10", "192.0.2.9"]
    util(system, "replace-rrset", ZONE, "mail", "MX", "60", "10 mx.example.net", "20 mx2.example.net")
    util(system, "delete-rrset", ZONE, "mail", "A")
    assert static(system) == {
        ("mail.shop.example", "60", "MX", "10 mx.example.net."),
        ("mail.shop.example", "60", "MX", "20 mx2.example.net."),
    }


def test_each_change_moves_the_serial_once_unless_it_sets_it(system: DnsSystem) -> None:
    util(system, "add-record", ZONE, "mail", "A", "300", "192.0.2.9")
    assert serial(system) == 11
    util(system, "increase-serial", ZONE)
    assert serial(system) == 12
    util(system, "replace-rrset", ZONE, ".", "SOA", "300", "ns9.shop.example h.shop.example 500 1 2 3 4")
    assert serial(system) == 500
    util(system, "delete-rrset", ZONE, "mail", "A")
    assert serial(system) == 501
    assert system.client.ask(ZONE, "SOA").values("SOA") == ["ns9.shop.example. h.shop.example. 501 1 2 3 4"]


def test_a_change_that_changes_nothing_moves_nothing(system: DnsSystem) -> None:
    util(system, "replace-rrset", ZONE, "mail", "A", "300", "192.0.2.9")
    util(system, "replace-rrset", ZONE, "mail", "A", "300", "192.0.2.9")
    assert serial(system) == 11


def test_a_synthesised_soa_stays_so_when_only_its_serial_is_written(system: DnsSystem) -> None:
    util(system, "increase-serial", ZONE)
    snapshot = parse(Repository(system.redis.connect()).load())
    assert snapshot.of_zone("rrsets", ZONE) == {}
    assert snapshot.zones[ZONE].serial == 11


def test_a_zone_file_replaces_the_zone_and_leaves_what_instances_answer(system: DnsSystem, tmp_path: Path) -> None:
    util(system, "add-record", ZONE, "old", "A", "300", "192.0.2.9")
    file = tmp_path / "zone"
    file.write_text(MASTER)
    util(system, "load-zone", ZONE, str(file))
    assert static(system) == {
        ("ns1.shop.example", "300", "A", "192.0.2.53"),
        ("*.w.shop.example", "60", "TXT", '"a;b" "c\\"d"'),
        ("a\\.b.shop.example", "60", "TXT", '"dot"'),
        ("sp\\032ace.shop.example", "60", "TXT", '"space"'),
        ("sub.shop.example", "60", "NS", "ns.sub.shop.example."),
        ("ns.sub.shop.example", "60", "A", "192.0.2.77"),
    }
    assert serial(system) == 77
    assert system.client.a("www.shop.example") == ["192.0.2.1", "192.0.2.2"]
    assert system.client.ask("a\\.b.shop.example", "TXT").values("TXT") == ['"dot"']
    assert system.client.ask("b.shop.example", "TXT").code == "NXDOMAIN"
    assert "0 errors" in util(system, "check-zone", ZONE)
    assert "A of www.shop.example is answered by instance gtm00000001" in command(system, "refusals")


def test_what_was_listed_can_be_loaded_again(system: DnsSystem, tmp_path: Path) -> None:
    file = tmp_path / "zone"
    file.write_text(MASTER)
    util(system, "load-zone", ZONE, str(file))
    before = listed(system)
    again = tmp_path / "again"
    again.write_text(util(system, "list-zone", ZONE))
    util(system, "load-zone", ZONE, str(again))
    assert listed(system) == before


def test_a_zone_that_breaks_a_rule_is_not_loaded_at_all(system: DnsSystem, tmp_path: Path) -> None:
    util(system, "add-record", ZONE, "old", "A", "300", "192.0.2.9")
    before = listed(system)
    file = tmp_path / "zone"
    file.write_text(MASTER + "both 60 IN A 192.0.2.1\nboth 60 IN CNAME www\n")
    assert system.powerdns.util("load-zone", ZONE, str(file)).returncode == 1
    assert listed(system) == before
    assert "'CNAME' cannot be beside other records (A) at both.shop.example" in command(system, "refusals")


def test_a_zone_is_cleared_but_for_its_instances(system: DnsSystem) -> None:
    util(system, "add-record", ZONE, "mail", "A", "300", "192.0.2.9")
    util(system, "clear-zone", ZONE)
    assert static(system) == set()
    assert listed(system) >= DYNAMIC


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add-record", ZONE, "www", "A", "60", "192.0.2.99"), "backend did not accept"),
        (("replace-rrset", ZONE, "www", "A", "60", "192.0.2.99"), "backend did not accept"),
        (("add-record", ZONE, "bad", "A", "60", "nope"), "Parsing record content"),
        (("add-record", "nowhere.example", "bad", "A", "60", "192.0.2.1"), "does not exist"),
    ],
)
def test_what_is_refused_is_said_and_not_written(system: DnsSystem, words: tuple[str, ...], said: str) -> None:
    before = listed(system)
    done = system.powerdns.util(*words)
    assert said in done.stdout + done.stderr
    assert listed(system) == before
    assert serial(system) == 10


def test_records_beside_an_address_instance_are_written(system: DnsSystem) -> None:
    util(system, "add-record", ZONE, "www", "MX", "60", "10 mx.example.net")
    assert static(system) == {("www.shop.example", "60", "MX", "10 mx.example.net.")}
    assert listed(system) >= DYNAMIC


def test_an_edit_of_an_instance_name_does_not_harm_the_rest(system: DnsSystem) -> None:
    util(system, "add-record", ZONE, "mail", "A", "300", "192.0.2.9")
    shown = system.powerdns.edit(ZONE, "s/192.0.2.9/192.0.2.19/; s/192.0.2.1$/192.0.2.101/")
    assert "192.0.2.19" in shown
    assert static(system) == {("mail.shop.example", "300", "A", "192.0.2.19")}
    assert listed(system) >= DYNAMIC
    assert "it is changed there" in command(system, "refusals")


class Connection:
    """One connection to the backend, as PowerDNS keeps one for all that it does in one go."""

    def __init__(self, system: DnsSystem) -> None:
        self._session = requests.Session()
        self._url = backend_url(system.backend.settings)

    def call(self, method: str, **parameters: object) -> requests.Response:
        return self._session.post(self._url, json={"method": method, "parameters": parameters}, timeout=10)

    def replace(self, name: str, content: str, trxid: int) -> requests.Response:
        record = {"qtype": "A", "qname": name, "content": content, "ttl": 60, "auth": True}
        return self.call("replaceRRSet", domain_id=2, qname=name, qtype="A", trxid=trxid, rrset=[record])

    def lookup(self, name: str) -> list[str]:
        found = self.call("lookup", qname=name, qtype="A", **{"zone-id": 2}).json()["result"]
        return [record["content"] for record in found]


def test_transactions_of_the_same_second_do_not_mix(system: DnsSystem) -> None:
    one, other, third = Connection(system), Connection(system), Connection(system)
    for connection in (one, other):
        assert connection.call("startTransaction", domain=f"{ZONE}.", domain_id=-1, trxid=7).json()["result"]
    one.replace("one.shop.example.", "192.0.2.21", 7)
    other.replace("other.shop.example.", "192.0.2.22", 7)
    assert (one.lookup("one.shop.example."), one.lookup("other.shop.example.")) == (["192.0.2.21"], [])
    assert (other.lookup("one.shop.example."), other.lookup("other.shop.example.")) == ([], ["192.0.2.22"])
    assert third.lookup("one.shop.example.") == []
    assert other.call("abortTransaction", trxid=7).json()["result"]
    assert one.call("commitTransaction", trxid=7).json()["result"]
    assert static(system) == {("one.shop.example", "60", "A", "192.0.2.21")}
    assert other.call("commitTransaction", trxid=7).status_code == 400


def test_a_transaction_in_which_something_was_refused_is_not_committed(system: DnsSystem) -> None:
    connection = Connection(system)
    connection.call("startTransaction", domain=f"{ZONE}.", domain_id=-1, trxid=1)
    connection.replace("good.shop.example.", "192.0.2.21", 1)
    assert connection.replace("bad.shop.example.", "nonsense", 1).status_code == 400
    committed = connection.call("commitTransaction", trxid=1)
    assert committed.status_code == 400
    assert "nothing was written" in committed.text and "'nonsense'" in committed.text
    assert static(system) == set()


def test_many_writers_at_once_lose_nothing(system: DnsSystem) -> None:
    def write(number: int) -> None:
        connection = Connection(system)
        for turn in range(3):
            connection.call("startTransaction", domain=f"{ZONE}.", domain_id=-1, trxid=5)
            connection.replace(f"n{number}-{turn}.shop.example.", f"192.0.2.{number}", 5)
            assert connection.call("commitTransaction", trxid=5).status_code == 200

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {line[0] for line in static(system)} == {f"n{n}-{t}.shop.example" for n in range(6) for t in range(3)}
    assert serial(system) == 10 + 18


def test_the_audit_names_pdns_and_what_it_changed(system: DnsSystem) -> None:
    util(system, "add-record", ZONE, "audited", "A", "300", "192.0.2.9")
    (_, fields) = system.redis.connect().xrevrange("{gtm}:audit", count=1)[0]
    assert '"name": "pdns"' in fields["entry"]
    assert "audited.shop.example A" in fields["entry"]


def test_names_of_a_child_zone_stay_with_it(system: DnsSystem) -> None:
    child = Zone(name="dev.shop.example", number=5)
    system.write(child, rrset("dev.shop.example", "x.dev.shop.example", "A", "192.0.2.50"))
    system.forget()
    try:
        util(system, "add-record", ZONE, "dev", "NS", "60", "ns1.gtm.example")
        assert system.client.a("x.dev.shop.example") == ["192.0.2.50"]
        assert static(system) == {("dev.shop.example", "60", "NS", "ns1.gtm.example.")}
    finally:
        system.write(deleted(child), deleted(rrset("dev.shop.example", "x.dev.shop.example", "A", "192.0.2.50")))
