"""What vantages can be asked for, and command lines of healthd that cannot be used."""

import time
from collections.abc import Iterator

import pytest

from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.vantage_requests import MAX_TARGETS, VantageRequests
from tests.support.healthd import SECONDS, Healthd, Origins, Site
from tests.support.ports import free_port
from tests.support.store import instance, pool

A1, A2, B1, C1 = "127.0.25.1", "127.0.25.2", "127.0.25.3", "127.0.25.4"
WEB_A1 = target_key("web", A1, None, None)
RARELY_C1 = target_key("rarely", C1, None, None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def origins() -> Iterator[Origins]:
    with Origins(A1, A2, B1, C1) as made:
        yield made


@pytest.fixture(scope="module")
def asked(site: Site, origins: Origins) -> VantageRequests:
    """Two vantages that have seen everything: A2 refuses; C1 is probed once in an hour."""
    origins.stop(A2)
    site.configure(
        site.check(origins.port),
        site.check(origins.port, id="rarely", interval=3600, fast_interval=3600),
        pool("a", A1, A2, health_checks=("web",)),
        pool("b", B1, health_checks=("web",)),
        pool("c", C1, health_checks=("rarely",)),
        instance("gtm00000001", "a", "b"),
    )
    site.healthd("ber")
    site.healthd("hz")
    site.until_health("up", A1, B1)
    site.until_health("down", A2)
    site.until(lambda: site.health(C1, "rarely") == "up")
    site.until(lambda: all(site.client.hlen(keys.verdicts(name)) == 4 for name in ("ber", "hz")))
    return VantageRequests(site.redis.connect())


def test_what_a_vantage_remembers_of_a_target(site: Site, origins: Origins, asked: VantageRequests) -> None:
    site.until(lambda: (found := asked.history("hz", WEB_A1)) is not None and found.probes >= 2)
    report = asked.history("hz", WEB_A1, timeout=SECONDS)
    assert report is not None
    assert (report.error, report.up, report.failed, report.failures, report.loss) == ("", True, 0, (), 0)
    assert report.probes == len(report.results) >= 2
    newest, *older = report.results
    assert newest.ok
    assert newest.reason is None
    assert newest.detail.startswith("status 200")
    assert {"connect", "status"} <= set(newest.timings)
    assert 0 < newest.timings["connect"] <= newest.duration < 30
    assert all(newer.at > before.at for newer, before in zip(report.results, older, strict=False))
    assert abs(site.repository.time() - newest.at) < 60
    assert report.latency is not None
    assert 0 < report.latency < 30
    down = asked.history("hz", target_key("web", A2, None, None), timeout=SECONDS)
    assert down is not None
    assert (down.up, down.loss, down.latency) == (False, 1, None)
    assert down.failures == down.results
    assert down.failures[0].reason == "refused"
    assert down.failures[0].phase == "connect"
    assert down.failures[0].detail == f"connection refused by {A2}:{origins.port}"


def test_the_latest_results_of_many_targets(site: Site, asked: VantageRequests) -> None:
    targets = [target_key("web", address, None, None) for address in (A1, A2, B1, "192.0.2.1")]
    found = asked.latest(["ber", "hz", "nobody"], targets, timeout=5)
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
    found = asked.probe_now(["ber", "hz"], targets, timeout=SECONDS)
    assert origins.connections(A1) >= connections + 2
    assert set(found) == {"ber", "hz"}
    for reports in found.values():
        good, bad, unknown = (reports[key] for key in targets)
        assert good.results[0].ok
        assert good.lines[0] == f"GET http://{A1}:{origins.port}/, timeout 5 s"
        assert good.lines[-1].startswith("passed after ")
        assert (bad.results[0].ok, bad.results[0].reason) == (False, "refused")
        assert bad.lines[-1].endswith(f"connection refused by {A2}:{origins.port}")
        assert unknown.error
    assert site.client.keys(keys.vantage_reply("*")) == []


def test_a_probe_on_demand_counts_for_no_verdict(site: Site, asked: VantageRequests, origins: Origins) -> None:
    origins.stop(C1)
    found = asked.probe_now(["ber", "hz"], [RARELY_C1], timeout=SECONDS)
    assert [found[name][RARELY_C1].results[0].ok for name in ("ber", "hz")] == [False, False]
    time.sleep(0.5)
    assert site.health(C1, "rarely") == "up"


def test_a_vantage_that_is_silent_is_left_out_in_time(site: Site, asked: VantageRequests) -> None:
    began = time.monotonic()
    assert asked.history("nobody", WEB_A1, timeout=1) is None
    assert 0.9 < time.monotonic() - began < 30
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
    healthd = Healthd(site, "hz", words, None, {})
    healthd.port = free_port()
    healthd.start()
    assert healthd.process is not None
    assert healthd.process.wait(SECONDS) == 2
    assert said in healthd.output.read_text().replace("\n", " ")
