from collections.abc import Sequence

import pytest
from hypothesis import given

from pdns_gtm_backend.domain.answer import ServedInstance, serve
from pdns_gtm_backend.domain.availability import Availability, PoolView, view_pool
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import Health, TargetState
from pdns_gtm_backend.domain.statuses import health_check_status, pool_status, request_status
from pdns_gtm_backend.domain.target import target_key
from tests.support.strategies import Configuration, bounded_few, configurations


def pool_view(
    name: str, healths: Sequence[Health], checked: bool = True, min_available: int = 1, layered: Sequence[Override] = ()
) -> PoolView:
    """A pool of one address for each health."""
    addresses = tuple(Address(address=f"192.0.2.{ord(name) + n}") for n in range(len(healths)))
    states = {
        target_key("web", a.address, None, None): TargetState(health=health, since=0)
        for a, health in zip(addresses, healths, strict=True)
    }
    pool = Pool(
        id=name,
        type="ipv4",
        min_available=min_available,
        health_checks=("web",) if checked else (),
        addresses=addresses,
    )
    return view_pool(pool, states, layered)


@pytest.mark.parametrize(
    ("healths", "checked", "min_available", "status"),
    [
        (["up", "up"], True, 1, "normal"),
        (["up", "unknown"], True, 1, "normal"),
        (["unknown", "unknown"], True, 1, "normal"),
        (["up", "down"], True, 1, "warning"),
        (["unknown", "down"], True, 1, "warning"),
        (["up", "down"], True, 2, "exception"),
        (["down", "down"], True, 1, "exception"),
        (["down", "down"], False, 1, "unmonitored"),
        ([], False, 1, "exception"),
    ],
)
def test_status_of_a_pool(healths: list[Health], checked: bool, min_available: int, status: str) -> None:
    assert pool_status(pool_view("a", healths, checked, min_available)) == status


HEALTHS: Sequence[Sequence[Health]] = (["up"], ["up", "down"], ["down"])


def test_health_check_status_is_the_worst_pool() -> None:
    normal, warning, exception = (pool_view("a", h) for h in HEALTHS)
    unmonitored = pool_view("b", ["up"], checked=False)
    assert health_check_status([normal, unmonitored]) == "normal"
    assert health_check_status([unmonitored]) == "unmonitored"
    assert health_check_status([]) == "unmonitored"
    assert health_check_status([normal, warning, unmonitored]) == "warning"
    assert health_check_status([normal, exception, warning]) == "exception"


@bounded_few
@given(configurations())
def test_health_check_status_follows_from_addresses(configuration: Configuration) -> None:
    views = [view for name in configuration.catalog.pools if (view := configuration.pool_view(name)) is not None]
    monitored = any(view.pool.health_checks for view in views)
    unavailable = any(not view.available for view in views)
    down = any(
        seen.availability == Availability.DOWN for view in views if view.pool.health_checks for seen in view.addresses
    )
    expected = "exception" if unavailable else "warning" if down else "normal"
    assert health_check_status(views) == (expected if monitored else "unmonitored")


def served(
    health: Sequence[Health], pinned: str | None = None, when_all_down: str = "fail_open", offline: str = ""
) -> ServedInstance:
    """Two policies: `near` with the sets a and b, `world` with c alone."""
    layered = [Override(id=p, selector=Selector(pool=p), effect="offline") for p in offline]
    if pinned:
        selector = Selector(instance="gtm12345678", policy="near")
        layered.append(Override(id="pin", selector=selector, effect="pin", set=pinned))
    sets = {name: PoolSet(pools=(SetMember(pool=name),)) for name in "abc"}
    instance = Instance(
        id="gtm12345678",
        name="shop",
        when_all_down=when_all_down,  # type: ignore[arg-type]
        policies=(
            AccessPolicy(name="near", lines=("AS",), pool_sets=(sets["a"], sets["b"])),
            AccessPolicy(name="world", lines=("default",), pool_sets=(sets["c"],)),
        ),
    )
    views = {name: pool_view(name, [h], layered=layered) for name, h in zip("abc", health, strict=True)}
    return serve(canonical_instance(instance), {}, views.get, {}, layered)


@pytest.mark.parametrize(
    ("health", "pinned", "rule", "status"),
    [
        ("up up up", None, "fail_open", "normal"),
        ("up down up", None, "fail_open", "normal"),
        ("unknown up up", None, "fail_open", "normal"),
        ("down up up", None, "fail_open", "error"),
        ("up up up", "failover", "fail_open", "error"),
        ("up up up", "default", "fail_open", "normal"),
        ("down up up", "default", "fail_open", "unavailable"),
        ("down down up", None, "fail_open", "unavailable"),
        ("up up down", None, "fail_open", "unavailable"),
        ("down down up", None, "fail_closed", "error"),
        ("up up down", None, "fail_closed", "error"),
        ("down down down", None, "fail_closed", "unavailable"),
    ],
)
def test_request_status(health: str, pinned: str | None, rule: str, status: str) -> None:
    assert request_status(served(health.split(), pinned, rule)) == status  # type: ignore[arg-type]


def test_a_policy_that_another_answers_for_has_switched() -> None:
    assert request_status(served(["up", "up", "up"], offline="ab")) == "error"
    assert request_status(served(["up", "up", "down"], offline="ab")) == "unavailable"
    assert request_status(served(["up", "up", "up"], offline="abc")) == "unavailable"


def test_a_family_that_a_policy_does_not_carry_is_no_switch() -> None:
    six = Pool(id="six", type="ipv6", addresses=(Address(address="2001:db8::1"),))
    four = Pool(id="four", type="ipv4", addresses=(Address(address="192.0.2.1"),))
    views = {pool.id: view_pool(pool, {}) for pool in (six, four)}
    instance = Instance(
        id="gtm12345678",
        name="shop",
        policies=(
            AccessPolicy(name="near", lines=("AS",), pool_sets=(PoolSet(pools=(SetMember(pool="four"),)),)),
            AccessPolicy(
                name="world",
                lines=("default",),
                pool_sets=(PoolSet(pools=(SetMember(pool="four"), SetMember(pool="six"))),),
            ),
        ),
    )
    made = serve(canonical_instance(instance), {}, views.get, {})
    assert made.answers.families == ("ipv4", "ipv6")
    assert [choice.rule for choice in made.answers.choices["ipv6"]] == ["other_policy", "set"]
    assert request_status(made) == "normal"


@bounded_few
@given(configurations())
def test_request_status_follows_from_the_answers(configuration: Configuration) -> None:
    made = configuration.served()
    rules = [
        (choice.rule, view.effective)
        for family, views in made.answers.views.items()
        for view, choice in zip(views, made.answers.choices[family], strict=True)
        if view.sets
    ]
    status = request_status(made)
    all_down = any(rule in ("fail_open", "fail_closed", "pinned_unavailable", "none") for rule, _ in rules)
    switched = any(rule == "other_policy" or effective != 0 for rule, effective in rules)
    assert status == ("unavailable" if all_down else "error" if switched else "normal")
