"""An origin server for tests that can fail in every way that a probe must survive, and the certificates it shows.

    with Origin(answer(503)) as origin: ...            # origin.port, origin.requests
    with Origin(answer(), certificate=Authority(folder).issue("www.shop.example")) as origin: ...

A behaviour is a function of the connection; `origin.behaviour` may be replaced while the origin runs.
"""

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that an origin got. headers: by lower-case name. sni: the TLS server name, None without TLS or name."""

    method: str
    target: str
    headers: dict[str, str]
    sni: str | None


class Connection:
    """One accepted connection of an origin, as its behaviour sees it."""

    def __init__(self, stream: socket.socket, sni: str | None, origin: "Origin") -> None:
        self.stream = stream
        self.sni = sni
        self.origin = origin

    def request(self) -> Seen:
        """Read the request's head and record it. Raises ConnectionError where the peer goes away before its end."""
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.stream.recv(65536)
            if not part:
                raise ConnectionError
            head += part
        first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        seen = Seen(method, target, headers, self.sni)
        self.origin.requests.append(seen)
        return seen

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def wait(self, seconds: float) -> bool:
        """Wait; True where the origin is being closed meanwhile."""
        return self.origin.closing.wait(seconds)


Behaviour = Callable[[Connection], None]


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(status: int = 200, body: bytes = b"ok", headers: dict[str, str] | None = None) -> Behaviour:
    """A whole answer; without its body to HEAD."""

    def behave(connection: Connection) -> None:
        seen = connection.request()
        given = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        connection.send(head(status, given) + (b"" if seen.method == "HEAD" else body))

    return behave


def redirect(location: str, status: int = 302) -> Behaviour:
    return answer(status, b"", {"Location": location})


def by_path(**behaviours: Behaviour) -> Behaviour:
    """The behaviour named after the first part of the path, with `other` for the rest."""

    def behave(connection: Connection) -> None:
        peeked = connection.stream.recv(64, socket.MSG_PEEK).decode("latin-1")
        path = peeked.split(" ")[1].strip("/").split("/")[0].split("?")[0]
        behaviours.get(path, behaviours.get("other", answer(404)))(connection)

    return behave


def raw(data: bytes, *, stay: bool = False) -> Behaviour:
    """Exactly these octets, then the end of the connection, or silence where `stay`."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(data)
        if stay:
            connection.wait(600)

    return behave


def trickle(data: bytes, interval: float = 1.0, at_once: bytes = b"") -> Behaviour:
    """`at_once`, then `data` one octet every `interval` seconds."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(at_once)
        for octet in data:
            connection.send(bytes((octet,)))
            if connection.wait(interval):
                return

    return behave


def slow_headers(interval: float = 1.0) -> Behaviour:
    return trickle(head(200, {"Content-Length": "2"}) + b"ok", interval)


def slow_body(body: bytes = b"x" * 600, interval: float = 1.0) -> Behaviour:
    return trickle(body, interval, at_once=head(200, {"Content-Length": str(len(body))}))


def endless_body(size: int = 10_000_000_000) -> Behaviour:
    """`size` octets, made while they are sent."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(head(200, {"Content-Length": str(size)}))
        _flood(connection, b"x" * 65536, size)

    return behave


def endless_headers() -> Behaviour:
    """One header after the other, for ever."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n")
        _flood(connection, b"X-Header: " + b"y" * 8000 + b"\r\n", 10_000_000_000)

    return behave


def _flood(connection: Connection, block: bytes, size: int) -> None:
    sent = 0
    while sent < size and not connection.origin.closing.is_set():
        connection.send(block)
        sent += len(block)
        connection.origin.sent += len(block)


def silent(connection: Connection) -> None:
    """Take the connection and say nothing."""
    connection.wait(600)


def closed(connection: Connection) -> None:
    """Read the request and close without an answer."""
    connection.request()


