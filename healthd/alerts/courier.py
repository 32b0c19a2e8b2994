"""While this healthd leads, it has a thread for each receiver, and sends the tests that operators ask for."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from healthd.alerts.channels import deliver
from healthd.alerts.message import message_of, trial_event
from healthd.alerts.receiver import Desk, Receiver
from healthd.probes.workers import Workers
from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.store.alert_deliveries import AlertTestReply, AlertTestRequest, AlertTests
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change

log = logging.getLogger(__name__)

STANDBY_SECONDS: Final = 0.2
TROUBLE_SECONDS: Final = 0.5
SNAPSHOT_SECONDS: Final = 1.0
TESTERS: Final = 4


class Courier:
    """Starts and stops receivers as the lease and the configuration say. name: of this healthd."""

    def __init__(self, desk: Desk, tests: AlertTests, name: str) -> None:
        self._desk, self._tests, self._name = desk, tests, name
        self._token = ""
        self._receivers: dict[str, Receiver] = {}
        self._configured: object = None
        self._stopping = threading.Event()
        self._workers = Workers(TESTERS, "alert-test")
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        desk.follower.listeners.append(self._notice)

    def start(self) -> None:
        """Begin to deliver, while this healthd leads."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver no more; what is being sent may be sent again by the next leader."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=3)

    def _notice(self, _serving: Serving, _changes: Sequence[Change] | None) -> None:
        for receiver in list(self._receivers.values()):
            receiver.notice()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._cycle()
            except RedisError as error:
                log.debug("alerts wait: %s", error)
                self._stopping.wait(TROUBLE_SECONDS)
            except Exception:
                log.exception("alerts", extra={"event": "alert.failed"})
                self._stopping.wait(TROUBLE_SECONDS)
        self._dismiss()

    def _cycle(self) -> None:
        token = self._desk.holder()
        if token != self._token:
            self._dismiss()
            self._token = token
        if not token:
            self._stopping.wait(STANDBY_SECONDS)
            return
        held = self._desk.follower.serving.snapshot.alerts
        if held is not self._configured:
            self._appoint({name: alert for name, alert in held.items() if alert.enabled}, frozenset(held))
            self._configured = held
        request = self._tests.take()
        if request is not None and request.until >= self._desk.deliveries.now():
            self._workers.submit(lambda: self._test(request))

    def _appoint(self, wanted: dict[str, Alert], there: frozenset[str]) -> None:
        """One receiver for each that is enabled. What is known of the others goes, so that they begin anew."""
        gone = {name: receiver for name, receiver in self._receivers.items() if name not in wanted}
        self._receivers = {name: receiver for name, receiver in self._receivers.items() if name in wanted}
        for name, receiver in gone.items():
            receiver.stop()
            self._desk.metrics.forget(name)
        for name in self._desk.deliveries.known():
            if name not in wanted:
                self._forget(name, deleted=name not in there)
        receivers = dict(self._receivers)
        for name, alert in wanted.items():
            if name in receivers:
                receivers[name].update(alert)
            else:
                self._desk.metrics.count(name)
                receivers[name] = Receiver(self._desk, alert, self._token)
                receivers[name].start()
        self._receivers = receivers

    def _forget(self, name: str, *, deleted: bool) -> None:
        held = None if deleted else self._desk.deliveries.get(name)
        if held is None or held.position:
            kept = None if held is None else replace(held, position="", attempts=0)
            self._desk.deliveries.note(name, kept, self._token)

    def _dismiss(self) -> None:
        receivers, self._receivers, self._configured = self._receivers, {}, None
        for receiver in receivers.values():
            receiver.stop()
        for name in receivers:
            self._desk.metrics.forget(name)

    def _test(self, request: AlertTestRequest) -> None:
        """Send one test event the way that events are sent, and tell what came of it."""
        identifier = f"test-{secrets.token_hex(8)}"
        self._desk.follower.wait_for(request.revision, SNAPSHOT_SECONDS)
        alert = self._desk.follower.serving.snapshot.alerts.get(request.alert)
        try:
            if alert is None:
                reply = AlertTestReply(event=identifier, error="the leader does not know this alert")
            else:
                event = trial_event(identifier, alert.id, self._name, self._desk.deliveries.now())
                sent = deliver(alert, message_of(event, alert.id), self._desk.sealer, self._desk.means)
                reply = AlertTestReply(event=identifier, status=sent.status, error=sent.error, duration=sent.duration)
            self._tests.reply(request, reply)
        except RedisError as error:
            log.warning("the result of a test of alert %s was not told: %s", request.alert, error)
