"""One thread that runs any number of probes: each a coroutine that sleeps until its socket is ready or its time is up.

asyncio would do, but spends about 115 us of processor time on an HTTP check where this spends 70: it registers and
unregisters a socket for every step, makes a timer for every wait, and wakes its tasks by way of futures.
"""

import heapq
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from types import coroutine
from typing import Any, Final, TypeVar

from healthd.probes.result import Attempt, Done, Result
from pdns_gtm_backend.domain.target import Target

T = TypeVar("T")
Work = Callable[[Target, "Task"], Coroutine[Any, Any, str]]
"""A probe as a coroutine: returns the detail of a success and raises on failure; TimeoutError is raised in it at its
deadline."""

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
TICK: Final = 0.005
"""Seconds that a timer may be late, so that those of about the same time share a wake-up."""
MAX_EVENTS: Final = 256
MAX_STARTS: Final = 64
"""Probes started between two looks at the sockets."""

log = logging.getLogger(__name__)


@coroutine
def _asleep() -> Generator[None, None, None]:
    yield


class Timers:
    """Which tasks wake when, in buckets of TICK: setting and clearing cost the same however many there are."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[Task, None]] = {}
        self._order: list[int] = []

    def set(self, task: "Task", moment: float) -> int:
        """Note that `task` wakes at `moment`; the number to clear it by."""
        number = int(moment / TICK) + 1
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            heapq.heappush(self._order, number)
        bucket[task] = None
        return number

    def clear(self, task: "Task", number: int) -> None:
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.pop(task, None)

    def next(self) -> float | None:
        """When the first is due; None without any."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return self._order[0] * TICK if self._order else None

    def due(self, now: float) -> "list[Task]":
        """Take out those whose time has come."""
        found: list[Task] = []
        while self._order and self._order[0] * TICK <= now:
            found += self._buckets.pop(heapq.heappop(self._order))
        return found


class Task(Attempt):
    """A probe on a loop. Its coroutine may await the methods here and nothing else."""

    def __init__(self, loop: "Loop", work: Work, target: Target, done: Done) -> None:
        super().__init__(target.check.timeout, target.address)
        self._loop = loop
        self._done = done
        self._coroutine = work(target, self)
        self._timer = loop.timers.set(self, self.deadline)
        self.ended = False

    async def asleep(self) -> None:
        """Sleep until `wake`."""
        await _asleep()

    async def ready(self, stream: socket.socket, events: int) -> None:
        """Sleep until `stream` is ready for one of `events`, or has failed. Close it by `close` only."""
        self._loop.watch(stream.fileno(), events, self.wake)
        await _asleep()

    async def sleep_until(self, moment: float) -> None:
        """Sleep until `moment` (monotonic), at most TICK longer."""
        if moment <= time.monotonic():
            return
        self._set_timer(min(moment, self.deadline))
        await _asleep()
        self._set_timer(self.deadline)

    async def outcome(self, future: "Future[T]") -> T:
        """Sleep until another thread has settled `future`."""
        if not future.done():
            future.add_done_callback(lambda _: self._loop.call(self.wake))
            await _asleep()
        return future.result()

    def close(self, stream: socket.socket) -> None:
        self._loop.forget(stream.fileno())
        stream.close()

    def wake(self, _events: int = 0) -> None:
        """Begin, or go on; in the loop's thread, and not while it runs."""
        self._step(self._coroutine.send, None)

    def timer(self, now: float) -> None:
        """The timer went off: the deadline's, or that of `sleep_until`."""
        if now < self.deadline:
            self.wake()
        else:
            # The class: an instance would be held by the very frame that its traceback holds.
            self._step(self._coroutine.throw, TimeoutError)

    def cancel(self) -> None:
        """End without a result."""
        self.ended = True
        self._coroutine.close()

    def _set_timer(self, moment: float) -> None:
        self._loop.timers.clear(self, self._timer)
        self._timer = self._loop.timers.set(self, moment)

    def _step(self, advance: Callable[[Any], object], argument: object) -> None:
        if self.ended:
            return
        try:
            advance(argument)
        except StopIteration as end:
            self._end(self.success(end.value))
        except Exception as error:  # noqa: BLE001 - the loop must survive whatever a server makes a probe raise
            self._end(self.failure(error))

    def _end(self, result: Result) -> None:
        self.ended = True
        self._loop.timers.clear(self, self._timer)
        self._loop.tasks.discard(self)
        try:
            self._done(result)
        except Exception:
            log.exception("a result was not taken")


