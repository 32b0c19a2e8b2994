"""What one vantage thinks of one target: `fall` consecutive failures make it down, `rise` successes make it up.

The words and their meaning are HAProxy's and keepalived's; so is probing faster while a change is being counted.
"""

from dataclasses import dataclass, replace

from healthd.probes.failure import Reason
from healthd.probes.result import Phase, Result
from pdns_gtm_backend.domain.health_check import HealthCheck


@dataclass(frozen=True, slots=True)
class Failure:
    """The last probe that failed. at: seconds since the epoch."""

    reason: Reason
    detail: str
    phase: Phase
    at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """up: None until the first result. since: when `up` became what it is, in seconds since the epoch.

    successes, failures: consecutive ones counted against `up`; both 0 while it is settled.
    """

    up: bool | None = None
    since: float = 0.0
    successes: int = 0
    failures: int = 0
    last_failure: Failure | None = None


def advance(verdict: Verdict, result: Result, check: HealthCheck, now: float) -> Verdict:
    """The verdict after `result`; now: seconds since the epoch.

    The first result decides, and each one of an `external` check, whose reports are verdicts already. One that says
    nothing about the target changes nothing. The check's thresholds are those of now, so that an edited check keeps the
    verdict and what was counted.
    """
    if not result.conclusive:
        return verdict
    failure = verdict.last_failure
    if result.reason is not None:
        failure = Failure(result.reason, result.detail, result.phase, now)
    if verdict.up is None:
        return Verdict(result.ok, now, last_failure=failure)
    if result.ok == verdict.up:
        return replace(verdict, successes=0, failures=0, last_failure=failure)
    successes = verdict.successes + 1 if result.ok else 0
    failures = 0 if result.ok else verdict.failures + 1
    if successes >= check.rise or failures >= check.fall or check.protocol == "external":
        return Verdict(result.ok, now, last_failure=failure)
    return Verdict(verdict.up, verdict.since, successes, failures, failure)


def undecided(verdict: Verdict) -> bool:
    """Is there no verdict yet, or is a change of it being counted?"""
    return verdict.up is None or verdict.successes > 0 or verdict.failures > 0


def next_interval(verdict: Verdict, check: HealthCheck) -> float:
    """Seconds from the start of one probe to that of the next."""
    return check.undecided_interval if undecided(verdict) else check.interval


def changed(before: Verdict, after: Verdict) -> bool:
    """Did the target become up or down? Counting alone is no change."""
    return before.up != after.up
