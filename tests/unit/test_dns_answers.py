from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.answers import Question, Record, View, client_network, list_zone, lookup
from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.presentation import query_name
from pdns_gtm_backend.dns.zones import build
from pdns_gtm_backend.domain.client import NOBODY, NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.instance import InstanceKind
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import Change, empty
from tests.support.documents import instance, policy, pool, rrset, written
from tests.support.strategies import Configuration, bounded, bounded_few, clients, configurations

AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example", ("192.0.2.53",)),), "hostmaster.gtm.example")
SHOP = Zone(name="shop.example", number=2)
NAME = "gtm00000001.gtm.example"
CHINA = Place("AS", "CN")
Locate = Callable[[Network], Place]


def view(*documents: object, locate: Locate = lambda network: NOWHERE) -> View:
    serving = prepare(empty().changed([written(document) for document in documents]))  # type: ignore[arg-type]
    return View(serving, build(serving, AUTHORITY), locate)


def ask(
    held: View, name: str, rrtype: str = "ANY", client: str = "198.51.100.7/32", zone: int = -1
) -> Sequence[Record]:
    return lookup(held, Question(name, rrtype, "127.0.0.1", client, zone))


def brief(records: Sequence[Record]) -> list[tuple[str, str, int]]:
    return sorted((record["qtype"], record["content"], record["scopeMask"]) for record in records)


A = pool("a", "ipv4", "192.0.2.1", "192.0.2.2")
B = pool("b", "ipv4", "192.0.2.101")
B6 = pool("b6", "ipv6", "2001:db8::1")
ELSEWHERE = pool("cname", "domain", "cdn.elsewhere.example")
NOTHING = pool("nothing", "ipv4")
BY_PLACE = instance("gtm00000001", policy("china", "AS-CN", "a"), policy("world", "default", "b b6"))


def in_china(network: Network) -> Place:
    return CHINA if network.holds(parse_network("1.2.4.0/24")) else NOWHERE


def test_records_have_every_field_that_powerdns_reads() -> None:
    held = view(B, instance("gtm00000001", policy("world", "default", "b"), ttl=30))
    assert ask(held, "GTM00000001.gtm.Example.") == [
        {
            "qname": "GTM00000001.gtm.Example.",
            "qtype": "A",
            "content": "192.0.2.101",
            "ttl": 30,
            "auth": 1,
            "domain_id": 0,
            "scopeMask": 24,
        }
    ]


def test_the_clients_line_decides() -> None:
    held = view(A, B, B6, BY_PLACE, locate=in_china)
    assert brief(ask(held, NAME, "A", "1.2.4.99/32")) == [("A", "192.0.2.1", 24), ("A", "192.0.2.2", 24)]
    assert brief(ask(held, NAME, "A")) == [("A", "192.0.2.101", 24)]
    assert brief(ask(held, NAME, "AAAA", "2001:db8::/32")) == [("AAAA", "2001:db8::1", 56)]


@pytest.mark.parametrize(
    ("rrtype", "expected"),
    [
        ("ANY", [("A", "192.0.2.101", 24), ("AAAA", "2001:db8::1", 24)]),
        ("AAAA", [("AAAA", "2001:db8::1", 24)]),
        ("SOA", []),
        ("NS", []),
        ("CNAME", []),
        ("TXT", []),
        ("TYPE65400", []),
    ],
)
def test_the_type_is_honoured(rrtype: str, expected: list[tuple[str, str, int]]) -> None:
    assert brief(ask(view(A, B, B6, BY_PLACE), NAME, rrtype)) == expected


def test_a_domain_instance_answers_its_cname_to_any_and_cname_alone() -> None:
    held = view(ELSEWHERE, instance("gtm00000001", policy("world", "default", "cname"), kind="domain"))
    expected = [("CNAME", "cdn.elsewhere.example", 24)]
    assert brief(ask(held, NAME, "ANY")) == brief(ask(held, NAME, "CNAME")) == expected
    assert ask(held, NAME, "SOA") == ask(held, NAME, "NS") == ask(held, NAME, "A") == []


