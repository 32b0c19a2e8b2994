"""A Redis with so many instances, and two backends that follow it, each with its PowerDNS: one by http, one by unix."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Final, Literal

import requests

from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from tests.bench.contenders_ours import HEALTH_CHECK, documents, health
from tests.bench.scenario import Scenario, Service
from tests.support.dns_system import system_settings
from tests.support.powerdns import BackendProcess, PowerDns, wait_for
from tests.support.redis_server import RedisServer

LINES: Final = 200
WRITTEN_AT_ONCE: Final = 500
Transport = Literal["http", "unix"]
TRANSPORTS: Final[Sequence[Transport]] = ("http", "unix")


class Site:
    """A backend and its PowerDNS."""

    def __init__(
        self, folder: Path, transport: Transport, redis_url: str, database: Path, revision: int, stack: ExitStack
    ) -> None:
        decided: dict[str, Any] = {
            "transport": transport,
            "geo_database": database,
            "pdns_control": folder / "p" / "pdns.controlsocket",
        }
        settings = system_settings(folder, redis_url).model_copy(update=decided)
        self.snapshot = settings.var / "snapshot"
        self.port = settings.dns_port
        self.backend: BackendProcess = stack.enter_context(BackendProcess(settings))
        # PowerDNS ends itself where the list of zones cannot be had at its start.
        wait_for(lambda: self.backend.readiness()["revision"] >= revision, "following", 60)
        self.powerdns: PowerDns = stack.enter_context(PowerDns(settings, folder / "p"))

    @property
    def processes(self) -> Sequence[int]:
        return [self.backend.pid, self.powerdns.pid]

    def revision(self) -> int:
        """What it serves; -1 while it does not say."""
        try:
            return int(self.backend.readiness()["revision"])
        except AssertionError:
            return -1

    def reloads(self) -> int:
        """How often it has loaded everything."""
        return int(self.backend.readiness()["store"]["reloads"])

    def cold_start(self, service: Service, *, keep_disk: bool) -> float:
        """Seconds from the start of a stopped backend until it gives the first right answer."""
        if not keep_disk:
            rmtree(self.snapshot)
        began = time.monotonic()
        self.backend.start()
        wait_for(lambda: self._answers(service), "the backend's first answer", 60)
        return time.monotonic() - began

    def _answers(self, service: Service) -> bool:
        asked = {"qname": f"{service.name}.", "qtype": "A", "remote": "127.0.0.1", "zone_id": 1}
        try:
            records = self.backend.call("lookup", real_remote="127.0.0.1/32", local="127.0.0.1", **asked)
        except (AssertionError, OSError, ValueError, requests.RequestException):
            return False
        return {record["content"] for record in records} == set(service.world)


class Pair:
    """So many instances of five addresses each, over 200 custom lines beside China and the rest of the world."""

    def __init__(self, folder: Path, scenario: Scenario, database: Path, stack: ExitStack) -> None:
        self.scenario = scenario
        folder.mkdir()
        self.redis = stack.enter_context(RedisServer(folder / "r", "--enable-debug-command", "local"))
        self._repository = Repository(self.redis.connect())
        self._store = self._repository.identify()
        for changes in _written(scenario.services):
            revision = self.commit(*changes)
        self.sites = {
            transport: Site(folder / transport, transport, self.redis.url, database, revision, stack)
            for transport in TRANSPORTS
        }

    def commit(self, *changes: Change) -> int:
        return self._repository.commit(Commit(changes), self._store)

    def switch(self, address: str, available: bool) -> None:
        """The state of an address changes."""
        self.commit(health(address, "up" if available else "down"))

    def break_history(self) -> None:
        """As after a failover: every follower loads everything anew, within a second or so."""
        client: Any = self.redis.connect()
        client.execute_command("DEBUG", "CHANGE-REPL-ID")

    @contextmanager
    def alone(self, site: Site) -> Iterator[None]:
        """Leave only one of the backends running: two of them would share the processors with the load."""
        others = [other for other in self.sites.values() if other is not site]
        for other in others:
            other.backend.stop()
        yield
        for other in others:
            other.backend.start()
        self.settled()

    def settled(self) -> None:
        """Wait until both backends serve the newest revision."""
        for site in self.sites.values():
            self.followed(site)

    def followed(self, site: Site) -> None:
        """Wait until a backend serves the newest revision."""
        revision = int(str(self.redis.connect().get(keys.REVISION)))
        wait_for(lambda: site.revision() >= revision, "following", 120)


def _written(services: Sequence[Service]) -> Iterator[Sequence[Change]]:
    lines = [Line(id=f"custom-{number}", members=(f"cidr:198.18.{number}.0/24",)) for number in range(LINES)]
    yield [HEALTH_CHECK, *(Change(kinds.LINES, line.id, line) for line in lines)]
    for first in range(0, len(services), WRITTEN_AT_ONCE):
        yield [
            change
            for number in range(first, min(first + WRITTEN_AT_ONCE, len(services)))
            for change in _one(services[number], number)
        ]


def _one(service: Service, number: int) -> list[Change]:
    high, low = divmod(number, 250)
    return documents(service, ("custom", f"line:custom-{number % LINES}", [f"10.5.{high}.{low + 1}"]))
