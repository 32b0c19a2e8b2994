from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.availability import SetView, view_pool, view_set
from pdns_gtm_backend.domain.instance import PoolSet, SetMember
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import PolicyState, TargetState
from pdns_gtm_backend.domain.switchover import Command, Decision, decide, effective_index, unavailable_reason
from pdns_gtm_backend.domain.target import target_key
from tests.support.strategies import bounded

Condition = Literal["up", "unknown", "down", "offline"]
Failback = Literal["auto", "manual"]
CONDITIONS: Sequence[Condition] = ("up", "up", "unknown", "down", "down", "offline")
NAMES = ("default", "failover", "failover-2")


def set_in(name: str, condition: Condition) -> SetView:
    """A set of one pool whose one address is in a condition."""
    offline = condition == "offline"
    address = Address(address="192.0.2.1", mode="offline" if offline else "auto")
    pool = Pool(id=f"pool-{name}", type="ipv4", health_checks=("web",), addresses=(address,))
    health = "unknown" if condition == "offline" else condition
    states = {target_key("web", "192.0.2.1", None, None): TargetState(health=health, since=0, reason="refused")}
    view = view_pool(pool, states)
    return view_set(PoolSet(pools=(SetMember(pool=pool.id),)), name, "ipv4", lambda _: view)


VIEWS: Mapping[tuple[str, Condition], SetView] = {(n, c): set_in(n, c) for n in NAMES for c in set(CONDITIONS)}


def sets_in(conditions: Mapping[str, Condition]) -> list[SetView]:
    return [VIEWS[name, condition] for name, condition in conditions.items()]


@dataclass(frozen=True)
class Step:
    """What is true at a moment, `after` seconds since the one before."""

    after: float
    conditions: Mapping[str, Condition]
    command: Command

    @property
    def sets(self) -> list[SetView]:
        return sets_in(self.conditions)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    present = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1) | st.just(set(NAMES))))
    return Step(
        after=draw(st.sampled_from([0.1, 7, 10, 29.9, 30, 31, 300])),
        conditions={name: draw(st.sampled_from(CONDITIONS)) for name in present},
        command=Command(
            pinned=draw(st.sampled_from([None, None, None, None, *NAMES, "gone"])),
            pinned_by=draw(st.sampled_from(["", "ada"])),
            failback_now=draw(st.sampled_from([False, False, False, True])),
        ),
    )


HISTORIES = st.lists(steps(), min_size=1, max_size=15)
FAILBACKS: st.SearchStrategy[Failback] = st.sampled_from(["auto", "manual"])
DELAYS = st.sampled_from([0.0, 0.3, 30, 100])


Played = tuple[float, PolicyState | None, Step, Decision]


def play(history: list[Step], failback: Failback, delay: float) -> list[Played]:
    """Every decision of a history: its time, the state before, the step, the decision."""
    now = 1_700_000_000.1
    state: PolicyState | None = None
    played: list[Played] = []
    for step in history:
        now += step.after
        decision = decide(step.sets, state, failback, delay, step.command, now)
        played.append((now, state, step, decision))
        state = decision.state
    return played


@bounded
@given(HISTORIES, FAILBACKS, DELAYS)
def test_a_pin_always_wins(history: list[Step], failback: Failback, delay: float) -> None:
    for _, before, step, decision in play(history, failback, delay):
        if step.command.pinned in step.conditions:
            assert decision.state.set == step.command.pinned
            assert decision.again_at is None
            assert effective_index(step.sets, "other", step.command.pinned) == (
                list(step.conditions).index(step.command.pinned)
            )
            if before is not None and before.set != step.command.pinned:
                assert decision.state.previous == before.set
                assert f"pinned to {step.command.pinned}" in decision.state.reason


@bounded
@given(HISTORIES, FAILBACKS, DELAYS)
def test_no_switch_without_a_cause(history: list[Step], failback: Failback, delay: float) -> None:
    for now, before, step, decision in play(history, failback, delay):
        names = list(step.conditions)
        views = dict(zip(names, step.sets, strict=True))
        after = decision.state
        assert after.set in names
        old = before.set if before is not None else names[0]
        if after.set == old:
            if before is not None:
                assert (after.since, after.reason, after.previous) == (before.since, before.reason, before.previous)
            continue
        assert after.since == now
        assert after.reason
        assert after.previous == old
        if step.command.pinned in names:
            continue
        if old not in names:
            assert after.set == next((name for name in names if views[name].available), names[0])
            continue
        if views[old].available:
            assert names.index(after.set) < names.index(old)
            by_operator = step.command.failback_now and views[after.set].available
            assert by_operator or (failback == "auto" and views[after.set].verified)
        else:
            assert after.set == next(name for name in names if views[name].available)


