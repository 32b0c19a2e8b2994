"""The `external` check: nothing is sent; a script or a monitoring system pushes reports, each with a time to live."""

from collections.abc import Callable
from typing import Final

from healthd.probes.failure import Reason
from healthd.probes.result import Done, Result, Submit
from pdns_gtm_backend.domain.health_check import ExternalCheck, Report
from pdns_gtm_backend.domain.target import Target

NO_SETTINGS: Final = ExternalCheck()


def reported(report: Report | None, check: ExternalCheck, now: float) -> Result:
    """What a target's last report says at `now`, in seconds since the epoch by Redis's clock.

    Without any nothing is known of the target, whatever `when_expired` says: the result is inconclusive.
    """
    if report is None:
        return _result("unreported", "nothing was reported yet")
    detail = f"reported {max(0.0, now - report.at):.0f} s ago: {report.detail or ('up' if report.ok else 'down')}"
    if report.expired(now):
        detail = f"{detail}; that held for {report.ttl:g} s, now: {check.when_expired}"
    return _result(None if report.up(check.when_expired, now) else "reported", detail)


def _result(reason: Reason | None, detail: str) -> Result:
    return Result(reason is None, reason, detail, "answer", 0.0, {})


def external_engine(last: Callable[[Target], Report | None], clock: Callable[[], float]) -> Submit:
    """A Submit for targets of protocol `external`. last: gives a target's last report. clock: as for `reported`."""

    def submit(target: Target, done: Done) -> None:
        done(reported(last(target), target.check.external or NO_SETTINGS, clock()))

    return submit
