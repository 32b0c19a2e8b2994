"""`make run` from outside: start, parts that die, stop, and start again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from tests.support.redis_server import RedisServer
from tests.support.stack import RUNNING, Stack

PARTS = ("redis", "pdns", "backend", "admin", "healthd")
ZONE = "gtm.example"
CHECKOUT = Path(__file__).parents[2]
POOL = {"id": "kept", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]}


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pdns_gtm_backend.standalone", *arguments]
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=60, check=False)


def ready(stack: Stack, port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=20).status_code == 200
    except requests.RequestException:
        return False


def works(stack: Stack) -> bool:
    ports = (stack.backend_port, stack.admin_port, stack.healthd_port)
    return all(ready(stack, port) for port in ports) and stack.dns.ask(ZONE, "SOA").code == "NOERROR"


def test_every_part_runs_under_the_id_in_its_file(stack: Stack) -> None:
    assert works(stack)
    commands = {part: Path(f"/proc/{stack.pid(part)}/cmdline").read_bytes() for part in PARTS}
    assert b"redis-server" in commands["redis"]
    assert b"pdns_server" in commands["pdns"]
    assert b"pdns_gtm_backend.dns" in commands["backend"]
    assert b"pdns_gtm_backend.admin" in commands["admin"]
    assert b"healthd" in commands["healthd"]


def test_secrets_are_for_the_owner_only(stack: Stack) -> None:
    for path in (stack.layout.admin_token, stack.layout.var / "backend-secret", stack.layout.pdns / "pdns.conf"):
        assert path.stat().st_mode & 0o077 == 0, path
    secret = (stack.layout.var / "backend-secret").read_text().strip()
    assert len(secret) == 32
    lookup = {"method": "getAllDomains", "parameters": {}}
    backend = f"http://127.0.0.1:{stack.backend_port}/dns"
    assert requests.post(f"{backend}/{secret}", json=lookup, timeout=30).status_code == 200
    assert requests.post(f"{backend}/{'0' * 32}", json=lookup, timeout=30).status_code >= 400
    assert secret not in stack.output


def test_tools_of_powerdns_find_their_server(stack: Stack) -> None:
    directory = f"--config-dir={stack.layout.pdns}"
    listed = subprocess.run(
        ["pdnsutil", directory, "list-all-zones"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ZONE in listed.stdout.split()
    answer = subprocess.run(
        ["pdns_control", directory, "rping"], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "PONG"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_is_started_again(stack: Stack, part: str) -> None:
    pid = stack.kill(part)
    assert stack.wait_until_restarted(part, pid) != pid
    stack.wait_until(lambda: works(stack), "the whole system after a part was killed")
    assert f"{part} was ended by SIGKILL" in stack.output


def test_a_second_one_is_refused(stack: Stack) -> None:
    second = run(stack.environment)
    assert second.returncode == 1
    assert f"GTM_VAR={stack.layout.var} is in use by another `make run` (pid {stack.supervisor})" in second.stderr
    assert works(stack)


def test_a_port_that_is_taken_is_named(stack: Stack, short_path: Path) -> None:
    taken = {
        **stack.environment,
        "GTM_VAR": str(short_path / "var"),
        "GTM_BACKEND_PORT": str(stack.dns_port + 1 if stack.dns_port < 65535 else 1024),
    }
    refused = run(taken)
    assert refused.returncode == 1
    for setting, port in (("GTM_DNS_PORT", stack.dns_port), ("GTM_ADMIN_PORT", stack.admin_port)):
        assert f"{setting}={port}: 127.0.0.1 port {port} (TCP) is taken by another program" in refused.stderr
    assert f"GTM_DNS_PORT={stack.dns_port}: 127.0.0.1 port {stack.dns_port} (UDP) is taken" in refused.stderr
    assert not (short_path / "var" / "run" / "redis.pid").exists()


def test_it_stops_in_order_and_keeps_its_data(short_path: Path) -> None:
    with Stack(short_path) as stack:
        stack.api.post("/pools", POOL)
        pids = {part: stack.pid(part) for part in PARTS}
        status, seconds = stack.stop(signal.SIGINT)
        assert (status, stack.left_behind()) == (0, {})
        assert seconds < 40
        assert all(map(has_ended, pids.values()))
        assert not list(stack.layout.run.glob("*.pid"))
        assert "Redis is now ready to exit" in stack.log("redis")
        stack.start()
        assert [address["address"] for address in stack.api.get("/pools/kept")["addresses"]] == ["192.0.2.1"]


def has_ended(pid: int) -> bool:
    """Does a process run no more? Where nobody reaps orphans, it stays in the table as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_supervisor_takes_its_parts_along_and_the_next_start_ends_what_hangs(short_path: Path) -> None:
    with Stack(short_path) as stack:
        stack.api.post("/pools", POOL)
        hanging = stack.kill("healthd", signal.SIGSTOP)
        stack.stop(signal.SIGKILL)
        stack.wait_until(lambda: set(stack.left_behind()) <= {hanging}, "the end of the parts")
        assert set(stack.left_behind()) == {hanging}
        stack.start()
        assert f"(pid {hanging})" in stack.output
        assert "ended what an earlier run left behind" in stack.output
        assert has_ended(hanging)
        assert stack.api.get("/pools/kept")["id"] == "kept"


