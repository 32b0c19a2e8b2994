"""Reports for external checks, and what a real healthd makes of them: at once, after a restart, and when it is over."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys
from tests.support.api import Admin, pool
from tests.support.gtmctl import Server, served
from tests.support.healthd import Healthd, Site

A1, A2, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"
POOLS = ("a", "named", "six")
PATH = "/health-checks/batch/reports"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("s")) as started:
        yield started


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Admin(site.redis.url, tmp_path_factory.mktemp("a")) as running, served(running) as started:
        yield started


@pytest.fixture(scope="module")
def healthd(site: Site) -> Iterator[Healthd]:
    yield site.healthd("hz")


@pytest.fixture
def admin(site: Site, server: Server, healthd: Healthd) -> Iterator[Admin]:
    """With an external check of which nothing is known, on three pools, one of them under another host."""
    admin = server.admin
    admin.post("/health-checks", {"id": "batch", "protocol": "external", "interval": 60})
    admin.post("/pools", pool("a", A1, A2, health_checks=["batch"]))
    admin.post("/pools", pool("named", A1, health_checks=["batch"], host="www.shop.example"))
    admin.post("/pools", pool("six", SIX, family="ipv6", health_checks=["batch"]))
    site.until(lambda: healthd.ready()["vantage"] == {"name": "hz", "probing": True, "targets": 4})
    yield admin
    for path in (*(f"/pools/{name}" for name in POOLS), "/health-checks/batch"):
        if admin.request("GET", path).status_code == 200:
            admin.delete(path)
    site.until(lambda: healthd.ready()["vantage"]["targets"] == 0)
    site.until(lambda: not held(site))
    site.until(lambda: not site.follower.serving.snapshot.target_states)


def up(**fields: Any) -> dict[str, Any]:
    return {"status": "up", "ttl": 60} | fields


def held(site: Site) -> set[str]:
    return set(site.client.hkeys(keys.REPORTS))  # type: ignore[arg-type]


def test_healthd_acts_on_reports_at_once(site: Site, admin: Admin, healthd: Healthd) -> None:
    """The check looks by itself once a minute."""
    admin.put(f"{PATH}/{A1}", up())
    site.until(lambda: site.health(A1, "batch") == "up")
    site.until(lambda: (state := site.state(A1, "batch", "www.shop.example")) is not None and state.health == "up")
    assert site.state(A2, "batch") is None, "never reported"
    admin.put(f"{PATH}/{A1}", {"status": "down", "ttl": 60, "reason": "disk full"})
    site.until(lambda: site.health(A1, "batch") == "down")
    state = site.state(A1, "batch")
    assert state is not None
    assert "disk full (hz)" in state.reason
    admin.patch("/health-checks/batch", {"external": {"when_expired": "down"}})
    admin.put(f"{PATH}/{A1}", up(ttl=1))
    site.until(lambda: site.health(A1, "batch") == "up")
    site.until(lambda: site.health(A1, "batch") == "down")
    beat = site.vantages.heartbeats()["hz"]
    assert (beat.overdue, beat.suspended) == ((), ""), "an address of which nothing was reported is not late"


def test_a_restart_knows_the_reports_and_a_lost_feed_is_made_up_for(site: Site, admin: Admin, healthd: Healthd) -> None:
    admin.put(f"{PATH}/{A1}", up())
    site.until(lambda: site.health(A1, "batch") == "up")
    healthd.stop()
    admin.put(f"{PATH}/{A1}", {"status": "down", "ttl": 60})
    site.client.delete(keys.REPORT_FEED)
    site.client.hset(keys.REPORTS, f"batch|{A2}", "{")
    healthd.start()
    site.until(lambda: site.health(A1, "batch") == "down")
    assert f"the report of 'batch|{A2}' in the store is broken" in healthd.output.read_text()
    admin.put(f"{PATH}/{A2}", up())
    site.until(lambda: site.health(A2, "batch") == "up")


def test_nothing_is_left_of_what_is_deleted(site: Site, admin: Admin, healthd: Healthd) -> None:
    for address in (A1, A2, SIX):
        admin.put(f"{PATH}/{address}", up())
    admin.delete(f"/pools/a/addresses/{A2}")
    site.until(lambda: held(site) == {f"batch|{A1}", f"batch|{SIX}"})
    admin.delete("/pools/a")
    time.sleep(0.2)
    assert f"batch|{A1}" in held(site), "another pool has it"
    healthd.stop()
    admin.delete("/pools/named")
    admin.delete("/pools/six")
    admin.delete("/health-checks/batch")
    assert held(site) != set()
    healthd.start()
    site.until(lambda: held(site) == set())
    assert admin.get(PATH, 404)["detail"] == "there is no health check 'batch'"


def test_a_vantage_that_is_gone_is_forgotten(site: Site, server: Server, admin: Admin, healthd: Healthd) -> None:
    site.until(lambda: [one["name"] for one in admin.get("/vantages")["items"] if one["reporting"]] == ["hz"])
    refused = admin.delete("/vantages/hz", 409)
    assert refused["detail"] == "vantage hz reports: a healthd has this name. Stop that one first"
    assert "there is no vantage 'mars'" in admin.delete("/vantages/mars", 404)["detail"]
    admin.put(f"{PATH}/{A1}", up())
    target = target_key("batch", A1, None, None)
    site.until(lambda: target in site.vantages.verdicts("hz"))
    healthd.stop()
    site.until(lambda: not admin.get("/vantages")["items"][0]["reporting"])
    state = site.state(A1, "batch")
    assert server.run("vantage", "delete", "hz", "--dry-run").err == "vantage hz: would be deleted (dry run)\n"
    assert server.run("vantage", "delete", "hz", "-y").err == "vantage hz: deleted\n"
    assert admin.get("/vantages")["items"] == []
    assert site.vantages.verdicts("hz") == {}
    assert site.state(A1, "batch") == state
    (entry,) = admin.get("/audit?kind=vantages")["items"]
    assert (entry["action"], entry["object"], entry["before"]["name"], entry["after"]) == ("delete", "hz", "hz", None)
    assert entry["actor"]["role"] == "admin"
    assert json.dumps(entry)
    healthd.start()
