"""What clients get from a real PowerDNS, with one configuration for all tests."""

import dns.query
import dns.xfr
import dns.zone
import pytest

from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_system import DnsSystem
from tests.support.documents import instance, policy, pool, rrset

CHINA, AMERICA = "1.2.4.0/24", "8.8.8.0/24"
CHINA6, AMERICA6 = "2400:3200::/48", "2001:4860:4860::/48"

BY_PLACE = "gtm00000001.gtm.example"
BOTH = "gtm00000002.gtm.example"
CNAME = "gtm00000003.gtm.example"
DISABLED = "gtm00000004.gtm.example"
CLOSED = "gtm00000005.gtm.example"
FINE = "gtm00000006.gtm.example"
UNKNOWN = "gtm00000099.gtm.example"

DOCUMENTS = (
    Zone(name="gtm.example", kind="access", number=1, serial=3),
    Zone(name="shop.example", number=2, serial=5),
    Zone(name="dev.shop.example", number=3),
    pool("a", "ipv4", "192.0.2.1", "192.0.2.2"),
    pool("b", "ipv4", "192.0.2.101"),
    pool("b6", "ipv6", "2001:db8::101"),
    pool("cdn", "domain", "cdn.elsewhere.example"),
    pool("off", "ipv4", "192.0.2.201", enabled=False),
    instance("gtm00000001", policy("china", "AS-CN", "a"), policy("world", "default", "b")),
    instance(
        "gtm00000002",
        policy("china", "AS-CN", "a b6"),
        policy("world", "default", "b b6"),
        names=("www.shop.example", "shop.example", "a.b.shop.example"),
        ttl=30,
    ),
    instance("gtm00000003", policy("world", "default", "cdn"), kind="domain", names=("cdn.shop.example",)),
    instance("gtm00000004", policy("world", "default", "a"), enabled=False),
    instance("gtm00000005", policy("world", "default", "off"), fail_closed=True),
    instance("gtm00000006", policy("fine", "cidr:198.51.100.64/26", "a"), policy("world", "default", "b")),
    instance(
        "gtm00000007", policy("china", "AS-CN", "a"), policy("world", "default", "b"), names=("*.any.shop.example",)
    ),
    rrset("shop.example", "mail.shop.example", "MX", "10 mx.shop.example", ttl=120),
    rrset("shop.example", "mx.shop.example", "A", "192.0.2.25"),
    rrset("shop.example", "shop.example", "TXT", '"v=spf1 -all"'),
    rrset("shop.example", "alias.shop.example", "CNAME", "www.shop.example"),
    rrset("shop.example", "*.wild.shop.example", "TXT", '"wild"'),
    rrset("shop.example", "sub.shop.example", "NS", "ns.sub.shop.example"),
    rrset("shop.example", "ns.sub.shop.example", "A", "192.0.2.53"),
    rrset("shop.example", "dev.shop.example", "NS", "ns1.gtm.example"),
    rrset("dev.shop.example", "www.dev.shop.example", "A", "192.0.2.77"),
    rrset("shop.example", r"first\.last.shop.example", "TXT", '"escaped"'),
)


@pytest.fixture(autouse=True, scope="module")
def _documents(system: DnsSystem) -> None:
    system.write(*DOCUMENTS)
    system.forget()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("subnet", "expected", "scope"),
    [
        (CHINA, ["192.0.2.1", "192.0.2.2"], 24),
        ("1.2.4.8/32", ["192.0.2.1", "192.0.2.2"], 24),
        (AMERICA, ["192.0.2.101"], 24),
        (CHINA6, ["192.0.2.1", "192.0.2.2"], 56),
        (AMERICA6, ["192.0.2.101"], 56),
        ("0.0.0.0/0", ["192.0.2.101"], 24),
        ("::/0", ["192.0.2.101"], 24),
        (None, ["192.0.2.101"], None),
    ],
)
def test_address_by_place(
    system: DnsSystem, subnet: str | None, expected: list[str], scope: int | None, *, tcp: bool
) -> None:
    reply = system.client.ask(BY_PLACE, "A", subnet, tcp=tcp)
    assert (reply.code, reply.values("A"), reply.scope) == ("NOERROR", expected, scope)
    assert reply.message.flags & 0x0400, "AA"


def test_scope_is_finer_where_a_line_is(system: DnsSystem) -> None:
    inside = system.client.ask(FINE, "A", "198.51.100.65/32")
    assert (inside.values("A"), inside.scope) == (["192.0.2.1", "192.0.2.2"], 26)
    outside = system.client.ask(FINE, "A", "198.51.100.1/32")
    assert (outside.values("A"), outside.scope) == (["192.0.2.101"], 26)
    far = system.client.ask(FINE, "A", "198.51.101.1/32")
    assert (far.values("A"), far.scope) == (["192.0.2.101"], 24)