@bounded
@given(HISTORIES, FAILBACKS, DELAYS)
def test_a_set_that_fails_is_left_at_once_and_kept_where_no_other_is_available(
    history: list[Step], failback: Failback, delay: float
) -> None:
    for _, before, step, decision in play(history, failback, delay):
        if step.command.pinned in step.conditions:
            continue
        views = dict(zip(step.conditions, step.sets, strict=True))
        if any(view.available for view in step.sets):
            assert views[decision.state.set].available
        elif before is not None and before.set in views:
            assert decision.state.set == before.set


@bounded
@given(HISTORIES, FAILBACKS, DELAYS)
def test_what_is_answered_is_what_was_decided(history: list[Step], failback: Failback, delay: float) -> None:
    for _, _, step, decision in play(history, failback, delay):
        index = effective_index(step.sets, decision.state.set, step.command.pinned)
        if any(view.available for view in step.sets) or step.command.pinned in step.conditions:
            assert index is not None
            assert step.sets[index].name == decision.state.set
        else:
            assert index is None


@bounded
@given(HISTORIES, FAILBACKS, DELAYS)
def test_deciding_again_at_once_changes_nothing(history: list[Step], failback: Failback, delay: float) -> None:
    for now, _, step, decision in play(history, failback, delay):
        command = replace(step.command, failback_now=False)
        assert decide(step.sets, decision.state, failback, delay, command, now) == decision


@bounded
@given(HISTORIES, DELAYS)
def test_manual_failback_goes_back_only_when_told(history: list[Step], delay: float) -> None:
    for _, before, step, decision in play(history, "manual", delay):
        assert decision.again_at is None
        names = list(step.conditions)
        if before is None or before.set not in names or step.command.pinned in names or step.command.failback_now:
            continue
        if dict(zip(names, step.sets, strict=True))[before.set].available:
            assert decision.state.set == before.set


def went_back(before: PolicyState | None, step: Step, decision: Decision) -> bool:
    """Did `failback: auto` switch here?"""
    names = list(step.conditions)
    if before is None or before.set not in names or step.command.pinned in names or step.command.failback_now:
        return False
    available = dict(zip(names, step.sets, strict=True))[before.set].available
    return available and decision.state.set != before.set


@bounded
@given(HISTORIES, DELAYS)
def test_failback_waits_until_the_set_was_up_for_its_delay(history: list[Step], delay: float) -> None:
    played = play(history, "auto", delay)
    for index, (now, before, step, decision) in enumerate(played):
        if not went_back(before, step, decision):
            continue
        target = decision.state.set
        since = now
        for earlier_now, _, earlier, _ in played[index::-1]:
            view = next((v for v in earlier.sets if v.name == target), None)
            if view is None or not view.verified:
                break
            since = earlier_now
        assert now >= since + delay


@bounded
@given(HISTORIES, DELAYS)
def test_failback_does_not_wait_longer_than_its_delay(history: list[Step], delay: float) -> None:
    """An earlier set that was all the time the first one up, beside an available current one, is in effect again."""
    candidate: tuple[str, str, float] | None = None
    for now, before, step, decision in play(history, "auto", delay):
        names = list(step.conditions)
        first = next((view.name for view in step.sets if view.verified), None)
        current = before.set if before is not None else None
        steady = (
            current in names
            and step.command == Command(pinned=step.command.pinned, pinned_by=step.command.pinned_by)
            and step.command.pinned not in names
            and first is not None
            and names.index(first) < names.index(current)
            and dict(zip(names, step.sets, strict=True))[current].available
        )
        if not steady or first is None or current is None:
            candidate = None
            continue
        if candidate is None or candidate[:2] != (first, current):
            candidate = (first, current, now)
        assert (decision.state.set == first) == (now >= candidate[2] + delay)
        if decision.state.set == first:
            candidate = None
            assert decision.again_at is None
        else:
            assert decision.again_at == candidate[2] + delay


@bounded
@given(DELAYS.filter(bool), st.floats(0, 2_000_000_000))
def test_deciding_again_when_told_is_enough(delay: float, now: float) -> None:
    sets = sets_in({"default": "up", "failover": "up"})
    waiting = decide(sets, PolicyState(set="failover", since=0), "auto", delay, Command(), now)
    assert waiting.state.set == "failover"
    assert waiting.again_at is not None
    done = decide(sets, waiting.state, "auto", delay, Command(), waiting.again_at)
    assert (done.state.set, done.again_at) == ("default", None)
    assert done.state.since == waiting.again_at


def decided(
    conditions: Mapping[str, Condition],
    current: str | None,
    command: Command | None = None,
    failback: Failback = "auto",
    delay: float = 0,
    now: float = 100,
) -> PolicyState:
    before = PolicyState(set=current, since=1, reason="before", previous="old") if current else None
    return decide(sets_in(conditions), before, failback, delay, command or Command(), now).state


