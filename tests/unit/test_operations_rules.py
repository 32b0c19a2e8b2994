"""Rules of operations that need no store: warnings of lines, records, tokens, audit, cursors, the brake."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import Rule
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import TargetState
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.geo.database import Capabilities
from pdns_gtm_backend.operations import audit, records, tokens
from pdns_gtm_backend.operations.errors import Braked, InUse, InvalidParameters, User
from pdns_gtm_backend.operations.line_warnings import line_warnings
from pdns_gtm_backend.operations.listing import Page, decode_cursor, encode_cursor, page_of
from pdns_gtm_backend.operations.overrides import brake, canonical_override, effects
from pdns_gtm_backend.operations.simulation import RULES
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, build
from tests.support.strategies import examples

TOR = Capabilities(has_country=True, countries=frozenset({"CN", "US"}), continents=frozenset({"AS", "NA"}))


def snapshot(*documents: Any) -> Snapshot:
    kind_of = {Pool: kinds.POOLS, Instance: kinds.INSTANCES, Override: kinds.OVERRIDES, Line: kinds.LINES}
    held: dict[str, dict[str, Any]] = {}
    for document in documents:
        held.setdefault(kind_of[type(document)], {})[document.id] = document
    return build(Position("store", "replication", 1), 1, held, {}, {})


def pool(name: str, *addresses: str) -> Pool:
    return Pool(id=name, type="ipv4", addresses=tuple(Address(address=a) for a in addresses or ("192.0.2.1",)))


def instance(*sets: str, name: str = "shop") -> Instance:
    pool_sets = tuple(
        PoolSet(name="default" if index == 0 else "failover", pools=(SetMember(pool=held),))
        for index, held in enumerate(sets)
    )
    policy = AccessPolicy(name="world", lines=("default",), pool_sets=pool_sets)
    return Instance(id="gtm00000001", name=name, cname="gtm00000001.gtm.example", policies=(policy,))


@pytest.mark.parametrize(
    ("line", "capabilities", "reason"),
    [
        ("AS-CN", TOR, None),
        ("AS", TOR, None),
        ("default", TOR, None),
        ("cidr:203.0.113.0/24", Capabilities(), None),
        ("EU-DE", TOR, "'EU-DE' matches no client: the geo database has no country DE"),
        ("EU", TOR, "'EU' matches no client: the geo database has no continent EU"),
        ("NA-US-CA", TOR, "'NA-US-CA' matches no client: the geo database has no subdivisions"),
        (
            "AS-CN&asn:4134",
            TOR,
            "'AS-CN&asn:4134' matches no client: no database of autonomous systems is loaded (GTM_GEO_ASN_DATABASE)",
        ),
        ("AS-CN", Capabilities(), "'AS-CN' matches no client: no geo database is loaded (GTM_GEO_DATABASE)"),
        ("EU-DE", replace(TOR, countries=None), None),
        ("line:mixed", TOR, None),
        ("line:lost", TOR, "'line:lost' matches no client: the geo database has no country DE"),
    ],
)
def test_a_line_that_can_never_match_is_warned_about(line: str, capabilities: Capabilities, reason: str | None) -> None:
    lines = {"mixed": Line(id="mixed", members=("EU-DE", "AS-CN")), "lost": Line(id="lost", members=("EU-DE",))}
    policy = AccessPolicy(name="p", lines=("default", line), pool_sets=(PoolSet(pools=(SetMember(pool="a"),)),))
    found = list(line_warnings(Instance(name="shop", policies=(policy,)), lines, capabilities))
    assert [(v.pointer, v.detail) for v in found] == ([] if reason is None else [("/policies/0/lines/1", reason)])


def test_a_member_of_a_custom_line_is_warned_about_at_its_place() -> None:
    found = list(line_warnings(Line(id="x", members=("AS-CN", "EU-DE")), {}, TOR))
    assert [v.pointer for v in found] == ["/members/1"]


@pytest.mark.parametrize(
    ("rrtype", "text", "stored"),
    [
        ("A", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:DB8::0:1", "2001:db8::1"),
        ("CNAME", "www.example.net.", "www.example.net"),
        ("CNAME", "www.example.net", "www.example.net"),
        ("MX", "10 mail.example.net.", "10 mail.example.net"),
        ("MX", "0 .", "0 ."),
        ("CNAME", ".", "."),
        ("SRV", "0 5 5060 sip.example.net.", "0 5 5060 sip.example.net"),
        ("TXT", '"ends with @"', '"ends with @"'),
        ("SOA", "ns1.example. host.example. 1 2 3 4 5", "ns1.example host.example 1 2 3 4 5"),
    ],
)
def test_records_are_stored_as_powerdns_compares_them(rrtype: str, text: str, stored: str) -> None:
    assert records.stored_content(rrtype, text) == stored


@pytest.mark.parametrize(("rrtype", "text"), [("A", "::1"), ("MX", "mail.example"), ("SOA", "a b 1"), ("A", "")])
def test_what_is_no_record_of_its_type_is_refused(rrtype: str, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        records.stored_content(rrtype, text)
    assert str(caught.value)


def test_serials_run_round_without_zero() -> None:
    assert records.following_serial(1) == 2
    assert records.following_serial(2**32 - 1) == 1


def test_tokens_hold_their_id_and_are_never_given_twice() -> None:
    made = {tokens.new_secret() for _ in range(200)}
    assert len(made) == 200
    for secret in made:
        identifier = tokens.token_id(secret)
        assert identifier is not None
        assert secret.startswith(f"gtm_{identifier}_")
        assert len(tokens.digest(secret)) == 64


@pytest.mark.parametrize("secret", ["", "gtm_", "x" * 60, "gtm_0123456789_short", "gtm_0123456789_" + "ü" * 43])
def test_what_is_no_token_has_no_id(secret: str) -> None:
    assert tokens.token_id(secret) is None


def test_audit_keeps_no_secret() -> None:
    http = HttpCheck(headers={"Authorization": "Bearer x", "X-Api-Key": "y", "Cookie": "z", "Accept": "text/plain"})
    entry = audit.entry("create", "health-checks", "web", None, HealthCheck(id="web", protocol="http", http=http))
    assert entry["after"]["http"]["headers"] == {
        "Authorization": "(hidden)",
        "X-Api-Key": "(hidden)",
        "Cookie": "(hidden)",
        "Accept": "text/plain",
    }
    told = audit.entry("delete", "tokens", "1", Token(id="1", name="n", role="viewer", hash="f" * 64), None)
    assert "hash" not in told["before"]


@examples(100)
@given(st.sets(st.text(min_size=1, max_size=5), max_size=30), st.integers(1, 7))
def test_pages_hold_everything_once_and_in_order(names: set[str], limit: int) -> None:
    held = {name: name for name in names}
    seen: list[str] = []
    page = Page([], "")
    cursor = None
    while page.next is not None:
        page = page_of(held, cursor, limit)
        seen += page.items
        cursor = page.next
        assert len(page.items) <= limit
    assert seen == sorted(names)


def test_a_page_goes_on_where_the_object_at_its_cursor_is_gone() -> None:
    held = {name: name for name in "abcde"}
    first = page_of(held, None, 2)
    del held["b"]
    assert page_of(held, first.next, 2).items == ["c", "d"]


@pytest.mark.parametrize("cursor", ["ä", "%%%", "/w==", "abcde"])
def test_what_is_no_cursor_is_told(cursor: str) -> None:
    with pytest.raises(InvalidParameters, match="is no cursor of this list"):
        decode_cursor(cursor)


@given(st.text(max_size=20))
def test_a_cursor_is_the_id_that_it_follows(identifier: str) -> None:
    assert decode_cursor(encode_cursor(identifier)) == identifier


def changes_of(override: Override) -> list[Change]:
    return [Change(kinds.OVERRIDES, override.id, override)]


def test_the_brake_tells_policies_that_would_lose_their_last_set() -> None:
    serving = prepare(snapshot(pool("a"), pool("c", "192.0.2.3"), instance("a", "c")))
    one = changes_of(Override(id="o1", selector=Selector(pool="a"), effect="offline"))
    preview = effects(serving, one)
    assert [(e.policy, e.before.set, e.after.set, e.after.rule) for e in preview] == [
        ("world", "default", "failover", "set")
    ]
    brake(preview)
    both = [*one, *changes_of(Override(id="o2", selector=Selector(pool="c"), effect="offline"))]
    with pytest.raises(Braked, match=r"no available set for shop/world \(ipv4\)") as caught:
        brake(effects(serving, both))
    assert [e.after.rule for e in caught.value.preview] == ["none"]


def test_what_changes_no_answer_has_no_effect() -> None:
    serving = prepare(snapshot(pool("a", "192.0.2.1", "192.0.2.2"), pool("c"), instance("a", "c")))
    drain = Override(id="o", selector=Selector(pool="a", address="192.0.2.1"), effect="offline")
    assert effects(serving, changes_of(drain)) == []


def test_pinning_to_an_unavailable_set_is_braked() -> None:
    failover = replace(pool("c", "192.0.2.3"), health_checks=("web",))
    down = Change(kinds.TARGET_STATES, "web|192.0.2.3||", TargetState(health="down", since=1.0))
    serving = prepare(snapshot(pool("a"), failover, instance("a", "c")).changed([down]))
    selector = Selector(instance="gtm00000001", policy="world")
    with pytest.raises(Braked) as caught:
        brake(effects(serving, changes_of(Override(id="o", selector=selector, effect="pin", set="failover"))))
    assert [e.after.rule for e in caught.value.preview] == ["pinned_unavailable"]


@pytest.mark.parametrize(
    ("selector", "stored"),
    [
        (Selector(pool="six", address="2001:DB8::0:1"), "2001:db8::1"),
        (Selector(address="2001:DB8::0:1"), "2001:db8::1"),
        (Selector(address="192.0.2.1"), "192.0.2.1"),
        (Selector(address="Origin.Example."), "origin.example"),
    ],
)
def test_overrides_name_addresses_as_pools_do(selector: Selector, stored: str) -> None:
    held = snapshot(Pool(id="six", type="ipv6", addresses=(Address(address="2001:db8::1"),)))
    found = canonical_override(Override(selector=selector, effect="offline"), held)
    assert found.selector.address == stored


def test_every_way_to_an_answer_has_a_sentence() -> None:
    assert set(RULES) == set(get_args(Rule))


def test_a_disabled_instance_is_no_reason_to_brake() -> None:
    disabled = replace(instance("a"), enabled=False)
    serving = prepare(snapshot(pool("a"), disabled))
    assert effects(serving, changes_of(Override(id="o", selector=Selector(pool="a"), effect="offline"))) == []


def test_users_are_named_up_to_five() -> None:
    users = [User("instances", f"gtm{n}", f"shop-{n}") for n in range(7)]
    told = str(InUse("pool 'a'", users))
    assert told.startswith("pool 'a' is used by instance shop-0, instance shop-1")
    assert "and 2 more" in told
