"""Probes of one address through the API: what a real vantage remembers, and what it finds on demand."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.store.vantage_requests import RequestInbox
from tests.support.api import Admin, pool
from tests.support.healthd import Origins, Site
from tests.support.store import eventually

ADDRESS, DEAD = "127.0.9.21", "127.0.9.22"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("s")) as started:
        yield started


@pytest.fixture(scope="module")
def admin(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder: Path = tmp_path_factory.mktemp("a")
    with Origins(ADDRESS) as origins, Admin(site.redis.url, folder, allow_private_targets=True) as running:
        check = {
            "id": "web",
            "protocol": "http",
            "port": origins.port,
            "interval": 1,
            "timeout": 1,
            "rise": 1,
            "fall": 1,
        }
        running.post("/health-checks", check)
        running.post("/pools", pool("a", ADDRESS, DEAD, health_checks=["web"]))
        running.post("/pools", pool("unchecked", ADDRESS))
        site.healthd("hz")
        path = f"/pools/a/addresses/{DEAD}/history"
        eventually(lambda: any(one["verdict"] == "down" for one in running.get(path)["items"]))
        yield running


def test_a_vantage_tells_what_it_remembers(admin: Admin) -> None:
    eventually(lambda: admin.get(f"/pools/a/addresses/{ADDRESS}/history")["items"][0]["verdict"] == "up")
    told = admin.get(f"/pools/a/addresses/{ADDRESS}/history")
    assert (told["pool"], told["address"], told["silent"]) == ("a", ADDRESS, [])
    (report,) = told["items"]
    assert (report["check"], report["vantage"], report["error"]) == ("web", "hz", "")
    assert (report["failed"], report["loss"], report["failures"]) == (0, 0, [])
    assert report["probes"] == len(report["results"]) > 0
    assert report["results"][0]["ok"]
    assert 0 < report["latency"] < 1
    assert report["since"] <= report["results"][0]["time"]
    (dead,) = admin.get(f"/pools/a/addresses/{DEAD}/history")["items"]
    assert (dead["verdict"], dead["loss"], dead["latency"]) == ("down", 1, None)
    assert dead["failures"][0]["reason"]


def test_an_address_is_probed_now(admin: Admin) -> None:
    (report,) = admin.post(f"/pools/a/addresses/{ADDRESS}/probe", {}, 200)["items"]
    assert [one["ok"] for one in report["results"]] == [True]
    assert report["lines"]
    (dead,) = admin.post(f"/pools/a/addresses/{DEAD}/probe", {}, 200)["items"]
    assert [one["ok"] for one in dead["results"]] == [False]


def test_what_nothing_probes_is_said(admin: Admin) -> None:
    assert "has no health check" in admin.get(f"/pools/unchecked/addresses/{ADDRESS}/history", 404)["detail"]
    assert "has no address" in admin.get("/pools/a/addresses/192.0.2.1/history", 404)["detail"]
    viewer = admin.post("/tokens", {"name": "v", "role": "viewer"})["token"]
    assert admin.request("POST", f"/pools/a/addresses/{ADDRESS}/probe", {}, token=viewer).status_code == 403
    assert admin.request("GET", f"/pools/a/addresses/{ADDRESS}/history", token=viewer).status_code == 200


def test_a_vantage_that_does_not_reply_is_named(site: Site, admin: Admin) -> None:
    """Another process takes the requests of the vantage and is silent."""
    stopping = threading.Event()
    with site.redis.connect() as client:
        inbox = RequestInbox(client, "hz")

        def swallow() -> None:
            while not stopping.is_set():
                inbox.take()

        thieves = [threading.Thread(target=swallow) for _ in range(4)]
        for thief in thieves:
            thief.start()
        try:
            told = [admin.get(f"/pools/a/addresses/{ADDRESS}/history") for _ in range(3)]
        finally:
            stopping.set()
            for thief in thieves:
                thief.join()
    assert ["hz"] in [one["silent"] for one in told]
    assert all(one["silent"] == ["hz"] or one["items"] for one in told)
