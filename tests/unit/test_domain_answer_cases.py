from dataclasses import replace
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import ServedInstance, record_type, serve
from pdns_gtm_backend.domain.availability import view_pool
from pdns_gtm_backend.domain.client import NOWHERE, Place, parse_network
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Family, Pool
from pdns_gtm_backend.domain.state import Health, PolicyState, TargetState, policy_state_key
from pdns_gtm_backend.domain.target import target_key
from tests.support.strategies import bounded

CLIENT = parse_network("198.51.100.0/24")


def simple(*policies: AccessPolicy, when_all_down: Literal["fail_open", "fail_closed"] = "fail_open") -> Instance:
    return canonical_instance(Instance(id="gtm12345678", name="shop", when_all_down=when_all_down, policies=policies))


def policy(name: str, line: str, *sets: str) -> AccessPolicy:
    """A policy whose sets hold one pool each."""
    return AccessPolicy(
        name=name, lines=(line,), pool_sets=tuple(PoolSet(pools=(SetMember(pool=pool),)) for pool in sets)
    )


def served_with(
    instance: Instance, health: dict[str, Health], pins: dict[str, str] | None = None, offline: tuple[str, ...] = ()
) -> ServedInstance:
    """Pools a, b, ... of one address each (192.0.2.1, .2, ...) in the given health; pins: policy -> set."""
    layered = [
        *(
            Override(id=p, selector=Selector(instance=instance.id, policy=p), effect="pin", set=s)
            for p, s in (pins or {}).items()
        ),
        *(Override(id=f"o-{p}", selector=Selector(pool=p), effect="offline") for p in offline),
    ]
    views = {}
    for number, (name, found) in enumerate(health.items(), 1):
        address = f"192.0.2.{number}"
        pool = Pool(id=name, type="ipv4", health_checks=("web",), addresses=(Address(address=address),))
        states = {target_key("web", address, None, None): TargetState(health=found, since=0)}
        views[name] = view_pool(pool, states, layered)
    return serve(instance, {}, views.get, {}, layered)


def healths(text: str) -> dict[str, Health]:
    return dict(zip("abcd", text.split(), strict=True))  # type: ignore[arg-type]


def answers(served: ServedInstance) -> list[list[str]]:
    """What each policy answers."""
    return [list(choice.draw(CLIENT, lambda: 0.0)) for choice in served.answers.choices["ipv4"]]


TWO = (policy("mainland", "AS-CN", "a", "b"), policy("world", "default", "c", "d"))


@pytest.mark.parametrize(
    ("health", "mainland", "world"),
    [
        ("up up up up", "a", "c"),
        ("down up up up", "b", "c"),
        ("unknown up up up", "a", "c"),
        ("down unknown up up", "b", "c"),
        ("down down up up", "a", "c"),
        ("down down down up", "a", "d"),
        ("down down down down", "a", "c"),
    ],
)
def test_failover_and_fail_open(health: str, mainland: str, world: str) -> None:
    served = served_with(simple(*TWO), healths(health))
    expected = {name: f"192.0.2.{number}" for number, name in enumerate("abcd", 1)}
    assert answers(served) == [[expected[mainland]], [expected[world]]]


@pytest.mark.parametrize(
    ("health", "mainland", "world", "rules"),
    [
        ("down down up up", "c", "c", ["other_policy", "set"]),
        ("down down down up", "d", "d", ["other_policy", "set"]),
        ("up down down down", "a", "a", ["set", "other_policy"]),
        ("down down down down", "", "", ["fail_closed", "fail_closed"]),
        ("down down unknown down", "c", "c", ["other_policy", "set"]),
    ],
)
def test_fail_closed(health: str, mainland: str, world: str, rules: list[str]) -> None:
    served = served_with(simple(*TWO, when_all_down="fail_closed"), healths(health))
    expected = {name: [f"192.0.2.{number}"] for number, name in enumerate("abcd", 1)} | {"": []}
    assert answers(served) == [expected[mainland], expected[world]]
    assert [choice.rule for choice in served.answers.choices["ipv4"]] == rules


