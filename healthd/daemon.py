"""One healthd: follows the store, probes as a vantage, and stands for leader."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final

from healthd.alerts.courier import Courier
from healthd.alerts.receiver import Desk
from healthd.alerts.sending import make_means
from healthd.leader import Leader
from healthd.metrics import HealthdMetrics
from healthd.probes.registry import make_probes
from healthd.reports import ReportFollower
from healthd.requests import Answering
from healthd.scheduler import OnResult, Scheduler
from healthd.status_server import Page, StatusServer, as_json
from healthd.vantage import Vantage
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.notify import notify
from pdns_gtm_backend.operations.sealing import sealer_of
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.alert_deliveries import AlertTests, Deliveries
from pdns_gtm_backend.store.connection import Client, connect
from pdns_gtm_backend.store.follower import Follower

log = logging.getLogger(__name__)

STUCK_SECONDS: Final = 15.0
"""A loop that has not come round for so long is stuck: /livez says so, and systemd's watchdog is not fed."""
WATCHDOG_SECONDS: Final = 5.0
"""How often systemd is told that the loops come round; the unit's WatchdogSec is several times that."""


class Daemon:
    """The parts of one healthd, started and stopped in order. labels, references: of its vantage.

    Raises ValueError where GTM_KEY_SECRET is unusable.
    """

    def __init__(
        self, settings: Settings, labels: Mapping[str, str] | None = None, references: Sequence[Target] = ()
    ) -> None:
        name = settings.vantage
        client = connect(settings.store_url)
        self._metrics = HealthdMetrics()
        self.follower = Follower(client, snapshot_path(settings))
        self.reports = ReportFollower(client, self.follower, self._hasten, self._now)
        self.probes = make_probes(
            allow_private=settings.allow_private_targets, last_report=self.reports.last, clock=self._now
        )
        self.vantage = Vantage(
            client,
            self.follower,
            name,
            self._scheduler,
            labels=labels or {},
            references=references,
            observe=self._metrics.probes.observe,
        )
        self.leader = Leader(client, self.follower, name)
        self.courier = Courier(self._desk(settings, client), AlertTests(client), name)
        self.answering = Answering(client, self.vantage, self.probes)
        self._metrics.watch(self.follower, self.vantage, self.leader)
        self._stopped = threading.Event()
        pages = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/healthz": self._readyz,
            "/metrics": self._metrics_page,
        }
        self.status = StatusServer(settings.listen, settings.healthd_port, pages)

    def _scheduler(self, on_result: OnResult) -> Scheduler:
        return Scheduler(self.probes.engines, on_result)

    def _desk(self, settings: Settings, client: Client) -> Desk:
        return Desk(
            deliveries=Deliveries(client),
            follower=self.follower,
            sealer=sealer_of(settings.key_secret, settings.var),
            means=make_means(allow_private=settings.allow_private_targets, commands=settings.alert_commands),
            metrics=self._metrics.alerts,
            holder=lambda: self.leader.token,
        )

    def _hasten(self, keys: Iterable[str]) -> None:
        self.vantage.hasten(keys)

    def _now(self) -> float:
        return self.vantage.now()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.start()
        notify("READY=1")
        while not self._stopped.wait(WATCHDOG_SECONDS):
            if not self._stuck():
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        self.stop()

    def start(self) -> None:
        """Start every part."""
        self.status.start()
        self.follower.start()
        self.reports.start()
        self.vantage.start()
        self.leader.start()
        self.answering.start()
        self.courier.start()

    def stop(self) -> None:
        """Stop every part: first deciding, then probing."""
        self.courier.stop()
        self.leader.stop()
        self.answering.stop()
        self.reports.stop()
        self.vantage.stop()
        self.follower.stop()
        self.probes.close()
        self.status.stop()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        log.info("stopping on %s", signal.Signals(number).name)
        self._stopped.set()

    def _stuck(self) -> list[str]:
        now = time.monotonic()
        late = {"leader": now - self.leader.last_cycle, "vantage": now - self.vantage.last_loop}
        return [name for name, seconds in late.items() if seconds > STUCK_SECONDS]

    def _livez(self) -> Page:
        stuck = self._stuck()
        return as_json(not stuck, {"stuck": stuck})

    def _readyz(self) -> Page:
        status, vantage = self.follower.status, self.vantage
        details = {
            "ready": self.follower.loaded,
            "degraded": status.state != "following" or bool(vantage.trouble),
            "store": {"state": status.state, "detail": status.detail, "writes": vantage.trouble or "ok"},
            "revision": self.follower.serving.snapshot.revision,
            "vantage": {"name": vantage.name, "probing": vantage.active, "targets": vantage.targets},
            "leader": self.leader.leading,
        }
        return as_json(self.follower.loaded, details)

    def _metrics_page(self) -> Page:
        return Page(HTTPStatus.OK, self._metrics.render(), "text/plain; version=0.0.4; charset=utf-8")


def snapshot_path(settings: Settings) -> Path:
    """Where a vantage keeps its snapshot."""
    return settings.var / "snapshot" / f"healthd-{settings.vantage}.snapshot"
