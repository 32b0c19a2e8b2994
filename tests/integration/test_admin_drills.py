"""Drills, copies and quotas through the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.admin.problems import TYPE_PREFIX
from tests.support.api import Admin, emptied, figure, policy, pool
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


@pytest.fixture(scope="module")
def running(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with Admin(redis.url, tmp_path_factory.mktemp("a")) as started:
        yield started


@pytest.fixture
def admin(running: Admin) -> Admin:
    return emptied(running)


def drill(admin: Admin, *selectors: dict[str, str], **more: Any) -> Any:
    return admin.post("/drills", {"name": "lost", "selectors": list(selectors), **more})


def effective(admin: Admin, instance: Any) -> dict[str, str]:
    status = admin.get(f"/instances/{instance['id']}/status")
    return {one["name"]: one["families"]["ipv4"]["effective_set"] for one in status["policies"]}


def test_a_drill_is_previewed_executed_and_rolled_back(admin: Admin) -> None:
    shop = figure(admin)
    made = drill(admin, {"pool": "pool-a"}, reason="exercise")
    assert (made["state"], made["owner"], made["executed"]) == ("unexecuted", "bootstrap", None)
    path = f"/drills/{made['id']}"
    switches = [
        {
            "instance": shop["id"],
            "instance_name": "shop",
            "policy": "mainland",
            "family": "ipv4",
            "before": {"rule": "set", "policy": "mainland", "set": "default"},
            "after": {"rule": "set", "policy": "mainland", "set": "failover"},
        }
    ]
    assert admin.get(f"{path}/preview") == {"preview": switches}
    assert effective(admin, shop) == {"mainland": "default", "world": "default"}

    done = admin.post(f"{path}/execute", {}, 200)
    assert (done["state"], done["preview"]) == ("executed", switches)
    assert done["executed"] >= made["created"]
    assert effective(admin, shop) == {"mainland": "failover", "world": "default"}
    (override,) = admin.get(f"/overrides?drill={made['id']}")["items"]
    assert (override["effect"], override["selector"]["pool"]) == ("failed", "pool-a")
    assert (override["reason"], override["drill"]) == ("drill lost: exercise", made["id"])
    assert admin.get(f"{path}/preview")["preview"][0]["after"]["set"] == "default"

    for request in (("POST", f"{path}/execute", {}), ("PATCH", path, {"name": "x"}), ("DELETE", path, None)):
        refused = admin.request(*request, headers={"If-Match": "*"})
        assert (refused.status_code, refused.get_json()["type"]) == (409, TYPE_PREFIX + "conflict")

    back = admin.post(f"{path}/rollback", {}, 200)
    assert (back["state"], back["executed"]) == ("rolled_back", done["executed"])
    assert back["rolled_back"] >= back["executed"]
    assert effective(admin, shop) == {"mainland": "default", "world": "default"}
    assert admin.get("/overrides")["items"] == []
    assert admin.post(f"{path}/rollback", {}, 409)["detail"].startswith("drill lost is rolled back")
    again = admin.post(f"{path}/execute", {}, 200)
    assert again["executed"] >= back["rolled_back"]
    actions = [entry["action"] for entry in admin.get(f"/audit?object={made['id']}")["items"]]
    assert actions == ["create", "execute", "rollback", "execute"]


def test_a_drill_that_leaves_nothing_must_be_forced(admin: Admin) -> None:
    figure(admin)
    made = drill(admin, {"pool": "pool-a"}, {"address": "192.0.2.3"}, {"pool": "pool-b"})
    refused = admin.post(f"/drills/{made['id']}/execute", {}, 409)
    assert refused["type"] == TYPE_PREFIX + "brake"
    assert {(one["policy"], one["after"]["rule"]) for one in refused["preview"]} == {
        ("mainland", "fail_open"),
        ("world", "fail_open"),
    }
    assert admin.get("/overrides")["items"] == []
    dry = admin.post(f"/drills/{made['id']}/execute?force=true&dry_run=true", {}, 200)
    assert len(dry["preview"]) == 2
    assert admin.get(f"/drills/{made['id']}")["state"] == "unexecuted"
    assert admin.post(f"/drills/{made['id']}/execute?force=true", {}, 200)["state"] == "executed"
    assert len(admin.get("/overrides")["items"]) == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "x"}, ["/selectors"]),
        ({"name": "x", "selectors": []}, ["/selectors"]),
        ({"name": "x", "selectors": [{}]}, ["/selectors/0"]),
        ({"name": "x", "selectors": [{"pool": "nope"}]}, ["/selectors/0/pool"]),
        ({"name": "x", "selectors": [{"address": "192.0.2.99"}]}, ["/selectors/0/address"]),
        ({"name": "x", "selectors": [{"label": "site"}]}, ["/selectors/0/label"]),
        ({"name": "x", "selectors": [{"instance": "i", "policy": "p"}]}, ["/selectors/0", "/selectors/0"]),
        ({"name": "x", "selectors": [{"pool": "pool-a"}, {"pool": "pool-a"}]}, ["/selectors/1"]),
        ({"name": "x", "selectors": [{"pool": "pool-a"}], "state": "executed", "id": "d"}, ["/id", "/state"]),
    ],
)
def test_drills_that_cannot_be(admin: Admin, body: Any, expected: list[str]) -> None:
    figure(admin)
    refused = admin.post("/drills", body, 422)
    assert [error["pointer"] for error in refused["errors"]][: len(expected)] == expected


def test_a_drill_changes_and_goes(admin: Admin) -> None:
    figure(admin)
    made = drill(admin, {"pool": "pool-a"})
    path = f"/drills/{made['id']}"
    tag = admin.request("GET", path).headers["ETag"]
    assert admin.request("PATCH", path, {"name": "other"}).status_code == 428
    assert admin.request("PATCH", path, {"name": "other"}, headers={"If-Match": tag}).status_code == 200
    assert admin.request("PATCH", path, {"name": "more"}, headers={"If-Match": tag}).status_code == 412
    assert [one["name"] for one in admin.get("/drills?state=unexecuted")["items"]] == ["other"]
    assert admin.get("/drills?state=executed")["items"] == []
    admin.delete("/instances/" + admin.get("/instances")["items"][0]["id"])
    admin.delete("/pools/pool-a")
    assert admin.post(f"{path}/execute", {}, 422)["errors"][0]["pointer"] == "/selectors/0/pool"
    admin.delete(path)
    admin.get(path, 404)


def test_who_may_drill(admin: Admin) -> None:
    figure(admin)
    made = drill(admin, {"pool": "pool-a"})
    expected = {"viewer": 403, "operator": 200}
    for role, status in expected.items():
        token = admin.post("/tokens", {"name": role, "role": role})["token"]
        assert admin.request("POST", f"/drills/{made['id']}/execute", {}, token=token).status_code == status
        assert admin.request("GET", f"/drills/{made['id']}/preview", token=token).status_code == 200
    labelled = admin.post("/tokens", {"name": "l", "role": "admin", "label": "team=x"})["token"]
    for verb, path in (
        ("GET", "/drills"),
        ("GET", f"/drills/{made['id']}"),
        ("POST", f"/drills/{made['id']}/rollback"),
    ):
        assert admin.request(verb, path, {} if verb == "POST" else None, token=labelled).status_code == 403
    chosen = {"selector": {"pool": "pool-a"}, "effect": "failed", "drill": "d"}
    assert admin.post("/overrides", chosen, 422)["errors"][0]["pointer"] == "/drill"


def test_a_copy_is_an_instance_of_its_own(admin: Admin) -> None:
    admin.post("/zones", {"name": "shop.example"})
    shop = figure(admin, names=["www.shop.example"], service_domains=["a.example"], labels={"team": "x"}, ttl=30)
    made = admin.post(f"/instances/{shop['id']}/copy", {"name": "shop-2"})
    assert made["id"] != shop["id"]
    assert made["cname"] == f"{made['id']}.gtm.example"
    assert (made["names"], made["service_domains"]) == ([], [])
    own = ("id", "name", "cname", "names", "service_domains")
    assert {k: v for k, v in made.items() if k not in own} == {k: v for k, v in shop.items() if k not in own}
    assert admin.post(f"/instances/{shop['id']}/copy", {"name": "shop"}, 422)["errors"][0]["pointer"] == "/name"
    assert admin.post(f"/instances/{shop['id']}/copy", {}, 422)["errors"][0]["pointer"] == "/name"
    admin.post("/instances/nope/copy", {"name": "x"}, 404)
    assert len(admin.get("/instances")["items"]) == 2


def test_an_instance_that_is_disabled_answers_nodata_until_it_is_enabled(admin: Admin) -> None:
    shop = figure(admin)
    ask = f"/simulate?name={shop['cname']}&type=A&client=8.8.8.8"
    assert admin.get(ask)["answer"]["records"] == ["192.0.2.2"]
    admin.patch(f"/instances/{shop['id']}", {"enabled": False})
    assert admin.get(ask)["answer"]["records"] == []
    admin.patch(f"/instances/{shop['id']}", {"enabled": True})
    assert admin.get(ask)["answer"]["records"] == ["192.0.2.2"]


def test_quotas(redis: RedisServer, tmp_path: Path) -> None:
    limits = {"instances": 1, "pools_per_instance": 2, "addresses_per_pool": 2, "alerts": 1}
    settings = {f"quota_{name}": limit for name, limit in limits.items()} | {"shortest_interval": 5}
    with RedisServer(tmp_path / "r") as own, Admin(own.url, tmp_path, **settings) as admin:
        for name in ("a", "b", "c"):
            admin.post("/pools", pool(name, "192.0.2.1", "192.0.2.2"))
        made = admin.post("/instances", {"name": "one", "policies": [policy("w", ["default"], "a", "b")]})
        alert = {"id": "one", "channel": "webhook", "webhook": {"url": "https://192.0.2.9/"}}
        admin.post("/alerts", alert)
        three = [policy("w", ["default"], "a", "b", "c")]
        over = {
            "GTM_QUOTA_INSTANCES": ("POST", "/instances", {"name": "two", "policies": [policy("w", ["default"], "a")]}),
            "GTM_QUOTA_POOLS_PER_INSTANCE": ("PATCH", f"/instances/{made['id']}", {"policies": three}),
            "GTM_QUOTA_ADDRESSES_PER_POOL": ("PUT", "/pools/a/addresses/192.0.2.3", {}),
            "GTM_QUOTA_ALERTS": ("POST", "/alerts", alert | {"id": "two"}),
            "GTM_SHORTEST_INTERVAL": ("PUT", "/health-checks/q", {"protocol": "http", "fast_interval": 1}),
        }
        for quota, (verb, path, body) in over.items():
            refused = admin.request(verb, path, body, headers={"If-Match": "*"} if verb == "PATCH" else {})
            problem = refused.get_json()
            assert (refused.status_code, problem["type"], problem.get("quota")) == (403, TYPE_PREFIX + "quota", quota)
            assert problem["wanted"] != problem["limit"]
        assert admin.post(f"/instances/{made['id']}/copy", {"name": "two"}, 403)["quota"] == "GTM_QUOTA_INSTANCES"
        file = admin.get("/export")
        file["pools"][2]["addresses"] *= 1
        file["pools"].append(pool("d", "192.0.2.1", "192.0.2.2", "192.0.2.3"))
        assert admin.post("/apply", file, 403)["quota"] == "GTM_QUOTA_ADDRESSES_PER_POOL"
        admin.post("/health-checks", {"id": "q", "protocol": "http", "interval": 20})
        admin.put("/pools/a/addresses/192.0.2.2", {"weight": 3})


def test_what_is_over_a_quota_already_may_become_less(redis: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "r") as own:
        with Admin(own.url, tmp_path) as free:
            free.post("/pools", pool("a", *(f"192.0.2.{n}" for n in range(1, 6))))
        with Admin(own.url, tmp_path, quota_addresses_per_pool=2) as admin:
            admin.delete("/pools/a/addresses/192.0.2.1")
            admin.patch("/pools/a", {"strategy": "weighted"})
            admin.request("PUT", "/pools/a/addresses/192.0.2.9", {})
            assert len(admin.get("/pools/a")["addresses"]) == 4
