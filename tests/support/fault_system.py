"""All of it as it stands in production: two sites with a backend and a PowerDNS each, three vantages, the admin API.

with Single(folder) as redis, FaultSystem(folder, redis.tcp_url) as system:
    with system.fault("Redis killed") as fault:
        redis.kill()
        fault.address_dies()
        ...
        redis.start()
        fault.over()
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dns.exception
import requests

from pdns_gtm_backend.dns.pdns_conf import CONTROL_SOCKET
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.vantages import Vantages
from tests.support.api import write_places
from tests.support.fault_load import Judged, Load, Question, Span, Writes, judge
from tests.support.fault_redis import pause
from tests.support.figure import MAINLAND, POOLS, WORLD, Origins, load_figure, policy
from tests.support.oracle import Oracle
from tests.support.ports import free_port
from tests.support.powerdns import BackendProcess, PowerDns, _Process, environment, wait_for
from tests.support.stack import Api

FALL, INTERVAL, TIMEOUT = 2, 1, 1
BOUND_SECONDS = FALL * INTERVAL + TIMEOUT + 2.0
"""design.md section 9: so long after a fault's end, an address that died during it has left the answers."""
START_SECONDS = 90.0
EVERYWHERE = "everywhere"
SOURCE_PORTS = 16
"""The client of an instance that answers all alike, whose answers PowerDNS keeps until it is told."""
VANTAGES = ("ber", "hkg", "hz")
A1, A2 = POOLS["pool-a"]
TITLE = f"{'fault':58} {'answers':>8} {'failed':>7} {'wrong':>6} {'s to right':>11}   writes: kept, refused, lost"


class Part(_Process):
    """One process of ours that has /readyz on a port."""

    def __init__(self, module: str, settings: Settings, port: int) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{port}"
        super().__init__([sys.executable, "-m", module], settings.var / "log", environment(settings))

    def readiness(self) -> dict[str, Any]:
        """The body of /readyz, nothing where there is no answer."""
        try:
            body: dict[str, Any] = requests.get(f"{self.url}/readyz", timeout=3).json()
        except requests.RequestException:
            return {}
        return body

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        wait_for(lambda: not self.running, "the end of a process that was killed")


class Site:
    """A backend and the PowerDNS in front of it."""

    def __init__(self, name: str, folder: Path, transport: str, common: Mapping[str, Any]) -> None:
        self.name = name
        place = folder / name
        given: dict[str, Any] = {
            **common,
            "var": place,
            "dns_port": free_port(),
            "backend_port": free_port(),
            "backend_secret": "a-secret",
            "transport": transport,
            "pdns_control": place / "p" / CONTROL_SOCKET,
        }
        self.settings = Settings(**given)
        self.backend = BackendProcess(self.settings)
        self.powerdns = PowerDns(self.settings, place / "p")

    @property
    def snapshot(self) -> Path:
        """The file that the backend keeps its snapshot in."""
        return self.settings.var / "snapshot" / "backend.snapshot"

    def addresses(self, question: Question) -> list[str] | None:
        """What is answered now; None where nothing is."""
        try:
            reply = self.powerdns.client.ask(question.name, "A", question.subnet)
        except (dns.exception.DNSException, OSError):
            return None
        return reply.values("A") if reply.code == "NOERROR" else None

    def answers(self, question: Question) -> bool:
        """Does each thread of PowerDNS answer? Each has its share of the source ports, and loses a query by itself."""
        return all(self.addresses(question) for _ in range(SOURCE_PORTS))

    def serve(self) -> None:
        """Wait until the backend answers."""
        self.backend.started(lambda: self.backend.get("/livez") is not None)

    def kill_backend(self) -> None:
        """End all of it at once, as systemd does with what is left of a service."""
        workers = workers_of(self.backend.pid)
        self.backend.signal(signal.SIGKILL)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        self.backend.stop()

    def start_backend(self, question: Question) -> None:
        """Start it, and wait until PowerDNS has an answer of it."""
        self.backend.start()
        self.serve()
        wait_for(lambda: self.answers(question), "answers of the new backend")


