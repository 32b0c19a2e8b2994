from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import Choice, ServedInstance, record_type, serve
from pdns_gtm_backend.domain.availability import Availability, SetView, view_pool
from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.explanation import explain
from pdns_gtm_backend.domain.instance import FAMILIES, AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Family, Pool
from pdns_gtm_backend.domain.state import Health, PolicyState, TargetState, policy_state_key
from pdns_gtm_backend.domain.target import target_key
from tests.support.strategies import Configuration, bounded, bounded_few, clients, configurations, hosts, places

NODATA = frozenset({"none", "fail_closed", "disabled"})
CLIENT = parse_network("198.51.100.0/24")


def every_choice(served: ServedInstance) -> Iterator[tuple[Family, int, Choice]]:
    for family in FAMILIES[served.instance.kind]:
        for index, choice in enumerate(served.choices[family]):
            yield family, index, choice


def source_set(served: ServedInstance, family: Family, choice: Choice) -> SetView:
    """The set that a choice says its addresses belong to."""
    assert choice.source is not None
    policy, name = choice.source
    views = next(view for view in served.views[family] if view.policy.name == policy)
    return next(view for view in views.sets if view.name == name)


def worth(view: SetView, address: str) -> Availability:
    """The best that an address is worth in a pool of a set; one of a disabled pool is worth nothing."""
    return max(
        (
            seen.availability if pool.pool.enabled else Availability.OFFLINE
            for pool, _ in view.members
            for seen in pool.addresses
            if seen.address.address == address
        ),
        default=Availability.OFFLINE,
    )


def some_answers(choice: Choice, client: Network) -> Iterator[Sequence[str]]:
    for seed in range(6):
        yield choice.draw(client, Random(seed).random)


@bounded_few
@given(configurations(), clients())
def test_what_is_answered_was_available_or_an_all_down_rule_acted(
    configuration: Configuration, client: Network
) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        for answer in some_answers(choice, client):
            assert bool(answer) == (choice.rule not in NODATA)
            assert len(set(answer)) == len(answer)
            if not answer:
                continue
            view = source_set(served, family, choice)
            if choice.rule in ("set", "other_policy"):
                assert view.available
                assert all(worth(view, address) >= Availability.UNKNOWN for address in answer)
            else:
                assert choice.rule in ("fail_open", "pinned_unavailable")
                assert not view.available
                assert all(worth(view, address) > Availability.OFFLINE for address in answer)
            own = choice.source is not None and choice.source[0] == served.instance.policies[index].name
            assert own == (choice.rule == "set") or choice.rule in ("fail_open", "pinned_unavailable")


@bounded_few
@given(configurations(), st.lists(st.tuples(clients(), places()), min_size=1, max_size=8), st.integers())
def test_types_at_a_name_are_the_same_for_every_client(
    configuration: Configuration, asked: list[tuple[Network, Place]], seed: int
) -> None:
    served = configuration.served()
    for family in ("ipv4", "ipv6", "domain"):
        for client, place in asked:
            match = served.match(client.truncated(served.scope(client)), place)
            answer = served.addresses(family, match, client, Random(seed).random)
            assert bool(answer) == (family in served.families)
        for choice in served.choices.get(family, ()):
            assert (choice.rule not in NODATA) == (family in served.families)


@bounded_few
@given(configurations(), clients(), places(), st.integers())
def test_fail_open_is_never_empty_while_an_address_is_not_offline(
    configuration: Configuration, client: Network, place: Place, seed: int
) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_open"))
    served = configuration.served()
    for family in FAMILIES[served.instance.kind]:
        pools = [configuration.pool_view(name) for name in served.instance.pool_ids()]
        exists = any(
            seen.availability != Availability.OFFLINE
            for view in pools
            if view is not None and view.pool.enabled and view.pool.type == family
            for seen in view.addresses
        )
        answer = served.addresses(family, served.match(client, place), client, Random(seed).random)
        assert bool(answer) == exists


@bounded_few
@given(configurations())
def test_fail_closed_acts_only_without_any_available_set_and_then_for_all(configuration: Configuration) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_closed"))
    served = configuration.served()
    for family in FAMILIES[served.instance.kind]:
        sets = [view for policy in served.views[family] for view in policy.sets]
        acted = [choice.rule in ("fail_closed", "none") for choice in served.choices[family]]
        assert all(acted) == any(acted) == (not any(view.available for view in sets))
        assert (family in served.families) == any(view.available for view in sets)


@bounded_few
@given(configurations(), clients())
def test_fail_closed_never_answers_an_unavailable_address_but_of_a_pinned_set(
    configuration: Configuration, client: Network
) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_closed"))
    served = configuration.served()
    for family, index, choice in every_choice(served):
        pinned = served.views[family][index].pinned
        for answer in some_answers(choice, client):
            if not answer:
                continue
            view = source_set(served, family, choice)
            available = all(worth(view, address) >= Availability.UNKNOWN for address in answer)
            assert available or choice.source == (served.instance.policies[index].name, pinned)


