"""What /metrics says of alerts, by receiver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "pdns_gtm_alert_"
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class AlertMetrics:
    """Counts deliveries to the receivers that are told from here: what ends later is counted nowhere."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counted: set[str] = set()
        self._lock = threading.Lock()
        self._delivered = Counter(PREFIX + "delivered_total", "Events delivered", ["alert"], registry=registry)
        self._failures = Counter(PREFIX + "failures_total", "Attempts that failed", ["alert"], registry=registry)
        self._given_up = Counter(PREFIX + "given_up_total", "Events given up", ["alert"], registry=registry)
        self._gaps = Counter(
            PREFIX + "gaps_total",
            "Times that events were gone from the stream before the receiver was told of them",
            ["alert"],
            registry=registry,
        )
        self._backlog = Gauge(
            PREFIX + "backlog",
            "Events of the batch under way that are still to be delivered",
            ["alert"],
            registry=registry,
        )
        self._last = Gauge(
            PREFIX + "last_success_timestamp_seconds", "When an event was last delivered", ["alert"], registry=registry
        )
        self._duration = Histogram(
            PREFIX + "duration_seconds", "How long deliveries take", ["alert"], registry=registry, buckets=DURATIONS
        )

    def count(self, alert: str) -> None:
        """The receiver is told from here from now on."""
        with self._lock:
            self._counted.add(alert)

    def backlog(self, alert: str, events: int) -> None:
        """So many events are to be delivered."""
        with self._counting(alert) as counted:
            if counted:
                self._backlog.labels(alert).set(events)

    def delivered(self, alert: str, seconds: float, events: int) -> None:
        """Some were delivered at once, which took so long."""
        with self._counting(alert) as counted:
            if counted:
                self._delivered.labels(alert).inc(events)
                self._duration.labels(alert).observe(seconds)
                self._last.labels(alert).set_to_current_time()

    def failed(self, alert: str) -> None:
        """An attempt failed."""
        self._add(self._failures, alert)

    def given_up(self, alert: str, events: int) -> None:
        """Some are not tried any more."""
        self._add(self._given_up, alert, events)

    def gap(self, alert: str) -> None:
        """Events may be lost: they were not kept for long enough."""
        self._add(self._gaps, alert)

    def forget(self, alert: str) -> None:
        """The receiver is told nothing from here any more."""
        counters = (self._delivered, self._failures, self._given_up, self._gaps)
        with self._lock:
            self._counted.discard(alert)
            for metric in (*counters, self._backlog, self._last, self._duration):
                with suppress(KeyError):
                    metric.remove(alert)

    def _add(self, counter: Counter, alert: str, number: int = 1) -> None:
        with self._counting(alert) as counted:
            if counted:
                counter.labels(alert).inc(number)

    @contextmanager
    def _counting(self, alert: str) -> Iterator[bool]:
        """Is it told from here? It is not forgotten meanwhile."""
        with self._lock:
            yield alert in self._counted
