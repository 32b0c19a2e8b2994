"""The plan: what is probed when, on a clock of the test's own."""

import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.scheduler import Plan
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.strategies import examples


def target(number: int = 1, interval: float = 10, timeout: float = 3, **check: object) -> Target:
    template = HealthCheck(id="web", protocol="http", interval=interval, timeout=timeout, **check)  # type: ignore[arg-type]
    return Target(template, f"192.0.2.{number}" if number < 256 else f"198.51.{number // 256}.{number % 256}", "ipv4")


def planned(*targets: Target, now: float = 0.0) -> Plan:
    plan = Plan(random.Random(1))
    plan.update(targets, now)
    return plan


def run(plan: Plan, until: float, now: float = 0.0, took: float = 0.01) -> list[tuple[str, float]]:
    """Probe whatever is due until then, each probe taking `took` seconds; who was probed when."""
    starts = []
    while (due := plan.next_due()) is not None and due <= until:
        now = max(now, due)
        for job in plan.take(now):
            assert plan.begun(job, now)
            starts.append((job.target.address, now))
            plan.finish(job, now + took, wait=job.target.check.interval)
    return starts


def test_new_targets_start_within_a_second_and_spread() -> None:
    plan = planned(*(target(n) for n in range(200)))
    starts = run(plan, 1.0)
    assert len({address for address, _ in starts}) == len(starts) == 200
    tenths = Counter(int(when * 10) for _, when in starts)
    assert len(tenths) == 10
    assert max(tenths.values()) < 60


def test_steady_state_is_spread_over_the_interval() -> None:
    plan = planned(*(target(n) for n in range(1000)), now=5000.0)
    starts = [when for _, when in run(plan, 5100.0, now=5000.0) if when >= 5040.0]
    seconds = Counter(int(when) for when in starts)
    assert 5900 <= len(starts) <= 6100
    assert max(seconds.values()) < 160


@given(st.floats(1, 600), st.floats(0, 1e6), st.integers(1, 250))
@examples(100)
def test_gaps_are_half_an_interval_to_one_and_settle_at_one(interval: float, now: float, number: int) -> None:
    plan = planned(target(number, interval=interval, timeout=0.1), now=now)
    starts = [when for _, when in run(plan, now + 8 * interval + 1, now=now)]
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    jitter = min(0.01 * interval, 0.05) + 1e-6
    assert len(starts) >= 8
    assert all(interval / 2 - jitter <= gap <= interval + jitter for gap in gaps)
    assert all(gap >= interval - jitter for gap in gaps[2:])


def test_phase_does_not_depend_on_when_a_target_was_added() -> None:
    early, late = planned(target(7), now=0.0), planned(target(7), now=33.3)
    assert run(early, 200.0)[-1][1] == pytest.approx(run(late, 200.0, now=33.3)[-1][1], abs=0.06)


def test_an_undecided_target_is_probed_after_what_it_asks_for() -> None:
    plan = planned(target())
    (job,) = plan.take(1.0)
    plan.begun(job, job.due)
    plan.finish(job, job.due + 0.5, wait=2.5)
    assert plan.next_due() == pytest.approx(job.due + 2.5)


def test_a_probe_longer_than_its_interval_is_followed_at_once() -> None:
    plan = planned(target(interval=1, timeout=5))
    (job,) = plan.take(1.0)
    plan.begun(job, 1.0)
    plan.finish(job, 6.0, wait=1)
    assert plan.next_due() == 6.0


def test_one_probe_under_way_at_most() -> None:
    plan = planned(target())
    (job,) = plan.take(1.0)
    assert plan.take(100.0) == []
    plan.update([target()], 100.0)
    assert plan.take(200.0) == []
    plan.finish(job, 200.0, wait=10)
    assert len(plan.take(300.0)) == 1


def test_equal_targets_are_one() -> None:
    plan = planned(target(1), target(1), target(2))
    assert len(plan) == 2
    assert sorted(job.target.address for job in plan.take(1.0)) == ["192.0.2.1", "192.0.2.2"]


