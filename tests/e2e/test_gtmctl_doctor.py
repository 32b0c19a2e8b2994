"""gtmctl doctor against a whole system: healthy, with Redis killed, misconfigured, and seen by a resolver."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tests.support.ports import free_port
from tests.support.stack import Stack

ROOT: Final = Path(__file__).parents[2]
POINTING, ELSEWHERE, MISSING = "www.shop.example", "old.shop.example", "new.shop.example"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system with a geo database that was made just now, and an instance that its origin keeps healthy."""
    database = tmp_path_factory.mktemp("geo") / "country.mmdb"
    writer = MMDBWriter(4, "GeoLite2-Country")
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}})
    writer.to_db_file(str(database))
    with Stack(tmp_path_factory.mktemp("stack"), {"GTM_GEO_DATABASE": str(database)}) as running:
        running.api.post("/health-checks", {"id": "up", "protocol": "tcp", "port": running.dns_port, "interval": 1})
        pool = {"id": "main", "type": "ipv4", "health_checks": ["up"], "addresses": [{"address": "127.0.0.1"}]}
        running.api.post("/pools", pool)
        policy = {"name": "world", "lines": ["default"], "pool_sets": [{"pools": [{"pool": "main"}]}]}
        domains = [POINTING, ELSEWHERE, MISSING]
        running.api.post("/instances", {"name": "shop", "service_domains": domains, "policies": [policy]})
        running.wait_until_up("main")
        yield running


def doctor(stack: Stack, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and of each check its level and what was found with what to do."""
    command = [sys.executable, "-m", "pdns_gtm_backend.cli", "doctor", "-o", "json", *arguments]
    environment = {**stack.environment, "XDG_CONFIG_HOME": str(stack.folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    found = json.loads(done.stdout)["findings"]
    return done.returncode, {one["check"]: (one["level"], f"{one['found']}; {one['advice']}") for one in found}


def faulty(found: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {check: level for check, (level, _) in found.items() if level in ("warning", "problem")}


@contextmanager
def resolver(records: Mapping[tuple[str, str], str]) -> Iterator[int]:
    """A DNS server on a free port of loopback: records by name and type, NXDOMAIN for other names."""
    port = free_port()
    names = {name for name, _ in records}

    def reply_to(packet: bytes) -> bytes:
        query = dns.message.from_wire(packet)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        reply = dns.message.make_response(query, recursion_available=True)
        if (name, kind) in records:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, records[name, kind]))
        elif name not in names:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))

        def serve() -> None:
            while True:
                packet, client = server.recvfrom(4096)
                if not packet:
                    return
                server.sendto(reply_to(packet), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"", ("127.0.0.1", port))
            thread.join(5)


def test_a_healthy_system(stack: Stack) -> None:
    code, found = doctor(stack)
    assert (code, faulty(found)) == (0, {})
    answered = {check for check, (level, _) in found.items() if level == "ok"}
    server = f"powerdns 127.0.0.1:{stack.dns_port}"
    assert answered >= {server, "pdns.conf", "backend", "admin", "healthd", "redis", "redis persistence", "clock"}
    assert found["vantage local"][0] == "ok"
    assert found["resolver"][0] == "skipped"


def test_a_wrong_setting_of_powerdns(stack: Stack, tmp_path: Path) -> None:
    text = (stack.layout.pdns / "pdns.conf").read_text()
    wrong = text.replace("consistent-backends=no", "consistent-backends=yes").replace(",post=1,post_json=1", "")
    (tmp_path / "pdns.conf").write_text(wrong)
    code, found = doctor(stack, "--pdns-config", str(tmp_path))
    assert code == 2
    assert faulty(found) == {
        "pdns.conf consistent-backends": "warning",
        "pdns.conf remote-connection-string": "problem",
    }
    assert "set consistent-backends=no" in found["pdns.conf consistent-backends"][1]


def test_what_a_resolver_sees(stack: Stack) -> None:
    cname = stack.api.get("/instances?name=shop")["items"][0]["cname"]
    records = {
        ("gtm.example", "NS"): "ns1.gtm.example.",
        (POINTING, "CNAME"): "alias.shop.example.",
        ("alias.shop.example", "CNAME"): f"{cname}.",
        (ELSEWHERE, "CNAME"): "lb.other.example.",
    }
    with resolver(records) as port:
        code, found = doctor(stack, "--resolver", f"127.0.0.1:{port}")
    assert code == 1
    assert faulty(found) == {
        f"service domain {ELSEWHERE} of shop": "warning",
        f"service domain {MISSING} of shop": "warning",
    }
    assert found["delegation of gtm.example"][0] == "ok"
    assert found["service domains"] == ("ok", "1 of 3 point here; ")
    assert "points elsewhere: CNAME lb.other.example" in found[f"service domain {ELSEWHERE} of shop"][1]
    assert f"{MISSING}. CNAME {cname}." in found[f"service domain {MISSING} of shop"][1]


def test_an_access_zone_that_is_not_delegated(stack: Stack) -> None:
    with resolver({}) as port:
        code, found = doctor(stack, "--resolver", f"127.0.0.1:{port}")
    assert (code, found["delegation of gtm.example"][0]) == (2, "problem")


def test_a_resolver_that_is_not_there(stack: Stack) -> None:
    code, found = doctor(stack, "--resolver", f"127.0.0.1:{free_port()}")
    assert (code, faulty(found)) == (2, {"delegation of gtm.example": "problem"})


def test_a_token_that_is_not_valid(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("gtm_wrong\n")
    code, found = doctor(stack, "--token-file", str(tmp_path / "token"))
    assert (code, faulty(found)) == (2, {"api": "problem"})


def killed(stack: Stack) -> dict[str, Any]:
    """What doctor finds while Redis is down: its supervisor is held, so that it does not start it again."""
    os.kill(stack.supervisor, signal.SIGSTOP)
    try:
        stack.kill("redis")
        stack.wait_until(lambda: "degraded" in doctor(stack)[1]["backend"][1], "a degraded backend")
        code, found = doctor(stack)
    finally:
        os.kill(stack.supervisor, signal.SIGCONT)
    return {"code": code, "found": found}


def test_redis_is_killed(stack: Stack) -> None:
    seen = killed(stack)
    found = seen["found"]
    assert seen["code"] == 2
    assert found["redis"][0] == "problem"
    assert {name: found[name][0] for name in ("backend", "admin", "healthd")} == {
        "backend": "warning",
        "admin": "warning",
        "healthd": "warning",
    }
    assert found[f"powerdns 127.0.0.1:{stack.dns_port}"][0] == "ok"
    stack.wait_until(lambda: doctor(stack)[0] == 0, "a healthy system again")
