"""The ping engine with real ICMP on loopback, and in network namespaces of its own for what loopback cannot show."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from healthd.probes.destination import Destinations, Resolver
from healthd.probes.ping import ping_work
from healthd.probes.result import Submit
from pdns_gtm_backend.domain.health_check import HealthCheck, PingCheck
from pdns_gtm_backend.domain.pool import Family
from pdns_gtm_backend.domain.target import Target
from tests.support.probing import LATE, gathered, looped


def target(address: str, family: Family = "ipv4", timeout: float = 1.0, count: int = 3, loss: int = 50) -> Target:
    ping = PingCheck(count=count, loss_threshold=loss)
    return Target(HealthCheck(id="ping", protocol="ping", timeout=timeout, ping=ping), address, family)


@contextmanager
def pinging(destinations: Destinations) -> Iterator[Submit]:
    with looped(lambda loop: ping_work(destinations, loop)) as submit:
        yield submit


@pytest.fixture(scope="module")
def engine() -> Iterator[Submit]:
    with pinging(Destinations(allow_private=True)) as submit:
        (first,) = gathered(submit, [target("127.0.0.1")])
        if first.reason == "internal":
            pytest.skip(first.detail)
        yield submit


@pytest.mark.parametrize(
    ("address", "family"), [("127.0.0.1", "ipv4"), ("127.0.0.77", "ipv4"), ("::1", "ipv6"), ("localhost", "domain")]
)
def test_up(engine: Submit, address: str, family: Family) -> None:
    (result,) = gathered(engine, [target(address, family)])
    assert result.ok, result
    assert "answered 3 of 3 packets" in result.detail
    assert result.duration < LATE


def test_many_at_once_lose_nothing(engine: Submit) -> None:
    results = gathered(engine, [target(f"127.0.{n // 250}.{n % 250 + 1}", timeout=5) for n in range(600)])
    assert [result.detail for result in results if not result.ok] == []
    assert all("3 of 3" in result.detail for result in results)


def test_all_packets_fit_into_the_timeout(engine: Submit) -> None:
    (result,) = gathered(engine, [target("127.0.0.1", timeout=2.0, count=20)])
    assert result.ok
    assert "20 of 20" in result.detail
    assert result.duration < 2.0


def test_a_name_that_does_not_exist(engine: Submit) -> None:
    (result,) = gathered(engine, [target("nothing.invalid", "domain", timeout=5)])
    assert (result.reason, result.phase) == ("resolution", "resolve")


def test_a_resolver_that_hangs_holds_up_nobody() -> None:
    release = threading.Event()

    def hanging(_: str) -> str:
        release.wait(10)
        return "127.0.0.1"

    with pinging(Destinations(allow_private=True, resolver=Resolver(hanging))) as engine:
        slow, fine = gathered(engine, [target("slow.example", "domain", timeout=0.3), target("127.0.0.1", timeout=5)])
        release.set()
    assert (slow.reason, slow.phase) == ("resolution", "resolve")
    assert 0.3 <= slow.duration < 0.3 + LATE
    assert fine.ok


def test_a_private_target_is_refused() -> None:
    with pinging(Destinations(allow_private=False)) as engine:
        (result,) = gathered(engine, [target("127.0.0.1")])
    assert (result.reason, result.phase) == ("unreachable", "resolve")


SCRIPT = """
import json, sys, threading
from pathlib import Path
from healthd.probes.registry import make_probes
from pdns_gtm_backend.domain.health_check import HealthCheck, PingCheck
from pdns_gtm_backend.domain.target import Target
probes = make_probes(allow_private=True)
found = []
def ping(address, count, loss, answers_after=0.0):
    done = threading.Event()
    check = HealthCheck(id="p", protocol="ping", timeout=1.6, ping=PingCheck(count=count, loss_threshold=loss))
    def take(result):
        found.append([result.reason, result.detail, result.duration])
        done.set()
    ignore = Path("/proc/sys/net/ipv4/icmp_echo_ignore_all")
    if answers_after:
        ignore.write_text("1")
        threading.Timer(answers_after, lambda: ignore.write_text("0")).start()
    probes.engines["ping"](Target(check, address, "ipv6" if ":" in address else "ipv4"), take)
    done.wait(30)
for arguments in json.loads(sys.argv[1]):
    ping(*arguments)
