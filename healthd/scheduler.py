"""When each target is probed: a plan that decides, and the threads that carry it out."""

import heapq
import itertools
import logging
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from healthd.probes.result import Probe, Result, Submit
from pdns_gtm_backend.domain.target import Target

START_SPREAD: Final = 1.0
"""Seconds over which new and edited targets are spread, at most their interval."""
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
    valid item in the heap. awaited: when the earliest probe was due that has not told anything yet.
    """

    target: Target
    phase: float
    slot: float
    awaited: float
    ticket: int = 0
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the latest probes started, in seconds."""

    p50: float
    p99: float
    samples: int


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

        New and edited ones are due within a second or their interval, if that is shorter; the others keep their time.
        """
        wanted = {target.key: target for target in targets}
        for key in self._entries.keys() - wanted.keys():
            self._entries.pop(key).ticket = 0
        for key, target in wanted.items():
            entry = self._entries.get(key)
            if entry is None:
                self._add(key, target, now)
            elif entry.target != target:
                self._edit(entry, target, now)

    def _add(self, key: str, target: Target, now: float) -> None:
        phase = crc32(key.encode()) / 2**32
        due = now + phase * min(target.check.interval, START_SPREAD)
        entry = self._entries[key] = _Entry(target, phase, due, due)
        self._schedule(entry, due)

    def _edit(self, entry: _Entry, target: Target, now: float) -> None:
        entry.target = target
        if entry.job is not None:
            return  # `finish` sees that it was made with other settings
        entry.slot = min(entry.slot, now + entry.phase * min(target.check.interval, START_SPREAD))
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

    def current(self, job: Job) -> bool:
        """Is the target of `job` still planned, with the same settings? If not, its result does not count."""
        entry = self._entries.get(job.target.key)
        return entry is not None and entry.job is job and entry.target is job.target

    def begin(self, job: Job, now: float) -> bool:
        """Note that `job` starts now. False: its target is gone, do not."""
        entry = self._entries.get(job.target.key)
        if entry is None or entry.job is not job:
            return False
        self._lags.append(now - job.due)
        return True

    def finish(self, job: Job, now: float, *, wait: float, conclusive: bool = True) -> None:
        """Plan the next probe, `wait` seconds after this one was due, or at once where that has passed.

        conclusive: whether the target was heard of; if not, it becomes overdue in time.
        """
        entry = self._entries.get(job.target.key)
        if entry is None or entry.job is not job:
            return
        entry.job = None
        if entry.target is not job.target:
            entry.slot = now
            self._schedule(entry, now)
            return
        settled = wait >= entry.target.check.interval
        slot = _on_grid(entry, wait) if settled else entry.slot + wait
        jitter = self._rng.random() * min(0.01 * wait, 0.05) if settled else 0.0
        entry.slot = max(slot, now)
        if conclusive:
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


class Workers:
    """At most `size` daemon threads, each started when a task finds all others busy; tasks begin in order."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._pending = 0

    def submit(self, task: Callable[[], None]) -> None:
        with self._lock:
            self._pending += 1
            self._tasks.put(task)
            if self._pending <= len(self._threads) or len(self._threads) >= self._size:
                return
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.error("no further thread for %s, %d go on: %s", self._name, len(self._threads), error)
            else:
                self._threads.append(thread)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception:
                log.exception("a task of %s failed", self._name)
            with self._lock:
                self._pending -= 1

    def stop(self, deadline: float) -> bool:
        """End the threads once they have done what they are at. False: some still were at `deadline` (monotonic)."""
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


OnResult = Callable[[Target, Result, float], float]
"""Takes a result and when its probe started (on the scheduler's clock); gives the seconds until the next one.

Called in several threads at once. A target that is removed at that moment may still have its last result delivered.
"""


