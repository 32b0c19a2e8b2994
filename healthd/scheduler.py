"""When each target is probed: a plan that decides, and the thread that carries it out."""

import heapq
import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from healthd.probes.result import Result, Submit
from pdns_gtm_backend.domain.target import Target

START_SPREAD: Final = 1.0
"""Seconds over which new and edited targets are spread, at most their interval."""
START_RATE: Final = 2000.0
"""New and edited targets a second, at most: with more of them they are spread further."""
GRACE: Final = 2.0
"""Seconds that a result may be late, beside interval and timeout, before its target counts as overdue."""
LAG_SAMPLES: Final = 2048
TICK: Final = 0.005
"""Seconds at least between two looks at the plan, so that probes due together start together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One probe to be made. due: when it was to start."""

    target: Target
    due: float


@dataclass(slots=True, eq=False)
class _Entry:
    """A target's place in the plan.

    phase: its share of an interval, 0 to 1. slot: when the coming probe starts, without jitter. ticket: of its only
    valid item in the heap. awaited: when the earliest probe was due that has not told anything yet. hastened: asked for
    while `job` is under way, which is too early for it.
    """

    target: Target
    phase: float
    slot: float
    awaited: float
    ticket: int = 0
    job: Job | None = None
    hastened: bool = False


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the latest probes started, in seconds."""

    p50: float
    p99: float
    samples: int


@dataclass(frozen=True, slots=True)
class _Ended:
    """A probe that has ended. result: None where it was not made. started: when it was."""

    job: Job
    result: Result | None
    started: float


class Plan:
    """Which target is probed when. Not thread-safe; every method that depends on time is told it, on a monotonic clock.

    A target has one probe under way at most. Settled targets keep to a grid of their interval, shifted by a stable hash
    of their key, so that neither a restart nor an outage leaves many of them on the same second.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - spreads load
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, int, _Entry]] = []
        self._tickets = itertools.count(1)
        self._lags: deque[float] = deque(maxlen=LAG_SAMPLES)

    def __len__(self) -> int:
        return len(self._entries)

    def update(self, targets: Iterable[Target], now: float) -> None:
        """Plan exactly `targets`; those of equal key are one.

        New and edited ones are due within a second, or longer where there are more than 2,000, or their interval, if
        that is shorter; the others keep their time.
        """
        wanted = {target.key: target for target in targets}
        for key in self._entries.keys() - wanted.keys():
            self._entries.pop(key).ticket = 0
        known = self._entries
        news = [key for key, target in wanted.items() if (entry := known.get(key)) is None or entry.target != target]
        spread = max(START_SPREAD, len(news) / START_RATE)
        for key in news:
            if (entry := known.get(key)) is None:
                self._add(key, wanted[key], now, spread)
            else:
                self._edit(entry, wanted[key], now, spread)

    def hasten(self, keys: Iterable[str], now: float) -> None:
        """Make these targets due now; one whose probe is under way is probed again, and that result does not count."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                continue
            entry.hastened = entry.job is not None
            if entry.job is None:
                entry.slot = min(entry.slot, now)
                entry.awaited = min(entry.awaited, entry.slot)
                self._schedule(entry, entry.slot)

    def _add(self, key: str, target: Target, now: float, spread: float) -> None:
        phase = crc32(key.encode()) / 2**32
        due = now + phase * min(target.check.interval, spread)
        entry = self._entries[key] = _Entry(target, phase, due, due)
        self._schedule(entry, due)

    def _edit(self, entry: _Entry, target: Target, now: float, spread: float) -> None:
        entry.target = target
        if entry.job is not None:
            return  # `finish` sees that it was made with other settings
        entry.slot = min(entry.slot, now + entry.phase * min(target.check.interval, spread))
        entry.awaited = min(entry.awaited, entry.slot)
        self._schedule(entry, entry.slot)

    def _schedule(self, entry: _Entry, due: float) -> None:
        entry.ticket = next(self._tickets)
        heapq.heappush(self._heap, (due, entry.ticket, entry))

    def next_due(self) -> float | None:
        """When the next probe is due; None while none is planned."""
        while self._heap:
            due, ticket, entry = self._heap[0]
            if entry.ticket == ticket:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> list[Job]:
        """The probes that are due, those that waited longest first. Each is under way until `finish`."""
        jobs = []
        while (due := self.next_due()) is not None and due <= now:
            entry = heapq.heappop(self._heap)[2]
            entry.ticket = 0
            entry.job = Job(entry.target, due)
            jobs.append(entry.job)
        return jobs

    def begun(self, job: Job, started: float) -> bool:
        """Note when `job` was started. False: its target is not planned any more, or with other settings, and its
        result does not count."""
        entry = self._entries.get(job.target.key)
        if entry is None or entry.job is not job:
            return False
        self._lags.append(started - job.due)
        return entry.target is job.target and not entry.hastened

    def finish(self, job: Job, now: float, *, wait: float, heard: bool = True) -> None:
        """Plan the next probe, `wait` seconds after this one was due, or at once where that has passed.

        heard: did the probe do its work? If not, its target becomes overdue in time.
        """
        entry = self._entries.get(job.target.key)
        if entry is None or entry.job is not job:
            return
        entry.job = None
        if entry.target is not job.target or entry.hastened:
            entry.hastened = False
            entry.slot = now
            self._schedule(entry, now)
            return
        settled = wait >= entry.target.check.interval
        slot = _on_grid(entry, wait) if settled else entry.slot + wait
        jitter = self._rng.random() * min(0.01 * wait, 0.05) if settled else 0.0
        entry.slot = max(slot, now)
        if heard:
            entry.awaited = entry.slot
        self._schedule(entry, max(slot - jitter, now))

    def overdue(self, now: float, grace: float = GRACE) -> list[Target]:
        """The targets not heard of since a probe was due longer than interval, timeout and `grace` ago."""
        return [
            entry.target
            for entry in self._entries.values()
            if now - entry.awaited > entry.target.check.interval + entry.target.check.timeout + grace
        ]

    def lag(self) -> Lag:
        """Of the last 2,048 probes."""
        lags = sorted(self._lags)
        if not lags:
            return Lag(0.0, 0.0, 0)
        return Lag(lags[len(lags) // 2], lags[len(lags) * 99 // 100], len(lags))


def _on_grid(entry: _Entry, interval: float) -> float:
    """The last point of the entry's grid that is at most an interval away, but not within the first half of it."""
    offset = entry.phase * interval
    steps = math.floor((entry.slot + interval - offset) / interval + 1e-6)
    return max(steps * interval + offset, entry.slot + interval / 2)


