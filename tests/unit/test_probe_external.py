"""The external check: what a report means while it holds, once it expired, and before there is one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.external import external_engine, reported
from healthd.probes.result import Result
from healthd.verdicts import Verdict, advance, next_interval
from pdns_gtm_backend.domain.health_check import ExternalCheck, HealthCheck, Report
from pdns_gtm_backend.domain.target import Target

POLICIES = st.sampled_from(["up", "down", "keep"])
REPORTS = st.builds(
    Report,
    ok=st.booleans(),
    at=st.floats(1e9, 2e9),
    ttl=st.floats(1, 604_800),
    detail=st.sampled_from(["", "disk full"]),
)
AGES = st.floats(0, 1e6)


def said(report: Report, policy: str, age: float) -> Result:
    return reported(report, ExternalCheck(when_expired=policy), report.at + age)  # type: ignore[arg-type]


@given(REPORTS, POLICIES, st.floats(0, 0.99))
def test_a_report_holds_for_its_time_whatever_the_policy(report: Report, policy: str, share: float) -> None:
    result = said(report, policy, share * report.ttl)
    assert result.ok is report.ok
    assert (result.reason, result.conclusive) == (None if report.ok else "reported", True)


@given(REPORTS, st.floats(1.01, 1000))
def test_an_expired_report_gives_way_to_the_policy(report: Report, share: float) -> None:
    age = share * report.ttl
    assert said(report, "up", age).ok is True
    assert said(report, "down", age).ok is False
    assert said(report, "keep", age).ok is report.ok
    assert "that held for" in said(report, "down", age).detail


@given(REPORTS, POLICIES, AGES, AGES)
def test_time_alone_changes_a_report_once_at_most(report: Report, policy: str, first: float, second: float) -> None:
    earlier, later = sorted((first, second))
    oks = [said(report, policy, age).ok for age in (0.0, earlier, later, 1e9)]
    assert sum(before != after for before, after in itertools.pairwise(oks)) <= 1


@given(REPORTS, POLICIES, AGES)
def test_the_pure_rule_and_the_result_agree(report: Report, policy: str, age: float) -> None:
    assert report.up(policy, report.at + age) is said(report, policy, age).ok  # type: ignore[arg-type]


@given(POLICIES, AGES)
def test_without_a_report_nothing_is_known(policy: str, now: float) -> None:
    result = reported(None, ExternalCheck(when_expired=policy), now)  # type: ignore[arg-type]
    assert (result.reason, result.conclusive) == ("unreported", False)


def test_a_clock_that_is_behind_the_report_is_no_trouble() -> None:
    assert said(Report(ok=True, at=1e9, ttl=10, detail="fine"), "down", -5).detail == "reported 0 s ago: fine"


CHECK = HealthCheck(id="script", protocol="external", fall=3, rise=2, interval=5)


@pytest.mark.parametrize("start", [None, True, False])
@pytest.mark.parametrize("ok", [True, False])
def test_a_report_is_a_verdict_without_counting(start: bool | None, ok: bool) -> None:
    result = said(Report(ok=ok, at=1e9, ttl=60), "keep", 0)
    verdict = advance(Verdict(up=start, since=5.0), result, CHECK, 100.0)
    assert verdict.up is ok
    assert verdict.since == (5.0 if start is ok else 100.0)
    assert (verdict.successes, verdict.failures) == (0, 0)
    assert next_interval(verdict, CHECK) == 5


def test_what_is_not_reported_leaves_the_verdict() -> None:
    before = Verdict(up=False, since=5.0)
    assert advance(before, reported(None, ExternalCheck(), 1e9), CHECK, 100.0) is before


def test_the_engine_asks_for_the_last_report_of_its_target_each_time() -> None:
    reports = {"a": Report(ok=False, at=1000, ttl=60, detail="disk full")}
    now = 1001.0
    submit = external_engine(lambda target: reports.get(target.address), lambda: now)
    results: list[Result] = []
    for address in ("a", "b"):
        submit(Target(CHECK, address, "domain"), results.append)
    now = 1061.0
    reports["b"] = Report(ok=True, at=1060, ttl=60)
    for address in ("a", "b"):
        submit(Target(CHECK, address, "domain"), results.append)
    assert [result.reason for result in results] == ["reported", "unreported", "reported", None]
    assert [result.detail for result in results] == [
        "reported 1 s ago: disk full",
        "nothing was reported yet",
        "reported 61 s ago: disk full; that held for 60 s, now: keep",
        "reported 1 s ago: up",
    ]
