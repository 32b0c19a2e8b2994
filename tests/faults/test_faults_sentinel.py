"""A master with two replicas and three sentinels: it fails over, and so does everything that stands on it."""

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.fault_redis import Trio, pause
from tests.support.fault_system import A1, A2, TITLE, FaultSystem, Site

pytestmark = pytest.mark.timeout(180)
CHANGES = 40
AGREE_SECONDS = 0.1


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with Trio(tmp_path_factory.mktemp("t")) as running:
        yield running


@pytest.fixture(scope="module")
def system(trio: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    """A change is acknowledged when one replica has it."""
    with FaultSystem(tmp_path_factory.mktemp("f"), trio.url, write_replicas=1) as running:
        print(f"\n{TITLE}")
        yield running


def test_the_backends_agree_on_a_change_of_state(system: FaultSystem) -> None:
    system.wait_until_known_up()
    apart = []
    for _ in range(CHANGES // 2):
        made = system.api.post("/overrides", {"selector": {"address": A1}, "effect": "offline", "reason": "measured"})
        apart.append(seconds_apart(system, [A2]))
        system.api.delete(f"/overrides/{made['id']}")
        apart.append(seconds_apart(system, [A1, A2]))
    worst = statistics.quantiles(apart, n=100, method="inclusive")[98]
    print(f"\ntwo sites agree on {len(apart)} changes: median {statistics.median(apart):.4f} s, p99 {worst:.4f} s")
    assert worst < AGREE_SECONDS


def seconds_apart(system: FaultSystem, wanted: list[str]) -> float:
    """The seconds between the first answers of the two sites that follow a change."""
    seen: list[float] = []

    def watch(site: Site) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if site.addresses(system.questions[0]) == sorted(wanted):
                seen.append(time.monotonic())
                return

    threads = [threading.Thread(target=watch, args=(site,)) for site in system.sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(system.sites), f"not every site answers {wanted}"
    return max(seen) - min(seen)


def test_master_killed(trio: Trio, system: FaultSystem) -> None:
    old = trio.master
    with system.fault("Redis failed over by Sentinel (master killed)", stalls=True) as fault:
        old.kill()
        fault.address_dies()
        trio.wait_for_another(old)
        fault.over()
    trio.rejoin(old)


def test_master_frozen(trio: Trio, system: FaultSystem) -> None:
    """It wakes and believes to be the master still: what it takes is lost, so it must not be acknowledged."""
    old = trio.master
    with system.fault("Redis failed over, the old master wakes", stalls=True) as fault:
        os.kill(old.pid, signal.SIGSTOP)
        try:
            fault.address_dies()
            trio.wait_for_another(old)
            pause(1)
        finally:
            os.kill(old.pid, signal.SIGCONT)
        fault.over()
    trio.wait_until_whole()


def test_replica_that_missed_the_last_writes(trio: Trio, system: FaultSystem) -> None:
    old = trio.master
    with system.fault("Redis failed over to a replica 6 s behind", stalls=True) as fault:
        fault.lost_since(time.monotonic())
        old.command("ACL", "SETUSER", "default", "-psync", "-sync")
        old.command("CLIENT", "KILL", "TYPE", "replica")
        fault.address_dies()
        pause(6)
        assert "written here, not yet on 1 replicas" in system.refusal()
        system.wait_until_right(*fault.dead)
        old.kill()
        trio.wait_for_another(old)
        fault.over()
    trio.rejoin(old)


def test_master_leader_and_pool_at_once(trio: Trio, system: FaultSystem) -> None:
    old = trio.master
    with trio.connect() as client:
        leader = system.leader(client)
    with system.fault("Redis master, leader and pool A die at once", stalls=True) as fault:
        old.kill()
        leader.kill()
        fault.address_dies(A1, A2)
        trio.wait_for_another(old)
        fault.over()
    leader.start()
    trio.rejoin(old)
