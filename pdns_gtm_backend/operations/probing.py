"""What vantages remember of an address of a pool, and what a probe of it finds now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.state import ProbeRecord
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.addresses import found_address
from pdns_gtm_backend.operations.errors import NotFound, Unavailable
from pdns_gtm_backend.operations.observation import vantages
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.vantage_requests import TargetReport, VantageRequests

HISTORY_SECONDS: Final = 2.0
MARGIN_SECONDS: Final = 2.0
"""How much longer than a probe its result may take to get here."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe. time: when it ended. reason: one word, null where it passed. duration, timings: seconds."""

    time: str
    ok: bool
    reason: str | None
    detail: str
    phase: str
    duration: float
    timings: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class VantageReport:
    """What one vantage tells of an address by one check.

    error: why it tells nothing; "" otherwise. verdict: `up` or `down`, null where it has none yet. probes, failed: how
    many it remembers. loss: the share that failed, 0 to 1. latency: seconds of those that passed, on average. results,
    failures: newest first. lines: what happened in a probe that was asked for, for reading.
    """

    check: str
    vantage: str
    error: str
    verdict: str | None
    since: str | None
    probes: int
    failed: int
    loss: float | None
    latency: float | None
    results: Sequence[ProbeResult]
    failures: Sequence[ProbeResult]
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Probed:
    """The reports on an address. silent: the vantages that were asked and did not reply in time."""

    pool: str
    address: str
    items: Sequence[VantageReport]
    silent: Sequence[str]


def history(operator: Operator, pool_id: str, address: str) -> Probed:
    """What each vantage remembers. Raises NotFound, also where nothing probes the address, Unavailable."""
    asked = _Asked(operator, pool_id, address)
    found: dict[str, dict[str, TargetReport]] = {}
    try:
        for vantage in asked.vantages:
            for target in asked.targets:
                report = asked.requests.history(vantage, target, HISTORY_SECONDS)
                if report is None:
                    break
                found.setdefault(vantage, {})[target] = report
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return asked.told(found)


def probe(operator: Operator, pool_id: str, address: str) -> Probed:
    """Have every vantage probe an address now; counts for no verdict. Raises what `history` does."""
    asked = _Asked(operator, pool_id, address)
    timeout = max(check.timeout for check in asked.checks) + MARGIN_SECONDS
    try:
        found = asked.requests.probe_now(asked.vantages, list(asked.targets), timeout)
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return asked.told(found)


class _Asked:
    """What is asked, and whom: the targets of an address, and the vantages that report."""

    def __init__(self, operator: Operator, pool_id: str, text: str) -> None:
        snapshot = operator.writer.reading().snapshot
        pool, address = found_address(snapshot, pool_id, text)
        checks = (snapshot.health_checks.get(name) for name in pool.health_checks)
        self.checks: Sequence[HealthCheck] = [check for check in checks if check is not None]
        if not self.checks:
            raise NotFound(f"nothing probes address {shown(address.address)}: pool {pool_id} has no health check")
        self.pool, self.address = pool_id, address.address
        self.targets = {target_key(c.id, address.address, pool.host, pool.sni): c.id for c in self.checks}
        self.vantages = [vantage.name for vantage in vantages(operator) if vantage.reporting]
        self.requests = VantageRequests(operator.writer.follower.repository.client)

    def told(self, found: Mapping[str, Mapping[str, TargetReport]]) -> Probed:
        """The replies, by check and vantage."""
        items = [
            _report(check, vantage, found[vantage][target])
            for target, check in self.targets.items()
            for vantage in self.vantages
            if target in found.get(vantage, {})
        ]
        return Probed(self.pool, self.address, items, [name for name in self.vantages if name not in found])


def _report(check: str, vantage: str, report: TargetReport) -> VantageReport:
    return VantageReport(
        check=check,
        vantage=vantage,
        error=report.error,
        verdict=None if report.up is None else "up" if report.up else "down",
        since=None if report.since is None else rfc3339(report.since),
        probes=report.probes,
        failed=report.failed,
        loss=report.loss,
        latency=report.latency,
        results=[_result(one) for one in report.results],
        failures=[_result(one) for one in report.failures],
        lines=report.lines,
    )


def _result(record: ProbeRecord) -> ProbeResult:
    return ProbeResult(
        time=rfc3339(record.at),
        ok=record.ok,
        reason=record.reason,
        detail=record.detail,
        phase=record.phase,
        duration=record.duration,
        timings=record.timings,
    )
