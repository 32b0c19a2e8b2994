"""The HTTP server of the backend: gunicorn with one worker process of many threads, reloaded without a lost answer.

gunicorn alone ends the old worker before the new one serves, and closes connections some time after the last answer on
them: PowerDNS writes its next query into the gap, which is a SERVFAIL.
"""

from __future__ import annotations

import mmap
import select
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.util import close_graceful
from gunicorn.workers.gthread import ThreadWorker

from pdns_gtm_backend.dns.listening import keep
from pdns_gtm_backend.long_lived import long_lived
from pdns_gtm_backend.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

    from pdns_gtm_backend.dns.backend import Backend

KEEPALIVE_SECONDS: Final = 3600
"""PowerDNS keeps its connections for ever; to close an idle one can cost the query that it is used for next."""
GRACEFUL_SECONDS: Final = 5
START_SECONDS: Final = 60.0
"""How long a new worker may take to start before the old one is ended all the same."""
REQUEST_SECONDS: Final = 5
"""How long a connection may say nothing at first, or stop in the middle of a request."""
RECEIVE_TIMEOUT: Final = struct.pack("@ll", REQUEST_SECONDS, 0)

MAX_LEFT: Final = 65_536

FREE_THREADS: Final = 4
"""So many threads stay for connections that are new."""
FOLLOW_MILLISECONDS: Final = 250
"""How long a thread waits for the next request on its connection."""

STARTING: Final = 0
SERVING: Final = 1
LEAVING: Final = 2


def _keep(arbiter: Any) -> None:
    for listener in arbiter.LISTENERS:
        keep(listener.fileno())


def _note_others(arbiter: Any, _worker: object) -> None:
    arbiter.app.replacing = bool(arbiter.WORKERS)


def _follows(conn: Any) -> bool:
    """Does another request follow on a connection, within a moment?"""
    if conn.parser.unreader.buf.getvalue():
        return True
    waiting = select.poll()
    waiting.register(conn.sock, select.POLLIN)
    return bool(waiting.poll(FOLLOW_MILLISECONDS))


class Server(BaseApplication):  # type: ignore[misc]
    """Serves one backend, which each worker makes anew.

    listening: the socket that was kept for it; None = a new one.
    """

    def __init__(self, settings: Settings, listening: socket.socket | None = None) -> None:
        self.settings = settings
        self._listening = listening
        self.backend: Backend | None = None
        self.replacing = False
        super().__init__()

    def load_config(self) -> None:
        """gunicorn's settings; no command line and no file is read."""
        settings = self.settings
        host = f"[{settings.listen}]" if ":" in settings.listen else settings.listen
        kept = self._listening
        options: dict[str, Any] = {
            "bind": [f"{host}:{settings.backend_port}" if kept is None else f"fd://{kept.fileno()}"],
            "workers": 1,
            "worker_class": Worker,
            "threads": settings.backend_threads,
            "keepalive": KEEPALIVE_SECONDS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "max_requests": 0,
            "control_socket_disable": True,
            "when_ready": _keep,
            "pre_fork": _note_others,
            "proc_name": "pdns-gtm-backend",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker. What is imported here stays out of the parent: SIGHUP takes new code."""
        with long_lived():
            from pdns_gtm_backend.dns.backend import Backend
            from pdns_gtm_backend.dns.http import create_app

        try:
            self.backend = Backend(self.settings)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(Arbiter.APP_LOAD_ERROR)
        self.backend.start()
        self.backend.wait_until_known(replacing=self.replacing)
        return create_app(self.backend, self.settings.backend_secret)

    def run(self) -> None:
        """Serve until SIGTERM."""
        _Arbiter(self).run()


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Ends an old worker when the new one serves, and not at all where that does not start."""

    def manage_workers(self) -> None:
        if len(self.WORKERS) > self.num_workers:
            self._wait_for(max(self.WORKERS.values(), key=lambda worker: worker.age))
        super().manage_workers()

    def _wait_for(self, worker: Worker) -> None:
        deadline = time.monotonic() + START_SECONDS
        while worker.pid in self.WORKERS and worker.phase != SERVING and time.monotonic() < deadline:
            time.sleep(0.02)
            try:
                self.reap_workers()
            except HaltServer as error:
                self.log.error("%s The old worker goes on.", error.reason)

    def stop(self, graceful: bool = True) -> None:
        for worker in self.WORKERS.values():
            worker.phase = LEAVING
        super().stop(graceful)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Sends an answer in one segment, and where it is the last on its connection, the end of it in the same one.

    PowerDNS looks for that end before it uses a connection again.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._phase = mmap.mmap(-1, 1)

    @property
    def phase(self) -> int:
        """STARTING, SERVING, or LEAVING with the parent; the same in worker and parent."""
        return self._phase[0]

    @phase.setter
    def phase(self, value: int) -> None:
        self._phase[0] = value

    def run(self) -> None:
        """Serve until told to stop, then stop the backend."""
        self.phase = SERVING
        try:
            super().run()
        finally:
            if self.app.backend is not None:
                self.app.backend.stop()

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection to a thread; a new one when there is something to read: silence would hold the thread."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, RECEIVE_TIMEOUT)
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + REQUEST_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        """Answer in a thread: one request, or while there are threads for all connections, those that follow it too.

        To give a connection back to the thread that they share, and take it again, costs more than an answer.
        """
        keep = self._answer(conn)
        while keep and self.nr_conns + FREE_THREADS <= self.cfg.threads and _follows(conn):
            keep = self._answer(conn)
        return keep

    def _answer(self, conn: Any) -> Any:
        """Answer one request. Where the connection ends, it is closed here: gunicorn waits for the peer's end of it in
        the thread that all connections share.
        """
        with suppress(OSError):
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        keep = super().handle(conn)
        if keep:
            with suppress(OSError):
                conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        elif conn.sock.fileno() < 0:
            pass
        elif self.alive:
            close_graceful(conn.sock)
        else:
            conn.sock.close()
        return keep

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Say what is wrong with a request, and close at once: whoever sends garbage is not waited for in a thread."""
        super().handle_error(req, client, addr, exc)
        with suppress(OSError):
            # What is left unread would have the kernel take back what was just said.
            client.recv(MAX_LEFT, socket.MSG_DONTWAIT)
        client.close()

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Take a connection back from its thread."""
        if conn.sock.fileno() < 0:
            self.nr_conns -= 1
        else:
            super().finish_request(conn, fs)

    def _cap_keepalive(self, deadline: float) -> None:
        # Another worker takes the connections of a reload, each after one more answer; nobody takes those of an end.
        super()._cap_keepalive(0.0 if self.phase == LEAVING else deadline)
