"""One origin of the demo: a small HTTP server that says who it is. Arguments: NAME ADDRESS PORT."""

import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

PATIENCE_SECONDS = 10
"""A connection on which nothing comes for so long is closed."""


class OriginServer(ThreadingHTTPServer):
    """Serves every path with the name of the origin."""

    daemon_threads = True

    def __init__(self, name: str, address: str, port: int) -> None:
        self.body = f"origin {name} at {address}\n".encode()
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse look-up of the address: it would ask a resolver."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS
    server: OriginServer
    server_version = "pdns-gtm-demo"
    sys_version = ""

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.server.body)

    def do_HEAD(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Probes come every second: nothing is written."""


def main(name: str, address: str, port: str) -> None:
    """Serve until SIGTERM."""
    try:
        server = OriginServer(name, address, int(port))
    except OSError as error:
        sys.exit(f"origin {name} cannot listen on {address} port {port}: {error.strerror}")
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
