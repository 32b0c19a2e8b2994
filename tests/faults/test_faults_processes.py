"""Each process of ours that dies, freezes, is cut off or reloaded, and PowerDNS, while the other site goes on."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pdns_gtm_backend.store import keys
from tests.support.fault_redis import Link, Server, links, pause
from tests.support.fault_system import TITLE, VANTAGES, FaultSystem, Site, workers_of
from tests.support.powerdns import wait_for

pytestmark = pytest.mark.timeout(180)
LASTS = 5.0
"""Longer than a lease."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def cables(redis: Server) -> Iterator[dict[str, Link]]:
    """What each vantage reaches Redis through."""
    with links(redis.port, VANTAGES) as made:
        yield made


@pytest.fixture(scope="module")
def system(redis: Server, cables: dict[str, Link], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultSystem]:
    urls = {name: f"redis://127.0.0.1:{link.port}" for name, link in cables.items()}
    with FaultSystem(tmp_path_factory.mktemp("f"), redis.tcp_url, urls) as running:
        print(f"\n{TITLE}")
        yield running


@pytest.fixture
def no_other_change(redis: Server, system: FaultSystem) -> Iterator[None]:
    """While leaders come and go, one address goes down and up, once: no change of state without a cause."""
    system.wait_until_known_up()
    before = len(address_events(redis))
    yield
    assert address_events(redis)[before:] == ["address.down", "address.up"]


def address_events(redis: Server) -> list[str]:
    """The kinds of all events of addresses, oldest first."""
    with redis.connect() as client:
        found: Any = client.xrange(keys.EVENTS)
    kinds = [json.loads(fields["event"])["kind"] for _, fields in found]
    return [kind for kind in kinds if kind.startswith("address.")]


@pytest.mark.usefixtures("no_other_change")
def test_leader_killed(redis: Server, system: FaultSystem) -> None:
    leader = system.leader(redis.connect())
    with system.fault("leader killed", stalls=False) as fault:
        leader.kill()
        fault.address_dies()
    assert system.leader(redis.connect()) is not leader
    leader.start()


@pytest.mark.usefixtures("no_other_change")
def test_leader_frozen_and_woken(redis: Server, system: FaultSystem) -> None:
    leader = system.leader(redis.connect())
    with system.fault("leader frozen for 5 s, woken", stalls=False) as fault:
        leader.signal(signal.SIGSTOP)
        try:
            fault.address_dies()
            pause(LASTS)
        finally:
            leader.signal(signal.SIGCONT)
        wait_for(lambda: system.leader(redis.connect()) is not leader, "another leader", 3)


@pytest.mark.usefixtures("no_other_change")
def test_leader_cut_off(redis: Server, cables: dict[str, Link], system: FaultSystem) -> None:
    """What it had sent arrives late, when another one leads: its lease fences it."""
    leader = system.leader(redis.connect())
    with system.fault("leader cut off from Redis for 5 s", stalls=False) as fault:
        cables[leader.settings.vantage].cut()
        try:
            fault.address_dies()
            pause(LASTS)
            assert system.leader(redis.connect()) is not leader
        finally:
            cables[leader.settings.vantage].mend()


def test_every_healthd_killed(redis: Server, system: FaultSystem) -> None:
    with system.fault("every healthd killed, started again after 5 s", stalls=True) as fault:
        for healthd in system.healthds.values():
            healthd.kill()
        fault.address_dies()
        pause(LASTS)
        for healthd in system.healthds.values():
            healthd.start()
        wait_for(lambda: all(h.readiness().get("vantage", {}).get("probing") for h in system.healthds.values()), "all")
        fault.over()


def test_admin_killed(system: FaultSystem) -> None:
    with system.fault("admin killed, started again", stalls=False) as fault:
        children = workers_of(system.admin.pid)
        system.admin.kill()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        fault.address_dies()
        pause(1)
        system.admin.start()
        wait_for(lambda: system.admin.readiness().get("preparing") == "", "the admin API")


@pytest.mark.parametrize("number", [0, 1], ids=["http", "unix"])
def test_backend_reloaded(system: FaultSystem, number: int) -> None:
    site = system.sites[number]
    with system.fault(f"backend reloaded ({site.settings.transport})", stalls=False) as fault:
        before = workers_of(site.backend.pid)
        site.backend.signal(signal.SIGHUP)
        fault.address_dies()
        wait_for(lambda: (now := workers_of(site.backend.pid)) and now.isdisjoint(before), "a new worker alone")


@pytest.mark.parametrize("number", [0, 1], ids=["http", "unix"])
def test_backend_worker_killed(system: FaultSystem, number: int) -> None:
    site = system.sites[number]
    with system.fault(f"backend's worker killed ({site.settings.transport})", stalls=False) as fault, fault.down(site):
        for pid in workers_of(site.backend.pid):
            os.kill(pid, signal.SIGKILL)
        fault.address_dies()
        wait_for(lambda: answers(system, site), "answers of the new worker")


@pytest.mark.parametrize("number", [0, 1], ids=["http", "unix"])
def test_backend_killed(system: FaultSystem, number: int) -> None:
    site = system.sites[number]
    with (
        system.fault(f"backend killed, started again ({site.settings.transport})", stalls=False) as fault,
        fault.down(site),
    ):
        site.kill_backend()
        fault.address_dies()
        site.start_backend(system.questions[0])


def test_powerdns_restarted(system: FaultSystem) -> None:
    site = system.sites[0]
    with system.fault("PowerDNS of one site stopped for 1 s, started", stalls=False) as fault, fault.down(site):
        site.powerdns.stop()
        fault.address_dies()
        pause(1)
        site.powerdns.start()
        wait_for(lambda: answers(system, site), "answers of PowerDNS")


def test_backend_started_while_redis_is_away(redis: Server, system: FaultSystem) -> None:
    site = system.sites[0]
    with system.fault("backend killed and started while Redis is away", stalls=True) as fault:
        redis.kill()
        fault.address_dies()
        with fault.down(site):
            site.kill_backend()
            site.start_backend(system.questions[0])
        assert site.backend.readiness()["degraded"]
        redis.start()
        fault.over()


def test_snapshot_truncated(redis: Server, system: FaultSystem) -> None:
    site = system.sites[1]
    with system.fault("snapshot truncated, backend started without Redis", stalls=True) as fault:
        redis.kill()
        fault.address_dies()
        with fault.down(site):
            site.kill_backend()
            site.snapshot.write_bytes(site.snapshot.read_bytes()[:-10])
            site.backend.start()
            site.serve()
            reply = site.backend.get("/readyz")
            assert reply is not None
            assert (reply.status_code, reply.json()["state"]) == (503, "starting")
            assert "is truncated" in site.backend.log.read_text()
            assert not site.addresses(system.questions[0]), "nothing is known, so nothing is said"
            redis.start()
            fault.over()
            wait_for(lambda: answers(system, site), "answers of what Redis holds")


def answers(system: FaultSystem, site: Site) -> bool:
    """Does a site answer its clients?"""
    return site.answers(system.questions[0])
