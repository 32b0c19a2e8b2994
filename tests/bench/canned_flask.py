"""A Flask application that answers every lookup with the same record: what Flask behind PowerDNS costs by itself.

`python -m tests.bench.canned_flask PORT`: served as the backend is by http, by gunicorn's gthread worker.
"""

import json
import sys
from typing import Any, Final

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

ZONE: Final = "gtm.example."
SOA: Final = "ns1.gtm.example hostmaster.gtm.example 1 3600 600 86400 60"
THREADS: Final = 32


def create_app() -> Flask:
    app = Flask(__name__)

    @app.post("/dns")
    def dns() -> Response:
        call = request.get_json(force=True)
        return Response(json.dumps({"result": _result(call["method"], call["parameters"])}), mimetype="text/javascript")

    return app


def _result(method: str, parameters: dict[str, Any]) -> Any:
    if method == "getAllDomains":
        return [{"id": 1, "zone": ZONE, "kind": "native", "serial": 1, "masters": []}]
    if method != "lookup":
        return {} if method == "getAllDomainMetadata" else []
    name, rrtype = parameters["qname"], parameters["qtype"]
    if name.lower() == ZONE:
        return [_record(name, "SOA", SOA, 0)] if rrtype in ("SOA", "ANY") else []
    return [_record(name, "A", "10.1.0.1", 24)] if rrtype in ("A", "ANY") else []


def _record(name: str, rrtype: str, content: str, scope: int) -> dict[str, Any]:
    return {
        "qname": name,
        "qtype": rrtype,
        "content": content,
        "ttl": 60,
        "auth": 1,
        "domain_id": 1,
        "scopeMask": scope,
    }


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": [f"127.0.0.1:{self._port}"],
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "keepalive": 3600,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app()


if __name__ == "__main__":
    _Server(int(sys.argv[1])).run()
