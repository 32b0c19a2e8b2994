"""The system of docker-compose.yml with all its profiles, started for tests, and what is observed of it."""

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import dns.exception
import requests

from tests.compose.engine import Engine
from tests.support.dns_client import DnsClient
from tests.support.stack import Api

SERVERS: Final[Mapping[str, int]] = {"pdns": 5300, "pdns-2": 5302, "dnsdist": 5301, "dnsdist-2": 5303}
"""What is published, and its port."""
ADMIN: Final = "http://127.0.0.1:8080/api/v1"
MAINLAND: Final = "1.2.4.0/24"
WORLD: Final = "8.8.8.0/24"
NETWORK: Final = "172.30.54"
ADDRESSES: Final[Mapping[str, str]] = {
    "a1": f"{NETWORK}.11",
    "a2": f"{NETWORK}.12",
    "b1": f"{NETWORK}.21",
    "b2": f"{NETWORK}.22",
    "c1": f"{NETWORK}.31",
}
ALL_PROFILES: Final = "demo,edge,ha"
DEFAULTS: Final[Mapping[str, frozenset[str]]] = {MAINLAND: frozenset({"a1", "a2"}), WORLD: frozenset({"b1", "b2"})}
"""What each client gets while nothing is wrong."""


def origins(addresses: Sequence[str]) -> frozenset[str]:
    """The names of the origins at `addresses`; an address that is none stands for itself."""
    names = {address: name for name, address in ADDRESSES.items()}
    return frozenset(names.get(address, address) for address in addresses)