def test_offline_addresses_are_never_answered_not_even_under_fail_open() -> None:
    found = healths("down down down up")
    assert answers(served_with(simple(*TWO), found, offline=("a",))) == [["192.0.2.2"], ["192.0.2.4"]]
    assert answers(served_with(simple(*TWO), found, offline=("a", "b"))) == [["192.0.2.4"], ["192.0.2.4"]]
    assert answers(served_with(simple(*TWO), found, offline=("a", "b", "d"))) == [["192.0.2.3"], ["192.0.2.3"]]
    served = served_with(simple(*TWO), found, offline=("a", "b", "c", "d"))
    assert (answers(served), served.answers.families) == ([[], []], ())


def test_the_default_policy_lends_its_answer_before_any_other() -> None:
    instance = simple(policy("near", "AS", "a"), policy("far", "EU", "b"), policy("world", "default", "c", "d"))
    assert answers(served_with(instance, healths("up up up up"), offline=("a",)))[0] == ["192.0.2.3"]
    assert answers(served_with(instance, healths("up up down up"), offline=("a",)))[0] == ["192.0.2.4"]
    assert answers(served_with(instance, healths("up up down down"), offline=("a",)))[0] == ["192.0.2.2"]
    assert answers(served_with(instance, healths("up down down down"), offline=("a",)))[0] == ["192.0.2.3"]
    assert answers(served_with(instance, healths("up down down down"), offline=("a", "c", "d")))[0] == ["192.0.2.2"]


def test_an_all_down_rule_is_told_as_one_also_where_another_policy_lends_it() -> None:
    found = healths("down down down down")
    served = served_with(simple(*TWO), found, offline=("a", "b"))
    assert [(c.rule, c.source) for c in served.answers.choices["ipv4"]] == [("fail_open", ("world", "default"))] * 2


def test_a_pin_answers_a_set_that_is_down_but_lends_it_to_nobody_under_fail_closed() -> None:
    found = healths("down down up down")
    served = served_with(simple(*TWO, when_all_down="fail_closed"), found, pins={"world": "failover"})
    assert answers(served) == [["192.0.2.3"], ["192.0.2.4"]]
    assert [c.rule for c in served.answers.choices["ipv4"]] == ["other_policy", "pinned_unavailable"]


def test_a_pin_to_a_set_without_any_address_falls_to_one_that_is_available() -> None:
    found = healths("down up up up")
    served = served_with(simple(*TWO), found, pins={"world": "default"}, offline=("c",))
    assert answers(served)[1] == ["192.0.2.4"]


def test_the_decided_set_is_kept_while_it_is_available() -> None:
    instance = simple(*TWO)
    views = {
        name: view_pool(Pool(id=name, type="ipv4", addresses=(Address(address=f"192.0.2.{n}"),)), {})
        for n, name in enumerate("abcd", 1)
    }
    states = {policy_state_key(instance.id, "world", "ipv4"): PolicyState(set="failover", since=0)}
    served = serve(instance, {}, views.get, states)
    assert answers(served) == [["192.0.2.1"], ["192.0.2.4"]]


def test_families_are_answered_apart() -> None:
    """An IPv6 pool that is down does not take the IPv4 answer to the failover set."""
    both = PoolSet(pools=(SetMember(pool="four"), SetMember(pool="six")))
    spare = PoolSet(pools=(SetMember(pool="spare"), SetMember(pool="spare6")))
    instance = simple(AccessPolicy(name="world", lines=("default",), pool_sets=(both, spare)))
    down = Override(id="o", selector=Selector(pool="six"), effect="failed")
    held: list[tuple[str, Family, str]] = [
        ("four", "ipv4", "192.0.2.1"),
        ("six", "ipv6", "2001:db8::1"),
        ("spare", "ipv4", "192.0.2.2"),
        ("spare6", "ipv6", "2001:db8::2"),
    ]
    views = {n: view_pool(Pool(id=n, type=f, addresses=(Address(address=a),)), {}, [down]) for n, f, a in held}
    served = serve(instance, {}, views.get, {}, [down])
    assert served.answers.families == ("ipv4", "ipv6")
    match = served.match(CLIENT, NOWHERE)
    assert list(served.answers.addresses("ipv4", match, CLIENT, lambda: 0.0)) == ["192.0.2.1"]
    assert list(served.answers.addresses("ipv6", match, CLIENT, lambda: 0.0)) == ["2001:db8::2"]
    assert [record_type(family) for family in ("ipv4", "ipv6", "domain")] == ["A", "AAAA", "CNAME"]


