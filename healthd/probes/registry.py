"""Which probe serves which protocol."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from healthd.probes.destination import Destinations
from healthd.probes.dns import dns_work
from healthd.probes.external import external_engine
from healthd.probes.http import http_work
from healthd.probes.loop import Loop, Work
from healthd.probes.ping import ping_work
from healthd.probes.redirects import redirects_probe
from healthd.probes.result import Done, Submit
from healthd.probes.stream import client_context
from healthd.probes.tcp import tcp_work
from healthd.probes.workers import Workers, threaded
from pdns_gtm_backend.domain.health_check import Report
from pdns_gtm_backend.domain.target import Target

MAX_REDIRECTING: Final = 256
"""Threads for checks that follow redirects."""
STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of a process. engines: by protocol."""

    engines: Mapping[str, Submit]
    loop: Loop
    workers: Workers

    def close(self) -> None:
        """Stop their threads within 5 s; probes under way are given up."""
        self.loop.close(STOP_SECONDS)
        self.workers.stop(time.monotonic() + STOP_SECONDS)


def make_probes(
    *,
    allow_private: bool,
    ca_file: str | None = None,
    last_report: Callable[[Target], Report | None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> Probes:
    """The probes of a process; their TLS contexts, lookups and sockets are shared, so one set serves all targets.

    allow_private: probe also what `refused_target` refuses. ca_file: PEM file of certificate authorities in place of
    the system's. last_report, clock: as for `external_engine`. Raises OSError where `ca_file` cannot be read.
    """
    destinations = Destinations(allow_private=allow_private)
    contexts = {verify: client_context(verify=verify, ca_file=ca_file) for verify in (True, False)}
    loop = Loop("probes", limit=descriptors() * 3 // 4)
    workers = Workers(MAX_REDIRECTING, "redirects")
    redirects = threaded(redirects_probe(destinations, contexts), workers)
    plain = _on(loop, http_work(destinations, contexts))

    def http(target: Target, done: Done) -> None:
        follows = target.check.http is not None and target.check.http.follow_redirects
        (redirects if follows else plain)(target, done)

    engines = {
        "http": http,
        "https": http,
        "tcp": _on(loop, tcp_work(destinations)),
        "ping": _on(loop, ping_work(destinations, loop)),
        "dns": _on(loop, dns_work(destinations)),
        "external": external_engine(last_report, clock),
    }
    return Probes(engines, loop, workers)


def _on(loop: Loop, work: Work) -> Submit:
    def submit(target: Target, done: Done) -> None:
        loop.submit(work, target, done)

    return submit


def descriptors() -> int:
    """How many this process may open, once it has raised its own limit as far as it may: every probe needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else soft
