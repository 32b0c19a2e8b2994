"""The supervisor's decisions, on a clock that the tests hold."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.standalone import plan
from pdns_gtm_backend.standalone.plan import Action, Part, State, decide
from tests.support.strategies import examples


def parts_of(*parts: Part) -> Mapping[str, Part]:
    return {part.name: part for part in parts}


REDIS = Part("redis", ("redis-server",))
BACKEND = Part("backend", ("backend",), after=("redis",))
PDNS = Part("pdns", ("pdns_server",), after=("backend",))
ORIGIN = Part("origin", ("origin",), restart=False)
ALL = parts_of(REDIS, BACKEND, PDNS, ORIGIN)


def running(pid: int = 1, *, ready: bool = True, at: float = 0.0) -> State:
    state = plan.started(State(), pid, at)
    return plan.seen_ready(state) if ready else state


def started_names(parts: Mapping[str, Part], states: Mapping[str, State], now: float) -> list[str]:
    return [action.part for action in decide(parts, states, now, stopping=False) if action.verb == "start"]


def test_a_part_starts_when_what_it_comes_after_is_ready() -> None:
    states = dict.fromkeys(ALL, State())
    assert started_names(ALL, states, 0) == ["redis", "origin"]
    states["redis"] = running(ready=False)
    assert started_names(ALL, states, 1) == ["origin"]
    states["redis"] = running()
    assert started_names(ALL, states, 1) == ["backend", "origin"]
    states["backend"] = running()
    assert started_names(ALL, states, 1) == ["pdns", "origin"]


def test_a_part_that_never_gets_ready_is_not_waited_for_without_end() -> None:
    states = {**dict.fromkeys(ALL, State()), "redis": running(ready=False, at=0.0), "origin": running()}
    assert started_names(ALL, states, plan.PATIENCE_SECONDS - 0.1) == []
    assert started_names(ALL, states, plan.PATIENCE_SECONDS) == ["backend"]


def test_patience_counts_from_the_first_start_of_a_part_that_dies_again_and_again() -> None:
    state = plan.exited(REDIS, running(ready=False, at=0.0), 0.1)
    state = plan.exited(REDIS, plan.started(state, 2, 10.0), 10.1)
    assert state.first_started == 0.0


def test_what_runs_is_checked_until_it_is_ready() -> None:
    states = {**dict.fromkeys(ALL, State(wanted=False)), "redis": running(ready=False)}
    assert decide(ALL, states, 0, stopping=False) == [Action("check", "redis")]
    states["redis"] = running()
    assert decide(ALL, states, 0, stopping=False) == []


def test_a_stable_part_that_dies_starts_again_at_once() -> None:
    state = plan.exited(REDIS, running(at=0.0), plan.STABLE_SECONDS)
    assert (state.due, state.failures, state.running, state.ready) == (plan.STABLE_SECONDS, 0, False, False)
    assert started_names(parts_of(REDIS), {"redis": state}, plan.STABLE_SECONDS) == ["redis"]


def test_a_part_that_dies_at_once_is_started_later_and_later() -> None:
    state, now, delays = State(), 0.0, []
    for pid in range(1, 9):
        state = plan.exited(REDIS, plan.started(state, pid, now), now)
        delays.append(state.due - now)
        assert started_names(parts_of(REDIS), {"redis": state}, state.due - 0.01) == []
        assert started_names(parts_of(REDIS), {"redis": state}, state.due) == ["redis"]
        now = state.due
    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_a_program_that_cannot_be_run_is_tried_later_and_later() -> None:
    state = plan.failed_to_start(plan.failed_to_start(State(), 0.0), 1.0)
    assert (state.failures, state.first_started) == (2, 0.0)
    assert state.due == pytest.approx(1.4)


def test_an_origin_stays_down_until_it_is_asked_for() -> None:
    state = plan.exited(ORIGIN, running(at=0.0), 100.0)
    assert started_names(parts_of(ORIGIN), {"origin": state}, 1e6) == []
    assert started_names(parts_of(ORIGIN), {"origin": plan.asked_for(state, 200.0)}, 200.0) == ["origin"]


def test_stopping_goes_backwards_and_waits() -> None:
    states = {name: running(number) for number, name in enumerate(ALL, 1)}
    order = []
    while any(state.running for state in states.values()):
        actions = decide(ALL, states, 5.0, stopping=True)
        assert {action.verb for action in actions} == {"terminate"}
        order.append({action.part for action in actions})
        for action in actions:
            states[action.part] = plan.terminated(states[action.part], 5.0)
        assert decide(ALL, states, 5.1, stopping=True) == []
        for action in actions:
            states[action.part] = plan.exited(ALL[action.part], states[action.part], 5.1)
    assert order == [{"pdns", "origin"}, {"backend"}, {"redis"}]


def test_nothing_is_started_while_stopping() -> None:
    assert decide(ALL, dict.fromkeys(ALL, State()), 0.0, stopping=True) == []


def test_a_part_that_does_not_stop_is_killed_once() -> None:
    states = {**dict.fromkeys(ALL, State()), "pdns": plan.terminated(running(), 10.0)}
    assert decide(ALL, states, 10.0 + PDNS.grace - 0.1, stopping=True) == []
    assert decide(ALL, states, 10.0 + PDNS.grace, stopping=True) == [Action("kill", "pdns")]
    states["pdns"] = plan.killed(states["pdns"])
    assert decide(ALL, states, 99.0, stopping=True) == []


def test_in_a_hurry_everything_is_killed_at_once() -> None:
    states = {name: running(number) for number, name in enumerate(ALL, 1)}
    assert {(action.verb, action.part) for action in decide(ALL, states, 0.0, stopping=True, hurry=True)} == {
        ("kill", name) for name in ALL
    }


def test_waits_end_when_something_is_due() -> None:
    quiet = {name: running() for name in ALL}
    assert plan.wait(ALL, quiet, 0.0, stopping=False) is None
    assert plan.wait(ALL, {**quiet, "redis": running(ready=False)}, 0.0, stopping=False) == plan.READY_POLL_SECONDS
    dead = plan.exited(REDIS, running(at=0.0), 1.0)
    assert plan.wait(ALL, {**quiet, "redis": dead}, 1.0, stopping=False) == pytest.approx(0.2)
    told = plan.terminated(running(), 10.0)
    assert plan.wait(ALL, {**quiet, "pdns": told}, 11.0, stopping=True) == pytest.approx(PDNS.grace - 1)
    assert plan.wait(ALL, quiet, 0.0, stopping=True) is None


def test_late_are_those_that_are_wanted_and_not_ready() -> None:
    states = {"redis": running(), "backend": running(ready=False), "pdns": State(), "origin": State(wanted=False)}
    assert plan.late(states) == ["backend", "pdns"]


@examples(60)
@given(st.lists(st.tuples(st.sampled_from(sorted(ALL)), st.floats(0.0, 8.0)), max_size=25))
def test_whatever_dies_when_everything_wanted_runs_again_and_all_of_it_can_be_stopped(
    deaths: list[tuple[str, float]],
) -> None:
    states, now, pid = dict.fromkeys(ALL, State()), 0.0, 0

    def settle() -> None:
        nonlocal now, pid
        for _ in range(100):
            for action in decide(ALL, states, now, stopping=False):
                if action.verb == "start":
                    assert not states[action.part].running
                    pid += 1
                    states[action.part] = plan.started(states[action.part], pid, now)
                else:
                    states[action.part] = plan.seen_ready(states[action.part])
            pause = plan.wait(ALL, states, now, stopping=False)
            if pause is None:
                return
            now += pause
        raise AssertionError(f"never comes to rest: {states}")

    settle()
    for name, lasted in deaths:
        now += lasted
        if states[name].running:
            states[name] = plan.exited(ALL[name], states[name], now)
        settle()
        assert {name for name, state in states.items() if state.ready} >= {"redis", "backend", "pdns"}
    for _ in range(4):
        for action in decide(ALL, states, now, stopping=True):
            states[action.part] = plan.exited(ALL[action.part], states[action.part], now)
    assert not any(state.running for state in states.values())
