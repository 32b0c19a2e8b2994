"""What operators ask of alert receivers beside their configuration: how far they are told, and a test."""

import threading
from dataclasses import dataclass
from typing import Final, Literal

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.alert import Alert, matches
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.operations.alert_matching import subject_of
from pdns_gtm_backend.operations.documents import get
from pdns_gtm_backend.operations.errors import Busy, NotNow, Unavailable
from pdns_gtm_backend.operations.history import entry_of
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.alert_deliveries import AlertTests, Deliveries, Delivery
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.snapshot import Snapshot

TEST_SECONDS: Final = 15.0
"""The longest that a receiver may take, and what its answer takes to get here."""
MAX_TESTS: Final = 4
"""At once in this process: each keeps a thread waiting. A leader sends as many at once (`healthd.alerts.courier`)."""
MAX_BACKLOG: Final = 1000

_testing: Final = threading.BoundedSemaphore(MAX_TESTS)

State = Literal["disabled", "waiting", "delivering", "failing"]


@dataclass(frozen=True, slots=True)
class AlertStatus:
    """How a receiver stands.

    state: `disabled`; `waiting` = it was told everything; `delivering` = it is being told; `failing` = the last
    attempt at the next event failed. backlog: events that it is still to be told, counted up to 1,000. attempts: at
    the next one, that failed. delivered, given_up: events so far. position: id of the last event that is done with.
    gaps: how often events were no longer kept when it was their turn. gap: id of the last event before the last gap.
    """

    id: str
    state: State
    backlog: int
    attempts: int
    delivered: int
    given_up: int
    last_success: str | None
    last_failure: str | None
    failure: str
    position: str
    gaps: int
    gap: str


@dataclass(frozen=True, slots=True)
class AlertTested:
    """What came of a test. event: id of what was sent. status: what the receiver said, null where nothing was heard.

    error: why it did not take it, null where it did. duration: seconds.
    """

    id: str
    event: str
    delivered: bool
    status: str | None
    error: str | None
    duration: float


def status(operator: Operator, identifier: str) -> AlertStatus:
    """Raises NotFound, NotPermitted, Unavailable."""
    operator.require_unrestricted("alerts")
    alert: Alert = get(operator, kinds.ALERTS, identifier).value
    store = Deliveries(operator.writer.follower.repository.client)
    snapshot = operator.writer.reading().snapshot
    try:
        held = store.get(identifier) or Delivery()
        position = held.position or store.beginning(snapshot.version(kinds.ALERTS, identifier))
        backlog = backlog_of(alert, store, position, snapshot) if alert.enabled else 0
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return AlertStatus(
        id=identifier,
        state=_state(alert, held, backlog),
        backlog=backlog,
        attempts=held.attempts,
        delivered=held.delivered,
        given_up=held.given_up,
        last_success=_moment(held.last_success),
        last_failure=_moment(held.last_failure),
        failure=held.failure,
        position=held.position,
        gaps=held.gaps,
        gap=held.gap,
    )


def backlog_of(alert: Alert, store: Deliveries, position: str, snapshot: Snapshot) -> int:
    """How many of the 1,000 events behind `position` a receiver is to be told. Raises RedisError."""
    entries = (entry_of(*raw, "event") for raw in store.events_after(position, MAX_BACKLOG))
    return sum(matches(alert, subject_of(entry, snapshot)) for entry in entries)


def send_test(operator: Operator, identifier: str) -> AlertTested:
    """Have the leader send a test event, which is marked so.

    Raises Busy, NotFound, NotNow, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("alerts")
    get(operator, kinds.ALERTS, identifier)
    if not _testing.acquire(blocking=False):
        raise Busy(
            f"{MAX_TESTS} tests of alerts are under way at this server: wait for one to end", round(TEST_SECONDS)
        )
    try:
        return _tested(operator, identifier)
    finally:
        _testing.release()


def _tested(operator: Operator, identifier: str) -> AlertTested:
    revision = operator.writer.reading().snapshot.version(kinds.ALERTS, identifier)
    try:
        tests = AlertTests(operator.writer.follower.repository.client)
        if not tests.is_led():
            raise NotNow("no healthd leads now: nobody sends alerts")
        reply = tests.ask(identifier, revision, TEST_SECONDS)
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    if reply is None:
        raise Unavailable(f"no healthd that leads has replied within {TEST_SECONDS:g} s")
    return AlertTested(
        id=identifier,
        event=reply.event,
        delivered=not reply.error,
        status=reply.status or None,
        error=reply.error or None,
        duration=reply.duration,
    )


def _state(alert: Alert, held: Delivery, backlog: int) -> State:
    if not alert.enabled:
        return "disabled"
    if held.attempts:
        return "failing"
    return "delivering" if backlog else "waiting"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