@pytest.mark.parametrize(
    "document",
    [
        instance("gtm00000001", policy("world", "default", "b"), enabled=False),
        instance("gtm00000001", policy("world", "default", "nothing")),
        instance("gtm00000001", policy("world", "default", "off"), fail_closed=True),
    ],
    ids=["disabled", "empty", "fail_closed"],
)
def test_a_name_without_records_is_a_scoped_empty_non_terminal(document: object) -> None:
    held = view(B, NOTHING, pool("off", "ipv4", "192.0.2.1", enabled=False), document)
    assert brief(ask(held, NAME)) == [("", "", 24)]
    assert ask(held, NAME, "A") == ask(held, NAME, "NS") == []


@pytest.mark.parametrize("name", ["gtm00000002.gtm.example", f"www.{NAME}", "*.gtm.example", f"*.{NAME}"])
def test_names_that_do_not_exist_answer_nothing(name: str) -> None:
    assert ask(view(B, instance("gtm00000001", policy("world", "default", "b"))), name) == []


@pytest.mark.parametrize("name", ["elsewhere.example", "example", ".", "", "gtm.example.org"])
def test_names_in_no_zone_answer_nothing(name: str) -> None:
    assert ask(view(), name) == []


@pytest.mark.parametrize("name", ["gtm.example", "GTM.example.", "gTm.ExAmple"])
def test_the_apex_of_an_access_zone(name: str) -> None:
    held = view(Zone(name="gtm.example", kind="access", number=4, serial=6))
    soa = "ns1.gtm.example hostmaster.gtm.example 6 10800 3600 604800 60"
    assert brief(ask(held, name, "SOA")) == [("SOA", soa, 0)]
    assert brief(ask(held, name, "ANY")) == [("NS", "ns1.gtm.example", 0), ("SOA", soa, 0)]
    assert {record["domain_id"] for record in ask(held, name, "ANY")} == {4}


def test_a_nameserver_without_an_address_exists() -> None:
    serving = prepare(empty())
    unknown = Authority("gtm.example", (Nameserver("ns1.gtm.example"),), "hostmaster.gtm.example")
    held = View(serving, build(serving, unknown), lambda network: NOWHERE)
    assert brief(ask(held, "ns1.gtm.example")) == [("", "", 0)]


def test_the_name_above_a_name_exists() -> None:
    named = instance("gtm00000001", policy("world", "default", "b"), names=("www.eu.shop.example",))
    held = view(B, SHOP, named)
    assert brief(ask(held, "eu.shop.example")) == [("", "", 0)]
    assert ask(held, "eu.shop.example", "A") == []
    assert brief(ask(held, "www.eu.shop.example")) == [("A", "192.0.2.101", 24)]


def test_a_name_at_the_apex_is_scoped_for_any_and_not_for_soa() -> None:
    held = view(B, SHOP, instance("gtm00000001", policy("world", "default", "b"), names=("shop.example",)))
    assert {record["scopeMask"] for record in ask(held, "shop.example", "SOA")} == {0}
    found = ask(held, "shop.example", "ANY")
    assert [record["qtype"] for record in found] == ["SOA", "NS", "A"]
    assert {record["scopeMask"] for record in found} == {24}


def test_static_records_beside_an_instance() -> None:
    named = instance("gtm00000001", policy("world", "default", "b"), names=("www.shop.example",))
    held = view(B, SHOP, named, rrset("shop.example", "www.shop.example", "TXT", '"x"'))
    assert brief(ask(held, "www.shop.example")) == [("A", "192.0.2.101", 24), ("TXT", '"x"', 24)]


def test_a_cut_is_looked_up_in_the_zone_that_powerdns_asks_in() -> None:
    child = Zone(name="dev.shop.example", number=3)
    documents = (
        rrset("shop.example", "dev.shop.example", "NS", "ns.elsewhere.example"),
        rrset("dev.shop.example", "dev.shop.example", "TXT", '"child"'),
    )
    held = view(SHOP, child, *documents)
    parent = ask(held, "dev.shop.example", "ANY", zone=2)
    assert [(r["qtype"], r["auth"], r["domain_id"]) for r in parent] == [("NS", 0, 2)]
    assert {(r["qtype"], r["auth"], r["domain_id"]) for r in ask(held, "dev.shop.example", "ANY", zone=3)} == {
        ("SOA", 1, 3),
        ("NS", 1, 3),
        ("TXT", 1, 3),
    }


