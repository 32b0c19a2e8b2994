"""One receiver of the leader: told of every event that is for it, in order, each until it takes it or is too old."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis.exceptions import RedisError

from healthd.alerts.channels import Sent, deliver_all
from healthd.alerts.grouping import Entry, Terms, most_together, next_step
from healthd.alerts.metrics import AlertMetrics
from healthd.alerts.retry import delay
from healthd.alerts.sending import Means
from pdns_gtm_backend.domain.alert import Alert, matches
from pdns_gtm_backend.operations.alert_matching import subject_of
from pdns_gtm_backend.operations.history import entry_of
from pdns_gtm_backend.operations.sealing import Sealer
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.alert_deliveries import Deliveries, Delivery
from pdns_gtm_backend.store.follower import Follower

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 5.0
"""Without any news, the stream is read all the same after so long."""
PACE_SECONDS: Final = 0.05
"""At least between two reads, so that events that come together are read together."""
TROUBLE_SECONDS: Final = 0.5
BUILDS: Final = 3
"""How often healthd tries to make the message of an event that it cannot make."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What receivers are told with. holder: the token of the leader's lease now, "" while another leads."""

    deliveries: Deliveries
    follower: Follower
    sealer: Sealer
    means: Means
    metrics: AlertMetrics
    holder: Callable[[], str]
    fraction: Callable[[], float] = random.random


class NotLeading(Exception):
    """Another leads by now: what was sent last may be sent again."""


