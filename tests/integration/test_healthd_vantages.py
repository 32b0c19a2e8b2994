"""Many vantages: labels, those that cannot trust themselves, those that are stuck, and what they can be asked."""

import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from healthd.probes.result import Result
from healthd.probes.workers import Workers, threaded
from healthd.scheduler import GRACE, OnResult, Scheduler
from healthd.vantage import Vantage
from pdns_gtm_backend.domain.quorum import reporting_vantages
from pdns_gtm_backend.domain.target import Target, target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.vantages import VantageInUse
from tests.support.healthd import Origins, Site
from tests.support.namespace import Namespace, unavailable
from tests.support.store import instance, pool

A1, A2, B1 = "127.0.24.1", "127.0.24.2", "127.0.24.3"
WEB_A1 = target_key("web", A1, None, None)


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(A1, A2, B1) as made:
        yield made


def configure(site: Site, origins: Origins, **check: Any) -> None:
    site.configure(
        site.check(origins.port, **check),
        pool("a", A1, A2, health_checks=("web",)),
        pool("b", B1, health_checks=("web",)),
        instance("gtm00000001", "a", "b"),
    )


def test_checks_run_from_the_vantages_that_they_name_or_select(site: Site, origins: Origins) -> None:
    site.configure(
        site.check(origins.port, id="by-name", vantages=("ber",)),
        site.check(origins.port, id="by-label", vantages=("country=CN",)),
        site.check(origins.port, id="everywhere", min_vantages=2),
        pool("a", A1, health_checks=("by-name", "by-label", "everywhere")),
    )
    site.healthd("ber", "--label", "country=DE")
    site.healthd("hz", "--label", "country=CN", "--label", "isp=telecom")
    checks = ("by-name", "by-label", "everywhere")
    site.until(lambda: all(site.health(A1, check) == "up" for check in checks))
    seen = {name: {key.partition("|")[0] for key in site.vantages.verdicts(name)} for name in ("ber", "hz")}
    assert seen == {"ber": {"by-name", "everywhere"}, "hz": {"by-label", "everywhere"}}
    assert site.vantages.heartbeats()["hz"].labels == {"country": "CN", "isp": "telecom"}
    state = site.state(A1, "by-label")
    assert state is not None
    assert state.vantages == {"hz": "up"}
    site.configure(site.check(origins.port, id="by-name", vantages=("isp=telecom",)))
    moved = target_key("by-name", A1, None, None)
    site.until(lambda: moved in site.vantages.verdicts("hz") and moved not in site.vantages.verdicts("ber"))
    assert site.health(A1, "by-name") == "up"


