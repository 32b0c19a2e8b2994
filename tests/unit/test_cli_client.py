"""gtmctl and what is around it: servers that say other things, a terminal, a stream that goes on, a slow answer."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.cli.session import Session
from pdns_gtm_backend.store import keys
from tests.support.api import Admin, figure
from tests.support.gtmctl import Server, run, served
from tests.support.redis_server import RedisServer
from tests.support.store import eventually

PROGRAM = [sys.executable, "-m", "pdns_gtm_backend.cli"]
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gtm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a")) as admin,
        served(admin) as server,
    ):
        figure(admin)
        yield server


Reply = tuple[int, Mapping[str, str], bytes]


@contextlib.contextmanager
def answering(reply: Callable[[BaseHTTPRequestHandler], Reply]) -> Iterator[str]:
    """A server that answers every request so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = reply(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def problem(status: int, kind: str, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    body = {"type": f"urn:pdns-gtm:problem:{kind}", "title": "Refused", "status": status, **more}
    return status, {"Content-Type": "application/problem+json", **(headers or {})}, json.dumps(body).encode()


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        ((200, {}, b"<html>"), 1, "answers 200 and no JSON: is it the admin API of pdns-gtm?"),
        ((502, {}, b"<html>"), 69, "answers 502 Bad Gateway: is it the admin API"),
        ((404, {}, b""), 3, "answers 404 Not Found"),
        ((302, {"Location": "http://192.0.2.1/"}, b""), 1, "answers 302 Found"),
        ((500, {"Content-Type": "application/problem+json"}, b"{"), 1, "answers 500"),
        ((500, {"Content-Type": "application/problem+json"}, b"[]"), 1, "answers 500"),
        (problem(503, "unavailable", {"Retry-After": "2"}, detail="no store"), 69, "no store\n  try again in 2 s"),
        ((200, {}, b"[]"), 1, "answers with something else than a list of objects"),
        ((200, {}, b'{"items": 5, "next": null}'), 1, "answers with something else than a list of objects"),
        (problem(429, "rate-limited", {"Retry-After": "30"}), 69, "gtmctl: Refused\n  try again in 30 s"),
        (problem(422, "invalid", errors=[{"pointer": "/a", "detail": "is \x1b[31mred"}]), 5, "/a: is \\x1b[31mred"),
        (problem(422, "invalid", errors=["x", {"detail": 5}], detail="d"), 5, "gtmctl: Refused"),
        (problem(403, "quota", detail="full", quota="pools", limit=5), 1, "  quota: pools\n  limit: 5"),
        (problem(409, "conflict", detail="no"), 4, "Refused: no"),
        (problem(418, "teapot", detail="short"), 1, "Refused: short"),
    ],
)
def test_other_answers_end_with_a_sentence(reply: Reply, code: int, said: str) -> None:
    with answering(lambda _: reply) as url:
        done = run("pool", "list", ends=code, environment={"GTM_API": url})
    assert said in done.err
    assert done.out == ""


def test_a_server_that_is_not_in_time_is_unavailable() -> None:
    ended = threading.Event()

    def slow(_: BaseHTTPRequestHandler) -> Reply:
        ended.wait(60)
        return 200, {}, b"{}"

    with answering(slow) as url:
        done = run("pool", "list", "--timeout", "0.2", ends=69, environment={"GTM_API": url})
        ended.set()
    assert "what was asked for may have been done" in done.err


def test_what_takes_long_gives_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdns_gtm_backend.cli.progress.FIRST_SECONDS", 0.05)

    def slow(_: BaseHTTPRequestHandler) -> Reply:
        time.sleep(0.4)
        return 200, {}, b'{"items": [], "next": null}'

    with answering(slow) as url:
        loud = run("pool", "list", environment={"GTM_API": url})
        quiet = run("pool", "list", "-q", environment={"GTM_API": url})
    assert loud.err.splitlines() == [f"waiting for {url} (0 s)", "there is no pool"]
    assert quiet.err == ""


def test_the_token_is_the_one_that_was_given_whatever_netrc_says(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def reply(request: BaseHTTPRequestHandler) -> Reply:
        seen.append(request.headers["Authorization"])
        return 200, {}, b'{"items": [], "next": null}'

    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password secret\ndefault login a password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    with answering(reply) as url:
        for token, environment in (("one", {}), ("", {}), ("two", {"http_proxy": "http://127.0.0.1:1"})):
            given = {"GTM_API": url, "GTM_TOKEN": token, "HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc")}
            run("pool", "list", environment={**given, **environment})
    assert seen == ["Bearer one", None, "Bearer two"]


