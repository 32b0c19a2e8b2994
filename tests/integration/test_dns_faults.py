"""Parts that die, documents that are garbage, and reloads: answers go on."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import pytest
import requests

from pdns_gtm_backend.dns.pdns_conf import connection_string
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import keys
from tests.support.dns_system import DnsSystem, running_system, system_settings
from tests.support.documents import instance, policy, pool
from tests.support.powerdns import BackendProcess, PowerDns, environment, wait_for
from tests.support.redis_server import RedisServer

NAME = "gtm00000001.gtm.example"
DOCUMENTS = (
    Zone(name="gtm.example", kind="access", number=1),
    pool("a", "ipv4", "192.0.2.1"),
    instance("gtm00000001", policy("world", "default", "a")),
)


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    """A system for one test, which may break it."""
    with running_system(tmp_path_factory.mktemp("d"), geo=False) as running:
        running.write(*DOCUMENTS)
        yield running


class Load:
    """Queries from several threads until the block ends; `outcomes` counts what came back."""

    def __init__(self, system: DnsSystem, threads: int = 8) -> None:
        self._system = system
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                reply = self._system.client.ask(NAME, "A", "198.51.100.0/24")
                outcome = f"{reply.code} {' '.join(reply.values('A'))}"
            except (dns.exception.DNSException, OSError) as error:
                outcome = type(error).__name__
            with self._lock:
                self.outcomes[outcome] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_redis_dies_and_comes_back(own: DnsSystem) -> None:
    with Load(own, threads=2) as load:
        own.redis.kill()
        wait_for(lambda: own.backend.readiness()["degraded"], "the loss of Redis in readiness")
        reply = own.backend.get("/readyz")
        assert reply is not None
        assert (reply.status_code, reply.json()["state"]) == (200, "degraded")
        assert reply.json()["store"]["state"] == "disconnected"
        own.redis.start()
        wait_for(lambda: own.backend.readiness()["state"] == "ready", "recovery by itself")
    assert set(load.outcomes) == {"NOERROR 192.0.2.1"}
    own.write(pool("a", "ipv4", "192.0.2.9"))
    assert own.client.a(NAME) == ["192.0.2.9"]


def test_the_backend_starts_from_its_disk_without_redis(own: DnsSystem) -> None:
    revision = own.backend.readiness()["revision"]
    assert own.backend.stop() == 0
    own.redis.kill()
    with own.backend:
        ready = own.backend.readiness()
        assert (ready["state"], ready["revision"], ready["instances"]) == ("degraded", revision, 1)
        assert own.client.a(NAME) == ["192.0.2.1"]


def test_without_redis_and_disk_nothing_is_answered(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("d")
    settings = system_settings(folder, f"unix://{folder}/none", geo=False)
    with BackendProcess(settings) as backend:
        reply = backend.get("/readyz")
        assert reply is not None
        assert (reply.status_code, reply.json()["state"]) == (503, "starting")
        with pytest.raises(requests.HTTPError, match="503 Server Error"):
            backend.call("getAllDomains")


def test_garbage_on_a_hundred_connections_keeps_no_query_waiting(tmp_path_factory: pytest.TempPathFactory) -> None:
    """They stay open: each used to hold one of the threads for 2 s, 50 s in all."""
    folder = tmp_path_factory.mktemp("d")
    settings = system_settings(folder, f"unix://{folder}/none", geo=False).model_copy(update={"backend_threads": 4})
    with BackendProcess(settings) as backend, ExitStack() as opened:
        peers = [
            opened.enter_context(socket.create_connection(("127.0.0.1", settings.backend_port), 60)) for _ in range(100)
        ]
        for peer in peers:
            peer.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        reply = backend.get("/livez")
        assert reply is not None, "answered within 20 s"
        assert reply.status_code == 200
        said = [until_closed(peer) for peer in peers]
    assert {answer.partition(b"\r\n")[0] for answer in said} == {b"HTTP/1.1 400 Bad Request"}


def until_closed(peer: socket.socket) -> bytes:
    """What is said before the end of a connection."""
    said = b""
    while part := peer.recv(65536):
        said += part
    return said


def test_a_dead_backend_is_a_servfail_and_no_answer(own: DnsSystem) -> None:
    own.backend.signal(signal.SIGKILL)
    wait_for(lambda: not own.backend.running, "the end of the backend")
    wait_for(lambda: own.client.ask(NAME).code == "SERVFAIL", "SERVFAIL without a backend")
    assert own.client.ask("gtm00000099.gtm.example").code == "SERVFAIL"
    own.backend.stop()
    with own.backend:
        assert own.client.a(NAME) == ["192.0.2.1"]


def test_garbage_in_redis_harms_itself_only(own: DnsSystem) -> None:
    client = own.redis.connect()
    garbage = {"{", "[]", "null", '{"id": 7}', '{"id": "pool-b", "surprise": 1}', "\x00\x01", "[" * 10_000}
    kinds = ("instances", "pools", "zones", "rrsets", "lines", "overrides", "target-states", "policy-states")
    for kind in kinds:
        for number, text in enumerate(sorted(garbage)):
            client.hset(keys.documents(kind), f"broken-{number}", text)
    bad_pool = '{"id": "bad", "type": "ipv4", "addresses": [{"address": "not an address"}]}'
    client.hset(keys.documents("pools"), "bad", bad_pool)
    assert own.backend.stop() == 0
    (own.backend.settings.var / "snapshot" / "backend.snapshot").write_bytes(b"garbage too\n")
    with own.backend:
        wait_for(lambda: own.backend.readiness()["state"] == "ready", "the store")
        named = own.backend.readiness()["broken_documents"]
        assert len(named) == len(kinds) * len(garbage) + 1
        assert any(line.startswith("pools bad: addresses/0/address: 'not an address'") for line in named), named
        assert own.client.a(NAME) == ["192.0.2.1"]
        own.write(pool("a", "ipv4", "192.0.2.8"))
        assert own.client.a(NAME) == ["192.0.2.8"]
        assert own.powerdns.util("list-zone", "gtm.example").returncode == 0


def test_garbage_in_the_change_feed_is_got_over(own: DnsSystem) -> None:
    client = own.redis.connect()
    revision = int(str(client.get(keys.REVISION)))
    client.set(keys.REVISION, revision + 1)
    client.xadd(
        keys.CHANGES, {"previous": str(revision), "change": "{broken", "configuration": "0"}, f"{revision + 1}-0"
    )
    own.backend.wait_for_revision(revision + 1)
    own.write(pool("a", "ipv4", "192.0.2.7"))
    assert own.client.a(NAME) == ["192.0.2.7"]


@pytest.mark.parametrize("transport", ["http", "unix"])
def test_only_a_worker_that_replaces_another_waits_for_the_whole_snapshot(tmp_path: Path, transport: str) -> None:
    with RedisServer(tmp_path / "r") as redis:
        settings = system_settings(tmp_path, redis.url, geo=False).model_copy(update={"transport": transport})
        with BackendProcess(settings) as backend:
            wait_for(lambda: backend.readiness()["state"] == "ready", "the store")
            backend.stop()
            backend.start()
            backend.started(lambda: backend.get("/livez") is not None)
            reload(backend)
            backend.stop()
        said = [line.rpartition(": ")[2] for line in backend.log.read_text().splitlines() if "starting: " in line]
    assert said == ["answers first", "answers first", "everything first"]


def test_a_reload_loses_no_answer(own: DnsSystem) -> None:
    first = workers_of(own.backend)
    with Load(own) as load:
        for _ in range(2):
            reload(own.backend)
    assert workers_of(own.backend).isdisjoint(first)
    assert set(load.outcomes) == {"NOERROR 192.0.2.1"}
    assert load.outcomes.total() > 50
    assert load.slowest < 10, "queries waited for the new worker"


@pytest.mark.parametrize(("transport", "lost"), [("http", 0), ("unix", 8)])
def test_a_restart_refuses_nobody_where_the_socket_is_kept(
    tmp_path_factory: pytest.TempPathFactory, transport: str, lost: int
) -> None:
    """lost: PowerDNS makes a SERVFAIL of each unix connection that ends: one for each thread, and some more."""
    folder = tmp_path_factory.mktemp("k")
    with RedisServer(folder / "r") as redis:
        settings = system_settings(folder, redis.url, geo=False).model_copy(update={"transport": transport})
        connection = connection_string(settings).partition(",timeout=")[0]
        patient = {"remote-connection-string": f"{connection},timeout=20000"}
        with (
            BackendProcess(settings, keep=True) as backend,
            PowerDns(settings, folder / "p", patient) as powerdns,
        ):
            system = DnsSystem(redis, backend, powerdns)
            system.write(*DOCUMENTS)
            first = backend.pid
            with Load(system) as load:
                backend.stop()
                backend.start()
                backend.started(lambda: backend.get("/livez") is not None)
                backend.wait_for_revision(backend_revision(redis))
                wait_for(lambda: load.outcomes["NOERROR 192.0.2.1"] > 50, "answers")
            assert backend.pid != first
    assert set(load.outcomes) <= {"NOERROR 192.0.2.1", "SERVFAIL "}
    assert load.outcomes["SERVFAIL "] <= lost


def backend_revision(redis: RedisServer) -> int:
    return int(str(redis.connect().get(keys.REVISION)))


def reload(backend: BackendProcess) -> None:
    """SIGHUP, and wait until a new worker is alone."""
    before = workers_of(backend)
    backend.signal(signal.SIGHUP)
    wait_for(lambda: (now := workers_of(backend)) and now.isdisjoint(before), "a new worker alone")


def workers_of(backend: BackendProcess) -> set[int]:
    return set(map(int, Path(f"/proc/{backend.pid}/task/{backend.pid}/children").read_text().split()))


def test_a_client_that_does_not_close_delays_nobody(own: DnsSystem) -> None:
    address = ("127.0.0.1", own.backend.settings.backend_port)
    with Load(own, threads=2) as load, socket.create_connection(address) as rude, socket.create_connection(address):
        rude.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in rude.recv(4096)
        time.sleep(1)
    assert set(load.outcomes) == {"NOERROR 192.0.2.1"}
    assert load.slowest < 10


def test_sigterm_saves_the_snapshot_and_leaves_nothing(own: DnsSystem) -> None:
    revision = own.write(pool("a", "ipv4", "192.0.2.6"))
    children = workers_of(own.backend)
    assert own.backend.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    own.redis.kill()
    with own.backend:
        assert own.backend.readiness()["revision"] == revision
        assert own.client.a(NAME) == ["192.0.2.6"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nameservers": "192.0.2.1"}, "GTM_NAMESERVERS: '192.0.2.1' has no name before it"),
        ({"redis_url": "mysql://x"}, "GTM_REDIS_URL: Redis URL must specify one of the following schemes"),
    ],
)
def test_a_wrong_setting_ends_the_backend(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    settings = system_settings(tmp_path, "unix:///none").model_copy(update=changed)
    done = run_backend(settings)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_of_the_wrong_type_ends_the_backend(tmp_path: Path) -> None:
    done = run_backend(Settings(var=tmp_path), GTM_BACKEND_PORT="http")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("GTM_BACKEND_PORT: ")


def run_backend(settings: Settings, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pdns_gtm_backend.dns"]
    surroundings = {**environment(settings), **variables}
    return subprocess.run(command, env=surroundings, check=False, capture_output=True, text=True, timeout=60)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    settings = system_settings(tmp_path, f"unix://{tmp_path}/none", geo=False)
    with socket.create_server(("127.0.0.1", settings.backend_port)):
        done = run_backend(settings)
    assert done.returncode != 0
    assert str(settings.backend_port) in done.stderr


def test_many_connections_that_stop(own: DnsSystem) -> None:
    address = ("127.0.0.1", own.backend.settings.backend_port)
    with ExitStack() as opened:
        silent, half = ([opened.enter_context(socket.create_connection(address)) for _ in range(20)] for _ in range(2))
        for connection in half:
            connection.sendall(b"POST /dns/a-secret_1 HTTP/1.1\r\nContent-Le")
        assert own.client.a(NAME) == ["192.0.2.1"]
        for connection in (silent[0], half[0]):
            connection.settimeout(60)
            assert connection.recv(100) == b"", "closed when it has said nothing for too long"
    assert own.client.a(NAME) == ["192.0.2.1"]
