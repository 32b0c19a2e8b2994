"""The profile `edge` on a real engine: two dnsdist that answer by themselves, each told by its own backend."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import dns.exception
import dns.message
import pytest

from tests.compose.system import DEFAULTS, MAINLAND, WORLD, System, origins
from tests.support.dns_client import DnsClient

BACKENDS = ("backend", "backend-2")
METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8053/metrics').read().decode())"
ASK = 'exec 3<>/dev/udp/$1/5300; printf "%b" "$2" >&3; timeout 5 dd bs=512 count=1 status=none <&3 | od -An -v -tu1 -N4'
TOLD, REFUSED = 3, 5
"""Answers to a query that is to tell dnsdist something: NXDOMAIN says that it is done."""


def lookups(system: System, backend: str) -> int:
    """How often PowerDNS has asked a backend for records."""
    text = system.execute(backend, "python3", "-c", METRICS)
    found = re.search(r'^gtm_backend_requests_total\{method="lookup"\} (\S+)', text, re.MULTILINE)
    return 0 if found is None else int(float(found[1]))


def by_tcp(system: System, edge: DnsClient, subnet: str) -> frozenset[str]:
    return origins(edge.ask(system.cname, "A", subnet, tcp=True).values("A"))


def everywhere(system: System, edges: Sequence[DnsClient], wanted: frozenset[str]) -> bool:
    """Does a client in the mainland get `wanted` of the edges, whichever way it asks?"""
    try:
        return all(system.got(MAINLAND, edge) == by_tcp(system, edge, MAINLAND) == wanted for edge in edges)
    except (OSError, dns.exception.DNSException):
        return False


@contextmanager
def without_a1(system: System, ttl: int) -> Iterator[Callable[[], None]]:
    """The demo's instance with this TTL, kept by both edges; yields what takes an address out of its answers."""
    instance, address = f"/instances/{system.cname.partition('.')[0]}", "/pools/pool-a/addresses/172.30.54.11"
    before = system.api.get(instance)["ttl"]
    system.api.patch(instance, {"ttl": ttl})
    try:
        for edge in system.edges:
            system.until(lambda edge=edge: edge.ask(system.cname, "A", MAINLAND).ttl() == ttl, "new TTL", 10)
        system.until(lambda: everywhere(system, system.edges, DEFAULTS[MAINLAND]), "all right", 10)
        yield lambda: system.api.patch(address, {"mode": "offline"})
    finally:
        system.api.patch(address, {"mode": "auto"})
        system.api.patch(instance, {"ttl": before})


@pytest.mark.parametrize("number", [0, 1])
def test_an_edge_answers_a_region_by_itself(edge_system: System, number: int) -> None:
    system, edge, backend = edge_system, edge_system.edges[number], BACKENDS[number]
    fresh = itertools.product(range(5), range(128, 192))

    def answered_by_region() -> bool:
        first, block = next(fresh)
        networks = [f"36.{block}.{third}.0/24" for third in range(first, 250, 5)]
        assert system.got(networks[0], edge) == DEFAULTS[MAINLAND]
        before = lookups(system, backend)
        assert [system.got(network, edge) for network in networks] == [DEFAULTS[MAINLAND]] * len(networks)
        # A few are dnsdist's own, which looks whether PowerDNS works.
        return lookups(system, backend) - before < len(networks) // 5

    system.until(answered_by_region, "answers by region", 40)
    assert by_tcp(system, edge, MAINLAND) == DEFAULTS[MAINLAND]
    assert by_tcp(system, edge, WORLD) == system.got(WORLD, edge) == DEFAULTS[WORLD]
    reply = edge.ask(system.cname, "A", "36.191.7.0/24")
    assert reply.scope == 24
    assert edge.ask(system.cname, "A").scope is None


def test_a_switchover_reaches_both_edges_at_once(edge_system: System, report: list[str]) -> None:
    system = edge_system
    with without_a1(system, ttl=600) as leave:
        began = time.monotonic()
        leave()
        system.until(lambda: everywhere(system, system.edges, frozenset({"a2"})), "answers without a1", 5)
        report.append(
            f"a1 taken offline: out of the answers of both edges after {(time.monotonic() - began) * 1e3:.0f} ms"
        )
    system.until(lambda: everywhere(system, system.edges, DEFAULTS[MAINLAND]), "answers with a1", 5)


def test_what_an_edge_is_not_told_it_forgets_after_the_ttl(edge_system: System) -> None:
    system, (edge, other) = edge_system, edge_system.edges
    with without_a1(system, ttl=4) as leave:
        system.engine.docker("stop", "--time=2", system.container("backend"))
        try:
            leave()
            system.until(lambda: everywhere(system, [other], frozenset({"a2"})), "the other edge without a1", 5)
            system.until(lambda: "a1" not in system.got(MAINLAND, edge), "end of the old answer", 4 + 1 + 5)
            assert everywhere(system, [other], frozenset({"a2"}))
        finally:
            system.engine.docker("start", system.container("backend"))
        system.until(lambda: everywhere(system, system.edges, frozenset({"a2"})), "both edges right", 30)


@pytest.mark.parametrize("service", ["backend", "dnsdist", "pdns"])
def test_an_edge_is_told_again_after_a_crash(edge_system: System, service: str) -> None:
    system = edge_system
    with without_a1(system, ttl=600) as leave:
        old = system.kill(service)
        leave()
        system.until(lambda: system.state(service)["Pid"] not in (0, old), f"new {service}", 30)
        system.until(lambda: everywhere(system, system.edges, frozenset({"a2"})), "both edges right", 30)


def answer_to(system: System, service: str, address: str, name: str) -> int:
    """The response code that a container is answered with."""
    wire = dns.message.make_query(name, "A", use_edns=False, id=1).to_wire()
    octets = "".join(f"\\0{octet:03o}" for octet in wire)
    return int(system.execute(service, "bash", "-c", ASK, "bash", address, octets).split()[3]) & 15


def test_only_its_own_backend_may_tell_dnsdist(edge_system: System) -> None:
    system = edge_system
    for number, (edge, backend) in enumerate(zip(system.edges, BACKENDS, strict=True), 1):
        name, address = f"all.{system.edge_secret(backend)}.gtm-edge.invalid", f"172.30.53.2{number}"
        assert answer_to(system, backend, address, name) == TOLD
        assert answer_to(system, BACKENDS[2 - number], address, name) == REFUSED
        assert answer_to(system, "pdns", address, name) == REFUSED
        assert answer_to(system, backend, address, name.replace("all.", "all.0")) == REFUSED
        assert edge.ask(name).code == edge.ask(name, tcp=True).code == "REFUSED"


def test_dnsdist_reads_what_is_its_own_alone(edge_system: System) -> None:
    system = edge_system
    assert system.execute("dnsdist", "ls", "/var/lib/pdns-gtm") == "edge"
    assert set(system.execute("dnsdist", "ls", "/var/lib/pdns-gtm/edge").split()) == {"regions", "secret"}
    secrets = [system.execute(service, "cat", "/var/lib/pdns-gtm/edge/secret") for service in ("dnsdist", "dnsdist-2")]
    assert secrets == [system.edge_secret(backend) for backend in BACKENDS]
    assert len(set(secrets)) == 2
    for service, word in (("pdns", "cat"), ("dnsdist", "touch")):
        path = "/var/lib/pdns-gtm/edge/secret"
        assert system.engine.docker("exec", system.container(service), word, path, check=False).returncode
