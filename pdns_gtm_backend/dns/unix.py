"""The remote-backend protocol over a unix socket: one JSON object a line, answered in order, on one event loop.

https://doc.powerdns.com/authoritative/backends/remote.html#unix-connector. This is the worker; `unix_parent` holds the
listening socket and takes the connections from one worker to the next.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import socket
import threading
import time
from collections import deque
from typing import Final

import uvloop
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from pdns_gtm_backend.dns.backend import Backend, NotReady
from pdns_gtm_backend.dns.counters import Counters
from pdns_gtm_backend.dns.http import create_status_app
from pdns_gtm_backend.dns.methods import MAX_REQUEST_BYTES, BadRequest, call, may_wait
from pdns_gtm_backend.dns.status import registry
from pdns_gtm_backend.dns.unix_parent import DESCRIPTORS_AT_ONCE, LEAVE, MESSAGE_BYTES, READY, SERVE, give

log = logging.getLogger(__name__)

QUIET_SECONDS: Final = 1.0
"""How long leaving waits for connections that are in the middle of a request."""
FAILURE: Final = b'{"result":null,"log":["the backend failed; its log says why"]}\n'
"""PowerDNS takes a null result for a failure (SERVFAIL for that query), and keeps the connection."""
ERROR_LOG_SECONDS: Final = 1.0
BIND_SECONDS: Final = 5.0
"""How long the status port may still belong to the worker before."""


def serve(backend: Backend, listening: socket.socket, control: socket.socket, status: tuple[str, int]) -> None:
    """Serve until the parent says that another worker takes over, or SIGTERM.

    status: address and port of `/livez`, `/readyz` and `/metrics`.
    """
    metrics = registry(backend)
    app = create_status_app(backend, metrics)
    threading.Thread(target=_serve_status, args=(app, *status), name="status", daemon=True).start()
    uvloop.run(UnixServer(backend, listening, control, Counters(metrics)).run())


def _serve_status(app: Flask, host: str, port: int) -> None:
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            made = make_server(host, port, app, threaded=True, request_handler=_QuietHandler)
        except (OSError, SystemExit):
            if time.monotonic() > deadline:
                log.error("port %s of %s is taken: no readiness and no metrics", port, host)
                return
            time.sleep(0.05)
        else:
            made.serve_forever()


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Scrapes are not worth a line each."""


class UnixServer:
    """Answers on the connections that the parent hands over, and on new ones."""

    def __init__(self, backend: Backend, listening: socket.socket, control: socket.socket, counters: Counters) -> None:
        self._backend = backend
        self._counters = counters
        self._listening = listening
        self._control = control
        self._connections: set[_Connection] = set()
        self._taken: list[int] = []
        self._logged = 0.0

    async def run(self) -> None:
        """Serve from when the parent says so until it says leave, closes, or SIGTERM comes."""
        loop = asyncio.get_running_loop()
        self._serving: asyncio.Future[None] = loop.create_future()
        self._finished: asyncio.Future[bool] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._finish, False)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        self._control.setblocking(False)
        loop.add_reader(self._control, self._hear)
        self._control.send(READY)
        await asyncio.wait((self._serving, self._finished), return_when=asyncio.FIRST_COMPLETED)
        if not self._finished.done():
            await self._serve(loop)
        self._backend.stop()

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        for descriptor in self._taken:
            await loop.connect_accepted_socket(lambda: _Connection(self), socket.socket(fileno=descriptor))
        server = await loop.create_unix_server(lambda: _Connection(self), sock=self._listening)
        log.info("serving, %d connections taken over", len(self._taken))
        leaving = await self._finished
        server.close()
        if leaving:
            await self._hand_over()
        else:
            for connection in tuple(self._connections):
                connection.close()

    def _hear(self) -> None:
        """The parent says something, or has gone."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, DESCRIPTORS_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        self._taken += descriptors
        if message == SERVE and not self._serving.done():
            self._serving.set_result(None)
        elif message in (LEAVE, b""):
            asyncio.get_running_loop().remove_reader(self._control)
            self._finish(message == LEAVE)

    def _finish(self, leaving: bool) -> None:
        if not self._finished.done():
            self._finished.set_result(leaving)

    async def _hand_over(self) -> None:
        """Give every connection back that is not in the middle of a request."""
        deadline = time.monotonic() + QUIET_SECONDS
        while any(c.busy for c in self._connections) and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        for connection in self._connections:
            connection.pause()
        give(self._control, [c.descriptor for c in self._connections if not c.busy])

    def answer(self, line: bytes, connection: str) -> bytes:
        """The reply to one request line. Never raises: what fails is told as a failure and logged."""
        try:
            method, reply = call(self._backend, line, connection)
        except (BadRequest, NotReady) as error:
            self._counters.failed["not_ready" if isinstance(error, NotReady) else "request"]()
            self._log(str(error))
            return json.dumps({"result": None, "log": [str(error)]}).encode() + b"\n"
        except Exception as error:  # noqa: BLE001 - one failed query must not end the connection of all
            self._counters.failed["internal"]()
            self._log("a request of PowerDNS failed", error)
            return FAILURE
        self._counters.answered[method]()
        return reply + b"\n"

    def _log(self, text: str, error: Exception | None = None) -> None:
        """At most once in a while: a flood of queries must not be a flood of tracebacks."""
        if time.monotonic() - self._logged > ERROR_LOG_SECONDS:
            self._logged = time.monotonic()
            log.error("%s", text, exc_info=error, extra={"event": "backend.failed"})

    def opened(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._backend.administration.transactions.leave(connection.name)


class _Connection(asyncio.Protocol):
    """One connection of PowerDNS. A request that may wait is answered in a thread, and those behind it wait."""

    _numbers = itertools.count()

    def __init__(self, server: UnixServer) -> None:
        self._server = server
        self.name = f"unix-{next(self._numbers)}"
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._waiting = False
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server.opened(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        # PowerDNS asks again when it is answered: nearly always it is one lookup, and whole.
        if data.find(b"\n") == len(data) - 1 and not (may_wait(data) or self._rest or self._lines or self._waiting):
            self._transport.write(self._server.answer(data, self.name))
            return
        if self._rest:
            data = self._rest + data
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > MAX_REQUEST_BYTES:
            log.error("a request of more than %s octets: its connection is closed", MAX_REQUEST_BYTES)
            self._transport.abort()
            return
        self._lines.extend(lines)
        self._answer()

    def _answer(self) -> None:
        while self._lines and not self._waiting:
            line = self._lines.popleft()
            if may_wait(line):
                self._waiting = True
                self._task = asyncio.get_running_loop().create_task(self._wait_for(line))
            else:
                self._transport.write(self._server.answer(line, self.name))

    async def _wait_for(self, line: bytes) -> None:
        reply = await asyncio.to_thread(self._server.answer, line, self.name)
        self._waiting = False
        if self._transport.is_closing():
            # What it began meanwhile ends with it.
            self._server.closed(self)
            return
        self._transport.write(reply)
        self._answer()

    @property
    def busy(self) -> bool:
        """Is half a request read, one being answered, or half a reply not yet written?"""
        unread = bool(self._rest or self._lines or self._waiting)
        return unread or self._transport.get_write_buffer_size() > 0

    @property
    def descriptor(self) -> int:
        return int(self._transport.get_extra_info("socket").fileno())

    def pause(self) -> None:
        """Read no more: what comes waits in the socket for the next worker."""
        self._transport.pause_reading()

    def close(self) -> None:
        self._transport.close()