def test_an_external_redis_is_used_and_left_alone(short_path: Path) -> None:
    with RedisServer(short_path / "redis") as redis:
        with Stack(short_path, {"GTM_REDIS_URL": redis.url}) as stack:
            assert not stack.layout.pid_file("redis").exists()
            stack.api.post("/pools", POOL)
        with redis.connect() as client:
            assert client.ping()
            assert any("pools" in str(key) for key in client.keys("{gtm}:*"))


def test_make_run_ends_on_ctrl_c(short_path: Path) -> None:
    stack = Stack(short_path)
    output = short_path / "make"
    with output.open("wb") as file:
        made = subprocess.Popen(
            ["make", "run"], cwd=CHECKOUT, env=stack.environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        stack.wait_until(lambda: RUNNING in output.read_text() or made.poll() is not None, "make run", 180)
        assert made.poll() is None, output.read_text()
        began = time.monotonic()
        os.killpg(made.pid, signal.SIGINT)
        made.wait(60)
        assert time.monotonic() - began < 40
    finally:
        if made.poll() is None:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()
    assert output.read_text().count("run     | stopped") == 1
    assert stack.left_behind() == {}


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("GTM_DNS_PORT", "99999", "GTM_DNS_PORT=99999: "),
        ("GTM_DNS_PORT", "dns", "GTM_DNS_PORT=dns: "),
        ("GTM_ACCESS_ZONE", "not a name", "GTM_ACCESS_ZONE=not a name: "),
        ("GTM_ADMIN_PORT", "5300", "GTM_ADMIN_PORT=5300 is the port of GTM_DNS_PORT too"),
        ("GTM_VAR", "/proc/gtm", "GTM_VAR=/proc/gtm cannot be written: "),
        ("GTM_TRANSPORT", "pigeon", "GTM_TRANSPORT=pigeon: Input should be 'http' or 'unix'"),
        ("GTM_LISTEN", "everywhere", "GTM_LISTEN: "),
    ],
)
def test_a_wrong_setting_is_named(short_path: Path, setting: str, value: str, said: str) -> None:
    given = {**os.environ, "GTM_VAR": str(short_path / "var"), "GTM_DNS_PORT": "5300", setting: value}
    refused = run(given)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"pdns-gtm: {said}")
    assert "Traceback" not in refused.stderr


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused(short_path: Path) -> None:
    refused = run({**os.environ, "GTM_VAR": str(short_path / ("x" * 100))})
    assert refused.returncode == 1
    assert refused.stderr.startswith("pdns-gtm: GTM_VAR: ")


def test_an_unknown_command_shows_how_it_is_used() -> None:
    refused = run(os.environ, "fly")
    assert refused.returncode == 2
    assert "run the whole system until Ctrl-C or SIGTERM" in refused.stderr


def test_no_origin_without_a_running_system(short_path: Path) -> None:
    given = {**os.environ, "GTM_VAR": str(short_path / "var")}
    assert "no `make run` answers in GTM_VAR=" in run(given, "origin", "a1").stderr
    assert "'z9' is no origin of the demo: make origin ORIGIN=a1|a2|b1|b2|c1" in run(given, "origin", "z9").stderr