@pytest.mark.parametrize(
    ("remote", "real_remote", "expected"),
    [
        ("127.0.0.1", "203.0.113.7/32", "203.0.113.7/32"),
        ("127.0.0.1", "2001:db8:1::/48", "2001:db8:1::/48"),
        ("198.51.100.9", "0.0.0.0/0", "198.51.100.9/32"),
        ("2001:db8::9", "::/0", "2001:db8::9/128"),
        ("198.51.100.9", "::/0", "198.51.100.9/32"),
        ("198.51.100.9", "", "198.51.100.9/32"),
        ("0.0.0.0", "0.0.0.0/0", None),
        ("::", "::/0", None),
        ("", "", None),
        ("garbage", "garbage/99", None),
        ("127.0.0.1", "::ffff:203.0.113.0/120", "203.0.113.0/24"),
    ],
)
def test_whose_network_counts(remote: str, real_remote: str, expected: str | None) -> None:
    wanted = NOBODY if expected is None else parse_network(expected)
    assert client_network(remote, real_remote) == wanted


def test_a_lookup_without_a_packet_gets_the_default_line_scoped() -> None:
    held = view(A, B, B6, BY_PLACE, locate=lambda network: CHINA)
    found = lookup(held, Question(NAME, "A", "0.0.0.0", "0.0.0.0/0"))
    assert brief(found) == [("A", "192.0.2.101", 24)]


def test_nothing_finer_than_the_scope_is_read() -> None:
    seen: list[Network] = []

    def locate(network: Network) -> Place:
        seen.append(network)
        return NOWHERE

    held = view(B, instance("gtm00000001", policy("world", "default", "b")), locate=locate)
    ask(held, NAME, "A", "198.51.100.77/32")
    ask(held, NAME, "A", "2001:db8:1:2ff::1/128")
    ask(held, NAME, "A", "10.0.0.0/8")
    assert [str(network) for network in seen] == ["198.51.100.0/24", "2001:db8:1:200::/56", "10.0.0.0/8"]


def test_the_scope_is_finer_inside_a_network_with_a_finer_line() -> None:
    fine = instance("gtm00000001", policy("fine", "cidr:198.51.100.64/26", "a"), policy("world", "default", "b"))
    held = view(A, B, fine)
    assert brief(ask(held, NAME, "A", "198.51.100.65/32")) == [("A", "192.0.2.1", 26), ("A", "192.0.2.2", 26)]
    assert brief(ask(held, NAME, "A", "198.51.100.1/32")) == [("A", "192.0.2.101", 26)]
    assert brief(ask(held, NAME, "A", "198.51.101.1/32")) == [("A", "192.0.2.101", 24)]


def test_list_shows_the_default_lines_answer() -> None:
    named = instance(
        "gtm00000001", policy("china", "AS-CN", "a"), policy("world", "default", "b"), names=("www.shop.example",)
    )
    held = view(A, B, SHOP, named, rrset("shop.example", "mail.shop.example", "MX", "10 mx.shop.example"))
    found = list(list_zone(held, held.zones.by_name["shop.example"]))
    assert {(record["qname"], record["qtype"], record["content"]) for record in found if record["qtype"] != "SOA"} == {
        ("shop.example", "NS", "ns1.gtm.example"),
        ("mail.shop.example", "MX", "10 mx.shop.example"),
        ("www.shop.example", "A", "192.0.2.101"),
    }
    assert {record["scopeMask"] for record in found} == {0}


@pytest.mark.parametrize(
    ("written_as", "expected"),
    [
        ("A.b.Example.", "a.b.example"),
        (r"a\.b.example.", r"a\.b.example"),
        (r"a\046b.example.", r"a\.b.example"),
        (r"A\032B.example", r"a\032b.example"),
        (r"a\255b.example.", r"a\255b.example"),
        ("\\", None),
        (r"\999.example", None),
        ("\\0." + "x." * 200, None),
    ],
)
def test_one_form_of_a_name(written_as: str, expected: str | None) -> None:
    assert query_name(written_as) == expected


