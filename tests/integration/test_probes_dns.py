"""The dns probe against PowerDNS, and against servers that answer anything."""

import logging
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import HealthCheck as Hypothesis
from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.destination import Destinations
from healthd.probes.dns import dns_work
from healthd.probes.result import Probe
from pdns_gtm_backend.domain.health_check import DnsCheck, HealthCheck, health_check_violations
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import DnsBehaviour, DnsOrigin, refusing_port
from tests.support.ports import accepts, free_port
from tests.support.probing import LATE, descriptors, looped, settle, waiting
from tests.support.strategies import examples

ZONE = """\
@ 3600 SOA ns1 hostmaster 1 3600 900 604800 3600
@ NS ns1
@ MX 10 mail
@ TXT "v=spf1 -all" "second string"
ns1 A 192.0.2.53
www A 192.0.2.1
www A 192.0.2.2
www AAAA 2001:db8::1
alias CNAME www
empty HINFO "a" "b"
"""
LARGE = "".join(f'large TXT "{number:0200d}"\n' for number in range(20))


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with looped(lambda _: dns_work(Destinations(allow_private=True))) as submit:
        yield waiting(submit)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a pdns_server with a zone file."""
    folder, port = tmp_path_factory.mktemp("pdns"), free_port()
    (folder / "zone").write_text(ZONE + LARGE)
    (folder / "named.conf").write_text(f'zone "shop.example" {{ type master; file "{folder}/zone"; }};\n')
    command = ["pdns_server", "--no-config", "--daemon=no", "--guardian=no", "--launch=bind", f"--socket-dir={folder}"]
    command += [f"--bind-config={folder}/named.conf", "--local-address=127.0.0.1", f"--local-port={port}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            assert settle(lambda: accepts(port), 20), (folder / "log").read_text()
            yield port
        finally:
            process.terminate()


def target(port: int, timeout: float = 2.0, address: str = "127.0.0.1", **question: Any) -> Target:
    asked = DnsCheck(**{"name": "www.shop.example"} | question)
    check = HealthCheck(id="dns", protocol="dns", port=port, timeout=timeout, dns=asked)
    assert list(health_check_violations(check)) == []
    return Target(check, address, "ipv6" if ":" in address else "ipv4")


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"expect_answer": ("192.0.2.9", "192.0.2.2")},
        {"name": "WWW.Shop.EXAMPLE."},
        {"type": "AAAA", "expect_answer": ("2001:DB8:0::1",)},
        {"name": "alias.shop.example", "expect_answer": ("192.0.2.1",)},
        {"name": "alias.shop.example", "type": "CNAME", "expect_answer": ("WWW.shop.example",)},
        {"name": "shop.example", "type": "MX", "expect_answer": ("10 mail.shop.example",)},
        {"name": "shop.example", "type": "TXT", "expect_answer": ('"v=spf1 -all" "second string"',)},
        {"name": "shop.example", "type": "SOA"},
        {"name": "empty.shop.example"},
    ],
    ids=str,
)
def test_up(probe: Probe, server: int, question: dict[str, Any]) -> None:
    result = probe(target(server, **question))
    assert result.ok, result
    assert (result.phase, set(result.timings)) == ("answer", {"resolve", "request", "answer"})
    assert question.get("name", "www.shop.example") in result.detail


def test_what_does_not_fit_is_asked_for_over_tcp(probe: Probe, server: int) -> None:
    last = f'"{19:0200d}"'
    result = probe(target(server, name="large.shop.example", type="TXT", expect_answer=(last,)))
    assert result.ok, result
    assert set(result.timings) == {"resolve", "connect", "request", "answer"}


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"name": "nothing.shop.example"}, "NXDOMAIN for nothing.shop.example A"),
        ({"name": "other.example"}, "REFUSED for other.example A"),
        (
            {"name": "ns1.shop.example", "expect_answer": ("192.0.2.9", "192.0.2.8")},
            "ns1.shop.example A is '192.0.2.53', expected '192.0.2.9, 192.0.2.8'",
        ),
        ({"name": "empty.shop.example", "expect_answer": ("192.0.2.1",)}, "is 'nothing', expected '192.0.2.1'"),
        ({"name": "alias.shop.example", "type": "CNAME", "expect_answer": ("x",)}, "is 'www.shop.example.', expected"),
    ],
    ids=str,
)
def test_another_answer(probe: Probe, server: int, question: dict[str, Any], told: str) -> None:
    result = probe(target(server, **question))
    assert (result.ok, result.reason, result.phase) == (False, "answer", "answer")
    assert told in result.detail


def test_nobody_listens(probe: Probe) -> None:
    with refusing_port() as port:
        result = probe(target(port))
    assert (result.reason, result.phase) == ("refused", "answer")
    assert result.detail == f"connection refused by 127.0.0.1:{port}"


def answers(*records: str, code: dns.rcode.Rcode = dns.rcode.NOERROR, flags: int = 0) -> DnsBehaviour:
    """An answer with these records: "name type content"."""

    def behave(query: bytes, _tcp: bool) -> list[bytes]:
        reply = dns.message.make_response(dns.message.from_wire(query))
        reply.set_rcode(code)
        reply.flags |= flags
        for name, rdtype, content in (record.split(" ", 2) for record in records):
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", rdtype, content))
        return [reply.to_wire()]

    return behave


GOOD = answers("www.shop.example. A 192.0.2.1")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_no_answer_ends_at_the_timeout(probe: Probe, address: str) -> None:
    with DnsOrigin(lambda *_: [], address) as origin:
        result = probe(target(origin.port, timeout=0.3, address=address))
        assert (result.reason, result.phase) == ("timeout", "answer")
        assert "no answer within 0.3 s" in result.detail
        assert 0.3 <= result.duration < 0.3 + LATE
        assert origin.queries == ["udp"], "a probe does not ask twice"


def test_answers_to_other_questions_are_not_ours(probe: Probe) -> None:
    def forged(query: bytes, _tcp: bool) -> list[bytes]:
        number = int.from_bytes(query[:2])
        wrong = [((number + step) % 65536).to_bytes(2) + b"junk" for step in range(1, 4)]
        return [*wrong, *GOOD(query, False)]

    with DnsOrigin(forged) as origin:
        assert probe(target(origin.port, expect_answer=("192.0.2.1",))).ok


def test_a_server_that_only_answers_other_questions(probe: Probe) -> None:
    def flood(query: bytes, _tcp: bool) -> list[bytes]:
        return [(int.from_bytes(query[:2]) ^ 1).to_bytes(2) + b"junk"] * 50

    with DnsOrigin(flood) as origin:
        result = probe(target(origin.port))
    assert (result.reason, result.phase) == ("protocol", "answer")
    assert "to no question of ours" in result.detail


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (lambda query, _: [query[:2]], "protocol"),
        (lambda query, _: [query], "protocol"),
        (lambda query, _: [query[:2] + b"\xff" * 40], "protocol"),
        (lambda query, _: [dns.message.make_response(question(query, "other.example")).to_wire()], "protocol"),
        (answers(code=dns.rcode.SERVFAIL), "answer"),
        (answers("other.example. A 192.0.2.1"), "answer"),
        (answers("www.shop.example. CNAME www.shop.example."), "protocol"),
        (answers("www.shop.example. A 192.0.2.1", code=dns.rcode.NXDOMAIN), "answer"),
    ],
    ids=["two octets", "the query", "junk", "another question", "SERVFAIL", "another name", "CNAME loop", "NXDOMAIN"],
)
def test_bad_answers(probe: Probe, behaviour: DnsBehaviour, reason: str) -> None:
    with DnsOrigin(behaviour) as origin:
        result = probe(target(origin.port, expect_answer=("192.0.2.1",)))
    assert result.reason == reason, result
    assert result.detail.isprintable()
    assert len(result.detail) < 300


def question(query: bytes, name: str) -> dns.message.Message:
    asked = dns.message.make_query(name, "A")
    asked.id = dns.message.from_wire(query).id
    return asked


def truncating(over_tcp: DnsBehaviour) -> DnsBehaviour:
    return lambda query, tcp: over_tcp(query, tcp) if tcp else answers(flags=dns.flags.TC)(query, tcp)


@pytest.mark.parametrize(
    ("over_tcp", "reason"),
    [
        (GOOD, None),
        (lambda *_: [], "protocol"),
        (lambda *_: [b""], "protocol"),
        (lambda query, _: [query[:2] + b"\xff" * 40], "protocol"),
        (answers(), "answer"),
    ],
    ids=["good", "closed", "empty", "junk", "nothing"],
)
def test_over_tcp(probe: Probe, over_tcp: DnsBehaviour, reason: str | None) -> None:
    with DnsOrigin(truncating(over_tcp)) as origin:
        result = probe(target(origin.port, expect_answer=("192.0.2.1",)))
        assert result.reason == reason, result
        assert origin.queries == ["udp", "tcp"]


def test_one_timeout_for_both(probe: Probe) -> None:
    def slow(query: bytes, tcp: bool) -> list[bytes]:
        time.sleep(0.4)
        return GOOD(query, tcp)

    with DnsOrigin(lambda query, tcp: (slow if tcp else slow_truncated)(query, tcp)) as origin:
        result = probe(target(origin.port, timeout=0.6))
    assert (result.reason, result.phase) == ("timeout", "answer")
    assert 0.6 <= result.duration < 0.6 + LATE


def slow_truncated(query: bytes, tcp: bool) -> list[bytes]:
    time.sleep(0.4)
    return answers(flags=dns.flags.TC)(query, tcp)


@pytest.fixture(scope="module")
def garbage_origin() -> Iterator[DnsOrigin]:
    with DnsOrigin(GOOD) as origin:
        yield origin


@given(st.binary(max_size=120), st.integers(0, 60), st.booleans())
@examples(150, Hypothesis.function_scoped_fixture)
def test_no_answer_surprises_the_probe(
    probe: Probe,
    garbage_origin: DnsOrigin,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    kept: int,
    over_tcp: bool,
) -> None:
    def behave(query: bytes, tcp: bool) -> list[bytes]:
        if over_tcp and not tcp:
            return answers(flags=dns.flags.TC)(query, tcp)
        (good,) = GOOD(query, tcp)
        return [good[: 2 + kept] + data]

    garbage_origin.behaviour = behave
    with caplog.at_level(logging.ERROR):
        result = probe(target(garbage_origin.port, expect_answer=("192.0.2.77",)))
    assert result.reason in {"protocol", "answer", "timeout"} or result.ok, result
    assert result.detail.isprintable()
    assert caplog.records == []


def test_no_descriptor_is_left_open(probe: Probe) -> None:
    with DnsOrigin(truncating(GOOD)) as origin, refusing_port() as port:
        before = descriptors()
        for _ in range(20):
            probe(target(origin.port))
            probe(target(port))
            probe(target(origin.port, timeout=0.1, address="127.0.0.2"))
        assert settle(lambda: descriptors() <= before)


def test_a_private_target_is_refused_before_anything_is_sent() -> None:
    with looped(lambda _: dns_work(Destinations(allow_private=False))) as submit, DnsOrigin(GOOD) as origin:
        result = waiting(submit)(target(origin.port))
        assert (result.reason, result.phase) == ("unreachable", "resolve")
        assert origin.queries == []