probes.close()
print(json.dumps(found))
"""
Pinged = tuple[str | None, str, float]


def isolated(setup: str, *pings: tuple[str, int, int] | tuple[str, int, int, float], prefix: str = "") -> list[Pinged]:
    """Ping from a network namespace of its own, after `setup` (shell): address, count, loss threshold.

    A fourth value lets the host ignore echo requests for that many seconds.
    """
    inner = f'{setup}; exec {prefix} "$0" -c "$1" "$2"'
    command = ["unshare", "--net", "sh", "-ec", inner, sys.executable, SCRIPT, json.dumps(pings)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if run.stderr.startswith("unshare"):
        pytest.skip(f"no network namespace here: {run.stderr.strip()}")
    if prefix and "loading shared libraries" in run.stderr:
        pytest.skip(f"nobody but root can start Python here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return [(reason, detail, duration) for reason, detail, duration in json.loads(run.stdout)]


LOOPBACK = "ip link set lo up"


def test_no_route() -> None:
    routes = f"{LOOPBACK}; ip route add unreachable 198.51.100.1; ip route add blackhole 198.51.100.2"
    found = isolated(
        routes, *((address, 3, 50) for address in ("192.0.2.1", "2001:db8::1", "198.51.100.1", "198.51.100.2"))
    )
    assert [reason for reason, _, _ in found] == ["unreachable"] * 4
    assert [detail for _, detail, _ in found] == [
        "192.0.2.1: network is unreachable",
        "2001:db8::1: network is unreachable",
        "198.51.100.1: no route to host",
        "198.51.100.2: invalid argument",
    ]


@pytest.fixture
def router() -> Iterator[int]:
    """The process of a network namespace that can be linked to another one."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    if not holder.stdout.readline():
        pytest.skip("no network namespace here")
    yield holder.pid
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_a_router_that_says_unreachable(router: int) -> None:
    """Over a pair of interfaces: the other end forwards, has no route, and says so by ICMP."""
    there = "ip link set b0 up; ip addr add 198.51.100.2/24 dev b0; sysctl -qw net.ipv4.ip_forward=1"
    here = (
        f"ip link add a0 type veth peer name b0 netns {router}; ip addr add 198.51.100.1/24 dev a0; "
        f"ip link set a0 up; nsenter --net=/proc/{router}/ns/net sh -ec '{there}'; "
        "ip route add 192.0.2.0/24 via 198.51.100.2"
    )
    ((reason, detail, duration),) = isolated(here, ("192.0.2.9", 1, 50))
    assert (reason, detail) == ("unreachable", "192.0.2.9: destination network unreachable")
    assert duration < 1.0


def test_no_answer_is_loss_and_ends_at_the_timeout() -> None:
    ((reason, detail, duration),) = isolated(f"{LOOPBACK}; ip route add 198.51.100.9 dev lo", ("198.51.100.9", 3, 50))
    assert reason == "loss"
    assert "answered 0 of 3 packets, 100 % lost (limit 50 %)" in detail
    assert 1.6 <= duration < 2.3


def test_the_loss_threshold() -> None:
    """Eight packets over 0.7 s; the host answers from 0.35 s on."""
    tolerated, counted = isolated(LOOPBACK, ("127.0.0.1", 8, 100, 0.35), ("127.0.0.1", 8, 10, 0.35))
    assert tolerated[0] is None
    assert any(f"answered {answered} of 8" in tolerated[1] for answered in range(2, 7))
    assert counted[0] == "loss"
    assert "(limit 10 %)" in counted[1]


UNPRIVILEGED = "setpriv --bounding-set=-all --inh-caps=-all --reuid=65534 --regid=65534 --clear-groups"


def test_without_privilege_ping_sockets_serve() -> None:
    setup = f"{LOOPBACK}; sysctl -qw net.ipv4.ping_group_range='0 65534'"
    for reason, detail, _ in isolated(setup, ("127.0.0.1", 3, 50), ("::1", 3, 50), prefix=UNPRIVILEGED):
        assert reason is None, detail
        assert "3 of 3" in detail


def test_with_neither_the_error_names_both_ways() -> None:
    setup = f"{LOOPBACK}; sysctl -qw net.ipv4.ping_group_range='1 0'"
    ((reason, detail, _),) = isolated(setup, ("127.0.0.1", 3, 50), prefix=UNPRIVILEGED)
    assert reason == "internal"
    assert "CAP_NET_RAW" in detail
    assert "net.ipv4.ping_group_range" in detail
