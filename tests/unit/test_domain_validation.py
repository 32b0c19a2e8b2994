"""The rules that a document keeps by itself; `test_domain_configuration` has those between documents."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from pdns_gtm_backend.domain.health_check import (
    HealthCheck,
    HttpCheck,
    PingCheck,
    health_check_violations,
    status_ranges,
)
from pdns_gtm_backend.domain.instance import (
    AccessPolicy,
    Instance,
    PoolSet,
    SetMember,
    canonical_instance,
    default_set_name,
    instance_violations,
    set_names,
)
from pdns_gtm_backend.domain.override import Effect, Override, Selector, override_violations
from pdns_gtm_backend.domain.pool import Address, Family, Pool, canonical_address, canonical_pool, pool_violations
from pdns_gtm_backend.domain.violation import Violation
from pdns_gtm_backend.domain.zone import Zone, zone_violations
from tests.support.strategies import bounded, health_checks, pools

WEB = HealthCheck(id="web", protocol="http")
TCP = HealthCheck(id="tcp", protocol="tcp", port=80)
PING = HealthCheck(id="ping", protocol="ping")
POOL = Pool(id="pool-a", type="ipv4", addresses=(Address(address="192.0.2.1"),))
SET = PoolSet(pools=(SetMember(pool="pool-a"),))
POLICY = AccessPolicy(name="world", lines=("default",), pool_sets=(SET,))
INSTANCE = Instance(name="shop", policies=(POLICY,))
OVERRIDE = Override(selector=Selector(pool="pool-a"), effect="offline")
PIN = Override(selector=Selector(instance="gtm12345678", policy="world"), effect="pin", set="failover")


def told(found: Iterable[Violation]) -> dict[str, str]:
    """Sentences by pointer; no pointer twice in these tests."""
    violations = list(found)
    assert len({v.pointer for v in violations}) == len(violations)
    return {v.pointer: v.detail for v in violations}


@bounded
@given(health_checks())
def test_generated_checks_are_valid(check: HealthCheck) -> None:
    assert list(health_check_violations(check)) == []


@bounded
@given(pools())
def test_generated_pools_are_valid(pool: Pool) -> None:
    assert list(pool_violations(pool)) == []


def with_http(**settings: object) -> HealthCheck:
    return replace(WEB, http=HttpCheck(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("check", "pointer", "named"),
    [
        (replace(WEB, id="my check"), "/id", "'my check'"),
        (replace(TCP, port=None), "/port", "1 to 65535"),
        (replace(PING, port=80), "/port", "80"),
        (replace(TCP, http=HttpCheck()), "/http", "tcp"),
        (replace(PING, http=HttpCheck()), "/http", "ping"),
        (replace(WEB, ping=PingCheck()), "/ping", "http"),
        (replace(WEB, vantages=("ber", "hz", "ber")), "/vantages/2", "'ber'"),
        (replace(WEB, vantages=("ber", "h z")), "/vantages/1", "'h z'"),
        (replace(WEB, vantages=("country=CN", "country=")), "/vantages/1", "'country='"),
        (replace(WEB, vantages=("a b=CN",)), "/vantages/0", "'a b=CN'"),
        (replace(WEB, vantages=("x" * 63, "x" * 64)), "/vantages/1", "63"),
        (replace(WEB, vantages=("x" * 63 + "=y", "x" * 64 + "=y")), "/vantages/1", "63"),
        (replace(WEB, vantages=("x=" + "y" * 255, "x=" + "y" * 256)), "/vantages/1", "255"),
        (replace(WEB, vantages=("country=CN", "country=CN")), "/vantages/1", "twice"),
        (replace(WEB, vantages=("ber",), min_vantages=2), "/min_vantages", "2 is more than the 1"),
        (with_http(expect_status="600"), "/http/expect_status", "'600'"),
        (with_http(expect_status="099"), "/http/expect_status", "'099'"),
        (with_http(expect_status="399-200"), "/http/expect_status", "'399-200'"),
        (with_http(expect_status="200-"), "/http/expect_status", "'200-'"),
        (with_http(expect_status="-200"), "/http/expect_status", "'-200'"),
        (with_http(expect_status="200,,301"), "/http/expect_status", "''"),
        (with_http(expect_status="2xx"), "/http/expect_status", "'2xx'"),
        (with_http(expect_status="200-300-400"), "/http/expect_status", "'200-300-400'"),
        (with_http(expect_status="２００"), "/http/expect_status", "'２００'"),
        (with_http(path="healthz"), "/http/path", "'healthz'"),
        (with_http(path="/a b"), "/http/path", "'/a b'"),
        (with_http(path="/a\r\nHost: x"), "/http/path", "'/a\\r\\nHost: x'"),
        (with_http(path="/ä"), "/http/path", "'/ä'"),
        (with_http(method="HEAD", expect_body="ok"), "/http/expect_body", "HEAD"),
        (with_http(headers={"Host": "x"}), "/http/headers/Host", "Host"),
        (with_http(headers={"CONTENT-length": "1"}), "/http/headers/CONTENT-length", "CONTENT-length"),
        (with_http(headers={"X Y": "1"}), "/http/headers/X Y", "'X Y'"),
        (with_http(headers={"X/Y": "1"}), "/http/headers/X~1Y", "'X/Y'"),
        (with_http(headers={"-": "1"}), "/http/headers/-", "'-'"),
        (with_http(headers={"Ä": "1"}), "/http/headers/Ä", "'Ä'"),
        (with_http(headers={"X-A": "1\r\nHost: x"}), "/http/headers/X-A", "'1\\r\\nHost: x'"),
        (with_http(headers={"X-A": "ä"}), "/http/headers/X-A", "'ä'"),
    ],
)
def test_rules_of_a_health_check(check: HealthCheck, pointer: str, named: str) -> None:
    found = told(health_check_violations(check))
    assert set(found) == {pointer}
    assert named in found[pointer]


def test_all_violations_of_a_check_are_told_at_once() -> None:
    http = HttpCheck(path="x y", expect_status="x00", headers={"Host": "a", "b c": "d"})
    check = HealthCheck(id="-", protocol="tcp", http=http, ping=PingCheck(), vantages=("a", "a"), min_vantages=3)
    assert {v.pointer for v in health_check_violations(check)} == {
        "/id",
        "/port",
        "/http",
        "/http/expect_status",
        "/http/path",
        "/http/headers/Host",
        "/http/headers/b c",
        "/ping",
        "/vantages/1",
        "/min_vantages",
    }


def test_status_ranges_are_inclusive() -> None:
    assert status_ranges("200,204, 301-302") == ((200, 200), (204, 204), (301, 302))
    assert status_ranges("100-599") == ((100, 599),)


def test_settings_that_follow_from_others() -> None:
    assert [replace(WEB, protocol=p).effective_port for p in ("http", "https", "ping")] == [80, 443, None]
    assert replace(WEB, port=8080).effective_port == 8080
    assert [replace(WEB, interval=i).undecided_interval for i in (1, 2, 10, 100)] == [1, 1, 2.5, 25]
    assert replace(WEB, interval=5, fast_interval=2).undecided_interval == 2
    assert replace(WEB, interval=5, fast_interval=60).undecided_interval == 5


@pytest.mark.parametrize(
    ("pool", "pointer", "named"),
    [
        (replace(POOL, id="a|b"), "/id", "'a|b'"),
        (replace(POOL, min_available="0%"), "/min_available", "'0%'"),
        (replace(POOL, min_available="101%"), "/min_available", "'101%'"),
        (replace(POOL, min_available="50"), "/min_available", "'50'"),
        (replace(POOL, min_available="5%%"), "/min_available", "'5%%'"),
        (replace(POOL, min_available="-5%"), "/min_available", "'-5%'"),
        (replace(POOL, min_available="５%"), "/min_available", "'５%'"),
        (replace(POOL, min_available="%%"), "/min_available", "'%%'"),
        (replace(POOL, health_checks=("web", "web")), "/health_checks", "twice"),
        (replace(POOL, host="a b"), "/host", "'a b'"),
        (replace(POOL, host="www.shop.example:80"), "/host", "'www.shop.example:80'"),
        (replace(POOL, sni="*.shop.example"), "/sni", "'*.shop.example'"),
        (Pool(id="p", type="domain", max_answers=2), "/max_answers", "2"),
    ],
)
def test_rules_of_a_pool(pool: Pool, pointer: str, named: str) -> None:
    found = told(pool_violations(pool))
    assert set(found) == {pointer}
    assert named in found[pointer]


@pytest.mark.parametrize(
    ("family", "address", "reason"),
    [
        ("ipv4", "192.0.2", "no IPv4"),
        ("ipv4", "192.0.2.256", "no IPv4"),
        ("ipv4", "192.0.2.01", "no IPv4"),
        ("ipv4", "192.0.2.0/24", "no IPv4"),
        ("ipv4", " 192.0.2.1", "no IPv4"),
        ("ipv4", "2001:db8::1", "IPv6"),
        ("ipv4", "www.shop.example", "no IPv4"),
        ("ipv4", "0.0.0.0", "host"),
        ("ipv4", "224.0.0.1", "host"),
        ("ipv4", "255.255.255.255", "host"),
        ("ipv6", "192.0.2.1", "IPv4"),
        ("ipv6", "2001:db8::x", "no IPv6"),
        ("ipv6", "fe80::1%eth0", "zone index"),
        ("ipv6", "::", "host"),
        ("ipv6", "ff02::1", "host"),
        ("domain", "192.0.2.1", "IP address"),
        ("domain", "192.0.2.1.", "IP address"),
        ("domain", "2001:db8::1", "IP address"),
        ("domain", "a b.example", "'a b'"),
        ("domain", "*.example", "'*'"),
    ],
)
def test_what_is_no_address_of_a_family(family: Family, address: str, reason: str) -> None:
    pool = Pool(id="p", type=family, addresses=(Address(address=address),))
    found = told(pool_violations(pool))
    assert set(found) == {"/addresses/0/address"}
    assert repr(address) in found["/addresses/0/address"]
    assert reason in found["/addresses/0/address"]
    with pytest.raises(ValueError, match=reason):
        canonical_address(address, family)


@pytest.mark.parametrize(
    ("family", "address", "canonical"),
    [
        ("ipv4", "192.0.2.1", "192.0.2.1"),
        ("ipv4", "127.0.0.1", "127.0.0.1"),
        ("ipv6", "2001:DB8:0:0::1", "2001:db8::1"),
        ("domain", "Origin.CDN.example.", "origin.cdn.example"),
    ],
)
def test_addresses_have_one_form(family: Family, address: str, canonical: str) -> None:
    assert canonical_address(address, family) == canonical
    assert canonical_address(canonical, family) == canonical
    twice = Pool(
        id="p",
        type=family,
        host="WWW.Shop.example.",
        addresses=(Address(address=canonical), Address(address=address, weight=5, labels={"site": "HZ"})),
    )
    assert told(pool_violations(twice)) == {"/addresses/1/address": f"{address!r} is already at /addresses/0"}
    stored = canonical_pool(twice)
    assert [a.address for a in stored.addresses] == [canonical] * 2
    assert (stored.host, stored.sni, stored.addresses[1].labels) == ("www.shop.example", None, {"site": "HZ"})
    assert canonical_pool(stored) == stored


def test_all_violations_of_a_pool_are_told_at_once() -> None:
    addresses = tuple(Address(address=a) for a in ("192.0.2.1", "x", "192.0.2.1", "::1"))
    pool = replace(POOL, id="", min_available="x%", host="-", addresses=addresses)
    assert {v.pointer for v in pool_violations(pool)} == {
        "/id",
        "/min_available",
        "/host",
        "/addresses/1/address",
        "/addresses/2/address",
        "/addresses/3/address",
    }


def with_sets(*sets: PoolSet) -> Instance:
    return replace(INSTANCE, policies=(replace(POLICY, pool_sets=sets),))


@pytest.mark.parametrize(
    ("instance", "pointer", "named"),
    [
        (replace(INSTANCE, name=" shop"), "/name", "' shop'"),
        (replace(INSTANCE, name="shop\n"), "/name", "'shop\\n'"),
        (replace(INSTANCE, name="sh\x00p"), "/name", "'sh\\x00p'"),
        (replace(INSTANCE, id="gtm|1"), "/id", "'gtm|1'"),
        (replace(INSTANCE, cname="no name"), "/cname", "'no name'"),
        (replace(INSTANCE, cname="*.gtm.example"), "/cname", "'*.gtm.example'"),
        (replace(INSTANCE, service_domains=("www.shop.example", "-")), "/service_domains/1", "'-'"),
        (replace(INSTANCE, service_domains=("*.shop.example",)), "/service_domains/0", "'*.shop.example'"),
        (replace(INSTANCE, service_domains=("www.shop.example", "WWW.shop.example.")), "/service_domains/1", "twice"),
        (replace(INSTANCE, names=("www.*.example",)), "/names/0", "'www.*.example'"),
        (replace(INSTANCE, names=("*.shop.example", "*.SHOP.example")), "/names/1", "twice"),
        (replace(INSTANCE, policies=(replace(POLICY, name="a b"),)), "/policies/0/name", "'a b'"),
        (replace(INSTANCE, policies=(POLICY, POLICY)), "/policies/1/name", "'world'"),
        (with_sets(replace(SET, name="a b")), "/policies/0/pool_sets/0/name", "'a b'"),
        (with_sets(replace(SET, name="x"), replace(SET, name="x")), "/policies/0/pool_sets/1/name", "'x'"),
        (with_sets(replace(SET, name="failover"), SET), "/policies/0/pool_sets/1/name", "'failover'"),
        (with_sets(replace(SET, pools=SET.pools * 2)), "/policies/0/pool_sets/0/pools/1/pool", "'pool-a'"),
    ],
)
def test_rules_of_an_instance(instance: Instance, pointer: str, named: str) -> None:
    found = told(instance_violations(instance))
    assert set(found) == {pointer}
    assert named in found[pointer]


def test_a_wildcard_may_be_answered_for() -> None:
    assert list(instance_violations(replace(INSTANCE, names=("*.shop.example",)))) == []


def test_all_violations_of_an_instance_are_told_at_once() -> None:
    twice = replace(POLICY, pool_sets=(SET, replace(SET, name="default", pools=SET.pools * 2)))
    instance = replace(INSTANCE, name=" ", id="-", names=("-", "*"), service_domains=("*",), policies=(twice, twice))
    assert {v.pointer for v in instance_violations(instance)} == {
        "/name",
        "/id",
        "/names/0",
        "/service_domains/0",
        "/policies/1/name",
        "/policies/0/pool_sets/1/name",
        "/policies/0/pool_sets/1/pools/1/pool",
        "/policies/1/pool_sets/1/name",
        "/policies/1/pool_sets/1/pools/1/pool",
    }


def test_sets_without_a_name_have_one() -> None:
    assert [default_set_name(index) for index in range(4)] == ["default", "failover", "failover-2", "failover-3"]
    policy = replace(POLICY, pool_sets=(SET, replace(SET, name="spare"), SET))
    assert set_names(policy) == ("default", "spare", "failover-2")


def test_the_stored_form_of_an_instance() -> None:
    sent = Instance(
        name="Shop",
        cname="GTM12345678.gtm.example.",
        names=("WWW.Shop.example.",),
        service_domains=("Shop.example",),
        policies=(replace(POLICY, pool_sets=(SET, SET)),),
    )
    stored = canonical_instance(sent)
    assert (stored.name, stored.cname) == ("Shop", "gtm12345678.gtm.example")
    assert (stored.names, stored.service_domains) == (("www.shop.example",), ("shop.example",))
    assert [s.name for s in stored.policies[0].pool_sets] == ["default", "failover"]
    assert stored.owned_names() == sent.owned_names() == ("gtm12345678.gtm.example", "www.shop.example")
    assert stored.pool_ids() == {"pool-a"}
    assert canonical_instance(stored) == stored
    assert INSTANCE.owned_names() == ()


POLICY_SELECTOR = Selector(instance="gtm12345678", policy="world")


@pytest.mark.parametrize(
    ("override", "pointer", "named"),
    [
        (replace(OVERRIDE, selector=Selector()), "/selector", "nothing"),
        (replace(OVERRIDE, selector=POLICY_SELECTOR), "/selector", "offline"),
        (replace(OVERRIDE, selector=Selector(pool="p", policy="world")), "/selector", "offline"),
        (replace(OVERRIDE, selector=Selector(label="site")), "/selector/label", "'site'"),
        (replace(OVERRIDE, selector=Selector(label="=hz")), "/selector/label", "'=hz'"),
        (replace(OVERRIDE, selector=Selector(label="site=")), "/selector/label", "'site='"),
        (replace(OVERRIDE, set="failover"), "/set", "pin"),
        (replace(PIN, set=None), "/set", "pin"),
        (replace(PIN, effect="failback"), "/set", "pin"),
        (replace(PIN, selector=Selector(instance="gtm12345678")), "/selector", "pin"),
        (replace(PIN, selector=Selector(policy="world")), "/selector", "pin"),
        (replace(PIN, selector=replace(POLICY_SELECTOR, pool="p")), "/selector", "pin"),
        (replace(PIN, selector=replace(POLICY_SELECTOR, label="site=hz")), "/selector", "pin"),
        (replace(PIN, until=datetime(2030, 1, 1)), "/until", "time zone"),  # noqa: DTZ001
        (replace(PIN, created=datetime(2030, 1, 1)), "/created", "time zone"),  # noqa: DTZ001
    ],
)
def test_rules_of_an_override(override: Override, pointer: str, named: str) -> None:
    found = [v for v in override_violations(override) if v.pointer == pointer]
    assert found
    assert any(named in v.detail for v in found)


@pytest.mark.parametrize("effect", ["offline", "online", "failed", "pin", "failback"])
def test_overrides_that_are_right(effect: Effect) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    of_policy = effect in ("pin", "failback")
    selectors = (
        [POLICY_SELECTOR]
        if of_policy
        else [
            Selector(pool="p"),
            Selector(address="192.0.2.1"),
            Selector(label="a=b=c"),
            Selector(pool="p", label="a=b"),
        ]
    )
    for selector in selectors:
        override = Override(
            selector=selector, effect=effect, set="failover" if effect == "pin" else None, until=moment, created=moment
        )
        assert list(override_violations(override)) == []


def test_a_zone_has_a_domain_name() -> None:
    assert list(zone_violations(Zone(name="shop.example"))) == []
    assert "'a b'" in told(zone_violations(Zone(name="a b.example")))["/name"]
    assert set(told(zone_violations(Zone(name=".")))) == {"/name"}
