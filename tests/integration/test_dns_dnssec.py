"""Signed answers, validated by delv (BIND's validator): positive and negative, static and by client, in each mode."""

from collections.abc import Iterator

import pytest

from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_system import DnsSystem
from tests.support.documents import instance, policy, pool, rrset
from tests.support.writable_system import ZONE, util, writable_system

DOCUMENTS = (
    rrset(ZONE, "mail.shop.example", "A", "192.0.2.9"),
    rrset(ZONE, "*.wild.shop.example", "TXT", '"wild"'),
    rrset(ZONE, "deep.empty.shop.example", "TXT", '"deep"'),
    rrset(ZONE, "alias.shop.example", "CNAME", "mail.shop.example"),
    rrset(ZONE, "aliaswww.shop.example", "CNAME", "www.shop.example"),
    rrset(ZONE, "sub.shop.example", "NS", "ns.sub.shop.example"),
    rrset(ZONE, "ns.sub.shop.example", "A", "192.0.2.77"),
    pool("d", "domain", "mail.shop.example"),
    instance("gtm00000002", policy("world", "default", "d"), kind="domain", names=("cdn.shop.example",)),
    instance("gtm00000003", policy("world", "default", "a"), names=("off.shop.example",), enabled=False),
    instance("gtm00000004", policy("world", "default", "a"), names=("*.any.shop.example",)),
)
VALIDATED = (
    ("mail.shop.example", "A", "192.0.2.9"),
    ("www.shop.example", "A", "192.0.2."),
    ("shop.example", "NS", "ns1.gtm.example"),
    ("shop.example", "SOA", "hostmaster.gtm.example"),
    ("x.wild.shop.example", "TXT", '"wild"'),
    ("alias.shop.example", "A", "192.0.2.9"),
    ("aliaswww.shop.example", "A", "192.0.2."),
    ("cdn.shop.example", "CNAME", "mail.shop.example"),
    ("cdn.shop.example", "A", "192.0.2.9"),
    ("x.any.shop.example", "A", "192.0.2."),
)
ABSENT = (
    ("mail.shop.example", "AAAA", "ncache nxrrset"),
    ("www.shop.example", "AAAA", "ncache nxrrset"),
    ("www.shop.example", "TXT", "ncache nxrrset"),
    ("shop.example", "MX", "ncache nxrrset"),
    ("empty.shop.example", "A", "ncache nxrrset"),
    ("off.shop.example", "A", "ncache nxrrset"),
    ("x.wild.shop.example", "A", "ncache nxrrset"),
    ("nope.shop.example", "A", "ncache nxdomain"),
    ("zzz.shop.example", "A", "ncache nxdomain"),
    ("0.shop.example", "A", "ncache nxdomain"),
    ("a.b.c.shop.example", "A", "ncache nxdomain"),
    ("x.mail.shop.example", "A", "ncache nxdomain"),
)
MODES = {
    "nsec": (),
    "nsec3-narrow": ("1 0 0 -", "narrow"),
    "nsec3": ("1 0 3 abcd",),
}


@pytest.fixture(scope="module", params=list(MODES))
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    with writable_system(tmp_path_factory.mktemp("d"), None, *DOCUMENTS) as system:
        util(system, "secure-zone", ZONE)
        if words := MODES[request.param]:
            util(system, "set-nsec3", ZONE, *words)
        system.powerdns.control("purge")
        system.trust(ZONE)
        yield system


@pytest.mark.parametrize(("name", "rrtype", "content"), VALIDATED)
def test_an_answer_is_valid(signed: DnsSystem, name: str, rrtype: str, content: str) -> None:
    said = signed.delv(ZONE, name, rrtype)
    assert "; fully validated" in said
    assert content in said


@pytest.mark.parametrize(("name", "rrtype", "kind"), ABSENT)
def test_what_is_not_there_is_proved(signed: DnsSystem, name: str, rrtype: str, kind: str) -> None:
    said = signed.delv(ZONE, name, rrtype)
    assert "; negative response, fully validated" in said
    assert kind in said


def test_clients_of_other_lines_get_other_answers_and_both_are_valid(signed: DnsSystem) -> None:
    assert signed.client.a("www.shop.example", "203.0.113.0/24") == ["192.0.2.3"]
    assert signed.client.a("www.shop.example", "198.51.100.0/24") == ["192.0.2.1", "192.0.2.2"]
    # delv sends no client subnet: the line of the loopback is put to the other policy instead.
    near = instance(
        "gtm00000001",
        policy("near", "cidr:127.0.0.0/8", "b"),
        policy("world", "default", "a", "b"),
        names=("www.shop.example",),
    )
    world = signed.delv(ZONE, "www.shop.example", "A")
    signed.write(near)
    nearer = signed.delv(ZONE, "www.shop.example", "A")
    assert "192.0.2.1" in world and "192.0.2.3" not in world and "; fully validated" in world
    assert "192.0.2.3" in nearer and "192.0.2.1" not in nearer and "; fully validated" in nearer


def test_a_delegation_is_not_signed_and_what_is_below_it_is_not_denied(signed: DnsSystem) -> None:
    reply = signed.client.ask("host.sub.shop.example", "A")
    assert reply.code == "NOERROR"
    assert reply.values("NS", "authority") == ["ns.sub.shop.example."]
    assert reply.values("A", "additional") == ["192.0.2.77"]


def test_keys_of_a_zone_are_of_no_other(signed: DnsSystem) -> None:
    signed.write(Zone(name="plain.example", number=7))
    signed.forget()
    assert signed.backend.call("getDomainKeys", name="plain.example.") == []
    assert "is not actively secured" in util(signed, "show-zone", "plain.example")