def workers_of(pid: int) -> set[int]:
    """The processes that a process has started."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class Fault:
    """One fault: what was done when, and what came of it. stalls: can no change of state spread while it lasts?"""

    def __init__(self, system: "FaultSystem", name: str, stalls: bool) -> None:
        self.name = name
        self._system = system
        self._stalls = stalls
        self._begun = self._reference = time.monotonic()
        self._over: float | None = None
        self._down: dict[str, list[Span]] = {}
        self.dead: tuple[str, ...] = ()

    def lost_since(self, moment: float) -> None:
        """What was written after this moment is lost with the fault: it cannot be answered."""
        self._begun = moment

    def address_dies(self, *addresses: str) -> None:
        """Kill origins, one of pool A where none is named."""
        self.dead += addresses or (A1,)
        for address in addresses or (A1,):
            moment = self._system.origins.kill(address)
        if not self._stalls or self._over is not None:
            self._reference = moment

    def over(self) -> None:
        """The fault has ended: from now on all has to become right."""
        self._over = time.monotonic()
        if self._stalls:
            self._reference = self._over

    @contextmanager
    def down(self, site: Site) -> Iterator[None]:
        """The fault has this site's answers while the block runs."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._down.setdefault(site.name, []).append(Span(began, time.monotonic()))

    def left_to_watch(self) -> float:
        """Seconds until a dead address must have left: what a process has not yet read anew could bring it back."""
        return max(0.0, self._reference + BOUND_SECONDS + 0.5 - time.monotonic())

    def seconds(self, load: Load) -> float:
        """How long dead addresses were answered: since the fault ended, or since they died where states spread in it.

        0 where they had left before.
        """
        held = (one.sent for one in load.asked if one.addresses and not set(self.dead).isdisjoint(one.addresses))
        return max(0.0, max(held, default=0.0) - self._reference)

    def judged(self, load: Load) -> Judged:
        """Every answer since the fault began."""
        stalled = Span(self._begun, self._over or time.monotonic()) if self._stalls else None
        return judge(load.asked, self._system.oracle, stalled, lambda asker: self._down.get(asker, ()))


