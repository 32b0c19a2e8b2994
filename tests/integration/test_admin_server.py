"""`python -m pdns_gtm_backend.admin` as a process: its server, its limits, its start and its end."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.api import policy, pool, write_places
from tests.support.ports import accepts, free_port
from tests.support.redis_server import RedisServer

START_SECONDS = 60.0


class Process:
    """An admin process with a port and a folder of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        chosen = {
            "GTM_REDIS_URL": url,
            "GTM_VAR": str(folder),
            "GTM_ADMIN_PORT": str(self.port),
            "GTM_GEO_DATABASE": str(write_places(folder)),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GTM_")}
        self.environment = {**inherited, **chosen}
        self.session = requests.Session()
        self.session.trust_env = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "pdns_gtm_backend.admin"]
            self._process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        token = self.folder / "admin-token"
        while not (accepts(self.port) and token.exists()):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.session.headers["Authorization"] = f"Bearer {token.read_text().strip()}"

    def stop(self) -> tuple[int, float]:
        """The exit status, and the seconds that it took."""
        if self._process is None:
            return 0, 0.0
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None
            self.session.close()
        return status, time.monotonic() - began

    def request(self, verb: str, path: str, **more: object) -> requests.Response:
        return self.session.request(verb, f"http://127.0.0.1:{self.port}{path}", timeout=START_SECONDS, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


@pytest.fixture(scope="module")
def process(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(redis.url, tmp_path_factory.mktemp("a"))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def test_it_serves_with_the_token_of_its_file(process: Process) -> None:
    assert stat.S_IMODE((process.folder / "admin-token").stat().st_mode) == 0o600
    assert process.request("GET", "/livez").json() == {"state": "alive"}
    ready = process.request("GET", "/readyz")
    assert (ready.status_code, ready.json()["state"], ready.json()["preparing"]) == (200, "ready", "")
    assert process.request("GET", "/api/v1/zones").json()["items"][0]["name"] == "gtm.example"
    made = process.request("POST", "/api/v1/pools", json=pool("web", "192.0.2.1"))
    assert (made.status_code, made.headers["Location"]) == (201, "/api/v1/pools/web")
    assert (
        'gtm_admin_requests_total{method="POST",route="/api/v1/pools",status="201"} 1.0'
        in process.request("GET", "/metrics").text
    )


def test_connections_are_kept(process: Process) -> None:
    process.request("GET", "/livez")
    adapter = process.session.get_adapter("http://127.0.0.1")
    for _ in range(20):
        assert process.request("GET", "/api/v1/pools").status_code == 200
    connections = next(iter(adapter.poolmanager.pools._container.values()))  # type: ignore[attr-defined]
    assert connections.num_connections == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(process: Process, chunked: bool) -> None:
    body = b" " * (9 * 1024 * 1024)
    parts = (body[start : start + 65536] for start in range(0, len(body), 65536))
    headers = {"Content-Type": "application/json"}
    try:
        answer = process.request("POST", "/api/v1/pools", data=parts if chunked else body, headers=headers)
    except requests.ConnectionError:
        # The server may close while the rest is still on its way.
        assert process.request("GET", "/livez").status_code == 200
        return
    finally:
        # It may also close after the answer, when the next request is on its way.
        process.session.close()
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:pdns-gtm:problem:too-large")


def test_heads_and_options(process: Process) -> None:
    for path in ("/livez", "/readyz", "/api/v1/pools"):
        head = process.request("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
    options = process.request("OPTIONS", "/api/v1/pools")
    assert set(options.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert options.headers["X-Content-Type-Options"] == "nosniff"


def test_many_ask_at_once(process: Process) -> None:
    process.request("PUT", "/api/v1/pools/many", json=pool("many", "192.0.2.1"))
    body = {"name": "many", "policies": [policy("world", ["default"], "many")]}
    made = process.request("POST", "/api/v1/instances", json=body).json()
    url = f"http://127.0.0.1:{process.port}/api/v1/instances/{made['id']}/status"
    headers = {"Authorization": str(process.session.headers["Authorization"])}

    def ask(_: int) -> int:
        return requests.get(url, headers=headers, timeout=START_SECONDS).status_code

    with ThreadPoolExecutor(24) as threads:
        assert set(threads.map(ask, range(200))) == {200}


def test_it_ends_cleanly_and_tells_no_token(redis: RedisServer, tmp_path: Path, process: Process) -> None:
    other = Process(redis.url, tmp_path / "other")
    (tmp_path / "other" / "admin-token").write_text((process.folder / "admin-token").read_text())
    other.start()
    token = str(other.session.headers["Authorization"]).removeprefix("Bearer ")
    deadline = time.monotonic() + START_SECONDS
    while other.request("GET", "/api/v1/pools").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other.request("GET", "/api/v1/nope")
    other.request("PATCH", "/api/v1/pools/web", json={"enabled": "x"}, headers={"If-Match": "*"})
    status, took = other.stop()
    assert (status, took < 25) == (0, True), took
    assert not accepts(other.port)
    assert (tmp_path / "other" / "snapshot" / "admin.snapshot").stat().st_size > 0
    log = other.log.read_text()
    assert "Traceback" not in log
    assert token not in log
    assert "PATCH /api/v1/pools/web by bootstrap: 422" in log


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("GTM_ADMIN_PORT", "0", "GTM_ADMIN_PORT"),
        ("GTM_ACCESS_ZONE", "a..b", "GTM_ACCESS_ZONE"),
        ("GTM_REDIS_URL", "http://x", "GTM_REDIS_URL"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, value: str, told: str) -> None:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("GTM_")}
    environment = {**inherited, "GTM_VAR": str(tmp_path), setting: value}
    command = [sys.executable, "-m", "pdns_gtm_backend.admin"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{told}: ")
