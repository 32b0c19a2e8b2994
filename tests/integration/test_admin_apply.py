"""A whole configuration as one document: exported, planned, applied, refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck as Slowness
from hypothesis import given

from pdns_gtm_backend.admin.problems import MAX_FILE_BYTES, TYPE_PREFIX
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.operations.parsing import to_json
from pdns_gtm_backend.store import keys, kinds
from tests.support.api import Admin, emptied, figure, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS
from tests.support.strategies import Configuration, configurations, examples

example_count = examples(15, Slowness.function_scoped_fixture)
"""Each example writes to a real store a dozen times."""


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


def full(admin: Admin) -> dict[str, Any]:
    """A configuration with something of everything, as it is exported."""
    admin.post("/health-checks", {"id": "web", "protocol": "http"})
    admin.post("/lines", {"id": "telecom", "members": ["AS-CN&asn:4134"]})
    admin.post("/zones", {"name": "shop.example"})
    put(admin, "/zones/shop.example/rrsets/mail.shop.example/MX", {"records": ["10 mx.shop.example."], "ttl": 60})
    put(admin, "/zones/gtm.example/rrsets/ns1.gtm.example/A", {"records": ["192.0.2.53"]})
    figure(admin, names=["www.shop.example"], labels={"team": "shop"})
    patch = {"health_checks": ["web"], "addresses": [{"address": "192.0.2.1", "weight": 5, "labels": {"site": "hz"}}]}
    admin.patch("/pools/pool-a", patch)
    exported: dict[str, Any] = admin.get("/export")
    return exported


def put(admin: Admin, path: str, body: Any) -> None:
    assert admin.request("PUT", path, body).status_code == 201


def apply(admin: Admin, file: Any, query: str = "", expect: int = 200) -> Any:
    return admin.post(f"/apply{query}", file, expect)


def errors(admin: Admin, file: Any) -> list[tuple[str, str]]:
    return [(error["pointer"], error["detail"]) for error in apply(admin, file, expect=422)["errors"]]


def actions(applied: Any) -> list[tuple[str, str, str]]:
    return [(change["action"], change["kind"], change.get("name", change["id"])) for change in applied["changes"]]


def test_what_is_exported_is_what_there_is(admin: Admin) -> None:
    exported = full(admin)
    assert list(exported) == ["version", "health_checks", "lines", "zones", "pools", "instances", "alerts"]
    assert exported["version"] == 1
    assert [one["id"] for one in exported["pools"]] == ["pool-a", "pool-b", "pool-c"]
    shop = admin.get("/instances?name=shop")["items"][0]
    assert exported["instances"] == [shop]
    assert [(zone["name"], zone["kind"]) for zone in exported["zones"]] == [
        ("gtm.example", "access"),
        ("shop.example", "hosted"),
    ]
    assert exported["zones"][1]["rrsets"] == [
        {"name": "mail.shop.example", "type": "MX", "ttl": 60, "records": ["10 mx.shop.example"]}
    ]


def test_export_wipe_apply_gives_the_same_again(admin: Admin) -> None:
    exported = full(admin)
    emptied(admin)
    assert admin.get("/export")["instances"] == []
    applied = apply(admin, exported)
    assert admin.get("/export") == exported
    assert [kind for _, kind, _ in actions(applied)] == [
        *("health-checks", "lines", "zones", "rrsets", "rrsets"),
        *("pools", "pools", "pools", "instances"),
    ]
    again = apply(admin, exported)
    assert again["changes"] == []
    assert again["unchanged"] == 10
    assert again["revision"] == applied["revision"]


def test_a_plan_tells_and_writes_nothing(admin: Admin, redis: RedisServer) -> None:
    file = {
        "pools": [pool("p", "192.0.2.1")],
        "instances": [{"name": "i", "policies": [policy("w", ["default"], "p")]}],
    }
    with redis.connect() as client:
        before = client.get(keys.REVISION), client.scard(keys.INSTANCE_IDS), client.xlen(keys.AUDIT)
        plan = apply(admin, file, "?dry_run=true")
        assert (client.get(keys.REVISION), client.scard(keys.INSTANCE_IDS), client.xlen(keys.AUDIT)) == before
    assert actions(plan) == [("create", "pools", "p"), ("create", "instances", "i")]
    assert plan["changes"][1]["id"] is None
    assert (plan["changes"][1]["after"]["id"], plan["changes"][1]["after"]["cname"]) == ("", "")
    assert plan["revision"] == int(before[0] or 0)
    applied = apply(admin, file)
    identifier = applied["changes"][1]["id"]
    assert applied["changes"][1]["after"]["cname"] == f"{identifier}.gtm.example"
    assert admin.get(f"/instances/{identifier}")["name"] == "i"
    assert admin.get(f"/audit?object={identifier}")["items"][0]["action"] == "apply"
    assert apply(admin, file)["changes"] == []


def test_a_section_that_is_left_out_is_left_alone(admin: Admin) -> None:
    exported = full(admin)
    applied = apply(admin, {"lines": [{"id": "telecom", "members": ["asn:4134"]}]})
    assert actions(applied) == [("update", "lines", "telecom")]
    assert applied["changes"][0]["before"]["members"] == ["AS-CN&asn:4134"]
    assert apply(admin, {"lines": []})["changes"][0]["action"] == "delete"
    assert admin.get("/export") == {**exported, "lines": []}


def test_what_is_not_in_the_file_goes_users_first(admin: Admin) -> None:
    full(admin)
    nothing = {name: [] for name in ("health_checks", "lines", "zones", "pools", "instances")}
    applied = apply(admin, nothing, "?force=true")
    assert [kind for _, kind, _ in actions(applied)] == [
        *("instances", "pools", "pools", "pools", "rrsets", "zones", "lines", "health-checks")
    ]
    # The access zone is the server's own: only a file that names it says anything of its records.
    left = admin.get("/export")
    assert [(zone["name"], len(zone["rrsets"])) for zone in left["zones"]] == [("gtm.example", 1)]
    assert left["pools"] == left["instances"] == []


def test_every_error_has_its_place_in_the_file(admin: Admin) -> None:
    file = {
        "health_checks": [{"id": "c", "protocol": "tcp"}],
        "pools": [
            pool("a", "192.0.2.1"),
            {"id": "b", "type": "ipv4", "addresses": [{"address": "192.0.2.2", "weight": -1}], "wieght": 1},
            pool("a", "192.0.2.3", health_checks=["nope"]),
        ],
        "zones": [{"name": "z.example", "rrsets": [{"name": "x.other.example", "type": "A", "records": ["no"]}]}],
        "instances": [
            {"name": "one", "names": ["www.z.example"], "policies": [policy("w", ["default"], "gone")]},
            {"name": "two", "names": ["www.z.example"], "policies": [policy("w", ["AS-CN"], "a")]},
        ],
        "pool": [],
    }
    found = dict(errors(admin, file))
    assert found["/pools/1/addresses/0/weight"] == "-1 is not allowed: must be a whole number from 0 to 1000"
    assert found["/pools/1/wieght"].startswith("unknown field 'wieght'")
    assert found["/pool"].startswith("unknown field 'pool', did you mean 'pools'?")
    assert found["/pools/2/id"] == "'a' is already at /pools/0"
    assert found["/pools/2/health_checks/0"] == "there is no health check 'nope'"
    assert found["/health_checks/0/port"] == "a tcp check needs a port (1 to 65535)"
    assert found["/zones/0/rrsets/0/name"] == "'x.other.example' is not in zone z.example"
    assert found["/zones/0/rrsets/0/records/0"].startswith("'no' is no A record")
    assert found["/instances/0/policies/0/pool_sets/0/pools/0/pool"] == "there is no pool 'gone'"
    assert found["/instances/1/policies"].startswith("no policy has the line 'default'")
    taken = {place: detail for place, detail in found.items() if place.endswith("/names/0")}
    assert taken == {
        "/instances/0/names/0": "'www.z.example' belongs to the instance at /instances/1",
        "/instances/1/names/0": "'www.z.example' belongs to the instance at /instances/0",
    }
    assert admin.get("/export")["pools"] == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ([], ("", "a list of 0 is not allowed: must be an object with version, health_checks, lines, zones, pools, ")),
        ({"version": 2}, ("/version", "2 is not allowed: must be one of 1")),
        ({"pools": {}}, ("/pools", "an object is not allowed: must be a list or null")),
        ({"pools": [3]}, ("/pools/0", "3 is not allowed: must be an object with id, type")),
        (
            {"zones": [{"name": "gtm.example"}]},
            ("/zones/0/kind", "'hosted' is not allowed: zone gtm.example is access"),
        ),
        ({"zones": [{"name": "o.example", "kind": "access"}]}, ("/zones/0/name", "'o.example' is no access zone of")),
    ],
)
def test_a_file_that_is_none(admin: Admin, file: Any, expected: tuple[str, str]) -> None:
    place, detail = errors(admin, file)[0]
    assert place == expected[0]
    assert detail.startswith(expected[1]), detail


def test_rules_are_judged_on_the_final_state(admin: Admin) -> None:
    exported = full(admin)
    # Two objects that break each other's rules one at a time: only together they are right.
    for one in exported["pools"]:
        one |= {"type": "ipv6", "addresses": [{"address": f"2001:db8::{len(one['id'])}"}]}
    assert [action for action, *_ in actions(apply(admin, exported))] == ["update"] * 3
    exported["pools"][0]["type"] = "ipv4"
    exported["pools"][0]["addresses"] = []
    assert errors(admin, {"pools": exported["pools"]})[0][0] == ""
    assert (
        "of instance shop, which the file leaves as it is, /policies: "
        in errors(admin, {"pools": exported["pools"]})[0][1]
    )
    assert errors(admin, {**exported, "instances": None})[0][0] == ""
    assert errors(admin, exported)[0][0] == "/instances/0/policies"


def test_what_is_named_cannot_go(admin: Admin) -> None:
    exported = full(admin)
    assert errors(admin, {**exported, "health_checks": []}) == [
        ("/pools/0/health_checks/0", "there is no health check 'web'")
    ]
    assert [place for place, _ in errors(admin, {**exported, "zones": []})] == ["/instances/0/names/0"]
    static = {"name": "www.shop.example", "type": "A", "records": ["192.0.2.9"]}
    exported["zones"][1]["rrsets"].append(static)
    places = [place for place, _ in errors(admin, exported)]
    assert places == ["/zones/1/rrsets/1/type", "/instances/0/names/0"]


def test_ids_and_names_are_kept(admin: Admin) -> None:
    exported = full(admin)
    (shop,) = exported["instances"]
    renamed = {**shop, "name": "market"}
    applied = apply(admin, {"instances": [renamed]})
    assert actions(applied) == [("update", "instances", "market")]
    without = {name: value for name, value in renamed.items() if name not in ("id", "cname")}
    assert apply(admin, {"instances": [without]})["changes"] == []
    other = {**renamed, "id": "gtm00000001"}
    assert errors(admin, {"instances": [other]})[0] == (
        "/instances/0/id",
        f"'gtm00000001' is not allowed: 'market' is {shop['id']}, for good",
    )
    moved = {**renamed, "cname": "x.gtm.example"}
    assert errors(admin, {"instances": [moved]})[0][0] == "/instances/0/cname"
    # Two instances may swap their names, and one may take the name that another gives up.
    second = {**without, "name": "shop", "names": []}
    apply(admin, {"instances": [renamed, second]})
    held = {one["name"]: one["id"] for one in admin.get("/export")["instances"]}
    file = admin.get("/export")["instances"]
    file[0]["name"], file[1]["name"] = file[1]["name"], file[0]["name"]
    apply(admin, {"instances": file})
    assert {one["name"]: one["id"] for one in admin.get("/export")["instances"]} == {
        "market": held["shop"],
        "shop": held["market"],
    }


def test_an_id_that_a_file_chose_is_not_given_again(admin: Admin, redis: RedisServer) -> None:
    full(admin)
    extra = {"id": "gtm12345678", "name": "given", "policies": [policy("w", ["default"], "pool-a")]}
    apply(admin, {"instances": [*admin.get("/export")["instances"], extra]})
    assert admin.get("/instances/gtm12345678")["cname"] == "gtm12345678.gtm.example"
    with redis.connect() as client:
        assert client.sismember(keys.INSTANCE_IDS, "gtm12345678")


def test_overrides_stay_and_are_listed(admin: Admin) -> None:
    exported = full(admin)
    override = admin.post("/overrides", {"selector": {"pool": "pool-c"}, "effect": "offline"})
    exported["pools"][1]["strategy"] = "weighted"
    applied = apply(admin, exported)
    assert [one["id"] for one in applied["overrides"]] == [override["id"]]
    assert admin.get(f"/overrides/{override['id']}")["effect"] == "offline"
    exported["instances"][0]["policies"][0]["pool_sets"] = [{"pools": [{"pool": "pool-a"}]}]
    exported["instances"][0]["policies"][1]["pool_sets"] = [{"pools": [{"pool": "pool-b"}]}]
    del exported["pools"][2]
    applied = apply(admin, exported)
    assert applied["overrides"] == []
    assert [warning["detail"] for warning in applied["warnings"]] == [
        f"override {override['id']}, offline, goes with it"
    ]


def test_records_move_the_serial_and_never_back(admin: Admin) -> None:
    soa = "ns1.shop.example hostmaster.shop.example 7 3600 600 604800 300"
    apex = {"name": "shop.example", "type": "SOA", "ttl": 3600, "records": [soa]}
    zone = {"name": "shop.example", "serial": 41, "rrsets": [apex]}
    apply(admin, {"zones": [zone]})
    # Its own SOA record says what its serial is.
    assert admin.get("/zones/shop.example")["serial"] == 7
    zone["rrsets"] = [apex, {"name": "a.shop.example", "type": "A", "records": ["192.0.2.1"]}]
    applied = apply(admin, {"zones": [zone]})
    assert actions(applied) == [("create", "rrsets", "shop.example|a.shop.example|A")]
    assert admin.get("/zones/shop.example")["serial"] == 8
    assert admin.get("/zones/shop.example/rrsets/shop.example/SOA")["records"] == [soa.replace(" 7 ", " 8 ")]
    # The file still says 7: that is no change, and no way back.
    assert apply(admin, {"zones": [zone]})["changes"] == []
    apex["records"] = [soa.replace("hostmaster", "admin")]
    apply(admin, {"zones": [zone]})
    assert admin.get("/zones/shop.example/rrsets/shop.example/SOA")["records"] == [
        "ns1.shop.example admin.shop.example 9 3600 600 604800 300"
    ]
    apex["records"] = [soa.replace("hostmaster", "admin").replace(" 7 ", " 2026010100 ")]
    apply(admin, {"zones": [zone]})
    assert admin.get("/zones/shop.example")["serial"] == 2026010100
    assert " 2026010100 " in admin.get("/zones/shop.example/rrsets/shop.example/SOA")["records"][0]
    assert apply(admin, {"zones": [zone]})["changes"] == []


def test_a_zone_without_an_soa_record_has_a_serial_too(admin: Admin) -> None:
    zone: dict[str, Any] = {"name": "shop.example", "serial": 41}
    apply(admin, {"zones": [zone]})
    assert admin.get("/zones/shop.example")["serial"] == 41
    zone["rrsets"] = [{"name": "a.shop.example", "type": "A", "records": ["192.0.2.1"]}]
    apply(admin, {"zones": [zone]})
    assert admin.get("/zones/shop.example")["serial"] == 42
    assert apply(admin, {"zones": [zone]})["changes"] == []
    apply(admin, {"zones": [{"name": "shop.example"}]})
    assert admin.get("/zones/shop.example")["serial"] == 43


def test_a_file_that_changes_too_much_is_held_back(admin: Admin) -> None:
    pools = [pool(f"p{number}", f"192.0.2.{number + 1}") for number in range(10)]
    apply(admin, {"pools": pools})
    assert len(apply(admin, {"pools": pools[:7]})["changes"]) == 3
    # Fewer than ten objects may go at once.
    assert len(apply(admin, {"pools": pools})["changes"]) == 3
    for one in pools[:4]:
        one["strategy"] = "weighted"
    plan = apply(admin, {"pools": pools}, "?dry_run=true")
    assert plan["brake"] == [{"kind": kind, "existing": 10, "updated": 4, "deleted": 0} for kind in ("pools", "all")]
    refused = apply(admin, {"pools": pools}, expect=409)
    assert refused["type"] == TYPE_PREFIX + "brake"
    assert refused["counts"] == plan["brake"]
    assert "pools: 4 changed and 0 deleted of 10" in refused["detail"]
    assert len(apply(admin, {"pools": pools}, "?force=true")["changes"]) == 4


@example_count
@given(configurations())
def test_any_configuration_survives_export_wipe_and_apply(running: Admin, configuration: Configuration) -> None:
    admin, catalog = running, configuration.catalog
    wipe(admin)
    hosted = [zone for zone in catalog.zones.values() if zone.kind == "hosted"]
    given = [*catalog.health_checks.values(), *catalog.lines.values(), *hosted, *catalog.pools.values()]
    names = {HealthCheck: "health_checks", Line: "lines", Zone: "zones", Pool: "pools", Instance: "instances"}
    file: dict[str, list[Any]] = {name: [] for name in names.values()}
    for value in (*given, configuration.instance):
        file[names[type(value)]].append(to_json(value))
    for zone in file["zones"]:
        del zone["number"]
    apply(admin, file)
    exported, held = admin.get("/export"), documents(admin)
    assert exported["instances"] == [to_json(configuration.instance)]
    wipe(admin)
    assert documents(admin) == {kind: {} for kind in held}
    apply(admin, exported)
    assert admin.get("/export") == exported
    assert documents(admin) == held
    assert apply(admin, exported)["changes"] == []


def wipe(admin: Admin) -> None:
    nothing = {name: [] for name in ("health_checks", "lines", "zones", "pools", "instances")}
    nothing["zones"] = [{"name": "gtm.example", "kind": "access"}]
    apply(admin, nothing, "?force=true")


def documents(admin: Admin) -> dict[str, Any]:
    """What the store holds of configuration, but for the numbers and tokens that belong to one store."""
    held = admin.services.follower.serving.snapshot.documents
    kinds_held = (kinds.HEALTH_CHECKS, kinds.LINES, kinds.ZONES, kinds.POOLS, kinds.INSTANCES, kinds.RRSETS)
    found = {kind: {name: to_json(value) for name, value in held[kind].items()} for kind in kinds_held}
    for zone in found[kinds.ZONES].values():
        del zone["number"]
    del found[kinds.ZONES]["gtm.example"]
    return found


def test_of_two_files_at_once_one_is_last_and_none_is_torn(
    admin: Admin, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = [{"pools": [pool(f"{name}{number}", "192.0.2.1") for number in range(20)]} for name in ("a", "b")]
    with Admin(redis.url, tmp_path_factory.mktemp("b"), "other") as other:
        # Each has a folder of its own, and the store the token of the first.
        other.token = admin.token
        for _ in range(5):
            servers = zip((admin, other), files, strict=True)
            with ThreadPoolExecutor(2) as both:
                answers = list(both.map(lambda pair: apply(*pair, "?force=true"), servers))
            last = max(answers, key=lambda applied: applied["revision"])
            for one in (admin, other):
                assert one.services.follower.wait_for(last["revision"], SECONDS)
            held = {one["id"] for one in admin.get("/export")["pools"]}
            assert held == {one["id"] for one in files[answers.index(last)]["pools"]}
            assert admin.get("/export") == other.get("/export")


def test_roles(admin: Admin) -> None:
    viewer = admin.post("/tokens", {"name": "v", "role": "viewer"})["token"]
    labelled = admin.post("/tokens", {"name": "l", "role": "admin", "label": "team=x"})["token"]
    assert admin.request("GET", "/export", token=viewer).status_code == 200
    assert admin.request("POST", "/apply?dry_run=true", {"pools": []}, token=viewer).status_code == 200
    assert admin.request("POST", "/apply", {"pools": []}, token=viewer).status_code == 403
    assert admin.request("GET", "/export", token=labelled).status_code == 403
    assert admin.request("POST", "/apply", {"pools": []}, token=labelled).status_code == 403


def test_a_file_may_be_longer_than_a_document(admin: Admin) -> None:
    padding = " " * (9 * 1024 * 1024)
    headers = {"Content-Type": "application/json"}
    assert admin.request("POST", "/apply", data=f"{{}}{padding}", headers=headers).status_code == 200
    assert admin.request("POST", "/pools", data=f"{{}}{padding}", headers=headers).status_code == 413
    refused = admin.request("POST", "/apply", data=b" " * (MAX_FILE_BYTES + 1), headers=headers)
    assert refused.status_code == 413
    assert str(MAX_FILE_BYTES) in refused.get_json()["detail"]
