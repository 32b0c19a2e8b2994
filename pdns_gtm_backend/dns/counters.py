"""How many requests PowerDNS has made, and how many of them failed: the same series for each transport."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from pdns_gtm_backend.dns.methods import METHODS

REASONS: Final = ("form", "secret", "request", "not_ready", "internal")


class Counters:
    """The counters of one process.

    answered: call one by the name of its method; failed: call one by its reason, of REASONS.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter("gtm_backend_requests", "requests of PowerDNS, by method", ("method",), registry=registry)
        failures = Counter("gtm_backend_failures", "requests that failed, by reason", ("reason",), registry=registry)
        self.answered = {name: requests.labels(name).inc for name in METHODS}
        self.failed = {reason: failures.labels(reason).inc for reason in REASONS}
