"""One Redis that dies, freezes, fills up, forgets: answers go on, and what changed meanwhile follows."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.fault_redis import Server, links, pause
from tests.support.fault_system import TITLE, VANTAGES, FaultSystem
from tests.support.powerdns import environment, wait_for

pytestmark = pytest.mark.timeout(180)
LASTS = 5.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def system(redis: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    with FaultSystem(tmp_path_factory.mktemp("f"), redis.tcp_url) as running:
        print(f"\n{TITLE}")
        yield running


def states(system: FaultSystem) -> set[str]:
    """How the backends say that they stand with the store."""
    return {site.backend.readiness()["store"]["state"] for site in system.sites}


def degraded(system: FaultSystem) -> None:
    """Wait until both backends say that they serve without a store."""
    wait_for(lambda: all(site.backend.readiness()["degraded"] for site in system.sites), "degraded", 5)


def recovered(system: FaultSystem) -> None:
    wait_for(lambda: states(system) == {"following"}, "the store followed again", 5)


def test_killed_and_restarted(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis killed, started again after 5 s", stalls=True) as fault:
        redis.kill()
        fault.address_dies()
        degraded(system)
        pause(LASTS)
        redis.start()
        fault.over()
    recovered(system)


def test_frozen(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis frozen for 5 s", stalls=True) as fault:
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            fault.address_dies()
            pause(LASTS)
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        fault.over()
    recovered(system)


def test_full(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis full for 5 s (noeviction)", stalls=True) as fault:
        redis.command("CONFIG", "SET", "maxmemory", 1)
        fault.address_dies()
        pause(LASTS)
        assert states(system) == {"following"}, "reading goes on"
        redis.command("CONFIG", "SET", "maxmemory", 0)
        fault.over()


def test_read_only(redis: Server, system: FaultSystem) -> None:
    with system.fault("Redis a read-only replica for 5 s", stalls=True) as fault:
        redis.command("REPLICAOF", "127.0.0.1", 1)
        fault.address_dies()
        pause(LASTS)
        redis.command("REPLICAOF", "NO", "ONE")
        fault.over()
    recovered(system)
