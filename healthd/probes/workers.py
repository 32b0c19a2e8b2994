"""Threads for probes that block."""

import logging
import queue
import threading
import time
from collections.abc import Callable

from healthd.probes.result import Attempt, Done, Probe, Submit
from pdns_gtm_backend.domain.target import Target

log = logging.getLogger(__name__)


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


def threaded(probe: Probe, workers: Workers) -> Submit:
    """`probe` as a Submit: each holds one of `workers` for its check's timeout at most."""

    def run(target: Target, done: Done) -> None:
        try:
            result = probe(target)
        except Exception as error:  # noqa: BLE001 - every probe has a result
            result = Attempt(target.check.timeout, target.address).failure(error)
        done(result)

    def submit(target: Target, done: Done) -> None:
        workers.submit(lambda: run(target, done))

    return submit
