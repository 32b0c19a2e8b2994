"""`/metrics`: how often and how fast requests are answered, and how the store stands."""

import time
from collections.abc import Iterator
from typing import Final

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdns_gtm_backend.admin.services import Services
from pdns_gtm_backend.store import kinds

STORE_STATES: Final = ("starting", "following", "disconnected", "foreign", "newer")
NO_ROUTE: Final = "(none)"


def register(app: Flask, services: Services) -> None:
    """Count every request, and serve the counts."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(services))
    requests = Counter(
        "gtm_admin_requests", "requests, by route and status", ("method", "route", "status"), registry=registry
    )
    seconds = Histogram("gtm_admin_request_seconds", "time to an answer", ("method", "route"), registry=registry)

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else NO_ROUTE
        # Any word can be sent as a method: only those of a route are names of series.
        method = request.method if request.url_rule is not None else NO_ROUTE
        requests.labels(method, route, response.status_code).inc()
        seconds.labels(method, route).observe(time.perf_counter() - g.began)
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class StoreCollector(Collector):
    """State that is read when it is asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Gauges of the snapshot and the store."""
        follower = self._services.follower
        snapshot, state = follower.serving.snapshot, follower.status.state
        yield GaugeMetricFamily("gtm_admin_ready", "1 while a snapshot serves", value=float(follower.loaded))
        yield GaugeMetricFamily("gtm_admin_snapshot_revision", "revision of the snapshot", value=snapshot.revision)
        yield GaugeMetricFamily(
            "gtm_admin_broken_documents", "documents that could not be read", value=len(snapshot.problems)
        )
        states = GaugeMetricFamily("gtm_admin_store_state", "1 for the state of the store", labels=("state",))
        for name in STORE_STATES:
            states.add_metric((name,), float(name == state))
        yield states
        objects = GaugeMetricFamily("gtm_admin_objects", "objects in the snapshot, by kind", labels=("kind",))
        for kind in kinds.KINDS:
            objects.add_metric((kind,), len(snapshot.documents[kind]))
        yield objects