def test_both_families_and_the_ttl(system: DnsSystem) -> None:
    found = [system.client.ask(BOTH, rrtype, CHINA) for rrtype in ("A", "AAAA")]
    assert [reply.ttl() for reply in found] == [30, 30]
    assert found[1].values("AAAA") == ["2001:db8::101"]


@pytest.mark.parametrize("rrtype", ["A", "AAAA", "CNAME", "TXT", "MX"])
def test_a_cname_is_answered_whatever_is_asked(system: DnsSystem, rrtype: str) -> None:
    for name in (CNAME, "cdn.shop.example"):
        reply = system.client.ask(name, rrtype, CHINA)
        assert (reply.code, reply.values("CNAME"), reply.scope) == ("NOERROR", ["cdn.elsewhere.example."], 24)


@pytest.mark.parametrize(
    ("name", "rrtype", "code"),
    [
        (BY_PLACE, "AAAA", "NOERROR"),
        (BY_PLACE, "TXT", "NOERROR"),
        (BY_PLACE, "NS", "NOERROR"),
        (BY_PLACE, "SOA", "NOERROR"),
        (DISABLED, "A", "NOERROR"),
        (CLOSED, "A", "NOERROR"),
        (CLOSED, "AAAA", "NOERROR"),
        ("gtm.example", "A", "NOERROR"),
        ("b.shop.example", "A", "NOERROR"),
        ("wild.shop.example", "A", "NOERROR"),
        ("x.wild.shop.example", "A", "NOERROR"),
        ("mail.shop.example", "A", "NOERROR"),
        (UNKNOWN, "A", "NXDOMAIN"),
        (UNKNOWN, "CNAME", "NXDOMAIN"),
        ("nothing.gtm.example", "A", "NXDOMAIN"),
        (f"www.{BY_PLACE}", "A", "NXDOMAIN"),
        (f"www.{DISABLED}", "A", "NXDOMAIN"),
        (f"www.{CNAME}", "A", "NXDOMAIN"),
        ("nothing.shop.example", "A", "NXDOMAIN"),
        ("x.b.shop.example", "A", "NXDOMAIN"),
    ],
)
def test_no_data_and_no_name(system: DnsSystem, name: str, rrtype: str, code: str) -> None:
    for subnet in (None, CHINA):
        reply = system.client.ask(name, rrtype, subnet)
        assert (reply.code, reply.types(), reply.types("authority")) == (code, [], ["SOA"])
        assert reply.message.authority[0].ttl == 60, "resolvers keep this no longer"


def test_foreign_names_are_refused(system: DnsSystem) -> None:
    assert system.client.ask("www.elsewhere.example").code == "REFUSED"


@pytest.mark.parametrize(
    "name", ["gTm00000001.GTM.exAMple", "GTM00000001.gtm.EXAMPLE.", "wWw.Shop.eXample", "A.b.shop.EXAMPLE"]
)
def test_mixed_case(system: DnsSystem, name: str) -> None:
    reply = system.client.ask(name, "A", CHINA)
    assert (reply.values("A"), reply.scope) == (["192.0.2.1", "192.0.2.2"], 24)


def test_apex_of_the_access_zone(system: DnsSystem) -> None:
    soa = system.client.ask("gtm.example", "SOA")
    assert soa.values("SOA") == ["ns1.gtm.example. hostmaster.gtm.example. 3 10800 3600 604800 60"]
    servers = system.client.ask("gtm.example", "NS")
    assert (servers.values("NS"), servers.values("A", "additional")) == (["ns1.gtm.example."], ["127.0.0.1"])
    assert system.client.a("ns1.gtm.example") == ["127.0.0.1"]


def test_any_over_tcp(system: DnsSystem) -> None:
    reply = system.client.ask(BOTH, "ANY", AMERICA, tcp=True)
    assert (reply.values("A"), reply.values("AAAA"), reply.scope) == (["192.0.2.101"], ["2001:db8::101"], 24)
    apex = system.client.ask("shop.example", "ANY", AMERICA, tcp=True)
    assert apex.types() == ["A", "AAAA", "NS", "SOA", "TXT"]
    assert system.client.ask(DISABLED, "ANY", tcp=True).types() == []


def test_any_over_udp_is_sent_to_tcp(system: DnsSystem) -> None:
    assert system.client.ask(BOTH, "ANY").message.flags & 0x0200, "TC"


