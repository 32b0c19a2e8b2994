"""`pdnsutil backend-cmd remote "..."`: every command, and what it says where it is refused."""

from collections.abc import Iterator

import pytest

from pdns_gtm_backend.dns.commands import COMMANDS
from tests.support.dns_system import DnsSystem
from tests.support.documents import instance, policy, pool
from tests.support.powerdns import wait_for
from tests.support.writable_system import command, writable_system

WWW = "www.shop.example"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    documents = (pool("lone", "ipv4", "192.0.2.50"), instance("gtm00000009", policy("world", "default", "lone")))
    with writable_system(tmp_path_factory.mktemp("d"), None, *documents) as running:
        yield running


def answers(system: DnsSystem, *addresses: str) -> None:
    wait_for(lambda: system.client.a(WWW, "198.51.100.0/24") == list(addresses), f"{addresses}")


def test_help_names_every_command(system: DnsSystem) -> None:
    said = command(system, "help")
    assert all(f"\n{name} " in f"\n{said}" for name in COMMANDS)


def test_status_names_what_is_not_normal(system: DnsSystem) -> None:
    assert "every instance is normal" in command(system, "status")
    command(system, "switch gtm00000001 world failover")
    assert "gtm00000001 (gtm00000001): requests error" in command(system, "status")
    command(system, "switch gtm00000001 world auto")
    assert "store      following" in command(system, "status")


def test_an_instance_is_disabled_and_enabled(system: DnsSystem) -> None:
    assert command(system, "instance disable gtm00000001") == "instance gtm00000001 (gtm00000001) is disabled"
    answers(system)
    assert "gtm00000001  gtm00000001  no" in command(system, "instance list")
    assert "gtm00000001 (gtm00000001), disabled" in command(system, "instance show gtm00000001")
    command(system, "instance enable gtm00000001")
    answers(system, "192.0.2.1", "192.0.2.2")


def test_an_address_is_taken_out_and_put_back(system: DnsSystem) -> None:
    assert "192.0.2.1 is offline" in command(system, "address down 192.0.2.1")
    answers(system, "192.0.2.2")
    shown = command(system, "pool show a").splitlines()
    assert any(line.startswith("192.0.2.1  offline") for line in shown)
    # A second one does not stack: one `auto` is enough, whatever was said before.
    command(system, "address up 192.0.2.1")
    answers(system, "192.0.2.1", "192.0.2.2")
    command(system, "address down 192.0.2.1")
    assert "1 overrides lifted" in command(system, "address auto 192.0.2.1")
    answers(system, "192.0.2.1", "192.0.2.2")


def test_the_last_address_goes_only_by_force(system: DnsSystem) -> None:
    assert "Add the word 'force'" in command(system, "address down 192.0.2.50")
    assert "lone  ipv4  unmonitored  yes" in command(system, "pool list")
    assert "192.0.2.50 is offline" in command(system, "address down 192.0.2.50 lone force")
    command(system, "address auto 192.0.2.50 lone")


def test_a_policy_is_switched_and_switched_back(system: DnsSystem) -> None:
    assert command(system, "switch gtm00000001 world failover") == "policy world of gtm00000001 is pinned to failover"
    answers(system, "192.0.2.3")
    assert "pinned to failover" in command(system, "instance show gtm00000001")
    command(system, "switch gtm00000001 world auto")
    answers(system, "192.0.2.1", "192.0.2.2")


def test_a_client_is_simulated(system: DnsSystem) -> None:
    near = command(system, f"simulate {WWW} 203.0.113.9")
    assert near.splitlines()[0] == f"{WWW}. 60 IN A 192.0.2.3"
    assert "cidr:203.0.113.0/24 of policy near decides" in near
    assert "no data" in command(system, f"simulate {WWW} 203.0.113.9 AAAA")


def test_a_zone_is_made_answered_and_deleted(system: DnsSystem) -> None:
    assert "zone new.example is made" in command(system, "zone add new.example")
    wait_for(lambda: system.client.ask("new.example", "SOA").code == "NOERROR", "the new zone")
    assert any(line.startswith("new.example") for line in command(system, "zone list").splitlines())
    assert "is deleted" in command(system, "zone delete new.example")
    wait_for(lambda: system.client.ask("new.example", "SOA").code == "REFUSED", "the zone's end")


def test_a_name_is_purged(system: DnsSystem) -> None:
    assert command(system, "purge shop.example$") == "shop.example$ is purged"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dance", "error: 'dance' is no command; 'help' lists them"),
        ("instance show", "error: it is written: instance show INSTANCE"),
        ("instance show gtm99999999", "error: there is no instance 'gtm99999999'"),
        ("pool show nope", "error: there is no pool 'nope'"),
        ("switch gtm00000001 world nope", "error: /set: 'nope' is no set of policy world"),
        ("switch gtm00000001 nope auto", "has no policy 'nope': it has near, world"),
        ("address down 192.0.2.200", "error: /selector/address: '192.0.2.200' is no address of any pool"),
        ("simulate nowhere.example 192.0.2.1", "error: 'nowhere.example' is no CNAME domain name"),
        ("simulate www.shop.example nonsense", "error: client: 'nonsense' is neither an address nor a network"),
        ("zone add gtm.example", "error: there is a zone 'gtm.example' already"),
        ("zone add -bad-.example", "error: /name: '-bad-.example' label"),
        ("zone delete shop.example", "is used by instance gtm00000001"),
        ("zone delete gtm.example", "error: "),
        ("status 'unclosed", "error: No closing quotation"),
    ],
)
def test_what_cannot_be_done_is_said(system: DnsSystem, text: str, said: str) -> None:
    assert said in command(system, text)
