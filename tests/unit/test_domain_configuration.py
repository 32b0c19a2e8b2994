"""The rules between documents."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.availability import Availability
from pdns_gtm_backend.domain.client import Network, Place, parse_network
from pdns_gtm_backend.domain.configuration import (
    answer_bytes,
    below_access_zone,
    check_health_check,
    check_instance,
    check_line,
    check_override,
    check_pool,
    check_zone,
    closest_zone,
    line_users,
    name_cycle,
    pool_warnings,
)
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import FAMILIES, AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.domain.line import Line, LineTable, Match, expand_line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Family, Pool
from pdns_gtm_backend.domain.zone import RRset, Zone
from tests.support.catalog import Document, all_violations, catalog
from tests.support.strategies import ASNS, COUNTRIES, GEOS, Configuration, bounded, bounded_few, configurations

ACCESS = Zone(name="gtm.example", kind="access")
HOSTED = Zone(name="shop.example")
FOUR = Pool(id="four", type="ipv4", addresses=(Address(address="192.0.2.1"),))
SIX = Pool(id="six", type="ipv6", addresses=(Address(address="2001:db8::1"),))
NAME = Pool(id="name", type="domain", addresses=(Address(address="origin.cdn.example"),))
BASE: tuple[Document, ...] = (ACCESS, HOSTED, FOUR, SIX, NAME)


def pool_set(*members: str, **weights: int) -> PoolSet:
    """A set of pools of weight 1, or as the keywords say."""
    plain = tuple(SetMember(pool=pool) for pool in members)
    return PoolSet(pools=(*plain, *(SetMember(pool=pool, weight=weight) for pool, weight in weights.items())))


def policy(name: str, lines: str, *sets: PoolSet) -> AccessPolicy:
    return AccessPolicy(name=name, lines=tuple(lines.split()), pool_sets=sets or (pool_set("four"),))


def instance(*policies: AccessPolicy, **settings: object) -> Instance:
    made = Instance(
        id="gtm00000001",
        name="shop",
        cname="gtm00000001.gtm.example",
        policies=policies or (policy("world", "default"),),
    )
    return canonical_instance(replace(made, **settings))  # type: ignore[arg-type]


def told(made: Instance, *others: Document) -> dict[str, str]:
    found = list(check_instance(made, catalog(*BASE, *others)))
    assert len({v.pointer for v in found}) == len(found)
    return {v.pointer: v.detail for v in found}


@bounded_few
@given(configurations())
def test_generated_configurations_are_valid(configuration: Configuration) -> None:
    assert list(all_violations(configuration.catalog)) == []


@bounded_few
@given(configurations())
def test_a_valid_configuration_has_an_answer_for_every_family_of_every_client(configuration: Configuration) -> None:
    """Where pools hold anything, every policy answers every family in use, so that no client sees other types."""
    bare = replace(configuration, target_states={}, policy_states={})
    served = replace(bare, instance=replace(bare.instance, when_all_down="fail_open")).served()
    default = next(i for i, p in enumerate(served.instance.policies) if "default" in p.lines)
    for family in FAMILIES[served.instance.kind]:
        held = [view for views in served.answers.views[family] for view in views.sets]
        assert bool(served.answers.views[family][default].sets) == bool(held)
        assert (family in served.answers.families) == any(not view.empty for view in held)


def test_a_small_configuration_is_valid() -> None:
    assert told(instance()) == {}
    assert told(instance(policy("world", "default", pool_set("four", "six")), names=("www.shop.example",))) == {}


@pytest.mark.parametrize(
    ("made", "pointer", "named"),
    [
        (instance(policy("world", "default moon")), "/policies/0/lines/1", "'moon'"),
        (instance(policy("world", "default line:telecom")), "/policies/0/lines/1", "'telecom'"),
        (instance(policy("world", "AS")), "/policies", "'default'"),
        (instance(policy("a", "default"), policy("b", "default")), "/policies/1/lines/0", "'a'"),
        (instance(policy("a", "default default")), "/policies/0/lines/1", "'default'"),
        (instance(policy("a", "default AS-CN"), policy("b", "AS AS-CN")), "/policies/1/lines/1", "'AS-CN'"),
        (instance(policy("a", "default asn:1&AS"), policy("b", "AS&asn:01")), "/policies/1/lines/0", "'asn:1&AS'"),
        (
            instance(policy("a", "default"), policy("b", "AS", pool_set("four", "gone"))),
            "/policies/1/pool_sets/0/pools/1/pool",
            "'gone'",
        ),
        (instance(policy("a", "default", pool_set("four", "name"))), "/policies/0/pool_sets/0/pools/1/pool", "'name'"),
        (
            instance(policy("a", "default", pool_set("four")), kind="domain"),
            "/policies/0/pool_sets/0/pools/0/pool",
            "'four'",
        ),
        (instance(policy("a", "default", pool_set("four", six=0))), "/policies/0/pool_sets/0/pools", "ipv6"),
        (instance(policy("a", "default"), policy("b", "AS", pool_set("six"))), "/policies", "'b'"),
        (instance(names=("www.other.example",)), "/names/0", "shop.example"),
        (instance(names=("www.gtm.example",)), "/names/0", "gtm.example"),
        (instance(cname="gtm00000001.other.example"), "/cname", "gtm.example"),
        (instance(cname="gtm.example"), "/cname", "gtm.example"),
        (instance(cname="www.shop.example"), "/cname", "gtm.example"),
        (
            instance(policy("a", "default", pool_set("name")), kind="domain", names=("shop.example",)),
            "/names/0",
            "apex",
        ),
    ],
)
def test_rules_of_an_instance(made: Instance, pointer: str, named: str) -> None:
    found = told(made)
    assert set(found) == {pointer}
    assert named in found[pointer]


def test_names_in_use_are_told_with_their_owner() -> None:
    other = replace(instance(names=("www.shop.example",)), id="gtm00000002", cname="gtm00000002.gtm.example")
    found = told(instance(names=("WWW.shop.example.",), cname="gtm00000002.gtm.example"), other)
    assert set(found) == {"/name", "/names/0", "/cname"}
    assert all("gtm00000002" in detail for detail in found.values())
    assert told(replace(other, name="another")) == {}


def test_static_records_beside_a_name() -> None:
    records = [
        RRset(zone="shop.example", name="www.shop.example", type=t, records=("x",)) for t in ("TXT", "MX", "AAAA", "A")
    ]
    address = instance(names=("www.shop.example",))
    alias = instance(policy("a", "default", pool_set("name")), kind="domain", names=("www.shop.example",))
    assert told(address, *records[:2]) == {}
    assert "(A, AAAA)" in told(address, *records)["/names/0"]
    assert "(MX, TXT)" in told(alias, *records[:2])["/names/0"]


def test_all_violations_are_told_at_once() -> None:
    made = instance(
        policy("a", "moon AS", pool_set("gone")),
        policy("b", "AS", pool_set(four=0)),
        names=("www.other.example", "www.gtm.example"),
        cname="x.other.example",
        name=" ",
    )
    assert set(told(made)) == {
        "/name",
        "/policies/0/lines/0",
        "/policies/1/lines/0",
        "/policies",
        "/policies/0/pool_sets/0/pools/0/pool",
        "/policies/1/pool_sets/0/pools",
        "/names/0",
        "/names/1",
        "/cname",
    }


def test_a_line_that_overlaps_through_a_custom_line_is_told() -> None:
    telecom = Line(id="telecom", members=("asn:4134&AS-CN", "cidr:203.0.113.0/24"))
    made = instance(policy("a", "default cidr:203.0.113.0/24"), policy("b", "line:telecom"))
    found = told(made, telecom)
    assert set(found) == {"/policies/1/lines/0"}
    assert "as cidr:203.0.113.0/24" in found["/policies/1/lines/0"]
    assert "'a'" in found["/policies/1/lines/0"]
    held = catalog(*BASE, made, telecom)
    assert ["/members" in v.pointer and "'shop'" in v.detail for v in check_line(telecom, held)] == [True]
    narrowed = replace(telecom, members=("asn:4134&AS-CN",))
    assert list(check_line(narrowed, catalog(*BASE, made, narrowed))) == []
    assert {v.pointer for v in check_line(replace(telecom, members=("moon",)), catalog(*BASE))} == {"/members/0"}


UNIVERSE_CIDRS = ("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25", "2001:db8::/32", "2001:db8::/48")
UNIVERSE_TERMS = (*GEOS[:6], *(f"asn:{n}" for n in ASNS[:2]), *(f"cidr:{c}" for c in UNIVERSE_CIDRS))
EVERY_CLIENT = [parse_network(c) for c in (*UNIVERSE_CIDRS, "198.51.100.0/24")]
EVERY_PLACE = [
    Place(COUNTRIES[country] if country else continent, country, "", asn)
    for country, continent, asn in product(["", *COUNTRIES], ["", "AS", "EU", "NA"], [0, *ASNS[:2]])
]


@st.composite
def universe_lines(draw: st.DrawFn) -> str:
    kinds = {"geo": UNIVERSE_TERMS[:6], "asn": UNIVERSE_TERMS[6:8], "cidr": UNIVERSE_TERMS[8:]}
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=2, unique=True))
    return "&".join(draw(st.sampled_from(kinds[kind])) for kind in chosen)


def matches(text: str, custom: Mapping[str, Line], client: Network, place: Place) -> set[object]:
    """The specificities at which a client is on a line, each member of a custom line by itself."""
    found: set[object] = set()
    for expression in expand_line(text, custom):
        if LineTable([(expression, Match(0, text, text))]).match(client, place):
            found.add(tuple((t.kind, t.value.length if isinstance(t.value, Network) else 0) for t in expression.terms))
    return found


@bounded
@given(
    st.lists(universe_lines(), max_size=4),
    st.lists(st.sampled_from(["line:x", "default"]), max_size=2),
    st.lists(universe_lines(), min_size=1, max_size=3, unique=True),
    st.integers(0, 5),
)
def test_lines_overlap_exactly_where_a_client_is_on_two_of_the_same_specificity(
    plain: list[str], special: list[str], members: list[str], cut: int
) -> None:
    custom = {"x": Line(id="x", members=tuple(members))}
    texts = [*plain, *special]
    cut = min(cut, len(texts))
    policies = [policy(n, " ".join(t)) for n, t in (("a", texts[:cut]), ("b", texts[cut:])) if t]
    if not policies:
        return
    overlaps = any(
        matches(one, custom, client, place) & matches(other, custom, client, place)
        for index, one in enumerate(texts)
        for other in texts[:index]
        for client, place in product(EVERY_CLIENT, EVERY_PLACE)
    )
    found = [v for v in check_instance(instance(*policies), catalog(*BASE, *custom.values())) if "/lines/" in v.pointer]
    assert bool(found) == overlaps
    assert all("overlaps with" in v.detail for v in found)


def named(number: int, *targets: int, **settings: object) -> tuple[Instance, Pool]:
    """A domain instance whose pool holds the cnames of others."""
    names = tuple(Address(address=f"GTM{target:08}.gtm.example.") for target in targets)
    pool = Pool(id=f"to-{number}", type="domain", addresses=(Address(address="origin.cdn.example"), *names))
    made = Instance(
        id=f"gtm{number:08}",
        name=f"service {number}",
        cname=f"gtm{number:08}.gtm.example",
        kind="domain",
        policies=(policy("world", "default", pool_set(pool.id)),),
    )
    return canonical_instance(replace(made, **settings)), pool  # type: ignore[arg-type]


@bounded
@given(st.lists(st.lists(st.integers(0, 5), max_size=2, unique=True), min_size=1, max_size=6))
def test_cycles_are_found_exactly_where_an_instance_can_lead_back_to_itself(edges: list[list[int]]) -> None:
    made = [named(number, *targets) for number, targets in enumerate(edges)]
    held = catalog(ACCESS, *(document for pair in made for document in pair))

    def reachable(start: int) -> set[int]:
        found: set[int] = set()
        trail = list(edges[start])
        while trail:
            at = trail.pop()
            if at not in found and at < len(edges):
                found.add(at)
                trail.extend(edges[at])
        return found

    for number, (service, pool) in enumerate(made):
        cycle = name_cycle(service, held)
        assert (cycle is not None) == (number in reachable(number))
        assert any(v.pointer == "/policies" for v in check_instance(service, held.without(service.id))) == (
            cycle is not None
        )
        assert any("CNAME chain" in v.detail for v in check_pool(pool, held, allow_private=False)) == (
            cycle is not None
        )
        if cycle is not None:
            assert service.cname in cycle


def test_cycles_through_other_names() -> None:
    wild, pool = named(1, names=("*.shop.example",))
    to_wild = replace(pool, addresses=(Address(address="x.shop.example"),))
    assert name_cycle(wild, catalog(ACCESS, HOSTED, wild, to_wild)) is not None
    static = RRset(zone="shop.example", name="x.shop.example", type="A", records=("192.0.2.1",))
    assert name_cycle(wild, catalog(ACCESS, HOSTED, wild, to_wild, static)) is None
    other = replace(named(2)[0], names=("x.shop.example",))
    assert name_cycle(wild, catalog(ACCESS, HOSTED, wild, to_wild, other, named(2)[1])) is None
    customer, pool = named(3, service_domains=("www.customer.example",))
    to_customer = replace(pool, addresses=(Address(address="WWW.customer.example"),))
    assert name_cycle(customer, catalog(ACCESS, customer, to_customer)) is not None
    renamed = replace(named(4, 4)[0], cname="gtm00000009.gtm.example")
    assert name_cycle(renamed, catalog(ACCESS, *named(4, 4))) is None
    assert name_cycle(instance(), catalog(*BASE)) is None


def test_rules_of_a_pool_reach_into_the_instances_that_use_it() -> None:
    made = instance(policy("a", "default"), policy("b", "AS", pool_set("six")))
    held = catalog(ACCESS, HOSTED, FOUR, replace(SIX, type="ipv4"), made)
    assert {v.pointer for v in check_pool(held.pools["six"], held, allow_private=False)} == {"/addresses/0/address"}
    wrong = catalog(*BASE, made)
    found = list(check_pool(SIX, wrong, allow_private=False))
    assert [(v.pointer, "'shop'" in v.detail, "ipv6" in v.detail) for v in found] == [("/type", True, True)]


def test_checks_of_a_pool_exist() -> None:
    web = HealthCheck(id="web", protocol="http")
    pool = replace(FOUR, health_checks=("web", "gone"))
    found = list(check_pool(pool, catalog(pool, web), allow_private=False))
    assert [(v.pointer, "'gone'" in v.detail) for v in found] == [("/health_checks/1", True)]
    assert list(check_health_check(web)) == []
    assert {v.pointer for v in check_health_check(HealthCheck(id="tcp", protocol="tcp"))} == {"/port"}
    assert list(check_zone(HOSTED)) == []
    assert {v.pointer for v in check_zone(Zone(name="-"))} == {"/name"}


@pytest.mark.parametrize(
    ("family", "address"),
    [("ipv4", "127.0.0.1"), ("ipv4", "169.254.169.254"), ("ipv6", "::1"), ("ipv6", "fd00:ec2::254")],
)
def test_private_targets_are_refused_where_they_would_be_probed(family: Family, address: str) -> None:
    pool = Pool(id="p", type=family, health_checks=("web",), addresses=(Address(address=address),))
    held = catalog(pool, HealthCheck(id="web", protocol="http"))
    found = list(check_pool(pool, held, allow_private=False))
    assert [v.pointer for v in found] == ["/addresses/0/address"]
    assert address in found[0].detail
    assert "GTM_ALLOW_PRIVATE_TARGETS" in found[0].detail
    assert list(check_pool(pool, held, allow_private=True)) == []
    assert list(check_pool(replace(pool, health_checks=()), held, allow_private=False)) == []


@pytest.mark.parametrize(
    ("selector", "pointer", "named_value"),
    [
        (Selector(pool="gone"), "/selector/pool", "'gone'"),
        (Selector(pool="four", address="192.0.2.9"), "/selector/address", "'192.0.2.9'"),
        (Selector(pool="six", address="192.0.2.1"), "/selector/address", "six"),
        (Selector(address="192.0.2.9"), "/selector/address", "any pool"),
    ],
)
def test_what_an_override_selects_exists(selector: Selector, pointer: str, named_value: str) -> None:
    found = list(check_override(Override(selector=selector, effect="offline"), catalog(*BASE)))
    assert [v.pointer for v in found] == [pointer]
    assert named_value in found[0].detail


def test_what_a_pin_names_exists() -> None:
    made = instance(policy("world", "default", pool_set("four"), pool_set("four")))
    held = catalog(*BASE, made)

    def found(instance_id: str, policy_name: str, chosen: str) -> list[tuple[str, str]]:
        selector = Selector(instance=instance_id, policy=policy_name)
        override = Override(selector=selector, effect="pin", set=chosen)
        return [(v.pointer, v.detail) for v in check_override(override, held)]

    assert found("gtm00000001", "world", "failover") == []
    assert found("gtm00000009", "world", "failover") == [
        ("/selector/instance", "there is no instance 'gtm00000009'"),
    ]
    assert found("gtm00000001", "moon", "failover") == [
        ("/selector/policy", "'moon' is no policy of 'shop' (world)"),
    ]
    assert found("gtm00000001", "world", "spare") == [
        ("/set", "'spare' is no set of policy world (default, failover)"),
    ]
    selecting = [Selector(pool="four"), Selector(address="192.0.2.1"), Selector(label="site=hz")]
    for selector in selecting:
        assert list(check_override(Override(selector=selector, effect="failed"), held)) == []


def test_the_closest_zone_holds_a_name() -> None:
    zones = {z.name: z for z in (HOSTED, ACCESS, Zone(name="cn.shop.example"))}
    assert closest_zone("www.shop.example", zones) == HOSTED
    assert closest_zone("shop.example", zones) == HOSTED
    assert closest_zone("a.b.cn.shop.example", zones) == zones["cn.shop.example"]
    assert closest_zone("myshop.example", zones) is None
    assert below_access_zone("x.gtm.example", zones)
    assert not below_access_zone("x.shop.example", zones)
    assert not below_access_zone("xgtm.example", zones)


def test_custom_lines_that_an_instance_names() -> None:
    made = instance(policy("a", "default line:x AS"), policy("b", "line:y"))
    assert list(line_users(made)) == ["x", "y"]


def of_size(count: int, family: Family = "ipv4", **settings: object) -> Pool:
    text = "2001:db8::{}" if family == "ipv6" else "192.0.2.{}"
    addresses = tuple(Address(address=text.format(n + 1)) for n in range(count))
    return replace(Pool(id="p", type=family, addresses=addresses), **settings)  # type: ignore[arg-type]


def test_what_is_allowed_and_probably_not_meant_is_a_warning() -> None:
    assert list(pool_warnings(of_size(3))) == []
    assert [v.pointer for v in pool_warnings(of_size(3, min_available=4))] == ["/min_available"]
    assert list(pool_warnings(of_size(0, min_available=4))) == []
    assert [v.pointer for v in pool_warnings(of_size(100))] == ["/addresses"]
    assert list(pool_warnings(of_size(100, max_answers=8))) == []
    assert list(pool_warnings(of_size(100, strategy="weighted"))) == []
    assert [v.pointer for v in pool_warnings(of_size(45, "ipv6"))] == ["/addresses"]
    assert list(pool_warnings(of_size(40, "ipv6"))) == []


@pytest.mark.parametrize(("family", "record_type"), [("ipv4", "A"), ("ipv6", "AAAA")])
@pytest.mark.parametrize("name", ["gtm12345678.gtm.example.", f"{'x' * 40}.shop.example."])
def test_the_size_of_an_answer_is_about_right(family: Family, record_type: str, name: str) -> None:
    for count in (1, 10, 40):
        pool = of_size(count, family)
        answer = dns.message.make_response(dns.message.make_query(name, record_type, use_edns=0, payload=1232))
        addresses = [address.address for address in pool.addresses]
        answer.answer.append(dns.rrset.from_text_list(name, 60, "IN", record_type, addresses))
        assert 0 <= answer_bytes(pool) - len(answer.to_wire()) <= 45
    assert answer_bytes(NAME) == 0


@bounded_few
@given(configurations())
def test_no_valid_configuration_is_without_an_answer_under_fail_open(configuration: Configuration) -> None:
    """Even with every address down: what is not offline is answered."""
    layered = tuple(
        Override(id=f"o-{p}", selector=Selector(pool=p), effect="failed") for p in configuration.catalog.pools
    )
    down = replace(configuration, catalog=replace(configuration.catalog, overrides=layered))
    served = replace(down, instance=replace(down.instance, when_all_down="fail_open")).served()
    used = [
        view for name in served.instance.pool_ids() if (view := down.pool_view(name)) is not None and view.pool.enabled
    ]
    for family in FAMILIES[served.instance.kind]:
        exists = any(
            seen.availability > Availability.OFFLINE for v in used if v.pool.type == family for seen in v.addresses
        )
        assert all(bool(c.draw(EVERY_CLIENT[0], lambda: 0.5)) == exists for c in served.answers.choices[family])
