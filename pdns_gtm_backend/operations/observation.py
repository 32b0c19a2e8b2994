"""What the vantages say now, read from the store beside the snapshot."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.quorum import is_reporting
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.operations.errors import Unavailable
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.vantages import Vantages


@dataclass(frozen=True, slots=True)
class Observation:
    """now: seconds since the epoch by Redis's clock. verdicts: by vantage, then by target.

    problem: why none of this could be read; "" = it was.
    """

    now: float
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, VantageVerdict]] = field(default_factory=dict)
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


def observe(operator: Operator, targets: Sequence[str]) -> Observation:
    """The heartbeats, and the verdicts on `targets`; where the store is away, that it is."""
    follower = operator.writer.follower
    status = follower.status
    if status.state != "following":
        detail = f" ({status.detail})" if status.detail else ""
        return Observation(time.time(), problem=f"the store is {status.state} since {rfc3339(status.since)}{detail}")
    store = Vantages(follower.repository.client)
    try:
        heartbeats = store.heartbeats()
        verdicts = {name: store.verdicts_on(name, targets) for name in heartbeats}
        return Observation(follower.repository.time(), heartbeats, verdicts)
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
