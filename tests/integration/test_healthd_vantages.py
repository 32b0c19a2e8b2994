"""Many vantages: labels, those that cannot trust themselves, those that are stuck, and what they can be asked."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from healthd.probes.result import Result
from healthd.scheduler import GRACE, OnResult, Scheduler
from healthd.vantage import Vantage
from pdns_gtm_backend.domain.quorum import reporting_vantages
from pdns_gtm_backend.domain.target import Target, target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.vantage_requests import MAX_TARGETS, VantageRequests
from pdns_gtm_backend.store.vantages import VantageInUse
from tests.support.healthd import Healthd, Origins, Site
from tests.support.namespace import Namespace, unavailable
from tests.support.ports import free_port
from tests.support.store import instance, pool

A1, A2, B1 = "127.0.24.1", "127.0.24.2", "127.0.24.3"
WEB_A1 = target_key("web", A1, None, None)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        yield made


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
    assert 0 <= beat.lag < 1
    assert abs(site.repository.time() - beat.time) < 3
    assert site.client.hlen(keys.verdicts("hz")) == 3, "the reference is no target"
    with pytest.raises(VantageInUse):
        site.vantages.forget("hz")
    healthd.kill()
    site.until(lambda: not site.client.exists(keys.vantage_lease("hz")))
    assert site.vantages.forget("hz")
    assert not site.vantages.forget("hz")
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

    def scheduler(self, on_result: OnResult) -> Scheduler:
        return Scheduler({"tcp": self.probe}, {}, on_result, workers=4)

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


@pytest.fixture
def asked(site: Site, origins: Origins) -> VantageRequests:
    origins.stop(A2)
    configure(site, origins)
    site.healthd("ber")
    site.healthd("hz")
    site.until_health("up", A1, B1)
    site.until_health("down", A2)
    site.until(lambda: all(site.client.hlen(keys.verdicts(name)) == 3 for name in ("ber", "hz")))
    return VantageRequests(site.redis.connect())


def test_what_a_vantage_remembers_of_a_target(site: Site, origins: Origins, asked: VantageRequests) -> None:
    site.until(lambda: (found := asked.history("hz", WEB_A1)) is not None and found.probes >= 2)
    report = asked.history("hz", WEB_A1)
    assert report is not None
    assert (report.error, report.up, report.failed, report.failures, report.loss) == ("", True, 0, (), 0)
    assert report.probes == len(report.results) >= 2
    newest, *older = report.results
    assert newest.ok
    assert newest.reason is None
    assert newest.detail.startswith("status 200")
    assert {"connect", "status"} <= set(newest.timings)
    assert 0 < newest.timings["connect"] <= newest.duration < 1
    assert all(newer.at > before.at for newer, before in zip(report.results, older, strict=False))
    assert abs(site.repository.time() - newest.at) < 5
    assert report.latency is not None
    assert 0 < report.latency < 1
    down = asked.history("hz", target_key("web", A2, None, None))
    assert down is not None
    assert (down.up, down.loss, down.latency) == (False, 1, None)
    assert down.failures == down.results
    assert down.failures[0].reason == "refused"
    assert down.failures[0].phase == "connect"
    assert down.failures[0].detail == f"connection refused by {A2}:{origins.port}"


def test_the_latest_results_of_many_targets(site: Site, asked: VantageRequests) -> None:
    targets = [target_key("web", address, None, None) for address in (A1, A2, B1, "192.0.2.1")]
    found = asked.latest(["ber", "hz", "nobody"], targets)
    assert set(found) == {"ber", "hz"}
    for name, reports in found.items():
        assert [reports[key].up for key in targets] == [True, False, True, None]
        assert [len(reports[key].results) for key in targets] == [1, 1, 1, 0]
        assert reports[targets[-1]].error == f"vantage {name} does not probe this target"
    assert asked.latest([], targets) == {}
    assert asked.latest(["hz"], []) == {}
    with pytest.raises(ValueError, match="at most 1000"):
        asked.latest(["hz"], [str(number) for number in range(MAX_TARGETS + 1)])


def test_a_probe_on_demand_from_every_vantage(site: Site, asked: VantageRequests, origins: Origins) -> None:
    targets = [target_key("web", address, None, None) for address in (A1, A2, "192.0.2.1")]
    connections = origins.connections(A1)
    found = asked.probe_now(["ber", "hz"], targets, timeout=5)
    assert origins.connections(A1) >= connections + 2
    assert set(found) == {"ber", "hz"}
    for reports in found.values():
        good, bad, unknown = (reports[key] for key in targets)
        assert good.results[0].ok
        assert good.lines[0] == f"GET http://{A1}:{origins.port}/, timeout 1 s"
        assert good.lines[-1].startswith("passed after ")
        assert (bad.results[0].ok, bad.results[0].reason) == (False, "refused")
        assert bad.lines[-1].endswith(f"connection refused by {A2}:{origins.port}")
        assert unknown.error
    assert site.client.keys(keys.vantage_reply("*")) == []


def test_a_probe_on_demand_counts_for_no_verdict(site: Site, asked: VantageRequests, origins: Origins) -> None:
    site.configure(site.check(origins.port, interval=3600, fast_interval=3600))
    time.sleep(1.5)
    origins.stop(A1)
    found = asked.probe_now(["ber", "hz"], [WEB_A1], timeout=5)
    assert [found[name][WEB_A1].results[0].ok for name in ("ber", "hz")] == [False, False]
    time.sleep(0.5)
    assert site.health(A1) == "up"


def test_a_vantage_that_is_silent_is_left_out_in_time(site: Site, asked: VantageRequests) -> None:
    began = time.monotonic()
    assert asked.history("nobody", WEB_A1, timeout=1) is None
    assert 0.9 < time.monotonic() - began < 3
    assert 0 < float(str(site.client.ttl(keys.vantage_requests("nobody")))) <= 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "country"], "'country' is not of the form KEY=VALUE"),
        (["--label", "country="], "'country=' is no label: after '=' stand"),
        (["--label", "a=b", "--label", "a=c"], "'a' is given twice, with 'b' and 'c'"),
        (["--reference", "192.0.2.1"], "'192.0.2.1' is not HOST:PORT"),
        (["--vantage", "no name"], "is 1 to 63 letters"),
    ],
)
def test_a_command_line_that_cannot_be_used_says_why(site: Site, words: list[str], said: str) -> None:
    healthd = Healthd(site, "hz", words, None)
    healthd.port = free_port()
    healthd.start()
    assert healthd.process is not None
    assert healthd.process.wait(20) == 2
    assert said in healthd.output.read_text().replace("\n", " ")