@bounded_few
@given(configurations(max_overrides=6))
def test_a_pin_wins_wherever_the_pinned_set_holds_anything(configuration: Configuration) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        policy = served.instance.policies[index]
        pins = [o for o in configuration.overrides if o.effect == "pin" and o.selector.policy == policy.name]
        assert served.views[family][index].pinned in ([o.set for o in pins] or [None])
        pinned = next(
            (s for s in served.views[family][index].sets if s.name == served.views[family][index].pinned), None
        )
        if pinned is None or pinned.empty or choice.rule == "fail_closed":
            continue
        assert choice.source == (policy.name, pinned.name)
        assert choice.rule == ("set" if pinned.available else "pinned_unavailable")


@bounded_few
@given(configurations())
def test_a_policy_answers_from_its_own_sets_while_it_can(configuration: Configuration) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        view = served.views[family][index]
        own = (view.policy.name, view.set_name)
        if view.effective is not None and view.sets[view.effective].available:
            assert (choice.rule, choice.source) == ("set", own)
        elif any(not s.empty for s in view.sets) and served.instance.when_all_down == "fail_open":
            assert choice.source is not None
            assert choice.source[0] == view.policy.name
        if choice.rule == "fail_open":
            first = next(p for p in served.views[family] if choice.source and p.policy.name == choice.source[0])
            assert choice.source == (first.policy.name, next(s.name for s in first.sets if not s.empty))
            assert not any(s.available for s in first.sets)


@bounded_few
@given(configurations())
def test_a_policy_without_an_answer_takes_one_that_is_available_the_default_policys_first(
    configuration: Configuration,
) -> None:
    served = configuration.served()
    default = next(p.name for p in served.instance.policies if "default" in p.lines)
    for family in FAMILIES[served.instance.kind]:
        views = served.views[family]
        of_default = served.choices[family][[v.policy.name for v in views].index(default)]
        for choice in served.choices[family]:
            if choice.rule != "other_policy":
                continue
            assert any(s.available for view in views for s in view.sets)
            if of_default.rule == "set":
                assert choice.source == of_default.source


@bounded_few
@given(configurations(), clients())
def test_fail_open_gives_every_address_of_the_set_but_the_offline_ones(
    configuration: Configuration, client: Network
) -> None:
    served = configuration.served()
    for family, _, choice in every_choice(served):
        if choice.rule not in ("fail_open", "pinned_unavailable"):
            continue
        view = source_set(served, family, choice)
        every = {seen.address.address for pool, _ in view.members for seen in pool.addresses}
        left = {address for address in every if worth(view, address) > Availability.OFFLINE}
        if family == "domain":
            assert all(len(answer) == 1 and set(answer) <= left for answer in some_answers(choice, client))
        else:
            assert all(set(answer) == left for answer in some_answers(choice, client))


@bounded_few
@given(configurations(), st.lists(clients(), min_size=1, max_size=6), st.booleans())
def test_scope_follows_from_configuration_alone(
    configuration: Configuration, asked: list[Network], enabled: bool
) -> None:
    without = serve(
        replace(configuration.instance, enabled=enabled, when_all_down="fail_closed"),
        configuration.catalog.lines,
        lambda _: None,
        {},
    )
    served = configuration.served()
    assert [served.scope(client) for client in asked] == [without.scope(client) for client in asked]


@bounded_few
@given(configurations(), st.lists(st.tuples(clients(), places(), st.integers()), min_size=2, max_size=8))
def test_what_is_uniform_is_the_same_for_all_at_every_time(
    configuration: Configuration, asked: list[tuple[Network, Place, int]]
) -> None:
    one_policy = replace(configuration.instance, policies=configuration.instance.policies[:1])
    for made in (configuration, replace(configuration, instance=one_policy)):
        served = made.served()
        without_states = replace(made, target_states={}, policy_states={}).served()
        assert served.uniform == without_states.uniform
        if not served.uniform:
            continue
        for family in FAMILIES[served.instance.kind]:
            given_out = {
                tuple(served.addresses(family, served.match(client, place), client, Random(seed).random))
                for client, place, seed in asked
            }
            assert len(given_out) == 1


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
    assert serve(simple(one), {}, views.get, {}).uniform == uniform
    assert not serve(simple(one, policy("near", "AS", "a")), {}, views.get, {}).uniform
    drawn = replace(one, pool_sets=(PoolSet(pools=(SetMember(pool="a"), SetMember(pool="b"))),))
    assert not serve(simple(drawn), {}, views.get, {}).uniform