class Loop:
    """The thread, started with the first probe. limit: probes under way at once; further ones wait for their turn.

    endings: called when it ends, in its thread.
    """

    def __init__(self, name: str, limit: int = 65_536) -> None:
        self.timers = Timers()
        self.tasks: set[Task] = set()
        self.endings: list[Callable[[], None]] = []
        self._limit = limit
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, READABLE)
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._fresh: set[int] = set()
        self._waiting: deque[tuple[Work, Target, Done]] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._polling = False
        self._stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, work: Work, target: Target, done: Done) -> None:
        """Start a probe; from any thread. Raises RuntimeError once the loop is closed."""
        if self._stopping:
            raise RuntimeError("the loop is closed")
        self._waiting.append((work, target, done))
        if self._thread.ident is None:
            self._start()
        self._ring()

    def call(self, callback: Callable[[], None]) -> None:
        """Call in the loop's thread; from any thread."""
        self._calls.append(callback)
        self._ring()

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        """Call with the events there are whenever there are some of `events`, until `forget`."""
        known = self._watched.get(descriptor)
        if known is None:
            self._epoll.register(descriptor, events)
            self._fresh.add(descriptor)
        elif known[0] == events:
            return
        else:
            self._epoll.modify(descriptor, events)
        self._watched[descriptor] = (events, callback)

    def forget(self, descriptor: int) -> None:
        """To be called before a watched descriptor is closed, which ends the watch."""
        self._watched.pop(descriptor, None)

    def close(self, timeout: float = 5.0) -> None:
        """Stop within `timeout` seconds; probes under way are given up without a result."""
        with self._lock:
            self._stopping = True
            started = self._thread.ident is not None
            if started and not self._epoll.closed:
                os.eventfd_write(self._bell, 1)
        if started:
            self._thread.join(timeout)
        else:
            self._release()

    def _start(self) -> None:
        with self._lock:
            if self._thread.ident is None and not self._stopping:
                self._thread.start()

    def _ring(self) -> None:
        if not self._polling:
            return  # the look at what came in is yet to come: see `_turn`
        with self._lock:
            if self._polling:
                self._polling = False
                os.eventfd_write(self._bell, 1)

    def _release(self) -> None:
        with self._lock:
            self._polling = False
            if not self._epoll.closed:
                self._epoll.close()
                os.close(self._bell)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                log.exception("a turn of the loop %s failed", self._thread.name)
        for task in self.tasks:
            task.cancel()
        for ending in list(self.endings):
            ending()
        self._release()

    def _turn(self) -> None:
        self._polling = True
        timeout = self._timeout()
        events = self._epoll.poll(timeout, MAX_EVENTS)
        self._polling = False
        self._fresh.clear()
        for descriptor, mask in events:
            watched = self._watched.get(descriptor)
            # A descriptor that was closed and opened anew in this turn has no events of its own yet.
            if watched is not None and descriptor not in self._fresh:
                watched[1](mask)
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
        now = time.monotonic()
        for task in self.timers.due(now):
            task.timer(now)
        while self._calls:
            self._calls.popleft()()
        for _ in range(min(len(self._waiting), MAX_STARTS, self._limit - len(self.tasks))):
            task = Task(self, *self._waiting.popleft())
            self.tasks.add(task)
            task.wake()

    def _timeout(self) -> float:
        """Seconds to wait for events."""
        if self._calls or (self._waiting and len(self.tasks) < self._limit) or self._stopping:
            return 0.0
        due = self.timers.next()
        return -1.0 if due is None else max(0.0, due - time.monotonic())
