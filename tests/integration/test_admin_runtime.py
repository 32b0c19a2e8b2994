"""What operators do at run time: addresses one by one, overrides, switches, previews and the brake."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import PREFIX, Admin, emptied, figure, pool
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


@pytest.fixture(scope="module")
def running(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with Admin(redis.url, tmp_path_factory.mktemp("a")) as running:
        yield running


@pytest.fixture
def admin(running: Admin) -> Admin:
    return emptied(running)


def effective(admin: Admin, instance: str) -> dict[str, str]:
    policies = admin.get(f"/instances/{instance}/status")["policies"]
    return {p["name"]: p["families"]["ipv4"]["effective_set"] for p in policies}


def test_one_address_lives_by_itself(admin: Admin) -> None:
    admin.post("/pools", pool("web", "192.0.2.1"))
    path = "/pools/web/addresses/192.0.2.2"
    made = admin.request("PUT", path, {"weight": 5, "labels": {"site": "hz"}})
    assert (made.status_code, made.headers["Location"]) == (201, PREFIX + path)
    document = {"address": "192.0.2.2", "weight": 5, "mode": "auto", "labels": {"site": "hz"}}
    assert made.get_json() == document
    read = admin.request("GET", path)
    assert (read.get_json(), read.headers["ETag"]) == (document, made.headers["ETag"])
    again = admin.request("PUT", path, document)
    assert (again.status_code, again.headers["ETag"]) == (200, made.headers["ETag"])
    assert admin.request("PUT", path, {"weight": 6}).status_code == 428
    changed = admin.request("PATCH", path, {"mode": "offline"}, headers={"If-Match": made.headers["ETag"]})
    assert changed.get_json() == document | {"mode": "offline"}
    assert admin.request("PATCH", path, {"weight": 1}, headers={"If-Match": made.headers["ETag"]}).status_code == 412
    tag = changed.headers["ETag"]
    admin.put("/pools/web/addresses/192.0.2.1", {"weight": 2})
    assert admin.request("GET", path).headers["ETag"] == tag
    assert [a["address"] for a in admin.get("/pools/web")["addresses"]] == ["192.0.2.1", "192.0.2.2"]
    assert admin.request("DELETE", path).status_code == 428
    admin.delete(path)
    assert admin.delete(path, 404)["status"] == 404
    assert [a["address"] for a in admin.get("/pools/web")["addresses"]] == ["192.0.2.1"]


def test_addresses_have_one_form_in_paths(admin: Admin) -> None:
    admin.post("/pools", pool("six", family="ipv6"))
    made = admin.request("PUT", "/pools/six/addresses/2001:DB8::0:1", {})
    assert made.get_json()["address"] == "2001:db8::1"
    assert made.headers["Location"] == f"{PREFIX}/pools/six/addresses/2001%3Adb8%3A%3A1"
    assert admin.get("/pools/six/addresses/2001%3Adb8%3A0%3A%3A1")["address"] == "2001:db8::1"


@pytest.mark.parametrize(
    ("address", "body", "pointer", "detail"),
    [
        ("192.0.2.9", {"weight": -1}, "/weight", "-1 is not allowed: must be a whole number from 0 to 1000"),
        ("2001:db8::1", {}, "/address", "'2001:db8::1' is an IPv6 address, the pool's type is ipv4"),
        ("nope", {}, "/address", "'nope' is no IPv4 address"),
        ("192.0.2.9", {"address": "192.0.2.8"}, "/address", "'192.0.2.8' is not the address in the path, '192.0.2.9'"),
        (
            "192.0.2.9",
            {"wieght": 1},
            "/wieght",
            "unknown field 'wieght', did you mean 'weight'? Allowed are address, weight, mode, labels",
        ),
        ("192.0.2.9", 5, "", "5 is not allowed: must be an object with address, weight, mode, labels"),
    ],
)
def test_bad_addresses(admin: Admin, address: str, body: Any, pointer: str, detail: str) -> None:
    admin.post("/pools", pool("web", "192.0.2.1"))
    refused = admin.request("PUT", f"/pools/web/addresses/{address}", body)
    assert (refused.status_code, refused.get_json()["errors"]) == (422, [{"pointer": pointer, "detail": detail}])


def test_a_pool_holds_a_thousand_addresses_however_they_come(admin: Admin) -> None:
    many = [f"198.51.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    admin.post("/pools", pool("full", *many))
    refused = admin.request("PUT", "/pools/full/addresses/192.0.2.1", {})
    assert refused.status_code == 422
    assert "at most 1000 items" in refused.get_json()["errors"][0]["detail"]
    assert len(admin.get("/pools/full")["addresses"]) == 1000


def test_an_override_tells_what_it_does_and_undoes_itself(admin: Admin) -> None:
    made = figure(admin)
    answer = admin.request(
        "POST", "/overrides", {"selector": {"pool": "pool-a"}, "effect": "offline", "reason": "patching"}
    )
    override = answer.get_json()
    assert answer.headers["Location"] == f"{PREFIX}/overrides/{override['id']}"
    assert override["owner"] == "bootstrap"
    assert datetime.fromisoformat(override["created"]) <= datetime.now(UTC) + timedelta(seconds=1)
    assert override["preview"] == [
        {
            "instance": made["id"],
            "instance_name": "shop",
            "policy": "mainland",
            "family": "ipv4",
            "before": {"rule": "set", "policy": "mainland", "set": "default"},
            "after": {"rule": "set", "policy": "mainland", "set": "failover"},
        }
    ]
    assert effective(admin, made["id"]) == {"mainland": "failover", "world": "default"}
    status = admin.get(f"/instances/{made['id']}/status")
    assert status["request_status"] == "error"
    assert [o["id"] for o in status["overrides"]] == [override["id"]]
    address = next(p for p in status["pools"] if p["id"] == "pool-a")["addresses"][0]
    assert (address["availability"], address["override"]) == ("offline", override["id"])
    assert address["reason"] == f"override {override['id']}: offline (patching)"
    read = admin.request("GET", f"/overrides/{override['id']}")
    admin.request("DELETE", f"/overrides/{override['id']}", headers={"If-Match": read.headers["ETag"]})
    assert effective(admin, made["id"]) == {"mainland": "default", "world": "default"}
    assert admin.get("/overrides")["items"] == []


def test_overrides_select_by_label_and_address(admin: Admin) -> None:
    figure(admin)
    labelled = {"id": "site", "type": "ipv4", "addresses": [{"address": "192.0.2.7", "labels": {"site": "hz"}}]}
    admin.post("/pools", labelled)
    by_label = admin.post("/overrides", {"selector": {"label": "site=hz"}, "effect": "offline"})
    assert admin.get("/pools/site/status")["addresses"][0]["availability"] == "offline"
    by_address = admin.post("/overrides", {"selector": {"pool": "site", "address": "192.0.2.7"}, "effect": "online"})
    assert admin.get("/pools/site/status")["addresses"][0]["availability"] == "up"
    assert [o["id"] for o in admin.get("/overrides?effect=online")["items"]] == [by_address["id"]]
    assert [o["id"] for o in admin.get("/overrides?label=site=hz")["items"]] == [by_label["id"]]
    assert {o["id"] for o in admin.get("/pools/site/status")["overrides"]} == {by_label["id"], by_address["id"]}


@pytest.mark.parametrize(
    ("body", "pointer", "part"),
    [
        ({"selector": {}, "effect": "offline"}, "/selector", "selects nothing"),
        ({"selector": {"pool": "nope"}, "effect": "offline"}, "/selector/pool", "there is no pool 'nope'"),
        (
            {"selector": {"pool": "pool-a", "address": "192.0.2.9"}, "effect": "offline"},
            "/selector/address",
            "is no address of pool",
        ),
        (
            {"selector": {"label": "site"}, "effect": "offline"},
            "/selector/label",
            "'site' is not of the form key=value",
        ),
        ({"selector": {"pool": "pool-a"}, "effect": "gone"}, "/effect", "must be one of 'offline', 'online', 'failed'"),
        (
            {"selector": {"pool": "pool-a"}, "effect": "offline", "until": "2001-01-01T00:00:00Z"},
            "/until",
            "is over: the store's clock says",
        ),
        (
            {"selector": {"pool": "pool-a"}, "effect": "offline", "until": "2999-01-01T00:00:00"},
            "/until",
            "needs a time zone",
        ),
        ({"selector": {"pool": "pool-a"}, "effect": "offline", "id": "mine"}, "/id", "is generated: leave it out"),
        (
            {"selector": {"instance": "gtm1", "policy": "p"}, "effect": "pin", "set": "x"},
            "/selector/instance",
            "there is no instance 'gtm1'",
        ),
    ],
)
def test_bad_overrides(admin: Admin, body: dict[str, Any], pointer: str, part: str) -> None:
    figure(admin)
    errors = admin.post("/overrides", body, 422)["errors"]
    assert [error["pointer"] for error in errors] == [pointer]
    assert part in errors[0]["detail"]


def test_the_end_of_an_override_is_told_in_utc(admin: Admin) -> None:
    figure(admin)
    body = {"selector": {"pool": "pool-a"}, "effect": "online", "until": "2999-01-01T08:00:00+08:00"}
    assert admin.post("/overrides", body)["until"] == "2999-01-01T00:00:00Z"


def test_the_brake_holds_unless_forced(admin: Admin) -> None:
    made = figure(admin)
    admin.post("/overrides", {"selector": {"pool": "pool-b"}, "effect": "offline"})
    last = {"selector": {"pool": "pool-c"}, "effect": "offline"}
    refused = admin.post("/overrides", last, 409)
    assert refused["type"] == "urn:pdns-gtm:problem:brake"
    assert "shop/world (ipv4)" in refused["detail"]
    assert admin.post("/overrides?dry_run=true", last, 409)["preview"]
    forced = admin.post("/overrides?force=true", last)
    assert [e["policy"] for e in forced["preview"]] == ["world"]
    assert effective(admin, made["id"]) == {"mainland": "default", "world": None}


def test_a_policy_is_pinned_released_and_sent_back(admin: Admin) -> None:
    made = figure(admin)
    path = f"/instances/{made['id']}/policies/mainland/switch"
    pinned = admin.post(path, {"mode": "pinned", "set": "failover", "reason": "test"}, 200)
    assert (pinned["mode"], pinned["set"], pinned["override"]["effect"]) == ("pinned", "failover", "pin")
    assert pinned["status"]["families"]["ipv4"]["effective_set"] == "failover"
    assert pinned["status"]["families"]["ipv4"]["reason"] == "pinned by bootstrap: test"
    assert pinned["status"]["families"]["ipv4"]["since"] is not None
    again = admin.post(path, {"mode": "pinned", "set": "failover", "reason": "test"}, 200)
    assert again["override"] == pinned["override"]
    assert len(admin.get("/overrides")["items"]) == 1
    refused = admin.post(path, {"mode": "failback"}, 409)
    assert refused["detail"] == "policy mainland is pinned to failover: send mode auto first"
    other = admin.post(path, {"mode": "pinned", "set": "default"}, 200)
    assert [o["id"] for o in admin.get("/overrides")["items"]] == [other["override"]["id"]]
    released = admin.post(path, {"mode": "auto"}, 200)
    assert (released["mode"], released["set"], released["override"]) == ("auto", None, None)
    assert admin.get("/overrides")["items"] == []
    assert admin.post(path, {"mode": "auto"}, 200)["preview"] == []
    back = admin.post(path, {"mode": "failback"}, 200)
    assert (back["mode"], back["override"]["effect"]) == ("auto", "failback")
    switches = [e for e in admin.get("/audit")["items"] if e["action"] == "switch"]
    assert [e["after"]["mode"] for e in switches] == ["pinned", "pinned", "auto", "failback"]
    assert switches[0]["before"] == {"policy": "mainland", "mode": "auto", "set": None}


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"mode": "pinned"}, "/set", "is required for mode 'pinned': one of default, failover"),
        ({"mode": "pinned", "set": "x"}, "/set", "'x' is no set of policy mainland: one of default, failover"),
        ({"mode": "auto", "set": "default"}, "/set", "goes with mode 'pinned', not with 'auto'"),
        ({"mode": "on"}, "/mode", "'on' is not allowed: must be one of 'auto', 'pinned', 'failback'"),
        ({}, "/mode", "is required: one of 'auto', 'pinned', 'failback'"),
    ],
)
def test_bad_switches(admin: Admin, body: dict[str, Any], pointer: str, detail: str) -> None:
    made = figure(admin)
    refused = admin.post(f"/instances/{made['id']}/policies/mainland/switch", body, 422)
    assert refused["errors"] == [{"pointer": pointer, "detail": detail}]


def test_switches_of_what_is_not_there(admin: Admin) -> None:
    made = figure(admin)
    body = {"mode": "auto"}
    assert admin.post("/instances/gtm00000000/policies/mainland/switch", body, 404)["status"] == 404
    told = admin.post(f"/instances/{made['id']}/policies/nope/switch", body, 404)["detail"]
    assert told == "instance shop has no policy 'nope': it has mainland, world"
