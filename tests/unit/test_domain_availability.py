from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.availability import Availability, PoolView, view_address, view_pool, view_set
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import PoolSet, SetMember
from pdns_gtm_backend.domain.override import Effect, Override, Selector, policy_override, winning_override
from pdns_gtm_backend.domain.pool import Address, Mode, Pool
from pdns_gtm_backend.domain.state import Health, TargetState, carried_states
from pdns_gtm_backend.domain.target import target_key, targets_of
from tests.support.strategies import HEALTHS, Configuration, bounded, bounded_few, configurations

EFFECTS: Mapping[Effect, Availability] = {
    "offline": Availability.OFFLINE,
    "failed": Availability.DOWN,
    "online": Availability.UP,
}
OF_HEALTH: Mapping[Health, Availability] = {
    "down": Availability.DOWN,
    "unknown": Availability.UNKNOWN,
    "up": Availability.UP,
}
SITE = Address(address="192.0.2.1", labels={"site": "hz"})


def states_of(pool: Pool, healths: Mapping[tuple[str, str], Health | None]) -> dict[str, TargetState]:
    """The states of a pool's targets, by check and address; None = never judged."""
    return {
        target_key(check, address, pool.host, pool.sni): TargetState(health=health, since=1, reason="status 503")
        for (check, address), health in healths.items()
        if health is not None
    }


def pool_of(
    healths: Sequence[Health], min_available: int | str = 1, enabled: bool = True
) -> tuple[Pool, dict[str, TargetState]]:
    """A pool with one address for each health, and the states that say so."""
    addresses = tuple(Address(address=f"192.0.2.{i + 1}") for i in range(len(healths)))
    pool = Pool(
        id="p",
        type="ipv4",
        health_checks=("web",),
        addresses=addresses,
        min_available=min_available,
        enabled=enabled,
    )
    return pool, states_of(pool, {("web", a.address): h for a, h in zip(pool.addresses, healths, strict=True)})


def names(addresses: Sequence[Address]) -> list[str]:
    return [a.address for a in addresses]


@bounded_few
@given(configurations())
def test_a_pool_uses_the_best_rank_that_suffices(configuration: Configuration) -> None:
    for identifier, pool in configuration.catalog.pools.items():
        view = configuration.pool_view(identifier)
        assert view is not None
        worth = [seen.availability for seen in view.addresses]
        up = sum(w == Availability.UP for w in worth)
        usable = sum(w >= Availability.UNKNOWN for w in worth)
        if not pool.enabled:
            assert (view.availability, view.candidates, view.remaining) == (Availability.DOWN, (), ())
            continue
        expected = [Availability.UP] * (up >= pool.needed()) + [Availability.UNKNOWN] * (usable >= pool.needed())
        assert view.availability == (expected or [Availability.DOWN])[0]
        assert view.available == bool(expected)
        by_name = {seen.address.address: seen.availability for seen in view.addresses}
        assert all(by_name[a.address] >= view.availability for a in view.candidates)
        assert bool(view.candidates) == view.available
        assert names(view.remaining) == [a for a, w in by_name.items() if w != Availability.OFFLINE]


@bounded_few
@given(configurations())
def test_weight_zero_is_a_candidate_only_alone(configuration: Configuration) -> None:
    for identifier in configuration.catalog.pools:
        view = configuration.pool_view(identifier)
        assert view is not None
        if not view.available:
            continue
        able = [seen.address for seen in view.addresses if seen.availability >= view.availability]
        positive = [a for a in able if a.weight]
        assert list(view.candidates) == (positive or able)


@bounded
@given(st.lists(HEALTHS, max_size=12), st.integers(1, 100))
def test_a_percentage_is_of_all_addresses_and_is_reached_not_exceeded(healths: list[Health], percent: int) -> None:
    pool, states = pool_of(healths, min_available=f"{percent}%")
    usable = sum(health != "down" for health in healths)
    assert view_pool(pool, states).available == (
        bool(healths) and usable > 0 and usable * 100 >= percent * len(healths)
    )


@bounded
@given(st.lists(HEALTHS, max_size=6), st.integers(1, 7))
def test_a_count_is_reached_not_exceeded(healths: list[Health], count: int) -> None:
    pool, states = pool_of(healths, min_available=count)
    assert view_pool(pool, states).available == (sum(health != "down" for health in healths) >= count)


def test_an_unknown_address_is_used_only_where_the_pool_would_be_unavailable_without() -> None:
    view = view_pool(*pool_of(["up", "unknown", "down"]))
    assert (view.availability, names(view.candidates)) == (Availability.UP, ["192.0.2.1"])
    view = view_pool(*pool_of(["up", "unknown", "down"], min_available=2))
    assert (view.availability, names(view.candidates)) == (Availability.UNKNOWN, ["192.0.2.1", "192.0.2.2"])
    view = view_pool(*pool_of(["up", "unknown", "down"], min_available=3))
    assert (view.available, view.candidates, names(view.remaining)) == (
        False,
        (),
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    )
    assert view.reason == "2 of 3 addresses available, 3 needed"


