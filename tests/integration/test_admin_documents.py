"""Create, read, change and delete everything that operators configure, by HTTP on a real Redis."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import PREFIX, Admin, emptied, figure, policy, pool
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


SAMPLES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("pools", pool("pool-x", "192.0.2.1"), {"strategy": "weighted"}, {"max_answers": None, "require": "all"}),
    ("health-checks", {"id": "web", "protocol": "http"}, {"interval": 5}, {"port": None, "fall": 3, "rise": 2}),
    (
        "alerts",
        {"id": "ops", "channel": "webhook", "webhook": {"url": "https://192.0.2.9/hook"}},
        {"give_up_after": 60},
        {"enabled": True, "kinds": None, "secrets": {}},
    ),
    ("lines", {"id": "telecom", "members": ["AS-CN"]}, {"name": "Telecom"}, {}),
]


@pytest.mark.parametrize(("kind", "body", "change", "defaults"), SAMPLES)
def test_the_life_of_an_object(
    admin: Admin, kind: str, body: dict[str, Any], change: dict[str, Any], defaults: dict[str, Any]
) -> None:
    made = admin.request("POST", f"/{kind}", body)
    assert made.status_code == 201
    location = f"{PREFIX}/{kind}/{body['id']}"
    assert made.headers["Location"] == location
    document = made.get_json()
    assert {name: document[name] for name in defaults} == defaults
    assert document["id"] == body["id"]
    read = admin.request("GET", f"/{kind}/{body['id']}")
    assert (read.get_json(), read.headers["ETag"]) == (document, made.headers["ETag"])

    patched = admin.request("PATCH", f"/{kind}/{body['id']}", change, headers={"If-Match": made.headers["ETag"]})
    assert patched.status_code == 200
    assert patched.get_json() == document | change
    assert patched.headers["ETag"] != made.headers["ETag"]

    replaced = admin.put(f"/{kind}/{body['id']}", body)
    assert replaced == document
    assert admin.get(f"/{kind}")["items"] == [document]
    admin.delete(f"/{kind}/{body['id']}")
    assert admin.get(f"/{kind}/{body['id']}", 404)["status"] == 404
    assert admin.get(f"/{kind}") == {"items": [], "next": None}


@pytest.mark.parametrize("header", ['""', 'W/"8", "", W/"@8C"', "x", ","])
def test_an_if_match_that_names_no_version_matches_nothing(admin: Admin, header: str) -> None:
    admin.post("/pools", pool("pool-a", "192.0.2.1"))
    refused = admin.request("DELETE", "/pools/pool-a", headers={"If-Match": header})
    assert refused.status_code == 412
    admin.get("/pools/pool-a")


@pytest.mark.parametrize(("kind", "body"), [(kind, body) for kind, body, _, _ in SAMPLES])
def test_put_makes_what_is_not_there(admin: Admin, kind: str, body: dict[str, Any]) -> None:
    without_id = {name: value for name, value in body.items() if name != "id"}
    made = admin.request("PUT", f"/{kind}/{body['id']}", without_id, headers={"If-None-Match": "*"})
    assert (made.status_code, made.headers["Location"]) == (201, f"{PREFIX}/{kind}/{body['id']}")
    again = admin.request("PUT", f"/{kind}/{body['id']}", without_id, headers={"If-None-Match": "*"})
    assert again.status_code == 412
    other = admin.request("PUT", f"/{kind}/other", body)
    assert [error["pointer"] for error in other.get_json()["errors"]] == ["/id"]


def test_an_instance_gets_its_id_and_name_and_keeps_them(admin: Admin) -> None:
    made = figure(admin)
    assert len(made["id"]) == 11
    assert made["id"].startswith("gtm")
    assert made["id"][3:].isdecimal()
    assert made["cname"] == f"{made['id']}.gtm.example"
    assert [s["name"] for s in made["policies"][0]["pool_sets"]] == ["default", "failover"]
    path = f"/instances/{made['id']}"
    renamed = admin.put(path, {**made, "name": "mall"})
    assert renamed == {**made, "name": "mall"}
    short = {"name": "mall", "policies": made["policies"]}
    assert admin.put(path, short) == renamed
    disabled = admin.patch(path, {"enabled": False})
    assert disabled == {**renamed, "enabled": False}
    for field, value in (("id", "gtm00000001"), ("cname", "other.gtm.example")):
        refused = admin.patch(path, {field: value}, 422)
        kept = made[field]
        detail = f"{value!r} is not allowed: it is {kept!r} and cannot be changed"
        assert refused["errors"] == [{"pointer": f"/{field}", "detail": detail}]
        chosen = admin.post("/instances", {**short, "name": "second", field: value}, 422)
        detail = f"{value!r} is not allowed: it is generated, leave it out"
        assert chosen["errors"] == [{"pointer": f"/{field}", "detail": detail}]
    admin.delete(path)
    assert admin.put(path, short, 404)["type"].endswith("not-found")


def test_an_id_is_never_given_again(admin: Admin, redis: RedisServer) -> None:
    made = figure(admin)
    admin.delete(f"/instances/{made['id']}")
    with redis.connect() as client:
        assert client.sismember("{gtm}:instance-ids", made["id"])


def test_a_dry_run_tells_and_writes_nothing(admin: Admin, redis: RedisServer) -> None:
    made = figure(admin)
    with redis.connect() as client:
        revision = client.get("{gtm}:revision")
        ids = client.scard("{gtm}:instance-ids")
        body = {"name": "new", "policies": [policy("world", ["default"], "pool-a")]}
        told = admin.request("POST", "/instances?dry_run=true", body)
        assert (told.status_code, told.headers.get("Location")) == (200, None)
        assert (told.get_json()["id"], told.get_json()["name"]) == ("", "new")
        assert admin.post("/instances?dry_run=true", {"name": "new"}, 422)["errors"][0]["pointer"] == "/policies"
        path = f"/instances/{made['id']}"
        assert admin.patch(path + "?dry_run=true", {"ttl": 5})["ttl"] == 5
        assert admin.put(path + "?dry_run=true", {**made, "ttl": 6})["ttl"] == 6
        assert admin.delete(path + "?dry_run=true", 200) == {}
        assert admin.delete("/pools/pool-a?dry_run=true", 409)["users"][0]["name"] == "shop"
        assert admin.put("/pools/pool-a/addresses/192.0.2.9?dry_run=true", {}, 412)
        assert admin.request("PUT", "/pools/pool-a/addresses/192.0.2.9?dry_run=true", {}).status_code == 200
        assert admin.post("/overrides?dry_run=true", {"selector": {"pool": "pool-a"}, "effect": "offline"}, 200)[
            "preview"
        ]
        assert "token" not in admin.post("/tokens?dry_run=true", {"name": "ci", "role": "viewer"}, 200)
        assert admin.post(f"{path}/policies/world/switch?dry_run=true", {"mode": "pinned", "set": "failover"}, 200)
        assert (client.get("{gtm}:revision"), client.scard("{gtm}:instance-ids")) == (revision, ids)
    assert admin.get(path) == made


def test_what_changes_nothing_writes_nothing(admin: Admin, redis: RedisServer) -> None:
    made = figure(admin)
    path = f"/instances/{made['id']}"
    tag = admin.request("GET", path).headers["ETag"]
    with redis.connect() as client:
        revision = client.get("{gtm}:revision")
        same = admin.request("PUT", path, made, headers={"If-Match": tag})
        assert (same.status_code, same.headers["ETag"]) == (200, tag)
        assert client.get("{gtm}:revision") == revision


def test_what_is_in_use_stays(admin: Admin) -> None:
    admin.post("/health-checks", {"id": "web", "protocol": "http"})
    admin.post("/lines", {"id": "telecom", "members": ["AS-CN"]})
    admin.post("/pools", pool("pool-a", "192.0.2.1", health_checks=["web"]))
    policies = [policy("cn", ["line:telecom"], "pool-a"), policy("world", ["default"], "pool-a")]
    made = admin.post("/instances", {"name": "shop", "policies": policies})
    by_instance = [{"kind": "instances", "id": made["id"], "name": "shop"}]
    for path, users in (
        ("/pools/pool-a", by_instance),
        ("/lines/telecom", by_instance),
        ("/health-checks/web", [{"kind": "pools", "id": "pool-a", "name": "pool-a"}]),
    ):
        refused = admin.delete(path, 409)
        assert (refused["type"], refused["users"]) == ("urn:pdns-gtm:problem:in-use", users)
    for path in (f"/instances/{made['id']}", "/pools/pool-a", "/lines/telecom", "/health-checks/web"):
        admin.delete(path)


def test_what_goes_with_an_instance_policy_or_pool(admin: Admin) -> None:
    made = figure(admin)
    path = f"/instances/{made['id']}"
    for name in ("mainland", "world"):
        admin.post(f"{path}/policies/{name}/switch", {"mode": "pinned", "set": "failover"}, 200)
    admin.post("/overrides", {"selector": {"pool": "pool-c", "address": "192.0.2.3"}, "effect": "online"})
    only_world = admin.patch(path, {"policies": made["policies"][1:]})
    assert [w["detail"].split(",")[1].strip() for w in only_world["warnings"]] == ["pin"]
    left = admin.get("/overrides")["items"]
    assert sorted(str(o["selector"]["policy"]) for o in left) == ["None", "world"]
    changed = admin.patch(path, {"policies": [policy("world", ["default"], "pool-b")]})
    assert [o["effect"] for o in admin.get("/overrides")["items"]] == ["online"], changed
    admin.delete("/pools/pool-c")
    assert admin.get("/overrides")["items"] == []


def test_zones_and_their_records(admin: Admin) -> None:
    zone = admin.post("/zones", {"name": "Shop.Example."})
    assert zone == {"name": "shop.example", "kind": "hosted", "number": zone["number"], "serial": 1}
    assert zone["number"] > 1
    path = "/zones/shop.example/rrsets"
    made = admin.request("PUT", f"{path}/mail.shop.example/MX", {"records": ["10 mx.example.net."], "ttl": 300})
    assert (made.status_code, made.headers["Location"]) == (201, f"{PREFIX}{path}/mail.shop.example/MX")
    assert made.get_json()["records"] == ["10 mx.example.net"]
    soa = "ns1.shop.example. host.shop.example. 7 3600 600 86400 60"
    assert admin.request("PUT", f"{path}/shop.example/SOA", {"records": [soa]}).status_code == 201
    assert admin.get("/zones/shop.example")["serial"] == 7
    assert admin.put(f"{path}/mail.shop.example/mx", {"records": ["20 mx.example.net"], "ttl": 60})["ttl"] == 60
    assert admin.get(f"{path}/shop.example/SOA")["records"] == [
        "ns1.shop.example host.shop.example 8 3600 600 86400 60"
    ]
    assert [r["type"] for r in admin.get(path)["items"]] == ["MX", "SOA"]
    refused = admin.put("/zones/shop.example", {"number": 9, "serial": 5, "kind": "access"}, 422)
    assert [error["pointer"] for error in refused["errors"]] == ["/kind", "/number", "/serial"]
    admin.delete(f"{path}/mail.shop.example/MX")
    admin.delete("/zones/shop.example")
    assert admin.get(path, 404)["status"] == 404
    assert admin.post("/zones", {"name": "shop.example"})["number"] > zone["number"]
    assert admin.get(path)["items"] == []


def test_records_that_cannot_be(admin: Admin) -> None:
    admin.post("/pools", pool("pool-a", "192.0.2.1"))
    admin.post("/zones", {"name": "shop.example"})
    made = admin.post(
        "/instances",
        {"name": "shop", "names": ["www.shop.example"], "policies": [policy("world", ["default"], "pool-a")]},
    )
    path = "/zones/shop.example/rrsets"
    admin.request("PUT", f"{path}/txt.shop.example/TXT", {"records": ['"x"']})
    admin.request("PUT", f"{path}/alias.shop.example/CNAME", {"records": ["other.example"]})
    for place, body, pointer, part in (
        ("a.shop.example/A", {"records": ["x"]}, "/records/0", "'x' is no A record"),
        ("a.shop.example/A", {"records": []}, "/records", "a list of 0 is not allowed"),
        ("a.shop.example/A", {"records": ["192.0.2.1"], "ttl": -1}, "/ttl", "-1 is not allowed"),
        ("a.shop.example/A", {"name": "b.shop.example", "records": ["192.0.2.1"]}, "/name", "is not that of the path"),
        ("other.example/A", {"records": ["192.0.2.1"]}, "/name", "is not in zone shop.example"),
        ("a.shop.example/NOPE", {"records": ["x"]}, "/type", "is no record type"),
        ("a.shop.example/ANY", {"records": ["x"]}, "/type", "is no type that a zone holds as data"),
        ("a.shop.example/RRSIG", {"records": ["x"]}, "/type", "is no type that a zone holds as data"),
        ("a.shop.example/CNAME", {"records": ["x.example", "y.example"]}, "/records", "has one CNAME at most"),
        ("shop.example/CNAME", {"records": ["x.example"]}, "/type", "cannot be at the apex"),
        ("a.shop.example/SOA", {"records": ["a b 1 2 3 4 5"]}, "/type", "is at the apex of a zone only"),
        ("txt.shop.example/CNAME", {"records": ["x.example"]}, "/type", "cannot be beside other records (TXT)"),
        ("alias.shop.example/TXT", {"records": ['"x"']}, "/type", "cannot be beside the CNAME record"),
        ("www.shop.example/A", {"records": ["192.0.2.1"]}, "/type", f"would conflict with instance {made['id']}"),
        ("www.shop.example/CNAME", {"records": ["x.example"]}, "/type", f"conflict with instance {made['id']}"),
        (f"{'a' * 64}.shop.example/A", {"records": ["192.0.2.1"]}, "/name", "is no domain name"),
    ):
        refused = admin.request("PUT", f"{path}/{place}", body)
        assert refused.status_code == 422, place
        errors = refused.get_json()["errors"]
        assert any(error["pointer"] == pointer and part in error["detail"] for error in errors), (place, errors)
    assert admin.request("PUT", f"{path}/www.shop.example/TXT", {"records": ['"beside"']}).status_code == 201
    for rrtype in ("NS", "SOA"):
        body = {"records": ["ns9.example"] if rrtype == "NS" else ["a b 1 2 3 4 5"]}
        access = admin.request("PUT", f"/zones/gtm.example/rrsets/gtm.example/{rrtype}", body)
        assert "comes from GTM_NAMESERVERS" in access.get_json()["errors"][0]["detail"]
    glue = admin.request("PUT", "/zones/gtm.example/rrsets/ns1.gtm.example/A", {"records": ["192.0.2.53"]})
    assert glue.status_code == 201
    assert admin.delete("/zones/shop.example", 409)["users"] == [
        {"kind": "instances", "id": made["id"], "name": "shop"}
    ]
    assert admin.delete("/zones/gtm.example", 409)["users"][0]["id"] == made["id"]
    assert admin.post("/zones", {"name": "x.gtm.example"}, 422)["errors"][0]["pointer"] == "/name"
    assert admin.post("/zones", {"name": "new.example", "kind": "access"}, 422)["errors"][0]["pointer"] == "/kind"


def test_the_access_zone_is_there_from_the_start_and_stays(admin: Admin) -> None:
    zone = admin.get("/zones/gtm.example")
    assert (zone["kind"], zone["number"]) == ("access", 1)
    assert admin.get("/zones")["items"] == [zone]
    refused = admin.delete("/zones/gtm.example", 403)
    assert refused["detail"] == "zone gtm.example is the access zone of this server (GTM_ACCESS_ZONE)"
    assert admin.put("/zones/gtm.example", {"name": "gtm.example"}) == zone


def test_lists_have_pages_filters_and_links(admin: Admin) -> None:
    for number in range(7):
        admin.post("/pools", pool(f"pool-{number}", f"192.0.2.{number + 1}", enabled=number != 3))
    seen, path = [], "/pools?limit=3"
    while path:
        answer = admin.request("GET", path)
        body = answer.get_json()
        seen += [item["id"] for item in body["items"]]
        link = answer.headers.get("Link")
        assert (link is None) == (body["next"] is None)
        path = link.partition(">")[0].removeprefix(f"<{PREFIX}") if link else ""
    assert seen == [f"pool-{number}" for number in range(7)]
    assert [p["id"] for p in admin.get("/pools?enabled=false")["items"]] == ["pool-3"]
    assert [p["id"] for p in admin.get("/pools?address=192.0.2.5")["items"]] == ["pool-4"]
    assert [p["id"] for p in admin.get("/pools?status=exception")["items"]] == ["pool-3"]
    for query, parameter in (("limit=0", "limit"), ("cursor=%25", "cursor"), ("status=x", "status"), ("x=1", "x")):
        refused = admin.get(f"/pools?{query}", 400)
        assert [error["parameter"] for error in refused["errors"]] == [parameter]


def test_instances_are_found_by_what_one_knows_of_them(admin: Admin) -> None:
    made = figure(admin, labels={"team": "web"}, service_domains=["www.shop.example"])
    admin.post("/instances", {"name": "mail", "policies": [policy("world", ["default"], "pool-b")]})
    for query in (
        "name=shop",
        "label=team=web",
        "domain=www.shop.example",
        f"domain={made['cname'].upper()}",
        "pool=pool-a",
        "zone=gtm.example&name=shop",
        "kind=address&pool=pool-c",
        "request_status=normal&pool=pool-a",
        "health_check_status=unmonitored&pool=pool-a",
    ):
        assert [i["id"] for i in admin.get(f"/instances?{query}")["items"]] == [made["id"]], query
    assert admin.get("/instances?request_status=error")["items"] == []
    assert [p["id"] for p in admin.get(f"/pools?instance={made['id']}")["items"]] == ["pool-a", "pool-b", "pool-c"]


def test_warnings_tell_what_is_probably_not_meant(admin: Admin) -> None:
    made = figure(admin)
    never = admin.post(
        "/instances",
        {"name": "far", "policies": [policy("far", ["EU-DE"], "pool-a"), policy("world", ["default"], "pool-a")]},
    )
    detail = "'EU-DE' matches no client: the geo database has no country DE"
    assert never["warnings"] == [{"pointer": "/policies/0/lines/0", "detail": detail}]
    assert admin.put(f"/instances/{never['id']}", never)["warnings"] == never["warnings"]
    wide = admin.post("/pools", pool("wide", *(f"198.51.100.{n}" for n in range(1, 101))))
    assert "goes by TCP" in wide["warnings"][0]["detail"]
    assert "warnings" not in made