@bounded
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 5), st.booleans())
def test_sticky_clients_stay_when_another_address_goes_down(weights: list[int], left: int, by_set: bool) -> None:
    """Through the whole chain: an address of a sticky pool, or a pool of a sticky set, fails."""
    count = len(weights)
    gone = left % count
    address = [f"192.0.2.{number + 1}" for number in range(count)]
    if by_set:
        pools = [
            Pool(id=f"p{n}", type="ipv4", health_checks=("web",), addresses=(Address(address=address[n]),))
            for n in range(count)
        ]
        members = tuple(SetMember(pool=pool.id, weight=weight) for pool, weight in zip(pools, weights, strict=True))
    else:
        members = (SetMember(pool="p"),)
        held = tuple(Address(address=a, weight=w) for a, w in zip(address, weights, strict=True))
        pools = [Pool(id="p", type="ipv4", strategy="sticky", health_checks=("web",), addresses=held)]
    sets = (PoolSet(pools=members, sticky=True),)
    instance = simple(AccessPolicy(name="world", lines=("default",), pool_sets=sets))

    def answered(down: int | None) -> list[str]:
        states = {
            target_key("web", a, None, None): TargetState(health="down" if n == down else "up", since=0)
            for n, a in enumerate(address)
        }
        views = {pool.id: view_pool(pool, states) for pool in pools}
        served = serve(instance, {}, views.get, {})
        networks = [parse_network(f"203.0.{third}.0/24") for third in range(50)]
        return [
            served.answers.addresses("ipv4", served.match(c, NOWHERE), c, Random(third).random)[0]
            for third, c in enumerate(networks)
        ]

    before, after = answered(None), answered(gone)
    assert all(b == a or b == address[gone] for b, a in zip(before, after, strict=True))
    assert address[gone] not in after


def test_a_broken_custom_line_leaves_the_others() -> None:
    instance = simple(policy("cn", "line:broken", "a"), policy("world", "default", "b"))
    views = {n: view_pool(Pool(id=n, type="ipv4", addresses=(Address(address=f"192.0.2.{ord(n)}"),)), {}) for n in "ab"}
    served = serve(instance, {"broken": Line(id="broken", members=("moon",))}, views.get, {})
    match = served.match(CLIENT, Place("AS", "CN"))
    assert match is not None
    assert instance.policies[match.owner].name == "world"


@pytest.mark.parametrize(
    ("pool", "uniform"),
    [
        (Pool(id="a", type="ipv4"), True),
        (Pool(id="a", type="ipv4", strategy="sequence", max_answers=1), True),
        (Pool(id="a", type="ipv4", max_answers=2), True),
        (Pool(id="a", type="ipv4", max_answers=1), False),
        (Pool(id="a", type="ipv4", strategy="weighted"), False),
        (Pool(id="a", type="ipv4", strategy="sticky"), False),
    ],
)
def test_what_nothing_is_drawn_from_is_uniform(pool: Pool, uniform: bool) -> None:
    held = replace(pool, addresses=(Address(address="192.0.2.1"), Address(address="192.0.2.2")))
    views = {name: view_pool(replace(held, id=name), {}) for name in "ab"}
    one = policy("world", "default", "a", "b")
    assert serve(simple(one), {}, views.get, {}).answers.uniform == uniform
    assert not serve(simple(one, policy("near", "AS", "a")), {}, views.get, {}).answers.uniform
    drawn = replace(one, pool_sets=(PoolSet(pools=(SetMember(pool="a"), SetMember(pool="b"))),))
    assert not serve(simple(drawn), {}, views.get, {}).answers.uniform