def test_an_instance_at_the_apex_of_a_hosted_zone(system: DnsSystem) -> None:
    for subnet, expected in ((CHINA, ["192.0.2.1", "192.0.2.2"]), (AMERICA, ["192.0.2.101"])):
        reply = system.client.ask("shop.example", "A", subnet)
        assert (reply.values("A"), reply.scope) == (expected, 24)
    soa = system.client.ask("shop.example", "SOA")
    assert soa.values("SOA") == ["ns1.gtm.example. hostmaster.gtm.example. 5 10800 3600 604800 60"]
    assert system.client.ask("shop.example", "NS").values("NS") == ["ns1.gtm.example."]
    assert system.client.ask("shop.example", "TXT").values("TXT") == ['"v=spf1 -all"']


def test_a_wildcard_name_of_an_instance(system: DnsSystem) -> None:
    china = system.client.ask("what.ever.any.shop.example", "A", CHINA)
    assert (china.values("A"), china.scope) == (["192.0.2.1", "192.0.2.2"], 24)
    assert str(china.message.answer[0].name) == "what.ever.any.shop.example."
    america = system.client.ask("what.ever.any.shop.example", "A", AMERICA)
    assert (america.values("A"), america.scope) == (["192.0.2.101"], 24)
    assert system.client.ask("what.ever.any.shop.example", "AAAA", CHINA).types() == []


def test_static_records(system: DnsSystem) -> None:
    mail = system.client.ask("mail.shop.example", "MX")
    assert (mail.values("MX"), mail.ttl()) == (["10 mx.shop.example."], 120)
    assert mail.values("A", "additional") == ["192.0.2.25"]
    assert system.client.ask("x.y.wild.shop.example", "TXT").values("TXT") == ['"wild"']
    assert system.client.ask(r"first\.last.shop.example", "TXT").values("TXT") == ['"escaped"']


def test_a_static_alias_of_an_instances_name_is_followed_and_scoped(system: DnsSystem) -> None:
    for subnet, expected in ((CHINA, ["192.0.2.1", "192.0.2.2"]), (AMERICA, ["192.0.2.101"])):
        reply = system.client.ask("alias.shop.example", "A", subnet)
        assert (reply.values("CNAME"), reply.values("A"), reply.scope) == (["www.shop.example."], expected, 24)


def test_a_delegation_is_a_referral_with_glue(system: DnsSystem) -> None:
    reply = system.client.ask("www.sub.shop.example", "A")
    assert (reply.code, reply.types(), reply.types("authority")) == ("NOERROR", [], ["NS"])
    assert reply.values("A", "additional") == ["192.0.2.53"]
    assert not reply.message.flags & 0x0400, "AA"


def test_a_child_zone_of_this_server_answers_itself(system: DnsSystem) -> None:
    reply = system.client.ask("www.dev.shop.example", "A")
    assert reply.values("A") == ["192.0.2.77"]
    assert system.client.ask("dev.shop.example", "SOA").types() == ["SOA"]
    parent = system.client.ask("dev.shop.example", "DS")
    assert str(parent.message.authority[0].name) == "shop.example.", "DS is the parent's"


@pytest.mark.parametrize(
    "name",
    [
        r"a\.b.gtm.example",
        r"a\032b.gtm.example",
        r"\000.gtm.example",
        r"\255\254.gtm.example",
        r"quote\"and\\slash.gtm.example",
        "*.gtm.example",
        ("x" * 63 + ".") * 3 + "y" * 49 + ".gtm.example",
        "_tcp._x-.gtm.example",
        "-.gtm.example",
    ],
)
def test_odd_names_do_not_exist(system: DnsSystem, name: str) -> None:
    assert system.client.ask(name, "A").code == "NXDOMAIN"
    assert system.client.a(BY_PLACE, AMERICA) == ["192.0.2.101"]
    metrics = system.backend.get("/metrics")
    assert metrics is not None
    assert 'failures_total{reason="internal"} 0.0' in metrics.text


@pytest.mark.parametrize("name", ["gtm.example", "shop.example"])
def test_no_zone_is_transferred(system: DnsSystem, name: str) -> None:
    with pytest.raises(dns.xfr.TransferError, match=r"REFUSED|NOTAUTH"):
        dns.query.inbound_xfr("127.0.0.1", dns.zone.Zone(name), port=system.client.port, timeout=3, lifetime=5)


def test_pdnsutil_reads_zones(system: DnsSystem) -> None:
    listed = system.powerdns.util("list-all-zones").stdout.split()
    assert sorted(listed) == ["dev.shop.example", "gtm.example", "shop.example"]
    assert "gtm00000001.gtm.example\t60\tIN\tA\t192.0.2.101" in system.powerdns.util("list-zone", "gtm.example").stdout
    for zone in ("gtm.example", "shop.example"):
        checked = system.powerdns.util("check-zone", zone)
        assert "0 errors" in checked.stdout, checked.stdout + checked.stderr
