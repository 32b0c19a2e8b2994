"""The tcp probe, and how every probe finds the address it goes to."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from healthd.probes.destination import Destinations, Resolver, lookup
from healthd.probes.failure import ProbeFailure
from healthd.probes.result import Probe
from healthd.probes.tcp import tcp_work
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import Origin, refusing_port, silent, unanswering_port
from tests.support.probing import LATE, looped, waiting


@contextmanager
def tcp_probe(destinations: Destinations) -> Iterator[Probe]:
    with looped(lambda _: tcp_work(destinations)) as submit:
        yield waiting(submit)


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with tcp_probe(Destinations(allow_private=True)) as made:
        yield made


def target(port: int, address: str = "127.0.0.1", timeout: float = 1.0) -> Target:
    check = HealthCheck(id="port", protocol="tcp", port=port, timeout=timeout)
    family = "ipv6" if ":" in address else "ipv4" if address[0].isdigit() else "domain"
    return Target(check, address, family)  # type: ignore[arg-type]


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_connected(probe: Probe, address: str, shown: str) -> None:
    with Origin(silent, host=address) as origin:
        result = probe(target(origin.port, address))
        assert result.ok
        assert result.detail == f"connected to {shown}:{origin.port}"
        assert set(result.timings) == {"resolve", "connect"}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_refused(probe: Probe, address: str) -> None:
    with refusing_port(address) as port:
        result = probe(target(port, address))
    assert (result.reason, result.phase) == ("refused", "connect")


def test_no_answer(probe: Probe) -> None:
    with unanswering_port() as port:
        result = probe(target(port, timeout=0.3))
    assert (result.reason, result.phase) == ("timeout", "connect")
    assert 0.3 <= result.duration < 0.3 + LATE


def test_a_name_is_resolved(probe: Probe) -> None:
    with Origin(silent) as origin:
        result = probe(target(origin.port, "localhost"))
    assert result.ok
    assert result.detail == f"connected to 127.0.0.1:{origin.port}"


def test_a_name_that_does_not_exist(probe: Probe) -> None:
    result = probe(target(80, "nothing.invalid", timeout=5))
    assert (result.reason, result.phase) == ("resolution", "resolve")
    assert "nothing.invalid" in result.detail


def test_ipv4_is_preferred() -> None:
    assert lookup("localhost") == "127.0.0.1"


def test_a_resolver_that_hangs_ends_with_the_probe_and_is_asked_once() -> None:
    release = threading.Event()
    asked = []

    def hanging(name: str) -> str:
        asked.append(name)
        release.wait(10)
        return "127.0.0.1"

    destinations = Destinations(allow_private=True, resolver=Resolver(hanging))
    with tcp_probe(destinations) as stuck, Origin(silent) as origin:
        for _ in range(3):
            result = stuck(target(origin.port, "slow.example", timeout=0.2))
            assert (result.reason, result.phase) == ("resolution", "resolve")
            assert "slow.example was not resolved within 0.2 s" in result.detail
            assert 0.2 <= result.duration < 0.2 + LATE
        assert asked == ["slow.example"]
        release.set()
        deadline = time.monotonic() + 60
        while not stuck(target(origin.port, "slow.example")).ok and time.monotonic() < deadline:
            pass
        assert stuck(target(origin.port, "slow.example")).ok


def test_lookups_are_bounded() -> None:
    release = threading.Event()

    def hanging(_: str) -> str:
        release.wait(10)
        return "127.0.0.1"

    resolver = Resolver(hanging, limit=2)
    futures = [resolver.submit("a.example"), resolver.submit("b.example")]
    with pytest.raises(ProbeFailure, match=r"c\.example was not looked up: 2 lookups are pending"):
        resolver.submit("c.example")
    release.set()
    assert [future.result(5) for future in futures] == ["127.0.0.1"] * 2
    assert resolver.submit("c.example").result(5) == "127.0.0.1"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_a_private_target_is_refused_also_behind_a_name(address: str) -> None:
    host = "::1" if ":" in address else "127.0.0.1"
    with tcp_probe(Destinations(allow_private=False)) as guarded, Origin(silent, host=host) as origin:
        result = guarded(target(origin.port, address))
        assert (result.reason, result.phase) == ("unreachable", "resolve")
        assert "GTM_ALLOW_PRIVATE_TARGETS=1" in result.detail
        assert origin.connections == 0


def test_an_address_that_is_none_is_not_looked_up(probe: Probe) -> None:
    check = HealthCheck(id="port", protocol="tcp", port=80)
    result = probe(Target(check, "localhost", "ipv4"))
    assert (result.reason, result.conclusive) == ("internal", False)
    assert "'localhost' is no IP address" in result.detail


ROOT = Path(__file__).parents[2]
ISOLATED = """
import json, resource, sys
from healthd.probes.registry import make_probes
from pdns_gtm_backend.domain.health_check import DnsCheck, HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.probing import waiting
probes = make_probes(allow_private=True)
found = []
def probe(protocol, address, **settings):
    check = HealthCheck(id="x", protocol=protocol, port=80, timeout=0.4, **settings)
    result = waiting(probes.engines[protocol])(Target(check, address, "ipv6" if ":" in address else "ipv4"))
    found.append([result.reason, result.phase, result.detail, result.duration])
for protocol, redirects in (("tcp", None), ("http", False), ("https", False), ("http", True), ("https", True)):
    for address in sys.argv[1:]:
        probe(protocol, address, http=None if redirects is None else HttpCheck(follow_redirects=redirects))
for address in sys.argv[1:-1]:
    probe("dns", address, dns=DnsCheck(name="shop.example"))
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
probe("tcp", sys.argv[1])
print(json.dumps(found))
"""
ROUTES = (
    "ip link set lo up; ip route add unreachable 198.51.100.1; ip route add blackhole 198.51.100.2; "
    "ip route add prohibit 198.51.100.3; ip route add 198.51.100.4 dev lo"
)
ANSWERS = {
    "192.0.2.1": ("unreachable", "network is unreachable"),
    "2001:db8::1": ("unreachable", "network is unreachable"),
    "198.51.100.1": ("unreachable", "no route to host"),
    "198.51.100.2": ("unreachable", "invalid argument"),
    "198.51.100.3": ("unreachable", "permission denied"),
    "198.51.100.4": ("timeout", "no connection within 0.4 s"),
}


def test_unreachable_unanswered_and_out_of_descriptors() -> None:
    """In a network namespace of its own; a lack of descriptors is the prober's trouble, not the target's."""
    inner = f'{ROUTES}; exec "$0" -c "$@"'
    command = ["unshare", "--net", "--map-root-user", "sh", "-ec", inner, sys.executable, ISOLATED, *ANSWERS]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    if run.stderr.startswith("unshare"):
        pytest.skip(f"no network namespace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    *found, exhausted = json.loads(run.stdout)
    expected = [*ANSWERS.values()] * 5 + list(ANSWERS.values())[:-1]
    assert [reason for reason, *_ in found] == [reason for reason, _ in expected]
    for number, ((_, phase, detail, duration), (_, words)) in enumerate(zip(found, expected, strict=True)):
        assert (phase, words in detail) == ("connect" if number < 5 * len(ANSWERS) else "request", True), detail
        assert duration < 1.0
    assert exhausted[0] == "internal"
    assert "too many open files" in exhausted[2]