class Scheduler:
    """Probes targets when they are due and hands over what they say.

    workers: threads at most for the protocols in `probes`; those in `engines` need none. A probe holds a worker for its
    check's timeout at most, and probes begin in the order in which they were due, so dead targets delay others only
    once all workers are held: workers * interval / timeout dead targets (1,706 with 512 workers, 10 s and 3 s) delay
    nobody; with n times as many, probes come up to n intervals apart. `overdue` then says of which targets too little
    is known. A thread is only started when all others are busy, and each probe needs one descriptor.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        probes: Mapping[str, Probe],
        engines: Mapping[str, Submit],
        on_result: OnResult,
        *,
        workers: int = 512,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._engines = engines
        self._on_result = on_result
        self._clock = clock
        self._plan = Plan()
        self._workers = Workers(workers, "probe")
        # Not in the engines' own threads: a handler that is slow there would make answers late.
        self._completions = Workers(1, "completion")
        self._changed = threading.Condition()
        self._sleeping_until = math.inf
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def update(self, targets: Collection[Target]) -> None:
        """Probe exactly `targets` from now on; see `Plan.update`."""
        with self._changed:
            self._plan.update(targets, self._clock())
            self._changed.notify()

    def overdue(self, grace: float = GRACE) -> list[Target]:
        """The targets of which too little was heard: this vantage has nothing to say of them; see `Plan.overdue`."""
        with self._changed:
            return self._plan.overdue(self._clock(), grace)

    def lag(self) -> Lag:
        with self._changed:
            return self._plan.lag()

    def stop(self, timeout: float = 5.0) -> bool:
        """Start no further probe and end the threads. False: some did not end within `timeout` seconds.

        What comes in later is dropped. The threads are daemons: one that is stuck does not keep the process.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        ended = [workers.stop(deadline) for workers in (self._workers, self._completions)]
        return all(ended) and not self._thread.is_alive()

    def _run(self) -> None:
        while (jobs := self._due()) is not None:
            for job in jobs:
                self._dispatch(job)
            time.sleep(TICK)

    def _due(self) -> list[Job] | None:
        """Wait for probes to be due; None = stop."""
        with self._changed:
            while not self._stopping:
                now = self._clock()
                if jobs := self._plan.take(now):
                    return jobs
                due = self._plan.next_due()
                self._sleeping_until = math.inf if due is None else due
                self._changed.wait(None if due is None else due - now)
                self._sleeping_until = 0.0
        return None

    def _dispatch(self, job: Job) -> None:
        engine = self._engines.get(job.target.check.protocol)
        if engine is None:
            self._workers.submit(lambda: self._probe(job))
            return
        started = self._begin(job)
        if started is None:
            return
        try:
            engine(job.target, lambda result: self._completions.submit(lambda: self._complete(job, result, started)))
        except Exception:
            log.exception("the engine for %s did not take %s", job.target.check.protocol, job.target.key)
            self._complete(job, None, started)

    def _begin(self, job: Job) -> float | None:
        with self._changed:
            started = self._clock()
            return started if not self._stopping and self._plan.begin(job, started) else None

    def _probe(self, job: Job) -> None:
        started = self._begin(job)
        if started is None:
            return
        result = None
        try:
            result = self._probes[job.target.check.protocol](job.target)
        except Exception:
            log.exception("%s was not probed", job.target.key)
        self._complete(job, result, started)

    def _complete(self, job: Job, result: Result | None, started: float) -> None:
        wait = job.target.check.interval
        if result is not None and self._wanted(job):
            try:
                wait = self._on_result(job.target, result, started)
            except Exception:
                log.exception("the result of %s was not taken", job.target.key)
                result = None
        with self._changed:
            conclusive = result is not None and result.conclusive
            self._plan.finish(job, self._clock(), wait=wait, conclusive=conclusive)
            due = self._plan.next_due()
            if due is not None and due < self._sleeping_until:
                self._changed.notify()

    def _wanted(self, job: Job) -> bool:
        with self._changed:
            return not self._stopping and self._plan.current(job)
