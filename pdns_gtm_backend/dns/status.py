"""How this process stands: the body of `/readyz` and the series of `/metrics`."""

import time
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdns_gtm_backend.dns.backend import Backend
from pdns_gtm_backend.geo.locator import DatabaseStatus

STORE_STATES: Final = ("starting", "following", "disconnected", "foreign", "newer")


def ready(backend: Backend) -> bool:
    """Does a snapshot serve? Redis may be away: answers go on."""
    return bool(backend.serving.snapshot.position.store_id)


def readiness(backend: Backend, now: float) -> dict[str, Any]:
    """What an operator should know. `now`: seconds since the epoch. `degraded`: answers go on, and will not change."""
    snapshot, store, geo = backend.serving.snapshot, backend.follower.status, backend.locator.status()
    serves = ready(backend)
    degraded = serves and store.state != "following"
    return {
        "state": "degraded" if degraded else "ready" if serves else "starting",
        "degraded": degraded,
        "store": {"state": store.state, "detail": store.detail, "since": store.since, "reloads": store.reloads},
        "store_id": snapshot.position.store_id,
        "revision": snapshot.revision,
        "instances": len(backend.serving.instances),
        **({} if backend.edge is None else {"edge": {"working": backend.edge.working, "detail": backend.edge.failure}}),
        "broken_documents": [f"{kind} {name}: {why}" for (kind, name), why in list(snapshot.problems.items())[:100]],
        "geo": {
            "country": _database(geo.country, now),
            "asn": None if geo.asn is None else _database(geo.asn, now),
        },
    }


def _database(status: DatabaseStatus, now: float) -> dict[str, Any]:
    files = [
        {
            "path": file.path,
            "size": file.size,
            "built": file.built,
            "age": round(now - (file.built or file.modified)),
            "entries": file.entries,
        }
        for file in status.files
    ]
    return {"kind": status.kind, "files": files, "error": status.error, "failures": status.failures}


class BackendCollector(Collector):
    """State that is read when it is asked for, and costs queries nothing."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def collect(self) -> Iterator[Metric]:
        """Gauges of the snapshot, the store and the geo databases."""
        backend, now = self._backend, time.time()
        snapshot, state = backend.serving.snapshot, backend.follower.status.state
        yield _gauge("gtm_backend_ready", "1 while a snapshot serves", ready(backend))
        yield _gauge(
            "gtm_backend_snapshot_revision", "revision of the store that answers are made from", snapshot.revision
        )
        yield _gauge("gtm_backend_instances", "instances in the snapshot", len(backend.serving.instances))
        yield _gauge("gtm_backend_broken_documents", "documents that could not be read", len(snapshot.problems))
        states = GaugeMetricFamily("gtm_backend_store_state", "1 for the state of the store", labels=("state",))
        for name in STORE_STATES:
            states.add_metric((name,), float(name == state))
        yield states
        ages = GaugeMetricFamily("gtm_geo_age_seconds", "age of the geo data in use", labels=("database",))
        geo = backend.locator.status()
        for label, status in (("country", geo.country), ("asn", geo.asn)):
            if status is not None and status.files:
                ages.add_metric((label,), max(now - (file.built or file.modified) for file in status.files))
        yield ages


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def registry(backend: Backend) -> CollectorRegistry:
    """The series of one backend."""
    made = CollectorRegistry()
    made.register(BackendCollector(backend))
    return made
