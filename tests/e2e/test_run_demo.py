"""The demo of `make run`: who gets what, an origin that dies, and one that is asked for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pdns_gtm_backend.standalone import demo
from tests.support.stack import Stack

MAINLAND, WORLD = "1.2.4.0/24", "8.8.8.0/24"
A = ["127.0.1.1", "127.0.1.2"]
B = ["127.0.2.1", "127.0.2.2"]
C = ["127.0.3.1"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The system with its demo."""
    with Stack(tmp_path_factory.mktemp("demo"), {"GTM_DEMO": "1"}) as stack:
        stack.wait_until_up("pool-a", "pool-b", "pool-c")
        yield stack


def cname(stack: Stack) -> str:
    marker = demo.read_marker(stack.layout)
    assert marker is not None
    assert marker.cname is not None
    return marker.cname


def ask_for(stack: Stack, origin: str) -> str:
    command = [sys.executable, "-m", "pdns_gtm_backend.standalone", "origin", origin]
    return subprocess.run(
        command, env=stack.environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def test_clients_get_what_the_figure_says(shown: Stack) -> None:
    name = cname(shown)
    assert shown.dns.a(name, MAINLAND) == A
    assert shown.dns.a(name, WORLD) == B
    port = demo.read_marker(shown.layout).origin_port  # type: ignore[union-attr]
    for origin, address in demo.ORIGINS.items():
        assert requests.get(f"http://{address}:{port}/", timeout=5).text == f"origin {origin} at {address}\n"


def test_the_guide_holds_commands_that_work(shown: Stack) -> None:
    lines = [line.strip() for line in shown.output.partition("Try, in another terminal:")[2].splitlines()]
    dig, status, simulate = (
        next(line for line in lines if word in line) for word in ("1.2.4.0", "/status", "/simulate")
    )
    listed = next(line for line in lines if "pdnsutil" in line)
    answers = {command: _shell(shown, command) for command in (dig, status, simulate, listed)}
    assert sorted(answers[dig].split()) == A
    assert json.loads(answers[status])["name"] == "shop"
    assert "pool-a" in answers[simulate]
    assert cname(shown) in answers[listed]


def _shell(stack: Stack, command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command], env=stack.environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_dead_origins_leave_until_they_are_asked_for(shown: Stack) -> None:
    name = cname(shown)
    shown.kill("origin-a1", signal.SIGTERM)
    shown.wait_until(lambda: shown.dns.a(name, MAINLAND) == A[1:], "the answer without a1")
    shown.kill("origin-a2", signal.SIGTERM)
    shown.wait_until(lambda: shown.dns.a(name, MAINLAND) == C, "pool C for the mainland")
    assert shown.dns.a(name, WORLD) == B
    assert not shown.layout.pid_file("origin-a1").exists()
    assert ask_for(shown, "a1") == "starting origin-a1"
    assert ask_for(shown, "a2") == "starting origin-a2"
    shown.wait_until(lambda: shown.dns.a(name, MAINLAND) == A, "pool A again")
    assert ask_for(shown, "a1") == f"origin-a1 is running already (pid {shown.pid('origin-a1')})"


def test_a_restart_keeps_the_demo_as_it_is(shown: Stack) -> None:
    name = cname(shown)
    shown.api.patch(f"/instances/{name.partition('.')[0]}", {"ttl": 77})
    shown.stop()
    assert shown.left_behind() == {}
    shown.environment["GTM_DEMO"] = "1"
    shown.start()
    assert cname(shown) == name
    assert [instance["ttl"] for instance in shown.api.get("/instances")["items"]] == [77]
    shown.wait_until(lambda: shown.dns.a(name, MAINLAND) == A, "pool A after a restart")


def test_without_the_demo_nothing_is_loaded(short_path: Path) -> None:
    with Stack(short_path) as stack:
        assert stack.api.get("/instances")["items"] == []
        assert stack.api.get("/pools")["items"] == []
        assert not list(stack.layout.run.glob("origin-*"))


def test_the_demo_is_refused_with_an_external_redis(short_path: Path) -> None:
    given = {
        **os.environ,
        "GTM_VAR": str(short_path / "var"),
        "GTM_DEMO": "1",
        "GTM_REDIS_URL": "redis://127.0.0.1:1",
    }
    refused = subprocess.run(
        [sys.executable, "-m", "pdns_gtm_backend.standalone"],
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "GTM_DEMO=1 is for the embedded Redis only" in refused.stderr