@bounded_few
@given(configurations(), hosts(), places(), st.integers(0, 2**72 - 1))
def test_every_client_of_a_scope_network_gets_the_same_distribution(
    configuration: Configuration, client: Network, place: Place, noise: int
) -> None:
    served = configuration.served()
    scope = served.scope(client)
    neighbour = replace(client, bits=client.bits ^ (noise & ((1 << (client.length - scope)) - 1)))
    one, other = client.truncated(scope), neighbour.truncated(served.scope(neighbour))
    for family in FAMILIES[served.instance.kind]:
        assert explain(served, family, one, place) == explain(served, family, other, place)
        for seed in range(3):
            answers = [
                list(served.addresses(family, served.match(c, place), c, Random(seed).random)) for c in (one, other)
            ]
            assert answers[0] == answers[1]


@bounded_few
@given(configurations(), clients(), places())
def test_the_policy_of_the_clients_line_answers(configuration: Configuration, client: Network, place: Place) -> None:
    served = configuration.served()
    match = served.match(client, place)
    assert match is not None
    policy = served.instance.policies[match.owner]
    assert match.written in policy.lines
    for family in served.families:
        choice = served.choices[family][match.owner]
        for seed in range(3):
            drawn = served.addresses(family, match, client, Random(seed).random)
            assert drawn == choice.draw(client, Random(seed).random)


@bounded_few
@given(configurations(), clients(), places())
def test_a_disabled_instance_holds_no_data(configuration: Configuration, client: Network, place: Place) -> None:
    disabled = replace(configuration, instance=replace(configuration.instance, enabled=False)).served()
    assert disabled.families == ()
    for family in FAMILIES[disabled.instance.kind]:
        assert list(disabled.addresses(family, disabled.match(client, place), client, lambda: 0.0)) == []


@bounded_few
@given(configurations(), clients(), places())
def test_what_the_store_has_lost_is_left_out(configuration: Configuration, client: Network, place: Place) -> None:
    """Half of the pools and every custom line are gone; the rest is answered."""
    kept = {name: pool for index, (name, pool) in enumerate(configuration.catalog.pools.items()) if index % 2 == 0}
    broken = replace(configuration, catalog=replace(configuration.catalog, pools=kept, lines={}))
    served = broken.served()
    for family in served.families:
        answer = served.addresses(family, served.match(client, place), client, lambda: 0.5)
        assert answer
        assert set(answer) <= {a.address for pool in kept.values() for a in pool.addresses}


def simple(
    *policies: AccessPolicy, when_all_down: str = "fail_open", kind: str = "address", enabled: bool = True
) -> Instance:
    return canonical_instance(
        Instance(
            id="gtm12345678",
            name="shop",
            kind=kind,  # type: ignore[arg-type]
            when_all_down=when_all_down,  # type: ignore[arg-type]
            policies=policies,
            enabled=enabled,
        )
    )


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
    return [list(choice.draw(CLIENT, lambda: 0.0)) for choice in served.choices["ipv4"]]


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
    assert [choice.rule for choice in served.choices["ipv4"]] == rules


def test_offline_addresses_are_never_answered_not_even_under_fail_open() -> None:
    found = healths("down down down up")
    assert answers(served_with(simple(*TWO), found, offline=("a",))) == [["192.0.2.2"], ["192.0.2.4"]]
    assert answers(served_with(simple(*TWO), found, offline=("a", "b"))) == [["192.0.2.4"], ["192.0.2.4"]]
    assert answers(served_with(simple(*TWO), found, offline=("a", "b", "d"))) == [["192.0.2.3"], ["192.0.2.3"]]
    served = served_with(simple(*TWO), found, offline=("a", "b", "c", "d"))
    assert (answers(served), served.families) == ([[], []], ())


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
    assert [(c.rule, c.source) for c in served.choices["ipv4"]] == [("fail_open", ("world", "default"))] * 2


def test_a_pin_answers_a_set_that_is_down_but_lends_it_to_nobody_under_fail_closed() -> None:
    found = healths("down down up down")
    served = served_with(simple(*TWO, when_all_down="fail_closed"), found, pins={"world": "failover"})
    assert answers(served) == [["192.0.2.3"], ["192.0.2.4"]]
    assert [c.rule for c in served.choices["ipv4"]] == ["other_policy", "pinned_unavailable"]


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
    assert served.families == ("ipv4", "ipv6")
    match = served.match(CLIENT, NOWHERE)
    assert list(served.addresses("ipv4", match, CLIENT, lambda: 0.0)) == ["192.0.2.1"]
    assert list(served.addresses("ipv6", match, CLIENT, lambda: 0.0)) == ["2001:db8::2"]
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
            served.addresses("ipv4", served.match(c, NOWHERE), c, Random(third).random)[0]
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