def test_the_first_decision_takes_the_first_set() -> None:
    assert decided({"default": "up", "failover": "up"}, None).set == "default"
    assert decided({"default": "unknown", "failover": "up"}, None).set == "default"
    assert decided({"default": "down", "failover": "down"}, None).set == "default"
    found = decided({"default": "down", "failover": "down", "failover-2": "up"}, None)
    assert (found.set, found.previous, found.since) == ("failover-2", "default", 100)


def test_a_failover_says_which_pool_failed() -> None:
    found = decided({"default": "down", "failover": "up"}, "default")
    assert found == PolicyState(
        set="failover",
        since=100,
        reason="set default unavailable: pool pool-default: 0 of 1 addresses available, 1 needed",
        previous="default",
    )


def test_failback_is_to_what_is_known_to_be_up_but_an_operator_may_go_further() -> None:
    conditions: Mapping[str, Condition] = {"default": "unknown", "failover": "up", "failover-2": "up"}
    assert decided(conditions, "failover-2").set == "failover"
    assert decided(conditions, "failover-2", Command(failback_now=True), "manual").set == "default"
    assert decided(conditions, "failover-2", Command(failback_now=True), delay=1000).set == "default"
    nowhere: Mapping[str, Condition] = {"default": "down", "failover": "up"}
    assert decided(nowhere, "failover", Command(failback_now=True)).set == "failover"


def test_an_unknown_set_is_failed_over_to() -> None:
    assert decided({"default": "down", "failover": "unknown"}, "default").set == "failover"


def test_a_set_that_is_gone_is_left_for_the_first_available() -> None:
    found = decided({"default": "up", "failover": "up"}, "old-name", failback="manual")
    assert (found.set, found.reason, found.previous) == ("default", "set old-name is gone", "old-name")
    found = decided({"default": "down", "failover": "up"}, "old-name")
    assert (found.set, found.reason, found.previous) == ("failover", "set old-name is gone", "old-name")


@pytest.mark.parametrize(("failback", "after"), [("auto", "default"), ("manual", "failover")])
def test_after_a_pin_the_failback_rule_decides(failback: Failback, after: str) -> None:
    conditions: Mapping[str, Condition] = {"default": "up", "failover": "up"}
    pinned = decided(conditions, "default", Command(pinned="failover", pinned_by="ada"))
    assert (pinned.set, pinned.reason, pinned.previous) == ("failover", "pinned to failover by ada", "default")
    assert decide(sets_in(conditions), pinned, failback, 0, Command(), 200).state.set == after


def test_after_a_pin_to_a_set_that_is_down_it_fails_over() -> None:
    conditions: Mapping[str, Condition] = {"default": "up", "failover": "down"}
    pinned = decided(conditions, "default", Command(pinned="failover"))
    assert pinned.set == "failover"
    assert decide(sets_in(conditions), pinned, "manual", 0, Command(), 200).state.set == "default"


def test_a_delay_starts_again_when_the_set_fails_meanwhile() -> None:
    up = sets_in({"default": "up", "failover": "up"})
    down = sets_in({"default": "down", "failover": "up"})
    state = PolicyState(set="failover", since=1)
    state = decide(up, state, "auto", 60, Command(), 100).state
    assert (state.returning, state.returning_since) == ("default", 100)
    state = decide(down, state, "auto", 60, Command(), 150).state
    assert (state.returning, state.returning_since) == (None, None)
    state = decide(up, state, "auto", 60, Command(), 155).state
    assert decide(up, state, "auto", 60, Command(), 214.9).state.set == "failover"
    assert decide(up, state, "auto", 60, Command(), 215).state.set == "default"


def test_answers_do_not_wait_for_a_decision() -> None:
    sets = sets_in({"default": "down", "failover": "down", "failover-2": "up"})
    assert effective_index(sets, "default", None) == 2
    assert effective_index(sets, None, None) == 2
    assert effective_index(sets, "gone", "gone too") == 2
    assert effective_index(sets, "default", "failover") == 1
    assert effective_index(sets_in({"default": "up", "failover": "up"}), "failover", None) == 1
    assert effective_index([], None, None) is None


def test_why_a_set_is_not_available() -> None:
    assert unavailable_reason(VIEWS["default", "offline"]) == "pool pool-default: 0 of 1 addresses available, 1 needed"
    sets = sets_in({"default": "down", "failover": "up", "failover-2": "down"})
    down, up, spare = (view.members[0][0] for view in sets)
    mixed = SetView("default", False, ((down, 1), (up, 0), (spare, 0)), ())
    assert unavailable_reason(mixed) == "pool pool-default: 0 of 1 addresses available, 1 needed"
    nothing = SetView("default", False, (), ())
    assert unavailable_reason(nothing) == "no pool of weight above 0"