def test_a_static_name_with_escapes_is_found() -> None:
    held = view(SHOP, rrset("shop.example", r"first\.last@x.shop.example", "TXT", '"x"'))
    assert brief(ask(held, r"First\.Last@X.shop.example.", "TXT")) == [("TXT", '"x"', 0)]


@bounded
@given(
    st.one_of(st.text(max_size=300), st.text("a.\\0*-1", max_size=300).map(lambda text: text + ".gtm.example.")),
    st.text(max_size=12),
    st.text(max_size=20),
    st.text(max_size=20),
    st.integers(),
)
def test_no_question_raises(name: str, rrtype: str, remote: str, real: str, zone: int) -> None:
    found = lookup(GARBAGE_VIEW, Question(name, rrtype, remote, real, zone))
    assert all(record["qname"] == name for record in found)


GARBAGE_VIEW = view(A, B, B6, BY_PLACE, SHOP, rrset("shop.example", "*.shop.example", "TXT", '"x"'))


def configured(held: Configuration, locate: Locate) -> View:
    catalog = held.catalog
    documents = [
        *map(written, catalog.pools.values()),
        *map(written, catalog.zones.values()),
        written(held.instance),
        *(Change("lines", line.id, line) for line in catalog.lines.values()),
        *(Change("health-checks", check.id, check) for check in catalog.health_checks.values()),
        *(Change("overrides", override.id, override) for override in held.overrides),
        *(Change("target-states", key, state) for key, state in held.target_states.items()),
        *(Change("policy-states", key, state) for key, state in held.policy_states.items()),
    ]
    serving = prepare(empty().changed(documents))
    return View(serving, build(serving, AUTHORITY), locate)


@bounded_few
@given(configurations(), clients(), clients())
def test_the_types_at_a_name_are_the_same_for_every_client(held: Configuration, one: Network, other: Network) -> None:
    serving = configured(held, lambda network: CHINA if network.bits & 256 else NOWHERE)
    types = [
        {record["qtype"] for record in ask(serving, held.instance.cname, "ANY", str(client))} for client in (one, other)
    ]
    assert types[0] == types[1] != set()


@bounded_few
@given(configurations(), clients(), st.integers(0, 2**128 - 1))
def test_clients_of_one_scope_are_not_told_apart(held: Configuration, client: Network, noise: int) -> None:
    seen: list[Network] = []
    served = held.served()
    serving = configured(held, lambda network: seen.append(network) or NOWHERE)  # type: ignore[func-returns-value]
    scope, width = served.scope(client), 32 if client.version == 4 else 128
    assume(client.length > scope)
    sibling = Network(client.version, client.truncated(scope).bits | noise % 2 ** (width - scope), width)
    for asked in (client, sibling):
        found = ask(serving, held.instance.cname, "ANY", str(asked))
        assert {record["scopeMask"] for record in found} == {scope}
    assert set(seen) <= {client.truncated(scope)}
    assert len(seen) == 2 * bool(served.answers.families)


@bounded_few
@given(configurations(), clients())
def test_everything_at_an_instances_name_is_scoped(held: Configuration, client: Network) -> None:
    serving = configured(held, lambda network: NOWHERE)
    for name in held.instance.owned_names():
        found = ask(serving, name, "ANY", str(client))
        assert found
        assert all(record["scopeMask"] > 0 for record in found)


@pytest.mark.parametrize("kind", ["address", "domain"])
@bounded_few
@given(data=st.data(), client=clients())
def test_types_match_the_kind(kind: InstanceKind, data: st.DataObject, client: Network) -> None:
    held = data.draw(configurations(kind=kind))
    found = ask(configured(held, lambda network: NOWHERE), held.instance.cname, "ANY", str(client))
    allowed = {"address": {"A", "AAAA", ""}, "domain": {"CNAME", ""}}[kind]
    assert {record["qtype"] for record in found} <= allowed
    assert [record["qtype"] for record in found].count("CNAME") <= 1