def test_the_same_address_under_another_name_is_another_target() -> None:
    plan = planned(target(1), replace(target(1), host="www.shop.example"))
    assert len(plan) == 2


def test_an_update_leaves_what_stays_alone() -> None:
    plan = planned(target(1), target(2))
    run(plan, 1.0)
    due = plan.next_due()
    plan.update([target(1), target(2), target(3)], 1.0)
    (new,) = plan.take(2.0)
    assert new.target == target(3)
    assert plan.next_due() == due


def test_a_removed_target_is_not_probed_and_its_late_result_is_dropped() -> None:
    plan = planned(target(1), target(2))
    jobs = {job.target.address: job for job in plan.take(1.0)}
    plan.update([target(2)], 1.0)
    gone, kept = jobs["192.0.2.1"], jobs["192.0.2.2"]
    assert not plan.begun(gone, 1.0)
    assert plan.begun(kept, 1.0)
    plan.finish(gone, 1.0, wait=10)
    plan.finish(kept, 1.0, wait=10)
    assert [job.target for job in plan.take(100.0)] == [target(2)]


def test_a_target_that_waits_is_removed() -> None:
    plan = planned(target(1))
    plan.update([], 0.0)
    assert plan.next_due() is None
    assert len(plan) == 0


def test_a_target_removed_and_added_again_does_not_take_the_old_result() -> None:
    plan = planned(target(1))
    (old,) = plan.take(1.0)
    plan.update([], 1.0)
    plan.update([target(1)], 1.0)
    assert not plan.begun(old, 2.0)
    (new,) = plan.take(2.0)
    plan.finish(old, 2.0, wait=10)
    assert plan.begun(new, 2.0)


def test_an_edited_check_is_probed_soon() -> None:
    plan = planned(target(1, interval=3600))
    run(plan, 1.0)
    assert plan.next_due() > 100  # type: ignore[operator]
    edited = target(1, interval=3600, http=HttpCheck(path="/other"))
    plan.update([edited], 10.0)
    assert [job.target for job in plan.take(11.0)] == [edited]


def test_the_result_of_settings_edited_meanwhile_is_dropped_and_probed_again() -> None:
    plan = planned(target(1))
    (job,) = plan.take(1.0)
    edited = target(1, http=HttpCheck(path="/other"))
    plan.update([edited], 1.0)
    assert not plan.begun(job, 2.0)
    plan.finish(job, 2.0, wait=10)
    (again,) = plan.take(2.0)
    assert again.target == edited
    assert plan.begun(again, 2.0)


@pytest.mark.parametrize(("count", "seconds"), [(200, 1.0), (2000, 1.0), (10_000, 5.0), (30_000, 10.0)])
def test_many_new_or_edited_targets_are_spread_further_but_never_beyond_their_interval(
    count: int, seconds: float
) -> None:
    plan = Plan(random.Random(1))
    for now, fall in ((0.0, 3), (100.0, 5)):
        template = target(1, fall=fall)
        plan.update((many(template, number) for number in range(count)), now)
        early = plan.take(now + seconds / 2)
        assert 0.45 * count <= len(early) <= 0.55 * count
        late = plan.take(now + seconds)
        assert len(early) + len(late) == count
        for job in early + late:
            plan.finish(job, now + seconds, wait=1000)


