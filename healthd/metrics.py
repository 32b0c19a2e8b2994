"""The metrics of one healthd, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from healthd.alerts.metrics import AlertMetrics
from healthd.leader import Leader
from healthd.probes.result import Result
from healthd.vantage import Vantage
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.store.follower import Follower

PREFIX: Final = "pdns_gtm_"
DURATIONS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ProbeMetrics:
    """Counts results. Labels are bounded: the protocol, and why a probe failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Histogram(
            PREFIX + "probe_duration_seconds", "How long probes take", ["type"], registry=registry, buckets=DURATIONS
        )
        self._probes = Counter(PREFIX + "probes_total", "Probes made", ["type"], registry=registry)
        self._failures = Counter(
            PREFIX + "probe_failures_total", "Probes that failed", ["type", "cause"], registry=registry
        )

    def observe(self, target: Target, result: Result) -> None:
        """Count one result."""
        kind = target.check.protocol
        self._probes.labels(kind).inc()
        self._duration.labels(kind).observe(result.duration)
        if result.reason is not None:
            self._failures.labels(kind, result.reason).inc()


class HealthdMetrics:
    """All metrics of a process: what was counted, and what its parts say when they are read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.probes = ProbeMetrics(self._registry)
        self.alerts = AlertMetrics(self._registry)

    def watch(self, follower: Follower, vantage: Vantage, leader: Leader) -> None:
        """Read these parts at every scrape."""
        self._gauge("leader", "1 while this healthd decides", lambda: float(leader.leading))
        self._count("leader_transitions", "How often this healthd became leader", lambda: leader.terms)
        self._gauge("vantage_active", "1 while this healthd probes under its name", lambda: float(vantage.active))
        self._gauge("probe_targets", "Targets that are probed", lambda: vantage.targets)
        self._gauge("probe_lag_seconds", "How late probes start, 99th percentile", vantage.lag)
        self._count("probe_overruns", "How often a target became overdue", lambda: vantage.overruns)
        self._gauge("store_up", "1 while the store is followed", lambda: float(follower.status.state == "following"))
        self._gauge("store_revision", "Revision of the snapshot", lambda: follower.serving.snapshot.revision)
        self._count("store_reloads", "How often everything was read anew", lambda: follower.status.reloads)

    def render(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(PREFIX + name, text, registry=self._registry).set_function(read)

    def _count(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._registry.register(_Counted(PREFIX + name, text, read))


class _Counted(Collector):
    """A counter that is kept elsewhere."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> list[CounterMetricFamily]:
        return [CounterMetricFamily(self._name, self._text, value=self._read())]