def test_a_token_in_clear_text_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTM_TOKEN", "secret")
    for server in ("http://gtm.example.net", "https://gtm.example.net", "http://127.0.0.1:1"):
        Session(server=server).client.close()
    assert capsys.readouterr().err == "the token goes to http://gtm.example.net in clear text: use https\n"


def test_a_store_that_is_away_is_told_and_nothing_is_written(tmp_path: Path, short_path: Path) -> None:
    with RedisServer(short_path) as redis, Admin(redis.url, tmp_path) as admin, served(admin) as gtm:
        figure(admin)
        redis.kill()
        assert gtm.run("pool", "create", "x", "192.0.2.9", ends=69).err.startswith(
            "gtmctl: The store cannot be used now"
        )
        eventually(lambda: admin.services.follower.status.state != "following", seconds=20)
        rows = gtm.run("status").rows()
        assert rows[0][:2] == ["store disconnected", "Redis"]
        assert gtm.run("pool", "show", "pool-a").yaml()["id"] == "pool-a"


def environment_of(gtm: Server, **more: str) -> dict[str, str]:
    here = {name: value for name, value in os.environ.items() if not name.startswith("GTM_") and name != "NO_COLOR"}
    return {**here, "GTM_API": gtm.url, "GTM_TOKEN": gtm.admin.token, "XDG_CONFIG_HOME": "/nonexistent", **more}


def on_terminal(arguments: list[str], environment: Mapping[str, str], typed: bytes = b"") -> tuple[int, str]:
    """Run gtmctl on a terminal; its exit code and what is on the screen."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=child, stdout=child, stderr=child, env=dict(environment), cwd=CHECKOUT
    )
    os.close(child)
    screen = b""
    with contextlib.suppress(OSError):
        if typed:
            os.write(parent, typed)
        while data := os.read(parent, 4096):
            screen += data
    os.close(parent)
    return process.wait(60), screen.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals_whose_users_want_them(gtm: Server) -> None:
    arguments = ["address", "list", "pool-a"]
    assert "\x1b[32mup\x1b[0m" in on_terminal(arguments, environment_of(gtm, TERM="xterm"))[1]
    for quiet in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in on_terminal(arguments, environment_of(gtm, **{"TERM": "xterm", **quiet}))[1]
    assert "\x1b[" not in on_terminal([*arguments, "-o", "json"], environment_of(gtm, TERM="xterm"))[1]
    plain = environment_of(gtm, TERM="xterm")
    piped = subprocess.run([*PROGRAM, *arguments], env=plain, capture_output=True, cwd=CHECKOUT)
    assert b"up" in piped.stdout
    assert b"\x1b[" not in piped.stdout


def test_a_terminal_is_asked(gtm: Server) -> None:
    gtm.run("pool", "create", "asked", "192.0.2.77")
    code, screen = on_terminal(["pool", "delete", "asked"], environment_of(gtm), b"n\n")
    assert code == 1
    assert "Delete pool asked? [y/N]" in screen
    assert gtm.run("pool", "show", "asked").code == 0
    assert on_terminal(["pool", "delete", "asked"], environment_of(gtm), b"y\n")[0] == 0
    gtm.run("pool", "show", "asked", ends=3)


def test_followed_events_go_on_until_the_end(gtm: Server) -> None:
    client = gtm.admin.services.follower.repository.client

    def happens(number: int) -> None:
        event = {"kind": "address.down", "pool": "pool-a", "address": f"192.0.2.{number}", "from": "up", "to": "down"}
        client.xadd(keys.EVENTS, {"event": json.dumps(event)})

    for number in range(3):
        happens(number)
    shown = gtm.run("events", "-n", "2")
    assert [row[2] for row in shown.rows()] == ["pool-a 192.0.2.1", "pool-a 192.0.2.2"]
    assert gtm.run("events", "--pool", "nothing").err == "there is nothing yet\n"
    with subprocess.Popen(
        [*PROGRAM, "events", "--follow", "-n", "1", "-o", "json"],
        env=environment_of(gtm, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
        # A shell's background job ignores it, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["address"] == "192.0.2.2"
            happens(3)
            happens(4)
            assert [json.loads(process.stdout.readline())["address"] for _ in range(2)] == ["192.0.2.3", "192.0.2.4"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1


def test_an_output_that_is_closed_is_no_failure_of_the_command(gtm: Server) -> None:
    command = f"{' '.join(PROGRAM)} pool list | head -n 1; exit ${{PIPESTATUS[1]}}"
    here = environment_of(gtm)
    done = subprocess.run(["bash", "-c", command], env=here, capture_output=True, text=True, cwd=CHECKOUT)
    assert done.stdout.startswith("ID")
    assert "Traceback" not in done.stderr
