"""Answers what this vantage is asked: what it remembers of targets, and probes on demand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Final

from redis.exceptions import RedisError

from healthd.history import record
from healthd.probes.registry import Probes
from healthd.probes.result import Result
from healthd.probes.workers import Workers
from healthd.vantage import Vantage
from pdns_gtm_backend.domain.state import ProbeRecord
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.vantage_requests import Request, RequestInbox, TargetReport

log = logging.getLogger(__name__)

PROBERS: Final = 16
MAX_PROBED: Final = 50
"""Targets that one request may have probed."""
RETRY_SECONDS: Final = 0.5


class Answering:
    """A thread that takes requests while the vantage is active. Probes on demand have workers of their own."""

    def __init__(self, client: Client, vantage: Vantage, probes: Probes) -> None:
        self._inbox = RequestInbox(client, vantage.name)
        self._vantage = vantage
        self._probes = probes
        self._workers = Workers(PROBERS, "probe-on-demand")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="requests", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=3)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._vantage.active or self._vantage.trouble:
                self._stopping.wait(RETRY_SECONDS)
                continue
            try:
                request = self._inbox.take()
                if request is not None and request.until >= self._vantage.now():
                    self._answer(request)
            except RedisError as error:
                log.debug("no requests: %s", error)
                self._stopping.wait(RETRY_SECONDS)
            except Exception:
                log.exception("a request was not answered", extra={"event": "request.failed"})
                self._stopping.wait(RETRY_SECONDS)

    def _answer(self, request: Request) -> None:
        if request.kind == "probe":
            self._probe(request)
            return
        latest = request.kind == "latest"
        self._inbox.reply(request, [self._report(key, latest=latest) for key in request.targets])

    def _report(self, key: str, *, latest: bool) -> TargetReport:
        verdict, history = self._vantage.remembered(key)
        if verdict is None or history is None:
            return self._unknown(key)
        results = list(history.results)[::-1]
        failures = list(history.failures or ())[::-1]
        passed = [result.duration for result in results if result.ok]
        return TargetReport(
            target=key,
            up=verdict.up,
            since=None if verdict.up is None else verdict.since,
            probes=len(results),
            failed=len(results) - len(passed),
            latency=sum(passed) / len(passed) if passed else None,
            results=tuple(results[:1] if latest else results),
            failures=tuple(failures[:1] if latest else failures),
        )

    def _unknown(self, key: str) -> TargetReport:
        return TargetReport(target=key, error=f"vantage {self._vantage.name} does not probe this target")

    def _probe(self, request: Request) -> None:
        """Probe every target of a request, and reply when the last one is done."""
        collecting = _Collecting(request, self._inbox)
        for key in request.targets:
            target = self._vantage.target(key)
            if target is None:
                collecting.add(self._unknown(key))
            elif request.targets.index(key) >= MAX_PROBED:
                collecting.add(TargetReport(target=key, error=f"at most {MAX_PROBED} targets are probed at once"))
            else:
                self._start(target, collecting)

    def _start(self, target: Target, collecting: _Collecting) -> None:
        def done(result: Result) -> None:
            told = record(self._vantage.now(), result)
            collecting.add(TargetReport(target=target.key, results=(told,), lines=tuple(lines(target, told))))

        engine = self._probes.engines[target.check.protocol]
        engine(target, lambda result: self._workers.submit(lambda: done(result)))


class _Collecting:
    """The reports of one request; the last one sends them."""

    def __init__(self, request: Request, inbox: RequestInbox) -> None:
        self._request = request
        self._inbox = inbox
        self._lock = threading.Lock()
        self._reports: list[TargetReport] = []

    def add(self, report: TargetReport) -> None:
        with self._lock:
            self._reports.append(report)
            reports = list(self._reports)
        if len(reports) < len(self._request.targets):
            return
        try:
            self._inbox.reply(self._request, reports)
        except RedisError as error:
            log.warning("the result of a probe on demand was not told: %s", error)


def lines(target: Target, told: ProbeRecord) -> Iterator[str]:
    """What happened in a probe, line by line."""
    yield _asked(target)[:1000]
    for phase, seconds in told.timings.items():
        yield f"{phase}: {seconds * 1000:.1f} ms"
    outcome = "passed" if told.ok else f"failed in {told.phase} ({told.reason})"
    yield f"{outcome} after {told.duration * 1000:.1f} ms: {told.detail}"[:1000]


def _asked(target: Target) -> str:
    check = target.check
    place = f"[{target.address}]" if ":" in target.address else target.address
    if check.effective_port is not None:
        place = f"{place}:{check.effective_port}"
    if check.protocol == "external":
        return f"last report on {place}; nothing is sent to it"
    return f"{_request(target, place)}, timeout {check.timeout:g} s"


def _request(target: Target, place: str) -> str:
    check = target.check
    if check.dns is not None:
        return f"dns {place}: {check.dns.name} {check.dns.type}"
    if check.protocol in ("tcp", "ping"):
        return f"{check.protocol} {place}"
    method, path = (check.http.method, check.http.path) if check.http else ("GET", "/")
    names = "".join(f", {what} {name}" for what, name in (("host", target.host), ("sni", target.sni)) if name)
    return f"{method} {check.protocol}://{place}{path}{names}"[:900]