class FaultSystem:
    """The processes, and the load that runs while a fault is done.

    urls: of Redis, by vantage, where they differ. bound: seconds after a fault's end until everything must be right.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        urls: Mapping[str, str] | None = None,
        *,
        write_replicas: int = 0,
        bound: float = BOUND_SECONDS,
    ) -> None:
        self.bound = bound
        common = {"redis_url": url, "geo_database": write_places(folder), "allow_private_targets": True}
        common["write_replicas"] = write_replicas
        self.sites = tuple(
            Site(f"site{number}", folder, transport, common) for number, transport in enumerate(("http", "unix"), 1)
        )
        port = free_port()
        settings = Settings(**{**common, "var": folder / "admin", "admin_port": port})  # type: ignore[arg-type]
        self.admin = Part("pdns_gtm_backend.admin", settings, port)
        self.healthds = {name: self._healthd(name, folder, common, (urls or {}).get(name, url)) for name in VANTAGES}
        self.origins = Origins(free_port())
        self.lines: list[str] = []
        self._stack = ExitStack()
        self._number = 0

    @staticmethod
    def _healthd(name: str, folder: Path, common: Mapping[str, Any], url: str) -> Part:
        port = free_port()
        given = {**common, "redis_url": url, "var": folder / name, "vantage": name, "healthd_port": port}
        return Part("healthd", Settings(**given), port)

    def __enter__(self) -> "FaultSystem":
        with ExitStack() as stack:
            stack.enter_context(self.origins)
            parts = [self.admin, *self.healthds.values(), *(site.backend for site in self.sites)]
            for part in parts:
                stack.callback(part.stop)
                part.start()
            for site in self.sites:
                site.serve()
                stack.enter_context(site.powerdns)
            token = self.admin.settings.var / "admin-token"
            prepared: Callable[[], object] = lambda: self.admin.readiness().get("preparing") == ""  # noqa: E731
            wait_for(prepared, "the admin API", START_SECONDS)
            self.api = Api(f"{self.admin.url}/api/v1", token.read_text().strip())
            stack.callback(self.api.close)
            check = {"fall": FALL, "interval": INTERVAL, "timeout": TIMEOUT}
            by_line = load_figure(self.api, self.origins.port, **check)["cname"]
            alike = {"name": "alike", "policies": [policy("all", "default", ("pool-a", "pool-c"))]}
            self.questions = (
                Question(MAINLAND, by_line, MAINLAND),
                Question(WORLD, by_line, WORLD),
                Question(EVERYWHERE, self.api.post("/instances", alike)["cname"], WORLD),
            )
            self.wait_until_right()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def oracle(self) -> Oracle:
        a, b, c = POOLS.values()
        return Oracle(self.origins.histories, {MAINLAND: [a, c], WORLD: [b, c], EVERYWHERE: [a, c]}, self.bound)

    def leader(self, client: Any) -> Part:
        """The healthd that leads, as it has noted it."""
        wait_for(lambda: Vantages(client).leadership().name in self.healthds, "a leader")
        return self.healthds[Vantages(client).leadership().name]

    def wait_until_right(self, *dead: str) -> None:
        """Wait until every site answers every client as it should while these addresses are dead."""
        alive = [address for address in POOLS["pool-a"] if address not in dead]
        near = sorted(alive or POOLS["pool-c"])
        wanted = {MAINLAND: near, WORLD: sorted(POOLS["pool-b"]), EVERYWHERE: near}

        def right() -> bool:
            return all(site.addresses(one) == wanted[one.client] for site in self.sites for one in self.questions)

        wait_for(right, f"right answers without {dead}", START_SECONDS)

    def wait_until_known_up(self) -> None:
        """Wait until every vantage sees everything up, so that the next fault begins from the same state."""

        def known() -> bool:
            listed = [self.api.get(f"/pools/{pool}/status")["addresses"] for pool in POOLS]
            return {address["health"] for addresses in listed for address in addresses} == {"up"}

        wait_for(known, "every address up", START_SECONDS)

    def refusal(self) -> str:
        """What the API says of a change, which it must refuse as unavailable, to be tried again."""
        reply = self.api.request("POST", "/lines", {"id": "refused", "members": ["AS-CN"]})
        assert reply.status_code == 503, reply.text
        assert int(reply.headers["Retry-After"]) > 0
        return str(reply.json()["detail"])

    @contextmanager
    def fault(self, name: str, *, stalls: bool, loses: int = 0) -> Iterator[Fault]:
        """Do a fault in the block, under load and with writes; then everything must become right by itself.

        loses: how many acknowledged writes may be gone afterwards, -1 = any: Redis promises no more in this fault.
        """
        self.wait_until_known_up()
        self._number += 1
        clients = {site.name: site.powerdns.client for site in self.sites}
        with Load(self.questions, clients) as load, Writes(self.api, f"w{self._number}") as writes:
            fault = Fault(self, name, stalls)
            try:
                yield fault
                pause(fault.left_to_watch())
                self.wait_until_right(*fault.dead)
                seconds = fault.seconds(load)
            finally:
                for address in fault.dead:
                    self.origins.start(address)
            self.wait_until_right()
            judged = fault.judged(load)
        kept = {line["id"] for line in self.api.get("/lines?limit=1000")["items"]}
        lost = [written for written in writes.acknowledged if written not in kept]
        self._tell(name, judged, seconds, writes, len(lost))
        assert not judged.wrong, judged.wrong[:10]
        assert not judged.failed, judged.failed[:10]
        assert seconds < self.bound
        assert loses < 0 or len(lost) <= loses, lost
        assert judged.answers > 100

    def _tell(self, name: str, judged: Judged, seconds: float, writes: Writes, lost: int) -> None:
        spared = f" ({judged.spared} at the site that was down)" if judged.spared else ""
        counted = f"{len(writes.acknowledged) - lost}, {len(writes.refused)}, {lost}"
        line = f"{name:58} {judged.answers:8} {len(judged.failed):7} {len(judged.wrong):6} {seconds:11.1f}   {counted}"
        self.lines.append(line)
        print(f"\n{line}{spared}", flush=True)
