"""What the vantages say now, read from the store beside the snapshot."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.quorum import is_reporting
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.operations.errors import Unavailable
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.vantage_requests import MAX_TARGETS, TargetReport, VantageRequests
from pdns_gtm_backend.store.vantages import Vantages

REPORT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Observation:
    """now: seconds since the epoch by Redis's clock. verdicts: by vantage, then by target.

    reports: what the vantages themselves said of the targets when they were asked, likewise; none where they were not.
    problem: why none of this could be read; "" = it was.
    """

    now: float
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, VantageVerdict]] = field(default_factory=dict)
    reports: Mapping[str, Mapping[str, TargetReport]] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VantageStatus:
    """A place that probes.

    reporting: do its verdicts count? heartbeat: RFC 3339. age, lag: seconds. overdue: targets whose probes are late.
    suspended: why its verdicts do not count although it is alive; "" = they do. reference: does one of its reference
    targets answer? None = it has none.
    """

    name: str
    reporting: bool
    heartbeat: str
    age: float
    targets: int
    overdue: int
    lag: float
    labels: Mapping[str, str]
    suspended: str
    reference: bool | None
    process: str


def observe(operator: Operator, targets: Sequence[str], *, ask: bool = False) -> Observation:
    """The heartbeats, and the verdicts on `targets`; where the store is away, that it is.

    ask: ask the vantages that report, too; one that says nothing within half a second is left out.
    """
    follower = operator.writer.follower
    status = follower.status
    if status.state != "following":
        detail = f" ({status.detail})" if status.detail else ""
        return Observation(time.time(), problem=f"the store is {status.state} since {rfc3339(status.since)}{detail}")
    store = Vantages(follower.repository.client)
    try:
        heartbeats = store.heartbeats()
        verdicts = {name: store.verdicts_on(name, targets) for name in heartbeats}
        now = follower.repository.time()
        reports: Mapping[str, Mapping[str, TargetReport]] = {}
        if ask and len(targets) <= MAX_TARGETS:
            reporting = [name for name, beat in heartbeats.items() if is_reporting(beat, now)]
            reports = VantageRequests(follower.repository.client).latest(reporting, targets, REPORT_SECONDS)
        return Observation(now, heartbeats, verdicts, reports)
    except RedisError as error:
        return Observation(time.time(), problem=f"the store does not answer: {unavailable_reason(error)}")


def vantages(operator: Operator) -> Sequence[VantageStatus]:
    """Every vantage that is not forgotten. Raises Unavailable."""
    seen = observe(operator, ())
    if seen.problem:
        raise Unavailable(seen.problem)
    return [_status(name, beat, seen.now) for name, beat in sorted(seen.heartbeats.items())]


def _status(name: str, beat: Heartbeat, now: float) -> VantageStatus:
    return VantageStatus(
        name=name,
        reporting=is_reporting(beat, now),
        heartbeat=rfc3339(beat.time),
        age=round(max(0.0, now - beat.time), 3),
        targets=beat.targets,
        overdue=len(beat.overdue),
        lag=beat.lag,
        labels=beat.labels,
        suspended=beat.suspended,
        reference=beat.reference,
        process=beat.process,
    )