OnResult = Callable[[Target, Result, float], float]
"""Takes a result and when its probe started (on the scheduler's clock); gives the seconds until the next one.

Called in the scheduler's thread: what is slow there makes other probes late. A target that is removed at that moment
may still have its last result delivered.
"""


class Scheduler:
    """Probes targets when they are due and hands over what they say.

    engines: by protocol. clock: monotonic seconds.

    A target whose probe is slow, or that does not answer, delays no other one: how many probes may be under way at
    once is the engines' affair, and where one is at its limit, those wait that were due last. `overdue` says of which
    targets too little is known.
    """

    def __init__(
        self,
        engines: Mapping[str, Submit],
        on_result: OnResult,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = engines
        self._on_result = on_result
        self._clock = clock
        self._plan = Plan()
        self._ended: deque[_Ended] = deque()
        self._changed = threading.Condition()
        self._asleep = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def update(self, targets: Collection[Target]) -> None:
        """Probe exactly `targets` from now on; see `Plan.update`."""
        with self._changed:
            self._plan.update(targets, self._clock())
            self._changed.notify()

    def hasten(self, keys: Iterable[str]) -> None:
        """Probe the targets with these keys now; those that are not planned are nobody's."""
        with self._changed:
            self._plan.hasten(keys, self._clock())
            self._changed.notify()

    def overdue(self, grace: float = GRACE) -> list[Target]:
        """The targets of which too little was heard: this vantage has nothing to say of them; see `Plan.overdue`."""
        with self._changed:
            return self._plan.overdue(self._clock(), grace)

    def lag(self) -> Lag:
        with self._changed:
            return self._plan.lag()

    def stop(self, timeout: float = 5.0) -> bool:
        """Start no further probe and end the thread. False: it did not end within `timeout` seconds.

        What comes in later is dropped. The thread is a daemon: if it is stuck it does not keep the process.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._wait():
            for _ in range(len(self._ended)):
                self._settle(self._ended.popleft())
            with self._changed:
                jobs = self._plan.take(self._clock())
            for job in jobs:
                self._dispatch(job)
            time.sleep(TICK)

    def _wait(self) -> bool:
        """Wait until a probe is due or has ended. False: stop."""
        with self._changed:
            while not self._stopping:
                self._asleep = True  # before the look at what has ended: see `_end`
                due = self._plan.next_due()
                left = None if due is None else due - self._clock()
                if self._ended or (left is not None and left <= 0):
                    break
                self._changed.wait(left)
            self._asleep = False
            return not self._stopping

    def _dispatch(self, job: Job) -> None:
        try:
            self._engines[job.target.check.protocol](job.target, lambda result: self._end(job, result))
        except Exception:
            log.exception("%s was not probed", job.target.key)
            self._end(job, None)

    def _end(self, job: Job, result: Result | None) -> None:
        """Called in any thread."""
        now = self._clock()
        self._ended.append(_Ended(job, result, now if result is None else now - result.duration))
        if self._asleep:
            with self._changed:
                self._changed.notify()

    def _settle(self, ended: _Ended) -> None:
        job, result = ended.job, ended.result
        with self._changed:
            wanted = self._plan.begun(job, ended.started)
        wait = job.target.check.interval
        if wanted and result is not None and not self._stopping:
            try:
                wait = self._on_result(job.target, result, ended.started)
            except Exception:
                log.exception("the result of %s was not taken", job.target.key)
                result = None
        with self._changed:
            heard = result is not None and result.heard
            self._plan.finish(job, self._clock(), wait=wait, heard=heard)
