"""`/livez`, `/readyz` and `/metrics` of healthd, on a port of their own."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """What a path answers: a status and a body."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


Pages = Mapping[str, Callable[[], Page]]


def as_json(healthy: bool, details: Mapping[str, Any]) -> Page:
    """A page of details: 200 where `healthy`, else 503."""
    status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
    return Page(status, json.dumps(details).encode() + b"\n")


class StatusServer:
    """Serves `pages` in threads. Raises OSError where the port cannot be had."""

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        handler = type("StatusHandler", (_Handler,), {"pages": pages})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    timeout = 5
    server_version = "healthd"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_OPTIONS(self) -> None:
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Allow", "GET, HEAD, OPTIONS")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, body: bool) -> None:
        make = self.pages.get(self.path.partition("?")[0])
        page = make() if make else Page(HTTPStatus.NOT_FOUND, b'{"detail": "livez, readyz and metrics are here"}\n')
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if body:
            self.wfile.write(page.body)

    def log_message(self, *_: object) -> None:
        """Scrapes are not worth a line each."""