@pytest.mark.parametrize("available", [True, False])
def test_a_disabled_pool_gives_nothing(available: bool) -> None:
    view = view_pool(*pool_of(["up" if available else "down"], enabled=False))
    assert (view.available, view.candidates, view.remaining, view.reason) == (False, (), (), "disabled")
    assert len(view.addresses) == 1


@bounded
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none() | HEALTHS, min_size=1), st.booleans())
def test_health_over_several_checks(found: dict[str, Health | None], every: bool) -> None:
    pool = Pool(id="p", type="ipv4", health_checks=tuple(found), require="all" if every else "any", addresses=(SITE,))
    states = states_of(pool, {(check, SITE.address): health for check, health in found.items()})
    ranks = [OF_HEALTH[health or "unknown"] for health in found.values()]
    view = view_address(pool, SITE, states)
    assert view.availability == (min(ranks) if every else max(ranks))
    assert view.health is not None
    assert OF_HEALTH[view.health] == view.availability


def test_an_address_without_checks_is_up_and_says_so() -> None:
    pool = Pool(id="p", type="ipv4", addresses=(SITE,))
    view = view_address(pool, SITE, {})
    assert (view.availability, view.health, view.reason) == (Availability.UP, None, "not monitored")


def test_reasons_are_sentences_for_operators() -> None:
    pool, states = pool_of(["down", "unknown", "up"])
    assert [v.reason for v in view_pool(pool, states).addresses] == ["down: status 503", "no verdict yet", "up"]


def test_the_state_of_another_service_on_the_same_address_does_not_count() -> None:
    pool, states = pool_of(["down"])
    other = replace(pool, host="other.example")
    assert view_pool(other, states).addresses[0].availability == Availability.UNKNOWN


@bounded
@given(
    st.sampled_from(["auto", "online", "offline"]),
    HEALTHS,
    st.lists(st.sampled_from(["offline", "online", "failed", "pin", "failback"]), max_size=3),
)
def test_an_override_decides_then_the_mode_then_health(mode: Mode, health: Health, effects: list[Effect]) -> None:
    address = replace(SITE, mode=mode)
    pool = Pool(id="p", type="ipv4", health_checks=("web",), addresses=(address,))
    states = states_of(pool, {("web", address.address): health})
    layered = [Override(id=str(i), selector=Selector(pool="p"), effect=e) for i, e in enumerate(effects)]
    view = view_address(pool, address, states, layered)
    acting = [EFFECTS[e] for e in effects if e in EFFECTS]
    if acting:
        assert view.availability == min(acting)
        assert view.override is not None
    else:
        assert view.override is None
        assert (
            view.availability
            == {
                "auto": OF_HEALTH[health],
                "online": Availability.UP,
                "offline": Availability.OFFLINE,
            }[mode]
        )
    assert view.health == health


SELECTORS = [
    Selector(label="site=hz"),
    Selector(pool="p"),
    Selector(pool="p", label="site=hz"),
    Selector(address="192.0.2.1"),
    Selector(address="192.0.2.1", label="site=hz"),
    Selector(pool="p", address="192.0.2.1"),
    Selector(pool="p", address="192.0.2.1", label="site=hz"),
]
"""Every form that selects SITE in the pool p, the least specific first."""


@bounded
@given(st.lists(st.tuples(st.integers(0, len(SELECTORS) - 1), st.sampled_from(sorted(EFFECTS))), min_size=1))
def test_the_most_specific_override_wins_then_the_safest(chosen: list[tuple[int, Effect]]) -> None:
    layered = [Override(id=str(i), selector=SELECTORS[s], effect=e) for i, (s, e) in enumerate(chosen)]
    won = winning_override("p", SITE, layered)
    assert won is not None
    assert (won.selector, won.effect) == (
        SELECTORS[max(s for s, _ in chosen)],
        min((e for s, e in chosen if s == max(t for t, _ in chosen)), key=lambda e: EFFECTS[e]),
    )
    assert winning_override("p", SITE, layered[::-1]) == won


@pytest.mark.parametrize(
    "selector",
    [
        Selector(),
        Selector(pool="q"),
        Selector(pool="q", address="192.0.2.1"),
        Selector(address="192.0.2.2"),
        Selector(label="site=sh"),
        Selector(label="rack=hz"),
        Selector(pool="p", label="site=sh"),
        Selector(instance="gtm12345678", policy="world"),
        Selector(instance="gtm12345678", pool="p"),
    ],
)
def test_an_override_of_something_else_does_not_act(selector: Selector) -> None:
    override = Override(id="o", selector=selector, effect="offline")
    assert winning_override("p", SITE, [override]) is None


