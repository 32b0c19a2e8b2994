"""The unix transport: the same answers, a reload that loses none, garbage that harms nobody."""

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import pytest

from tests.support.figure import MAINLAND, POOLS, WORLD, Origins, load_figure
from tests.support.ports import free_port
from tests.support.stack import Stack

SETTINGS = {"GTM_TRANSPORT": "unix", "GTM_ALLOW_PRIVATE_TARGETS": "1"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    with Origins(free_port()) as origins, Stack(tmp_path_factory.mktemp("unix"), SETTINGS) as stack:
        cname = load_figure(stack.api, origins.port)["cname"]
        stack.wait_until(lambda: stack.dns.a(cname, MAINLAND) == sorted(POOLS["pool-a"]), "the right answer")
        yield stack, cname


def ask(path: Path, *lines: bytes) -> list[bytes]:
    """What the backend's socket answers to these lines."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(b"".join(lines))
        reader = connection.makefile("rb")
        return [reader.readline() for _ in lines]


def test_same_answers_as_by_http_and_garbage_harms_nobody(served: tuple[Stack, str]) -> None:
    stack, cname = served
    assert stack.dns.a(cname, WORLD) == sorted(POOLS["pool-b"])
    assert stack.dns.ask("gtm99999999.gtm.example").code == "NXDOMAIN"
    path = stack.layout.var / "backend.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    parameters = {"qname": f"{cname}.", "qtype": "A", "remote": "8.8.8.8", "real-remote": "1.2.4.0/24"}
    question = json.dumps({"method": "lookup", "parameters": parameters}).encode() + b"\n"
    garbage = [b"\n", b"{}\n", b"[1,2\n", b'{"method":"lookup","parameters":{"qname":7}}\n', b'{"method":"no"}\n']
    for line in garbage:
        refused, answered = (json.loads(reply) for reply in ask(path, line, question))
        assert refused["result"] is None
        assert {record["content"] for record in answered["result"]} == set(POOLS["pool-a"])
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(str(path))
        half.sendall(question[:20])
        assert stack.dns.a(cname, MAINLAND) == sorted(POOLS["pool-a"])


def test_a_reload_keeps_every_connection(served: tuple[Stack, str]) -> None:
    stack, cname = served
    stop = threading.Event()
    codes: Counter[str] = Counter()

    def load() -> None:
        while not stop.is_set():
            try:
                codes[stack.dns.ask(cname, "A", MAINLAND).code] += 1
            except dns.exception.Timeout:
                codes["timeout"] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    pid = stack.pid("backend")
    for reload in range(1, 3):
        os.kill(pid, signal.SIGHUP)
        stack.wait_until(
            lambda reload=reload: stack.log("backend").count("connections handed over") == reload, f"reload {reload}"
        )
    stop.set()
    for thread in threads:
        thread.join()
    assert stack.pid("backend") == pid
    assert codes.keys() == {"NOERROR"}, codes
    assert codes["NOERROR"] > 100