def test_a_heartbeat_says_how_a_vantage_stands(site: Site, origins: Origins) -> None:
    configure(site, origins)
    healthd = site.healthd("hz", "--label", "country=CN", "--reference", f"{A2}:{origins.port}")
    site.until_health("up", A1, A2, B1)
    site.until(lambda: site.vantages.heartbeats()["hz"].reference)
    beat = site.vantages.heartbeats()["hz"]
    assert (beat.targets, beat.overdue, beat.suspended, beat.labels) == (3, (), "", {"country": "CN"})
    assert 0 <= beat.lag < 30
    assert abs(site.repository.time() - beat.time) < 30
    assert site.client.hlen(keys.verdicts("hz")) == 3, "the reference is no target"
    with pytest.raises(VantageInUse):
        site.vantages.forget("hz", site.store_id)
    healthd.kill()
    site.until(lambda: not site.client.exists(keys.vantage_lease("hz")))
    assert site.vantages.forget("hz", site.store_id)
    assert not site.vantages.forget("hz", site.store_id)
    assert not site.client.exists(keys.verdicts("hz"))


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_a_vantage_that_is_cut_off_takes_nothing_down(site: Site, origins: Origins) -> None:
    """hz lives in a network of its own, where the same addresses answer, until its network is gone."""
    configure(site, origins, quorum=0, min_vantages=1)
    with Namespace() as network, Origins(A1, A2, B1, port=origins.port, namespace=network):
        site.healthd("ber")
        hz = site.healthd("hz", "--reference", f"{A2}:{origins.port}", namespace=network)
        site.until_health("up", A1, A2, B1)
        site.until(lambda: site.client.hlen(keys.verdicts("hz")) == 3)
        site.until(lambda: site.vantages.heartbeats()["hz"].reference)
        site.configure(site.check(origins.port, quorum=0, min_vantages=1, fall=4))
        before = len(site.events("address.down"))
        subprocess.run(network.command("ip", "link", "set", "lo", "down"), check=True)
        site.until(lambda: site.events("vantage.suspended"))
        assert site.events("vantage.suspended")[0]["vantage"] == "hz"
        assert "no reference target answers" in site.vantages.heartbeats()["hz"].suspended
        time.sleep(5)
        assert len(site.events("address.down")) == before, "any one that sees it down would do, had it said so"
        assert all(verdict.up for verdict in site.vantages.verdicts("hz").values())
        origins.stop(A1)
        site.until_health("down", A1)
        assert site.health(A2) == "up"
        subprocess.run(network.command("ip", "link", "set", "lo", "up"), check=True)
        site.until(lambda: site.events("vantage.resumed"))
        assert site.vantages.heartbeats()["hz"].suspended == ""
        assert site.events("address.down")[before:][0]["address"] == A1
        assert len(site.events("address.down")) == before + 1
        hz.kill()


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_without_references_the_others_tell_that_it_is_cut_off(site: Site, origins: Origins) -> None:
    configure(site, origins, quorum=0, min_vantages=1)
    with Namespace() as network, Origins(A1, A2, B1, port=origins.port, namespace=network):
        site.healthd("ber")
        site.healthd("hz", namespace=network)
        site.until_health("up", A1, A2, B1)
        site.until(lambda: site.client.hlen(keys.verdicts("hz")) == 3)
        subprocess.run(network.command("ip", "link", "set", "lo", "down"), check=True)
        site.until(lambda: site.events("vantage.suspended") and site.vantages.suspensions())
        assert "sees all 3 targets down, of which ber sees 3 up" in site.vantages.suspensions()["hz"]
        assert "ber sees 3 up" in site.vantages.heartbeats()["hz"].suspended, "as the API reads it"
        assert any(site.health(address) == "up" for address in (A1, A2, B1)), "the last one that it lost"
        subprocess.run(network.command("ip", "link", "set", "lo", "up"), check=True)
        site.until_health("up", A1, A2, B1)
        site.until(lambda: site.events("vantage.resumed") and not site.vantages.suspensions())


class Gate:
    """Probes that pass, until they hang."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.workers = Workers(4, "gate")

    def scheduler(self, on_result: OnResult) -> Scheduler:
        return Scheduler({"tcp": threaded(self.probe, self.workers)}, on_result)

    def probe(self, target: Target) -> Result:
        self.open.wait(60)
        return Result(True, None, "connected", "connect", 0.001, {"connect": 0.001})


def test_a_stuck_prober_makes_its_targets_silent_and_not_up(site: Site) -> None:
    check = site.check(1, protocol="tcp", interval=1, timeout=0.1)
    site.configure(check, pool("a", A1, health_checks=("web",)), instance("gtm00000001", "a"))
    gate = Gate()
    vantage = Vantage(site.client, site.follower, "hz", gate.scheduler, labels={})
    leader = site.healthd("leads-only", "--label", "x=y")
    site.configure(site.check(1, protocol="tcp", interval=1, timeout=0.1, vantages=("hz",)))
    vantage.start()
    try:
        site.until_health("up", A1)
        site.until(lambda: leader.ready()["leader"])
        assert reporting_vantages(check, WEB_A1, site.vantages.heartbeats(), site.repository.time()) >= {"hz"}
        gate.open.clear()
        took = site.until(lambda: site.vantages.heartbeats()["hz"].overdue == (WEB_A1,))
        assert took > GRACE
        reporting = reporting_vantages(check, WEB_A1, site.vantages.heartbeats(), site.repository.time())
        assert "hz" not in reporting
        site.until(lambda: site.events("state.stale"))
        assert site.events("state.stale")[-1]["reason"] == (
            "of 1 targets fewer than 1 vantages know the state: probes are overdue"
        )
        assert vantage.overruns == 1
        assert site.health(A1) == "up", "stale data takes nothing down"
        gate.open.set()
        site.until(lambda: site.vantages.heartbeats()["hz"].overdue == ())
        site.until(lambda: [e["kind"] for e in site.events("state.stale", "state.fresh")][-1] == "state.fresh")
    finally:
        gate.open.set()
        vantage.stop()
        assert gate.workers.stop(time.monotonic() + 60)
