"""The short form of `make test-faults`: what dies most often, under load, every answer judged."""

from collections.abc import Iterator

import pytest

from tests.support.fault_redis import Server, pause
from tests.support.fault_system import TITLE, FaultSystem

BOUND_SECONDS = 15.0
"""For a busy machine; `make test-faults` measures what is promised."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def system(redis: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    with FaultSystem(tmp_path_factory.mktemp("f"), redis.tcp_url, bound=BOUND_SECONDS) as running:
        print(f"\n{TITLE}")
        yield running


def test_redis_and_the_leader_die_at_once(redis: Server, system: FaultSystem) -> None:
    with redis.connect() as client:
        leader = system.leader(client)
    with system.fault("Redis and leader killed at once, Redis back after 3 s", stalls=True) as fault:
        redis.kill()
        leader.kill()
        fault.address_dies()
        pause(3)
        redis.start()
        fault.over()
    leader.start()


@pytest.mark.parametrize("number", [0, 1], ids=["http", "unix"])
def test_a_backend_dies_and_the_other_site_answers(system: FaultSystem, number: int) -> None:
    site = system.sites[number]
    with (
        system.fault(f"backend killed, started again ({site.settings.transport})", stalls=False) as fault,
        fault.down(site),
    ):
        site.kill_backend()
        fault.address_dies()
        site.start_backend(system.questions[0])