class Receiver:
    """A thread for one receiver during one term of the leader. token: of the lease in that term."""

    def __init__(self, desk: Desk, alert: Alert, token: str) -> None:
        self._desk, self._alert, self._token = desk, alert, token
        self._delivery: Delivery | None = None
        self._upto = ""
        self._unbuilt = 0
        self._condition = threading.Condition()
        self._news = self._changed = self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"alert {alert.id}", daemon=True)

    def start(self) -> None:
        """Begin to tell it."""
        self._thread.start()

    def stop(self) -> None:
        """Tell it nothing more once what is being sent is done with; does not wait for that."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def notice(self) -> None:
        """There may be news."""
        with self._condition:
            self._news = True
            self._condition.notify()

    def update(self, alert: Alert) -> None:
        """It is configured so by now. What it did not take is sent again at once."""
        with self._condition:
            if alert == self._alert:
                return
            self._alert, self._changed = alert, True
            self._condition.notify()

    def _run(self) -> None:
        while self._mine():
            try:
                self._wait(self._tell())
            except NotLeading:
                return
            except RedisError as error:
                log.debug("alert %s waits: %s", self._alert.id, error)
                self._wait(TROUBLE_SECONDS)
            except Exception:
                log.exception("alert %s", self._alert.id, extra={"event": "alert.failed"})
                self._wait(TROUBLE_SECONDS)

    def _mine(self) -> bool:
        return not self._stopping and self._desk.holder() == self._token

    def _wait(self, retry: float | None) -> None:
        """Until there is news, or until the time has come to try again or to send what was gathered."""
        ready = (lambda: self._changed or self._stopping) if retry is not None else self._is_called
        with self._condition:
            self._condition.wait_for(ready, IDLE_SECONDS if retry is None else retry)
            self._changed = False
        if retry is None and not self._stopping:
            time.sleep(PACE_SECONDS)

    def _is_called(self) -> bool:
        return self._news or self._changed or self._stopping

    def _tell(self) -> float | None:
        """Tell it everything up to now. Seconds until there is more to do; None where it was told all."""
        with self._condition:
            self._news = False
        if self._delivery is None:
            self._delivery = self._begun()
        while entries := self._entries(alert := self._alert):
            wait = self._tell_all(alert, entries)
            if wait is not None:
                return wait
        self._desk.metrics.backlog(self._alert.id, 0)
        return None

    def _begun(self) -> Delivery:
        """How far it was when the last leader stopped; a new one begins now."""
        held = self._desk.deliveries.get(self._alert.id) or Delivery()
        if held.position:
            return held
        version = self._desk.follower.serving.snapshot.version(kinds.ALERTS, self._alert.id)
        begun = replace(held, position=self._desk.deliveries.beginning(version), attempts=0)
        self._note(begun)
        return begun

    def _entries(self, alert: Alert) -> Sequence[Entry]:
        reading = self._desk.deliveries.read(self._held.position, most_together(alert))
        if reading.gap and self._held.gap != self._held.position:
            self._say_gap(reading.events[0][0])
        return [entry_of(*raw, "event") for raw in reading.events]

    def _say_gap(self, following: str) -> None:
        """The position stays until the next event is done with: the gap is told once all the same."""
        told = "alert %s: event %s, the last that it was told, is no longer kept: some may be lost before %s"
        log.warning(told, self._alert.id, self._held.position, following, extra={"event": "alert.gap"})
        self._desk.metrics.gap(self._alert.id)
        self._note(replace(self._held, gaps=self._held.gaps + 1, gap=self._held.position))

    @property
    def _held(self) -> Delivery:
        assert self._delivery is not None  # noqa: S101 - it is read before anything is told
        return self._delivery

    def _tell_all(self, alert: Alert, entries: Sequence[Entry]) -> float | None:
        snapshot, now = self._desk.follower.serving.snapshot, self._desk.deliveries.now
        wanted = [matches(alert, subject_of(entry, snapshot)) for entry in entries]
        full = len(entries) == most_together(alert)
        while entries and alert is self._alert:
            self._desk.metrics.backlog(alert.id, sum(wanted))
            if not self._mine():
                raise NotLeading
            step = next_step(entries, wanted, Terms(alert.gathered, alert.give_up_after, self._upto, full), now())
            if step.act == "wait":
                return step.seconds
            position = str(entries[step.through - 1]["id"])
            if step.act == "skip":
                self._note(replace(self._held, position=position))
            elif step.act == "give-up":
                self._say_over(len(step.events))
                self._give_up(len(step.events), position)
            else:
                sent = deliver_all(alert, step.events, self._desk.sealer, self._desk.means)
                if not sent.built and len(step.events) > 1:
                    # Fewer at once, until it is known which of them it is.
                    self._upto = str(step.events[len(step.events) // 2 - 1]["id"])
                    continue
                if not sent.built and self._is_hopeless():
                    self._say_hopeless(step.events[0], sent)
                    self._give_up(1, position)
                elif sent.error:
                    # Sent again as it is, with the same id: the receiver may have taken it.
                    self._upto = str(step.events[-1]["id"])
                    return self._failed(sent)
                else:
                    self._took(len(step.events), position, sent)
            entries, wanted = entries[step.through :], wanted[step.through :]
        return None

    def _took(self, events: int, position: str, sent: Sent) -> None:
        self._upto, self._unbuilt = "", 0
        self._desk.metrics.delivered(self._alert.id, sent.duration, events)
        if self._held.attempts:
            log.info("alert %s is delivered again", self._alert.id, extra={"event": "alert.recovered"})
        done = replace(
            self._held,
            position=position,
            attempts=0,
            delivered=self._held.delivered + events,
            last_success=self._desk.deliveries.now(),
        )
        self._note(done)

    def _failed(self, sent: Sent) -> float:
        attempts = self._held.attempts + 1
        self._desk.metrics.failed(self._alert.id)
        if attempts == 1:
            log.warning("alert %s: %s", self._alert.id, sent.error, extra={"event": "alert.failing"})
        now = self._desk.deliveries.now()
        self._note(replace(self._held, attempts=attempts, last_failure=now, failure=sent.error))
        return delay(attempts, self._desk.fraction(), sent.retry_after)

    def _is_hopeless(self) -> bool:
        self._unbuilt += 1
        return self._unbuilt >= BUILDS

    def _say_hopeless(self, event: Entry, sent: Sent) -> None:
        told = "alert %s: event %s is given up: %s"
        log.error(told, self._alert.id, event["id"], sent.error, extra={"event": "alert.given-up"})

    def _say_over(self, events: int) -> None:
        told = "alert %s: %d events are older than %d s and are given up; the last failure was: %s"
        arguments = (self._alert.id, events, self._alert.give_up_after, self._held.failure or "none")
        log.warning(told, *arguments, extra={"event": "alert.given-up"})

    def _give_up(self, events: int, position: str) -> None:
        self._upto, self._unbuilt = "", 0
        self._desk.metrics.given_up(self._alert.id, events)
        self._note(replace(self._held, position=position, attempts=0, given_up=self._held.given_up + events))

    def _note(self, delivery: Delivery) -> None:
        if not self._desk.deliveries.note(self._alert.id, delivery, self._token):
            raise NotLeading
        self._delivery = delivery
