"""The process that outlives the unix transport's worker: it holds the listening socket, and hands connections over.

PowerDNS keeps its connections for ever and turns a broken one into a SERVFAIL. On SIGHUP a new worker is made ready
first; then the old one gives its connections back between two requests, and the new one goes on with them.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pdns_gtm_backend.notify import notify

log = logging.getLogger(__name__)

READY: Final = b"ready"
"""A worker can serve; it waits for SERVE."""
TAKE: Final = b"take"
"""Descriptors of connections come with this, from the old worker to its parent and on to the new one."""
SERVE: Final = b"serve"
LEAVE: Final = b"leave"
"""The worker gives its connections back and ends."""
MESSAGE_BYTES: Final = 16
DESCRIPTORS_AT_ONCE: Final = 100
"""Below SCM_MAX_FD (unix(7))."""
START_SECONDS: Final = 60.0
LEAVE_SECONDS: Final = 3.0
STOP_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.5
"""Between two starts of a worker that dies."""
WORKER_ARGUMENT: Final = "--worker"
REPLACING: Final = "--replacing"
"""Tells a worker that another one answers until it is ready."""


@dataclass(slots=True)
class Worker:
    """A worker process and the socket that it is told things by."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    ready: bool = False
    given: list[int] = field(default_factory=list)


class Parent:
    """Runs one worker at a time, and a second one while it takes over."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._worker: Worker | None = None
        self._wakeup, wake = socket.socketpair()
        for end in (self._wakeup, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake = wake
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._worker = self._started()
        while True:
            signals = self._signals(None)
            if {signal.SIGTERM, signal.SIGINT} & signals:
                self._stop()
                return
            if self._worker is None or self._worker.process.poll() is not None:
                log.error("the worker has died: started again", extra={"event": "backend.died"})
                time.sleep(AGAIN_SECONDS)
                self._worker = self._started()
            elif signal.SIGHUP in signals:
                self._reload(self._worker)

    def _signals(self, timeout: float | None) -> set[int]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            if not selector.select(timeout):
                return set()
        return set(self._wakeup.recv(1024))

    def _started(self) -> Worker | None:
        """A worker that serves; None where it died before that."""
        worker = self._spawned()
        if self._wait_for(worker, READY, START_SECONDS):
            worker.control.send(SERVE)
            notify("READY=1")
            return worker
        self._end(worker)
        return None

    def _spawned(self, *more: str) -> Worker:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = (self._listening.fileno(), theirs.fileno())
        command = [sys.executable, "-m", "pdns_gtm_backend.dns", WORKER_ARGUMENT, *map(str, numbers), *more]
        process = subprocess.Popen(command, pass_fds=numbers)  # noqa: S603
        theirs.close()
        return Worker(process, mine)

    def _wait_for(self, worker: Worker, wanted: bytes, seconds: float) -> bool:
        """Read what a worker says until it says `wanted` (b"" = it closes), keeping the descriptors that come."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            worker.control.settimeout(left)
            try:
                message, descriptors, _, _ = socket.recv_fds(worker.control, MESSAGE_BYTES, DESCRIPTORS_AT_ONCE)
            except OSError:
                return False
            worker.given += descriptors
            if message == wanted:
                return True
            if not message:
                return False
        return False

    def _reload(self, old: Worker) -> None:
        new = self._spawned(REPLACING)
        if not self._wait_for(new, READY, START_SECONDS):
            log.error("the new worker does not start: the old one goes on", extra={"event": "backend.not-reloaded"})
            self._end(new)
            return
        old.control.send(LEAVE)
        self._wait_for(old, b"", LEAVE_SECONDS)
        for first in range(0, len(old.given), DESCRIPTORS_AT_ONCE):
            socket.send_fds(new.control, [TAKE], old.given[first : first + DESCRIPTORS_AT_ONCE])
        new.control.send(SERVE)
        log.info("reloaded: %d connections handed over", len(old.given), extra={"event": "backend.reloaded"})
        self._end(old)
        self._worker = new

    def _stop(self) -> None:
        notify("STOPPING=1")
        if self._worker is not None:
            self._worker.process.terminate()
            self._end(self._worker)

    def _end(self, worker: Worker) -> None:
        """Let a worker end; its end of the control socket tells it that nobody waits for it."""
        worker.control.close()
        for descriptor in worker.given:
            os.close(descriptor)
        try:
            worker.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def give(control: socket.socket, descriptors: Sequence[int]) -> None:
    """Send descriptors of connections to the parent."""
    for first in range(0, len(descriptors), DESCRIPTORS_AT_ONCE):
        socket.send_fds(control, [TAKE], list(descriptors[first : first + DESCRIPTORS_AT_ONCE]))
