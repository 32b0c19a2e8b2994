"""TCP and TLS connections of a task: nothing here blocks, and the task's deadline ends all of it."""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from healthd.probes.destination import authority
from healthd.probes.failure import ProbeFailure
from healthd.probes.loop import READABLE, WRITABLE, Task

T = TypeVar("T")

MAX_PART: Final = 65_536
MAX_TLS_OCTETS: Final = 1_048_576


class Connection:
    """A connected stream of octets."""

    def __init__(self, task: Task, stream: socket.socket) -> None:
        self._task = task
        self._stream = stream

    async def send(self, data: bytes) -> None:
        """Send all of `data`. Raises OSError."""
        while data:
            try:
                data = data[self._stream.send(data) :]
            except BlockingIOError:
                await self._task.ready(self._stream, WRITABLE)

    async def receive(self, limit: int = MAX_PART) -> bytes:
        """The next octets, at most `limit`; none at the end of the stream. Raises OSError."""
        while True:
            try:
                return self._stream.recv(limit)
            except BlockingIOError:
                await self._task.ready(self._stream, READABLE)

    def send_some(self, data: bytes) -> None:
        """Send what can be sent at once of `data`, if anything."""
        with suppress(OSError):
            self._stream.send(data)

    def close(self) -> None:
        """Close it; at once, whatever was not received."""
        self._task.close(self._stream)


class TlsConnection(Connection):
    """A TLS session on a connection, which is fed to OpenSSL part by part.

    On a socket of its own OpenSSL would read for as long as anything comes that is no data (tickets, for example), and
    nobody else would have a turn. Raises OSError, of which ssl.SSLError is one, and ProbeFailure for too many octets.
    """

    def __init__(self, below: Connection, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(below._task, below._stream)
        self._below = below
        self._received = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    async def start(self) -> None:
        """Shake hands."""
        await self._carry_out(self._session.do_handshake)

    async def send(self, data: bytes) -> None:
        while data:
            part = data
            data = data[await self._carry_out(lambda: self._session.write(part)) :]  # noqa: B023 - called at once

    async def receive(self, limit: int = MAX_PART) -> bytes:
        """As of a Connection; a stream that ends without saying so (close_notify) ends all the same."""
        try:
            return await self._carry_out(lambda: self._session.read(limit))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    async def _carry_out(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                self._below.send_some(self._outgoing.read())  # the alert that tells the server why
                raise
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._below.send(self._outgoing.read())

    async def _feed(self) -> None:
        part = await self._below.receive()
        self._received += len(part)
        if self._received > MAX_TLS_OCTETS:
            raise ProbeFailure("tls", f"more than {MAX_TLS_OCTETS} octets of TLS from {self._task.peer}")
        if part:
            self._incoming.write(part)
        else:
            self._incoming.write_eof()


async def connect(address: str, port: int, task: Task) -> Connection:
    """Connect once. Raises OSError."""
    task.enter("connect")
    task.peer = authority(address, port)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream.connect((address, port))
        except BlockingIOError:
            await task.ready(stream, WRITABLE)
            if failure := stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(failure, os.strerror(failure)) from None
    except BaseException:
        task.close(stream)
        raise
    return Connection(task, stream)


async def start_tls(below: Connection, context: ssl.SSLContext, server_name: str, task: Task) -> TlsConnection:
    """A session with `server_name` on `below`; a name is sent as SNI, an IP address is not (RFC 6066).

    context: made by `client_context`. Raises what TlsConnection does; closing is left to whoever closes `below`.
    """
    task.enter("tls")
    session = TlsConnection(below, context, server_name)
    await session.start()
    return session
