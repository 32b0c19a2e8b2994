"""Rise and fall: which results change the verdict of one vantage, and when the next probe is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.result import Result
from healthd.verdicts import Failure, Verdict, advance, changed, next_interval, undecided
from pdns_gtm_backend.domain.health_check import HealthCheck

GOOD = Result(True, None, "status 200", "status", 0.01, {})
BAD = Result(False, "status", "status 503, expected 200-399", "status", 0.01, {})
INTERNAL = Result(False, "internal", "no descriptors", "connect", 0.01, {})
UNKNOWN = Verdict()

thresholds = st.integers(1, 6)
outcomes = st.lists(st.booleans(), max_size=40)


def check(fall: int = 3, rise: int = 2, interval: float = 10, fast_interval: float | None = None) -> HealthCheck:
    return HealthCheck(
        id="web", protocol="tcp", port=80, fall=fall, rise=rise, interval=interval, fast_interval=fast_interval
    )


def after(oks: list[bool], template: HealthCheck, verdict: Verdict = UNKNOWN) -> Verdict:
    for second, ok in enumerate(oks):
        verdict = advance(verdict, GOOD if ok else BAD, template, 100.0 + second)
    return verdict


@pytest.mark.parametrize("ok", [True, False])
def test_the_first_result_decides(ok: bool) -> None:
    verdict = after([ok], check(fall=5, rise=5))
    assert verdict.up is ok
    assert verdict.since == 100.0
    assert not undecided(verdict)


@given(thresholds, thresholds)
def test_exactly_fall_consecutive_failures_make_it_down(fall: int, rise: int) -> None:
    template = check(fall, rise)
    assert after([True] + [False] * (fall - 1), template).up is True
    down = after([True] + [False] * fall, template)
    assert (down.up, down.since) == (False, 100.0 + fall)


@given(thresholds, thresholds)
def test_exactly_rise_consecutive_successes_make_it_up(fall: int, rise: int) -> None:
    template = check(fall, rise)
    assert after([False] + [True] * (rise - 1), template).up is False
    up = after([False] + [True] * rise, template)
    assert (up.up, up.since) == (True, 100.0 + rise)


@given(st.integers(2, 6), st.integers(2, 6), st.booleans(), st.data())
def test_runs_shorter_than_the_thresholds_never_flap(fall: int, rise: int, start: bool, data: st.DataObject) -> None:
    """Against the verdict run fewer than the threshold, and at least one result for it ends each such run."""
    template = check(fall, rise)
    threshold = fall if start else rise
    runs = data.draw(st.lists(st.tuples(st.integers(0, threshold - 1), st.integers(1, 3)), max_size=10))
    oks = [start]
    for against, agreeing in runs:
        oks += [not start] * against + [start] * agreeing
    verdict = after(oks, template)
    assert (verdict.up, verdict.since) == (start, 100.0)


@given(outcomes, thresholds, thresholds)
def test_the_verdict_is_that_of_a_plain_count(oks: list[bool], fall: int, rise: int) -> None:
    """The same rule written down as a scan of the whole history."""
    up: bool | None = None
    run = 0
    for index, ok in enumerate(oks):
        run = run + 1 if index and oks[index - 1] == ok else 1
        if up is None or (ok != up and run >= (rise if ok else fall)):
            up = ok
    assert after(oks, check(fall, rise)).up is up


@given(outcomes, thresholds, thresholds)
def test_counts_are_below_their_thresholds_and_against_the_verdict(oks: list[bool], fall: int, rise: int) -> None:
    verdict = after(oks, check(fall, rise))
    assert 0 <= verdict.failures < fall
    assert 0 <= verdict.successes < rise
    assert not (verdict.failures and verdict.successes)
    assert not verdict.successes or verdict.up is False
    assert not verdict.failures or verdict.up is True


@given(outcomes, thresholds, thresholds, st.integers(1, 5))
def test_a_settled_verdict_does_not_change_by_more_of_the_same(
    oks: list[bool], fall: int, rise: int, more: int
) -> None:
    template = check(fall, rise)
    settled = after([*oks, *[True] * max(fall, rise)], template)
    assert after([True] * more, template, settled) == settled


@given(outcomes, st.integers(0, 40))
def test_what_says_nothing_about_the_target_changes_nothing(oks: list[bool], position: int) -> None:
    template = check()
    before = after(oks[:position], template)
    assert advance(before, INTERNAL, template, 900.0) is before


@given(outcomes, st.integers(0, 39))
def test_since_is_the_time_of_the_change(oks: list[bool], position: int) -> None:
    template = check()
    before = after(oks[:position], template)
    then = advance(before, BAD, template, 900.0)
    assert then.since == (900.0 if changed(before, then) else before.since)


def test_the_last_failure_is_kept_through_successes() -> None:
    template = check()
    verdict = after([True, False, True, True], template)
    assert verdict.last_failure == Failure("status", "status 503, expected 200-399", "status", 101.0)
    assert after([True, True], template).last_failure is None


def test_an_edited_check_keeps_the_verdict_and_counts_by_its_new_thresholds() -> None:
    counting = after([True, False, False], check(fall=5))
    assert counting.up is True
    assert advance(counting, BAD, check(fall=3), 200.0).up is False
    assert advance(counting, BAD, check(fall=9), 200.0).up is True


def test_probes_come_faster_while_undecided() -> None:
    template = check(interval=20, fast_interval=2)
    unknown, settled, counting = Verdict(), after([True], template), after([True, False], template)
    assert [undecided(v) for v in (unknown, settled, counting)] == [True, False, True]
    assert [next_interval(v, template) for v in (unknown, settled, counting)] == [2, 20, 2]


def test_only_up_and_down_are_changes() -> None:
    template = check()
    up, counting, down = (after([True] + [False] * n, template) for n in (0, 2, 3))
    assert not changed(up, counting)
    assert changed(counting, down)
    assert changed(Verdict(), up)
