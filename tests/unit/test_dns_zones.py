import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.zones import ServedZone, Zones, build
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, empty
from tests.support.documents import deleted, instance, policy, pool, rrset, written
from tests.support.strategies import bounded

AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example", ("192.0.2.53",)),), "hostmaster.gtm.example")
SHOP = Zone(name="shop.example", number=2)
CHILD = Zone(name="dev.shop.example", number=3)


def serving(*documents: object) -> Serving:
    return prepare(empty().changed([written(document) for document in documents]))  # type: ignore[arg-type]


def zones(*documents: object) -> Zones:
    return build(serving(*documents), AUTHORITY)


def zone(name: str, *documents: object) -> ServedZone:
    return zones(*documents).by_name[name]


def test_the_access_zone_is_there_before_its_document() -> None:
    held = zone("gtm.example")
    assert [found.type for found in held.sets("gtm.example")] == ["SOA", "NS"]
    assert [found.records for found in held.sets("ns1.gtm.example")] == [("192.0.2.53",)]


def test_the_document_of_the_access_zone_replaces_the_implicit_one() -> None:
    document = Zone(name="gtm.example", kind="access", number=9, serial=4)
    assert zone("gtm.example", document).zone == document
    assert zone("gtm.example", document).serial == 4


def test_documents_replace_the_records_of_settings_type_by_type() -> None:
    soa = rrset("shop.example", "shop.example", "SOA", "ns.a.example h.a.example 77 1 2 3 4")
    held = zone("shop.example", SHOP, soa)
    assert held.serial == 77
    assert [(found.type, found.records) for found in held.sets("shop.example")] == [
        ("NS", ("ns1.gtm.example",)),
        ("SOA", soa.records),
    ]


def test_a_static_record_replaces_a_nameservers_address() -> None:
    document = Zone(name="gtm.example", kind="access", number=1)
    own = rrset("gtm.example", "ns1.gtm.example", "AAAA", "2001:db8::53")
    assert zone("gtm.example", document, own).sets("ns1.gtm.example") == (own,)


def test_the_longest_zone_holds_a_name_unless_powerdns_asks_in_another() -> None:
    held = zones(SHOP, CHILD)
    assert held.find("www.dev.shop.example") is held.by_name["dev.shop.example"]
    assert held.find("dev.shop.example", 2) is held.by_name["shop.example"]
    assert held.find("www.shop.example", 99) is held.by_name["shop.example"]
    assert held.find("shop.example.org") is None
    assert held.find("") is None


def test_names_between_are_counted() -> None:
    held = zone("shop.example", SHOP, rrset("shop.example", "a.b.c.shop.example", "TXT", '"x"'))
    assert dict(held.below) == {"b.c.shop.example": 1, "c.shop.example": 1}


def test_delegations_and_glue_are_not_authoritative() -> None:
    held = zone(
        "shop.example",
        SHOP,
        rrset("shop.example", "sub.shop.example", "NS", "ns.sub.shop.example"),
        rrset("shop.example", "sub.shop.example", "DS", "1 13 2 " + "ab" * 32),
        rrset("shop.example", "ns.sub.shop.example", "A", "192.0.2.1"),
        rrset("shop.example", "www.shop.example", "A", "192.0.2.2"),
    )
    assert not held.authoritative("sub.shop.example", "NS")
    assert held.authoritative("sub.shop.example", "DS")
    assert not held.authoritative("ns.sub.shop.example", "A")
    assert held.authoritative("www.shop.example", "A")
    assert held.authoritative("shop.example", "NS")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (rrset("shop.example", "www.shop.example", "A", "192.0.2.300"), "'192.0.2.300' is no A record"),
        (rrset("shop.example", "www.shop.example", "TEAPOT", "x"), "type 'TEAPOT' is no record type"),
        (rrset("shop.example", "www.shop.example", "ANY", "x"), "is no type that a zone holds as data"),
        (rrset("shop.example", "www.shop.example", "RRSIG", "x"), "is no type that a zone holds as data"),
        (rrset("shop.example", "www.other.example", "A", "192.0.2.1"), "is not in zone 'shop.example'"),
        (rrset("shop.example", "a..shop.example", "A", "192.0.2.1"), "is no domain name"),
        (rrset("shop.example", "x" * 64 + ".shop.example", "A", "192.0.2.1"), "is no domain name"),
        (rrset("shop.example", "www.shop.example", "SOA", "a b 1 2 3 4 5"), "a zone has one SOA record"),
        (rrset("shop.example", "shop.example", "SOA", "a. b. ( 1 2 3 4 5 )"), "a zone has one SOA record"),
        (rrset("shop.example", "www.shop.example", "TXT", '"open'), "is no TXT record"),
    ],
)
def test_broken_records_are_left_out_and_named(broken: object, said: str, caplog: pytest.LogCaptureFixture) -> None:
    good = rrset("shop.example", "good.shop.example", "A", "192.0.2.7")
    with caplog.at_level(logging.ERROR):
        held = zone("shop.example", SHOP, broken, good)
    assert set(held.static) == {"good.shop.example"}
    assert said in caplog.text


def test_records_of_an_unknown_zone_are_not_served() -> None:
    assert set(zones(rrset("gone.example", "www.gone.example", "A", "192.0.2.1")).by_name) == {"gtm.example"}


POOL = pool("a", "ipv4", "192.0.2.1")
EVERYBODY = policy("world", "default", "a")
POSSIBLE = (
    SHOP,
    replace(SHOP, serial=5),
    CHILD,
    Zone(name="gtm.example", kind="access", number=1),
    instance("gtm00000001", EVERYBODY),
    instance("gtm00000001", EVERYBODY, names=("www.shop.example", "a.b.shop.example")),
    instance("gtm00000002", EVERYBODY, names=("www.dev.shop.example", "*.shop.example")),
    rrset("shop.example", "www.shop.example", "TXT", '"one"'),
    rrset("shop.example", "www.shop.example", "TXT", '"two"', '"three"'),
    rrset("shop.example", "www.shop.example", "A", "garbage"),
    rrset("shop.example", "b.shop.example", "NS", "ns.elsewhere.example"),
    rrset("shop.example", "x.b.shop.example", "A", "192.0.2.9"),
    rrset("shop.example", "shop.example", "NS", "ns.elsewhere.example"),
    rrset("dev.shop.example", "deep.er.dev.shop.example", "A", "192.0.2.9"),
    rrset("gtm.example", "ns1.gtm.example", "A", "192.0.2.99"),
)
CHANGES = st.lists(
    st.lists(
        st.builds(
            lambda make, what: make(what), st.sampled_from([written, written, deleted]), st.sampled_from(POSSIBLE)
        )
    ),
    max_size=12,
)


def comparable(held: Zones) -> object:
    """Everything but the order of records at a name, which means nothing."""
    return {
        name: (z.zone, z.defaults, {n: set(sets) for n, sets in z.static.items()}, z.owned, z.below, z.cuts)
        for name, z in held.by_name.items()
    }


@bounded
@given(CHANGES)
def test_patched_zones_are_the_same_as_new_ones(batches: Sequence[Sequence[Change]]) -> None:
    current = serving(POOL)
    held = build(current, AUTHORITY)
    for batch in batches:
        snapshot = current.snapshot
        for change in batch:
            snapshot = snapshot.changed([change])
        after = current.changed(snapshot, batch)
        held = held.changed(current, after, batch)
        current = after
        assert comparable(held) == comparable(build(current, AUTHORITY))
