"""Reports for external checks through the API and gtmctl: what is taken, what is told, what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.reports import Reports
from tests.support.api import Admin, emptied, pool
from tests.support.gtmctl import Server, served
from tests.support.redis_server import RedisServer
from tests.support.store import eventually

A1, A2, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"
PATH = "/health-checks/batch/reports"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a")) as running,
        served(running) as started,
    ):
        yield started


@pytest.fixture
def admin(server: Server) -> Admin:
    """With an external check on two pools, and one that is probed on another."""
    admin = emptied(server.admin)
    store(admin).delete(keys.REPORTS)
    admin.post("/health-checks", {"id": "batch", "protocol": "external", "interval": 60})
    admin.post("/health-checks", {"id": "web", "protocol": "http"})
    admin.post("/pools", pool("a", A1, A2, health_checks=["batch"]))
    admin.post("/pools", pool("six", SIX, family="ipv6", health_checks=["batch"]))
    admin.post("/pools", pool("other", "192.0.2.7", health_checks=["web"]))
    return admin


def store(admin: Admin) -> Client:
    return admin.services.follower.repository.client


def up(**fields: Any) -> dict[str, Any]:
    return {"status": "up", "ttl": 60} | fields


def held(admin: Admin) -> set[str]:
    return set(store(admin).hkeys(keys.REPORTS))  # type: ignore[arg-type]


def test_a_report_is_one_write_and_no_configuration(admin: Admin) -> None:
    admin.put(f"{PATH}/{A1}", up())
    before = store(admin).get(keys.REVISION), admin.get("/export"), store(admin).xlen(keys.AUDIT)
    store(admin).config_resetstat()
    told = admin.put(f"{PATH}/{A1}", {"status": "down", "ttl": 30, "reason": "disk full"})
    calls: Any = store(admin).info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 1
    assert (store(admin).get(keys.REVISION), admin.get("/export"), store(admin).xlen(keys.AUDIT)) == before
    assert {name: told[name] for name in ("check", "address", "status", "reason", "ttl", "expired", "counts_as")} == {
        "check": "batch",
        "address": A1,
        "status": "down",
        "reason": "disk full",
        "ttl": 30,
        "expired": False,
        "counts_as": "down",
    }
    again = admin.get(f"{PATH}/{A1}")
    assert again["age"] >= told["age"] == 0
    assert again["time"] == told["time"]
    assert [one["address"] for one in admin.get(PATH)["items"]] == [A1]


def test_an_expired_report_counts_as_the_check_says(admin: Admin) -> None:
    admin.put(f"{PATH}/{A1}", up(ttl=1))
    eventually(lambda: admin.get(f"{PATH}/{A1}")["expired"], seconds=20)
    for policy, counts_as in (("keep", "up"), ("down", "down"), ("up", "up")):
        admin.patch("/health-checks/batch", {"external": {"when_expired": policy}})
        told = admin.get(f"{PATH}/{A1}")
        assert (told["status"], told["counts_as"]) == ("up", counts_as)


def test_many_are_taken_at_once_or_none(admin: Admin) -> None:
    items = [{"address": A1, **up()}, {"address": "2001:DB8:0::1", **up(reason="fine")}]
    assert [one["address"] for one in admin.post(PATH, {"items": items}, 200)["items"]] == [A1, SIX]
    assert held(admin) == {f"batch|{A1}", f"batch|{SIX}"}
    wrong = [
        *items,
        {"address": "192.0.2.77", **up()},
        {"address": A1, **up()},
        {"address": A2, "status": "so", "ttl": 0},
    ]
    refused = admin.post(PATH, {"items": wrong}, 422)
    assert {error["pointer"] for error in refused["errors"]} == {"/items/4/status", "/items/4/ttl"}
    refused = admin.post(PATH, {"items": wrong[:4]}, 422)
    assert [(error["pointer"], error["detail"]) for error in refused["errors"]] == [
        ("/items/2/address", "'192.0.2.77' is in no pool with health check batch"),
        ("/items/3/address", f"'{A1}' is reported twice"),
    ]
    admin.post(f"{PATH}?dry_run=true", {"items": [{"address": A2, **up()}]}, 200)
    assert held(admin) == {f"batch|{A1}", f"batch|{SIX}"}


def test_what_cannot_be_reported_is_said(admin: Admin) -> None:
    assert "there is no health check 'none'" in admin.put(f"/health-checks/none/reports/{A1}", up(), 404)["detail"]
    refused = admin.put("/health-checks/web/reports/192.0.2.7", up(), 409)
    assert refused["detail"] == "health check web is http: only an external one is reported"
    assert "is in no pool with health check batch" in admin.put(f"{PATH}/192.0.2.7", up(), 404)["detail"]
    assert "nothing was reported of 192.0.2.2" in admin.get(f"{PATH}/{A2}", 404)["detail"]
    refused = admin.put(f"{PATH}/{A1}", {"status": "perhaps", "ttl": 1e9, "until": 1}, 422)
    assert {error["pointer"] for error in refused["errors"]} == {"/status", "/ttl", "/until"}


def test_who_may_report(admin: Admin) -> None:
    for role, status in (("viewer", 403), ("operator", 200)):
        token = admin.post("/tokens", {"name": role, "role": role})["token"]
        assert admin.request("PUT", f"{PATH}/{A1}", up(), token=token).status_code == status
    narrow = admin.post("/tokens", {"name": "narrow", "role": "operator", "label": "team=web"})["token"]
    assert admin.request("PUT", f"{PATH}/{A1}", up(), token=narrow).status_code == 403


def test_gtmctl_reports(server: Server, admin: Admin) -> None:
    assert server.run("check", "reports", "batch").err == "nothing was reported for health check batch yet\n"
    done = server.run("report", "batch", A1, "down", "--ttl", "90", "--reason", "disk full")
    assert done.err == f"{A1}: reported down for 90 s\n"
    (row,) = server.run("check", "reports", "batch").rows()
    assert (row[:3], row[5:]) == ([A1, "down", "down"], ["90 s", "no", "disk full"])
    server.run("report", "batch", A1, "up", "--ttl", "90", "--dry-run")
    assert admin.get(f"{PATH}/{A1}")["status"] == "down"
    assert "  --ttl: 0.0 is not allowed" in server.run("report", "batch", A1, "up", "--ttl", "0", ends=5).err
    assert (
        "only an external one is reported" in server.run("report", "web", "192.0.2.7", "up", "--ttl", "9", ends=4).err
    )


def test_another_store_takes_no_report_and_an_old_configuration_removes_none(admin: Admin) -> None:
    admin.put(f"{PATH}/{A1}", up())
    reports = Reports(store(admin))
    at = int(str(store(admin).get(keys.CONFIGURATION_REVISION)))
    assert not reports.purge(at - 1, [("batch", A1)])
    assert held(admin) == {f"batch|{A1}"}
    assert reports.purge(at, [("batch", A1)])
    store_id = str(store(admin).getset(keys.STORE_ID, "another"))
    try:
        problem = admin.put(f"{PATH}/{A1}", up(), 503)
        assert problem["type"].endswith(":foreign-store")
        assert held(admin) == set()
    finally:
        store(admin).set(keys.STORE_ID, store_id)