class System:
    """The project's containers in an engine. profiles: those of docker-compose.yml, separated by commas."""

    def __init__(self, engine: Engine, profiles: str = ALL_PROFILES) -> None:
        self.engine = engine
        self.profiles = profiles
        pdns, pdns_2, dnsdist, dnsdist_2 = (DnsClient(port, timeout=0.5) for port in SERVERS.values())
        self.direct = pdns
        self.name_servers = (pdns, pdns_2)
        self.edges = (dnsdist, dnsdist_2)
        self.cname = ""
        self._api: Api | None = None

    def up(self) -> float:
        """Start all of it; returns the seconds until the first right answer to the SOA of the access zone."""
        began = time.monotonic()
        self.engine.compose("up", "--detach", "--no-build", COMPOSE_PROFILES=self.profiles)
        self.until(lambda: self.ask(self.direct, "gtm.example", "SOA") == 1, "an answer", 60)
        taken = time.monotonic() - began
        self.until(lambda: bool(self.find_cname()), "the demo's instance", 60)
        return taken

    def down(self, *words: str) -> None:
        """Stop all of it. words: such as --volumes."""
        self._api = None
        self.engine.compose("down", "--remove-orphans", *words, COMPOSE_PROFILES=self.profiles)

    @property
    def token(self) -> str:
        return self.execute("admin", "cat", "/var/lib/pdns-gtm/admin-token")

    @property
    def api(self) -> Api:
        if self._api is None:
            self._api = Api(ADMIN, self.token)
        return self._api

    def find_cname(self) -> str:
        """The CNAME domain name of the demo's instance, empty where it is not there yet."""
        try:
            items = self.api.get("/instances?name=shop")["items"]
        except (requests.RequestException, RuntimeError, AssertionError):
            self._api = None
            return ""
        self.cname = items[0]["cname"] if items else ""
        return self.cname

    def execute(self, service: str, *words: str) -> str:
        """What a command inside a container writes."""
        return self.engine.docker("exec", self.container(service), *words).stdout.strip()

    @staticmethod
    def container(service: str) -> str:
        return f"gtm_{service}_1"

    def state(self, service: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.engine.inspect(self.container(service))["State"]
        return found

    def healthy(self, service: str) -> bool:
        state = self.state(service)
        return bool(state["Running"]) and state.get("Health", {"Status": "healthy"})["Status"] == "healthy"

    def services(self) -> Sequence[str]:
        """Those that run for good."""
        form = '--format={{.Label "com.docker.compose.service"}}'
        listed = self.engine.docker("ps", "--all", "--filter=label=com.docker.compose.project=gtm", form).stdout
        return sorted(set(listed.split()) - {"init", "demo"})

    def kill(self, service: str) -> int:
        """Kill the main process as a crash would: the engine then starts the container again. Returns its old id."""
        pid = int(self.state(service)["Pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def ask(self, client: DnsClient, name: str, rrtype: str) -> int:
        """Number of records in the answer, 0 where there is none."""
        try:
            return len(client.ask(name, rrtype).values(rrtype))
        except (OSError, dns.exception.DNSException):
            return 0

    def got(self, subnet: str, client: DnsClient | None = None) -> frozenset[str]:
        """The origins that a client of `subnet` gets now; none where the query fails."""
        try:
            return origins((client or self.direct).a(self.cname, subnet))
        except (OSError, dns.exception.DNSException):
            return frozenset()

    def start_all(self) -> None:
        """Start every container that a test has stopped."""
        self.engine.docker("start", *(self.container(service) for service in self.services()))

    def settled(self) -> bool:
        """Is nothing wrong?"""
        return (
            all(self.got(subnet, client) == wanted for subnet, wanted in DEFAULTS.items() for client in self.clients)
            and all(self.healthy(service) for service in self.services())
            and all(vantage["reporting"] for vantage in self.vantages().values())
        )

    def vantages(self) -> Mapping[str, Any]:
        try:
            return {vantage["name"]: vantage for vantage in self.api.get("/vantages")["items"]}
        except (requests.RequestException, AssertionError):
            return {"none": {"reporting": False}}

    @property
    def resolvers(self) -> Sequence[Sequence[DnsClient]]:
        """The servers that each of the resolvers has that look names up here."""
        return (self.name_servers, self.edges) if "edge" in self.profiles else ((self.direct,),)

    @property
    def clients(self) -> Sequence[DnsClient]:
        return [client for servers in self.resolvers for client in servers]

    @staticmethod
    def until(condition: Callable[[], bool], what: str, seconds: float) -> float:
        """Look until `condition` holds; returns the seconds that it took. Raises AssertionError."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"no {what} within {seconds:g} s"
            time.sleep(0.05)
        return time.monotonic() - began

    @contextmanager
    def watched(self, allowed: Mapping[str, frozenset[str]] = DEFAULTS) -> Iterator["Watch"]:
        """Look names up all the while. allowed: what each client may get."""
        watch = Watch(self, allowed)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()

    def logs(self) -> str:
        return self.engine.compose(
            "logs", "--no-color", "--tail=30", check=False, COMPOSE_PROFILES=self.profiles
        ).stdout

    def secrets(self) -> Sequence[str]:
        """Every secret that the containers were given."""
        names = ("redis-password", "redis-url", "key-secret")
        given = [self.execute("backend", "cat", f"/run/secrets/{name}") for name in names]
        return [*given, *(self.edge_secret(backend) for backend in ("backend", "backend-2")), self.token]

    def edge_secret(self, backend: str) -> str:
        """By which dnsdist knows that it is told of changes by its backend."""
        return self.execute(backend, "cat", "/var/lib/pdns-gtm/edge/secret")


@dataclass(slots=True)
class Watch:
    """Two resolvers, one that has the two PowerDNS servers, one that has the two dnsdist: each asks the other one when
    one fails.

    lookups: made by them. failed: those that none of four tries answered. wrong: answers that were not allowed. lost:
    when single queries failed, by port.
    """

    system: System
    allowed: Mapping[str, frozenset[str]]
    lookups: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    _ends: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        turn = 0
        while not self._ends.wait(0.02):
            for subnet in self.allowed:
                turn += 1
                for servers in self.system.resolvers:
                    self._look_up(servers, subnet, turn)

    def _look_up(self, servers: Sequence[DnsClient], subnet: str, turn: int) -> None:
        self.lookups += 1
        if not any(self._ask(subnet, servers[(turn + attempt) % len(servers)]) for attempt in range(4)):
            self.failed.append(f"{subnet} by port {servers[0].port} at {time.strftime('%X')}")

    def _ask(self, subnet: str, client: DnsClient) -> bool:
        got = self.system.got(subnet, client)
        if not got:
            self.lost[client.port].append(time.monotonic())
        elif not got <= self.allowed[subnet]:
            self.wrong.append(f"{subnet} got {sorted(got)} by port {client.port}")
        return bool(got)

    def outage(self, port: int, since: float) -> float:
        """Seconds from `since` to the last query that a name server lost."""
        return max([moment - since for moment in self.lost[port]], default=0.0)

    def summary(self, since: float) -> str:
        """What was seen, for the report."""
        lost = [
            f"{name} {len(self.lost[port])} in {self.outage(port, since):.1f} s"
            for name, port in SERVERS.items()
            if self.lost[port]
        ]
        return (
            f"lookups {self.lookups}, failed {len(self.failed)}, wrong {len(self.wrong)}"
            f"{', single queries lost: ' if lost else ''}{', '.join(lost)}"
        )