def reset(connection: Connection) -> None:
    """Read the request and answer with a TCP reset."""
    connection.request()
    linger_off = struct.pack("ii", 1, 0)
    connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of a chain and its key."""

    chain: Path
    key: Path


class Origin:
    """A server on a free port of `host`, one thread for each connection; stopped by leaving the `with` block.

    requests: all that were seen, oldest first. connections: how many were accepted. sent: octets of endless answers.
    context: of TLS, None without. refused: is told why a handshake failed.
    """

    def __init__(
        self, behaviour: Behaviour, *, host: str = "127.0.0.1", port: int = 0, certificate: Certificate | None = None
    ) -> None:
        self.behaviour = behaviour
        self.requests: list[Seen] = []
        self.connections = 0
        self.sent = 0
        self.closing = threading.Event()
        self.context = None if certificate is None else self._server_context(certificate)
        self.refused: Callable[[str], None] = lambda _: None
        self._names = threading.local()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"origin {self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Origin":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def active(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._open)

    def close(self) -> None:
        """Stop listening and cut every connection; the port refuses from now on."""
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        with self._lock:
            for stream in self._open:
                with suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)

    def _server_context(self, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        context.sni_callback = self._note_name
        return context

    def _note_name(self, _stream: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self._names.sni = name

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                stream, _peer = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(stream,), name=f"origin {self.port}", daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        stream = accepted
        self._track(stream)
        # A peer that goes away is what these tests are about.
        with suppress(OSError):
            if self.context is not None:
                self._names.sni = None
                stream = self._shake_hands(accepted, self.context)
                self._track(stream)
            self.behaviour(Connection(stream, getattr(self._names, "sni", None), self))
        with self._lock:
            self._open -= {accepted, stream}
        stream.close()

    def _shake_hands(self, accepted: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        try:
            return context.wrap_socket(accepted, server_side=True)
        except ssl.SSLError as error:
            self.refused(str(error))
            raise

    def _track(self, stream: socket.socket) -> None:
        with self._lock:
            self._open.add(stream)


DnsBehaviour = Callable[[bytes, bool], list[bytes]]
"""What to send for a query, and whether that came over TCP, where each item goes behind its length."""


class DnsOrigin:
    """A DNS server that answers, over UDP and TCP on one free port, as it is told to.

    queries: the transport of each, oldest first.
    """

    def __init__(self, behaviour: DnsBehaviour, host: str = "127.0.0.1") -> None:
        self.behaviour = behaviour
        self.queries: list[str] = []
        self.port = free_port(host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.bind((host, self.port))
        self._tcp = Origin(self._serve, host=host, port=self.port)
        self._thread = threading.Thread(target=self._answer, name=f"dns origin {self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "DnsOrigin":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._udp.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._udp.close()
        self._tcp.close()

    def _answer(self) -> None:
        while True:
            query, peer = self._udp.recvfrom(65535)
            if not query:
                return
            self.queries.append("udp")
            with suppress(OSError):
                for message in self.behaviour(query, False):
                    self._udp.sendto(message, peer)

    def _serve(self, connection: Connection) -> None:
        length = int.from_bytes(connection.stream.recv(2, socket.MSG_WAITALL))
        query = connection.stream.recv(length, socket.MSG_WAITALL)
        self.queries.append("tcp")
        for message in self.behaviour(query, True):
            connection.send(len(message).to_bytes(2) + message)


@contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that is held but not listened on: connections to it are refused, and nobody else takes it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.bind((host, 0))
        yield held.getsockname()[1]


@contextmanager
def unanswering_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port whose queue of connections is full, so that a further one is not answered at all."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((host, 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


class Authority:
    """A certificate authority for one test run. file: PEM for `ca_file`; certificates go into the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Test authority")
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            _builder(
                self._name, self._name, self._key, now - datetime.timedelta(days=1), now + datetime.timedelta(days=1)
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, expired: bool = False) -> Certificate:
        """A certificate for DNS names and IP addresses, valid now, or until an hour ago where `expired`."""
        return _issue(self._folder, names, issuer=(self._name, self._key), expired=expired)


def self_signed(folder: Path, *names: str) -> Certificate:
    """A certificate that nobody but itself vouches for."""
    return _issue(folder, names, issuer=None, expired=False)


def _issue(folder: Path, names: tuple[str, ...], issuer: tuple[x509.Name, Key] | None, expired: bool) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names[0])
    issuer_name, issuer_key = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    end = now - datetime.timedelta(hours=1) if expired else now + datetime.timedelta(days=1)
    certificate = (
        _builder(subject, issuer_name, key, now - datetime.timedelta(days=1), end)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    stem = f"{certificate.serial_number:x}"
    made = Certificate(folder / f"{stem}.pem", folder / f"{stem}.key")
    made.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begin: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