def test_an_override_says_who_and_why() -> None:
    override = Override(id="o7", selector=Selector(pool="p"), effect="failed", reason="drill")
    view = view_address(Pool(id="p", type="ipv4", addresses=(SITE,)), SITE, {}, [override])
    assert (view.reason, view.override) == ("override o7: failed (drill)", "o7")


def test_the_latest_pin_of_a_policy_counts() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    selector = Selector(instance="gtm12345678", policy="world")

    def pin(identifier: str, created: datetime | None) -> Override:
        return Override(id=identifier, selector=selector, effect="pin", set=identifier, created=created)

    pins = [pin("late", noon + timedelta(hours=1)), pin("early", noon), pin("undated", None), pin("undated-2", None)]
    for order in (pins, pins[::-1]):
        found = policy_override("gtm12345678", "world", "pin", order)
        assert found is not None
        assert found.set == "late"
        found = policy_override("gtm12345678", "world", "pin", [p for p in order if p.created is None])
        assert found is not None
        assert found.set == "undated-2"
    assert policy_override("gtm12345678", "other", "pin", pins) is None
    assert policy_override("gtm12345679", "world", "pin", pins) is None
    assert policy_override("gtm12345678", "world", "failback", pins) is None


@bounded_few
@given(configurations())
def test_a_set_is_available_when_a_pool_of_weight_above_zero_is(configuration: Configuration) -> None:
    for policy in configuration.instance.policies:
        for pool_set in policy.pool_sets:
            for family in ("ipv4", "ipv6", "domain"):
                view = view_set(pool_set, "name", family, configuration.pool_view)
                members = [(configuration.pool_view(m.pool), m.weight) for m in pool_set.pools]
                of_family = [(v, w) for v, w in members if v is not None and v.pool.type == family]
                assert list(view.members) == of_family
                assert list(view.drawn) == [(v, w) for v, w in of_family if w > 0 and v.available]
                assert view.available == any(w > 0 and v.available for v, w in of_family)
                assert view.empty == (sum(len(v.remaining) for v, _ in of_family) == 0)
                assert not view.verified or view.available


def test_a_set_is_verified_by_addresses_known_to_be_up() -> None:
    def view(*healths: Health) -> PoolView:
        return view_pool(*pool_of(healths))

    both = PoolSet(pools=(SetMember(pool="a"), SetMember(pool="b")))
    for first, second, verified in [("up", "down", True), ("unknown", "down", False), ("unknown", "up", True)]:
        held = {"a": view(first), "b": view(second)}  # type: ignore[arg-type]
        found = view_set(both, "s", "ipv4", held.get)
        assert (found.available, found.verified) == (True, verified)
    assert not view_set(both, "s", "ipv4", {"a": view("down"), "b": view("down")}.get).available


def test_a_pool_that_does_not_exist_is_left_out() -> None:
    found = view_set(PoolSet(pools=(SetMember(pool="gone"),)), "s", "ipv4", lambda _: None)
    assert (found.members, found.available, found.empty) == ((), False, True)


def test_every_address_is_probed_by_every_check_that_exists() -> None:
    offline = Address(address="192.0.2.2", mode="offline")
    pool = Pool(
        id="p", type="ipv4", health_checks=("web", "gone", "tcp"), host="www.shop.example", addresses=(SITE, offline)
    )
    checks = {name: HealthCheck(id=name, protocol="tcp", port=80) for name in ("web", "tcp", "unused")}
    targets = list(targets_of(pool, checks))
    assert [t.key for t in targets] == [
        "web|192.0.2.1|www.shop.example|",
        "web|192.0.2.2|www.shop.example|",
        "tcp|192.0.2.1|www.shop.example|",
        "tcp|192.0.2.2|www.shop.example|",
    ]
    assert {(t.family, t.host, t.sni) for t in targets} == {("ipv4", "www.shop.example", None)}


def test_an_address_keeps_its_state_when_the_service_is_renamed() -> None:
    before = Pool(
        id="p",
        type="ipv4",
        health_checks=("web", "tcp"),
        host="old.example",
        addresses=(SITE, Address(address="192.0.2.2")),
    )
    found = {("web", "192.0.2.1"): "down", ("web", "192.0.2.2"): "up", ("tcp", "192.0.2.2"): "down"}
    states = states_of(before, found)  # type: ignore[arg-type]
    after = replace(
        before, health_checks=("web", "new"), host="new.example", addresses=(SITE, Address(address="192.0.2.3"))
    )
    carried = carried_states(before, after, states)
    assert {key: state.health for key, state in carried.items()} == {"web|192.0.2.1|new.example|": "down"}
    assert carried_states(before, replace(after, host="old.example"), states) == {}
    known = states | states_of(after, {("web", "192.0.2.1"): "up"})
    assert carried_states(before, after, known) == {}
