"""One Redis that dies, freezes, fills up, forgets: answers go on, and what changed meanwhile follows."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pdns_gtm_backend.store import keys
from tests.support.fault_redis import Server, pause
from tests.support.fault_system import TITLE, FaultSystem
from tests.support.powerdns import environment, wait_for

pytestmark = pytest.mark.timeout(180)
LASTS = 5.0
SAVED = 6.0
"""Within which a backend has its snapshot on disk."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def system(redis: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    with FaultSystem(tmp_path_factory.mktemp("f"), redis.tcp_url) as running:
        print(f"\n{TITLE}")
        yield running


def wait_for_state(system: FaultSystem, state: str) -> None:
    """Wait until both backends say that they stand so with the store, and still that they serve."""

    def so() -> bool:
        told = [site.backend.readiness() for site in system.sites]
        return all(one["store"]["state"] == state and one["degraded"] == (state != "following") for one in told)

    wait_for(so, f"the store {state}", 5)


def test_killed_and_restarted(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis killed, started again after 5 s", stalls=True) as fault:
        redis.kill()
        fault.address_dies()
        wait_for_state(system, "disconnected")
        pause(LASTS)
        redis.start()
        fault.over()
    wait_for_state(system, "following")


def test_frozen(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis frozen for 5 s", stalls=True) as fault:
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            fault.address_dies()
            wait_for_state(system, "disconnected")
            pause(LASTS)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        fault.over()
    wait_for_state(system, "following")


def test_slow(redis: Server, system: FaultSystem) -> None:
    """Below the time-outs: it goes on without a pause."""
    with system.fault("Redis slow: stopped for 0.4 s of each 0.5 s", stalls=False) as fault:
        fault.address_dies()
        for _ in range(10):
            os.kill(redis.pid, signal.SIGSTOP)
            pause(0.4)
            os.kill(redis.pid, signal.SIGCONT)
            pause(0.1)


def test_full(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis full for 5 s (noeviction)", stalls=True) as fault:
        redis.command("CONFIG", "SET", "maxmemory", 1)
        fault.address_dies()
        pause(LASTS)
        wait_for_state(system, "following")
        assert "Redis is full" in system.refusal()
        redis.command("CONFIG", "SET", "maxmemory", 0)
        fault.over()


def test_read_only(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis a read-only replica for 5 s", stalls=True) as fault:
        redis.command("REPLICAOF", "127.0.0.1", 1)
        fault.address_dies()
        pause(LASTS)
        assert "read-only replica" in system.refusal()
        redis.command("REPLICAOF", "NO", "ONE")
        fault.over()
    wait_for_state(system, "following")


def test_wiped_by_mistake_and_adopted(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis wiped (FLUSHALL), adopted after 6 s", stalls=True) as fault:
        redis.command("FLUSHALL")
        fault.address_dies()
        wait_for_state(system, "foreign")
        assert "Redis holds no store" in system.refusal()
        pause(SAVED)
        assert redis.command("EXISTS", keys.STORE_ID, keys.REVISION, keys.documents("pools")) == 0
        command = [sys.executable, "-m", "pdns_gtm_backend.store.adopt"]
        subprocess.run(command, env=environment(system.sites[0].settings), check=True, timeout=30)
        fault.over()
    wait_for_state(system, "following")


def test_restored_from_an_older_copy(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis restored from a copy 6 s old", stalls=True, loses=-1) as fault:
        fault.lost_since(time.monotonic())
        log = redis.folder / "appendonlydir"
        copy = shutil.copytree(log, redis.folder / f"copy-{time.monotonic_ns()}")
        fault.address_dies()
        pause(LASTS)
        system.wait_until_right(*fault.dead)
        redis.kill()
        shutil.rmtree(log)
        shutil.copytree(copy, log)
        redis.start()
        fault.over()
    wait_for_state(system, "following")
