"""What a probe reports, and the attempt that keeps its deadline and its timings while it runs."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from healthd.probes.failure import Reason, explain
from pdns_gtm_backend.domain.target import Target

Phase = Literal["resolve", "connect", "tls", "request", "status", "body", "answer"]
INCONCLUSIVE: Final[frozenset[Reason | None]] = frozenset({"internal", "unreported"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one probe.

    ok: the target passed. reason: why not, None where it did. detail: one sentence for operators.
    phase: the last one entered. duration: of the whole probe, in seconds. timings: seconds by phase.
    """

    ok: bool
    reason: Reason | None
    detail: str
    phase: Phase
    duration: float
    timings: Mapping[Phase, float]

    @property
    def conclusive(self) -> bool:
        """Does this say anything about the target? `internal` is the prober's own failure, `unreported` nobody's."""
        return self.reason not in INCONCLUSIVE

    @property
    def heard(self) -> bool:
        """Did the prober do its work? Where nothing was reported yet it has nothing to say and is not late."""
        return self.reason != "internal"


Probe = Callable[[Target], Result]
"""Probes a target in the calling thread and ends within the check's timeout; never raises."""
Done = Callable[[Result], None]
Submit = Callable[[Target, Done], None]
"""Starts a probe and returns at once; `done` gets the result, once, in a thread of the engine, and must be short."""


class Attempt:
    """One probe under way: when it must have ended, what it talks to, which phase it is in, how long
    each took. Times are monotonic."""

    def __init__(self, timeout: float, peer: str) -> None:
        self.timeout = timeout
        self.peer = peer
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self.phase: Phase = "resolve"
        self._entered = self.started
        self._timings: dict[Phase, float] = {}

    def enter(self, phase: Phase) -> None:
        """Begin `phase`; entering one again (a redirect) adds to its time."""
        now = time.monotonic()
        self._timings[self.phase] = self._timings.get(self.phase, 0.0) + now - self._entered
        self._entered = now
        self.phase = phase

    def remaining(self) -> float:
        """Seconds until the deadline. Raises TimeoutError where none are left."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def success(self, detail: str) -> Result:
        return self._result(None, detail)

    def failure(self, error: BaseException) -> Result:
        """The result for what a probe raised; what no probe should raise is logged and `internal`."""
        known = explain(error, self.phase, self.timeout, self.peer)
        if known is not None:
            return self._result(*known)
        log.error("a probe failed unexpectedly in phase %s", self.phase, exc_info=error)
        return self._result("internal", f"unexpected {type(error).__name__} in the prober, see its log")

    def _result(self, reason: Reason | None, detail: str) -> Result:
        self.enter(self.phase)
        return Result(reason is None, reason, detail, self.phase, self._entered - self.started, self._timings)


def probing(work: Callable[[Target, Attempt], str]) -> Probe:
    """Make a Probe of `work`, which returns the detail of a success and raises on failure."""

    def probe(target: Target) -> Result:
        attempt = Attempt(target.check.timeout, target.address)
        try:
            return attempt.success(work(target, attempt))
        except Exception as error:  # noqa: BLE001 - a worker must survive whatever a server makes a library raise
            return attempt.failure(error)

    return probe
