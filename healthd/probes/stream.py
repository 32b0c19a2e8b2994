"""Blocking TCP and TLS connections that end at a probe's deadline, whatever the other side does.

A socket's own timeout starts anew with every byte that arrives. These sockets set it to what is left of the deadline
before each operation, so that no peer, however slow, keeps a probe for longer, and count what they receive.
"""

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from certifi import where

from healthd.probes.destination import authority
from healthd.probes.result import Attempt

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    _Socket = socket.socket
else:
    _Socket = object

UNLIMITED: Final = 2**63


class TooMuchReceived(Exception):
    """The peer sent more than the probe was ready to take."""


class _Bounded(_Socket):
    attempt: Attempt
    allowance = UNLIMITED

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(self.attempt.remaining())
        received = super().recv_into(buffer, nbytes or len(memoryview(buffer)), flags)
        self.allowance -= received
        if self.allowance < 0:
            raise TooMuchReceived
        return received

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        self.settimeout(self.attempt.remaining())
        return super().send(data, flags)

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        self.settimeout(self.attempt.remaining())
        super().sendall(data, flags)


class Stream(_Bounded, socket.socket):
    """A connected TCP socket. allowance: octets that may still arrive, without those that TLS adds."""


class TlsStream(_Bounded, ssl.SSLSocket):
    """A TLS session on a connected socket."""


def connect(address: str, port: int, attempt: Attempt) -> Stream:
    """Connect once. Raises OSError; TimeoutError at the deadline."""
    attempt.enter("connect")
    attempt.peer = authority(address, port)
    stream = Stream(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        stream.attempt = attempt
        stream.settimeout(attempt.remaining())
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.connect((address, port))
    except BaseException:
        stream.close()
        raise
    return stream


def start_tls(stream: Stream, context: ssl.SSLContext, server_name: str, attempt: Attempt) -> TlsStream:
    """Turn `stream` into a TLS session with `server_name`; a name is sent as SNI, an IP address is not (RFC 6066).

    context: made by `client_context`. Raises OSError, of which ssl.SSLError is one; `stream` is closed then.
    """
    attempt.enter("tls")
    try:
        stream.settimeout(attempt.remaining())
        session = context.wrap_socket(stream, server_hostname=server_name, do_handshake_on_connect=False)
    except BaseException:
        stream.close()
        raise
    assert isinstance(session, TlsStream)  # noqa: S101 - what the context was told to make
    session.attempt = attempt
    try:
        # Called here because wrap_socket skips the handshake where the peer is gone already (CVE-2023-40217).
        session.do_handshake()
    except BaseException:
        session.close()
        raise
    return session


def client_context(*, verify: bool, ca_file: str | None = None) -> ssl.SSLContext:
    """A context for every probe, to be made once: loading the certificate authorities costs 15 ms.

    verify: check the chain and the name. ca_file: PEM file of authorities in place of the system's.
    Raises OSError where it cannot be read.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if verify and ca_file is None and not _system_has_authorities(context):
        context.load_verify_locations(where())
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.sslsocket_class = TlsStream
    return context


def _system_has_authorities(context: ssl.SSLContext) -> bool:
    directory: str | None = ssl.get_default_verify_paths().capath
    return bool(context.cert_store_stats()["x509_ca"]) or (directory is not None and any(Path(directory).glob("*.0")))
