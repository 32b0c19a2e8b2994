"""pdns-gtm with dnsdist in front, as `make run GTM_EDGE=1` starts it."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

import requests

from pdns_gtm_backend.store.connection import connect
from pdns_gtm_backend.store.repository import Commit, Repository
from tests.bench.contender import Contender
from tests.bench.contenders_ours import documents, pools
from tests.bench.processes import said
from tests.support.powerdns import wait_for
from tests.support.stack import Stack


class Edge(Contender):
    """The whole system, on the unix transport; what answers queries is measured: dnsdist, PowerDNS, backend and Redis.

    healthd runs, so nothing here has a health check: an address goes offline as an operator puts it offline.
    """

    name: ClassVar[str] = "pdns-gtm, edge"
    options: ClassVar[str] = "dnsdist in front of unix, as it is shipped"

    def start(self) -> None:
        settings = {"GTM_TRANSPORT": "unix", "GTM_GEO_DATABASE": str(self.database)}
        self._stack = self.stack.enter_context(Stack(self.folder, settings, edge=True))
        self.port = self._stack.dns_port
        self._repository = Repository(connect(f"unix://{self._stack.layout.var}/redis.sock"))
        self._store = self._repository.identify()
        for service in self.scenario.services:
            self._repository.commit(Commit(documents(service, check=None)), self._store)
        last = self.scenario.services[-1].name
        wait_for(lambda: self._stack.dns.ask(last).code == "NOERROR", f"{last} answered")

    def processes(self) -> Sequence[int]:
        return [self._stack.pid(part) for part in ("dnsdist", "pdns", "backend", "redis")]

    def change(self, service: int, address: str, available: bool) -> None:
        changes = pools(self.scenario.services[service], check=None, out=() if available else (address,))
        self._repository.commit(Commit(changes), self._store)

    def calls(self) -> int | None:
        text = requests.get(f"http://127.0.0.1:{self._stack.backend_port}/metrics", timeout=5).text
        found = re.search(r'^gtm_backend_requests_total\{method="lookup"\} ([0-9.e+]+)$', text, re.MULTILINE)
        assert found is not None, text[:2000]
        return int(float(found[1]))

    def version(self) -> str:
        found = re.search(r"dnsdist (\S+)", said("dnsdist", "--version"))
        return f"{version('pdns-gtm')}, dnsdist {found[1] if found else '?'}"
