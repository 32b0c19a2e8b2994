"""Probes for tests: an engine as a function that waits for its result."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from healthd.probes.destination import Destinations
from healthd.probes.http import http_work
from healthd.probes.loop import Loop, Work
from healthd.probes.redirects import redirects_probe
from healthd.probes.result import Probe, Result, Submit
from healthd.probes.stream import client_context
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import Behaviour, Origin

LATE: Final = 5.0
"""Seconds that a busy machine may be late with the end of a probe; one that overlooks its time-out waits for 30 s."""


def waiting(submit: Submit, patience: float = 90.0) -> Probe:
    """`submit` as a Probe. Fails where no result comes, or a second one."""

    def probe(target: Target) -> Result:
        (result,) = gathered(submit, [target], patience)
        return result

    return probe


def gathered(submit: Submit, targets: list[Target], patience: float = 90.0) -> list[Result]:
    """The results of probing `targets` at once, in their order."""
    results: dict[int, Result] = {}
    complete = threading.Event()

    def take(number: int) -> Callable[[Result], None]:
        def done(result: Result) -> None:
            assert number not in results
            results[number] = result
            if len(results) == len(targets):
                complete.set()

        return done

    for number, target in enumerate(targets):
        submit(target, take(number))
    assert complete.wait(patience), f"{len(results)} of {len(targets)} results came"
    return [results[number] for number in range(len(targets))]


@contextmanager
def looped(make: Callable[[Loop], Work], limit: int = 65_536) -> Iterator[Submit]:
    """A Submit on a loop of its own."""
    loop = Loop("test", limit)
    work = make(loop)
    try:
        yield lambda target, done: loop.submit(work, target, done)
    finally:
        loop.close()


def http_target(
    port: int, timeout: float = 30.0, address: str = "127.0.0.1", host: str | None = None, **http: Any
) -> Target:
    """A target of an `http` check with these settings."""
    check = HealthCheck(id="web", protocol="http", port=port, timeout=timeout, http=HttpCheck(**http))
    return Target(check, address, "ipv6" if ":" in address else "ipv4", host)


def probed(probe: Probe, behaviour: Behaviour, **settings: Any) -> Result:
    """What `probe` finds at an origin that behaves so."""
    with Origin(behaviour) as origin:
        return probe(http_target(origin.port, **settings))


@contextmanager
def http_probes(kind: str, *, allow_private: bool = True, ca_file: str | None = None) -> Iterator[Probe]:
    """The engine for http and https of this kind, `loop` or `requests`, as a Probe."""
    destinations = Destinations(allow_private=allow_private)
    contexts = {verify: client_context(verify=verify, ca_file=ca_file) for verify in (True, False)}
    if kind == "requests":
        yield redirects_probe(destinations, contexts)
        return
    with looped(lambda _: http_work(destinations, contexts)) as submit:
        yield waiting(submit)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def settle(condition: Callable[[], bool], timeout: float = 30.0) -> bool:
    """Wait for `condition`; False where it does not come true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