def many(template: Target, number: int) -> Target:
    return replace(template, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")


def test_a_hastened_target_is_due_now_and_the_others_keep_their_time() -> None:
    plan = planned(target(1), target(2))
    run(plan, 1.0)
    plan.hasten([target(1).key, "no such target"], 2.0)
    assert [job.target for job in plan.take(2.0)] == [target(1)]
    assert len(plan.take(30.0)) == 1


def test_a_target_hastened_while_it_is_probed_is_probed_again_and_the_first_result_is_dropped() -> None:
    plan = planned(target(1))
    (job,) = plan.take(1.0)
    plan.hasten([target(1).key], 1.1)
    assert plan.take(1.1) == []
    assert not plan.begun(job, 1.0)
    plan.finish(job, 1.2, wait=10)
    (again,) = plan.take(1.2)
    assert plan.begun(again, 1.2)
    plan.finish(again, 1.3, wait=10)
    assert plan.take(5.0) == []


def test_a_hastened_target_that_does_not_answer_is_overdue_in_time() -> None:
    plan = planned(target(1))
    run(plan, 1.0)
    plan.hasten([target(1).key], 2.0)
    plan.take(2.0)
    assert overdue(plan, 2.0 + 14.9) == []
    assert overdue(plan, 2.0 + 15.1) == ["192.0.2.1"]


def test_longest_waiting_first() -> None:
    plan = planned(*(target(n) for n in range(50)))
    dues = [job.due for job in plan.take(30.0)]
    assert dues == sorted(dues)


def overdue(plan: Plan, now: float) -> list[str]:
    return [late.address for late in plan.overdue(now, grace=2.0)]


def test_overdue_when_not_even_started() -> None:
    """The thread that takes from the plan is stuck: interval 10 + timeout 3 + grace 2 after the probe was due."""
    plan = planned(target(1))
    due = plan.next_due()
    assert due is not None
    assert overdue(plan, due + 14.9) == []
    assert overdue(plan, due + 15.1) == ["192.0.2.1"]


def test_overdue_when_a_probe_hangs_until_its_result_comes() -> None:
    plan = planned(target(1), target(2))
    jobs = plan.take(1.0)
    hung, fine = sorted(jobs, key=lambda job: job.target.address)
    for job in jobs:
        plan.begun(job, 1.0)
    plan.finish(fine, 1.1, wait=10)
    assert overdue(plan, 17.0) == ["192.0.2.1"]
    plan.finish(hung, 17.0, wait=10)
    assert overdue(plan, 17.0) == []


def test_overdue_when_results_say_nothing() -> None:
    plan = planned(target(1))
    now = 0.0
    for _ in range(4):
        now = max(now, plan.next_due() or 0.0)
        (job,) = plan.take(now)
        plan.begun(job, now)
        plan.finish(job, now, wait=10, heard=False)
    assert overdue(plan, now) == ["192.0.2.1"]
    now = plan.next_due() or 0.0
    (job,) = plan.take(now)
    plan.finish(job, now, wait=10)
    assert overdue(plan, now) == []


def test_probed_on_time_is_never_overdue() -> None:
    plan = planned(*(target(n) for n in range(20)))
    for second in range(60):
        run(plan, float(second), took=3.0)
        assert overdue(plan, float(second)) == []


def test_lag_percentiles() -> None:
    plan = planned(*(target(n) for n in range(100)))
    assert (plan.lag().samples, plan.lag().p99) == (0, 0.0)
    for index, job in enumerate(plan.take(1.0)):
        plan.begun(job, job.due + index / 100)
    lag = plan.lag()
    assert lag.samples == 100
    assert lag.p50 == pytest.approx(0.5)
    assert lag.p99 == pytest.approx(0.99)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove", "edit", "hasten", "take", "finish"]), st.integers(0, 5)),
        max_size=60,
    )
)
@examples(150)
def test_whatever_happens_every_planned_target_is_under_way_or_due(steps: list[tuple[str, int]]) -> None:
    plan = Plan(random.Random(1))
    wanted: dict[int, Target] = {}
    under_way = []
    now = 0.0
    for action, number in steps:
        now += 0.7
        if action == "add":
            wanted.setdefault(number, target(number))
        elif action == "remove":
            wanted.pop(number, None)
        elif action == "edit" and number in wanted:
            wanted[number] = target(number, interval=1 + (now % 7))
        elif action == "hasten":
            plan.hasten([target(number).key], now)
        elif action == "take":
            under_way += plan.take(now)
        elif action == "finish" and under_way:
            plan.finish(under_way.pop(number % len(under_way)), now, wait=1 + number)
        plan.update(wanted.values(), now)
    for job in under_way:
        plan.finish(job, now, wait=5)
    assert len(plan) == len(wanted)
    assert sorted(j.target.address for j in plan.take(now + 1000)) == sorted(t.address for t in wanted.values())
