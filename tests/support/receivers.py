"""Receivers of alerts: a real HTTP server and a real mail server that remember what they got.

with HttpReceiver() as receiver:
    receiver.answers = [(500, b"no"), (200, b"ok")]
    ...
    assert receiver.posts[0].json["kind"] == "address.down"
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Post:
    """One request. headers: by name in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpReceiver:
    """Answers every post. answers: of the next ones, then `always`. gate: while shut, posts are taken, not answered.

    echoes: it refuses everything, and says the path back.
    """

    def __init__(self, always: Answer = (200, b"ok"), context: ssl.SSLContext | None = None) -> None:
        self.always = always
        self.answers: list[Answer] = []
        self.headers: dict[str, str] = {}
        self.echoes = False
        self.posts: list[Post] = []
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.scheme = "http"
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Remember a request and answer it."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.posts.append(Post(handler.path, headers, body))
            status, said = self.answers.pop(0) if self.answers else self.always
            if self.echoes:
                status, said = 500, f"what is {handler.path}?".encode()
        self.gate.wait()
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        """Where it is."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """What it was told of, repeats included; of some kinds, or all."""
        found = [post.json for post in list(self.posts)]
        return [event for event in found if not kinds or event["kind"] in kinds]

    def __enter__(self) -> HttpReceiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass(slots=True)
class Letter:
    """One mail that was taken."""

    sender: str
    recipients: Sequence[str]
    message: Message


@dataclass
class MailReceiver:
    """A mail server. login: that it asks for. refuse: recipients that it does not take. context: for TLS.

    security: as a mail alert's.
    """

    context: ssl.SSLContext | None = None
    security: str = "none"
    login: tuple[str, str] | None = None
    refuse: frozenset[str] = frozenset()
    letters: list[Letter] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    port: int = 0
    _controller: Controller | None = None

    async def handle_RCPT(  # noqa: N802 - of aiosmtpd
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.letters.append(Letter(envelope.mail_from or "", envelope.rcpt_tos, message_from_bytes(content)))
        self.encrypted.append(session.ssl is not None or self.security == "tls")
        return "250 taken"

    def _authenticated(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        known = (data.login.decode(), data.password.decode()) == self.login
        return AuthResult(success=known, handled=False)

    def __enter__(self) -> MailReceiver:
        options: dict[str, Any] = {}
        if self.security == "tls":
            options["ssl_context"] = self.context
        elif self.security == "starttls":
            options |= {"tls_context": self.context, "require_starttls": True}
        if self.login is not None:
            options |= {
                "authenticator": self._authenticated,
                "auth_required": True,
                "auth_require_tls": self.security == "starttls",
            }
        self._controller = _Anywhere(self, hostname="127.0.0.1", port=0, ready_timeout=60, **options)
        self._controller.start()
        self.port = self._controller.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._controller is not None
        self._controller.stop()


class _Anywhere(Controller):
    """On a port that the kernel chooses, which is known once it listens."""

    def _trigger_server(self) -> None:
        sockets: Any = self.server.sockets  # type: ignore[union-attr]
        self.port = sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]
