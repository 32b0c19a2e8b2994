"""The whole configuration as files, through gtmctl and the real API: plan, apply, export, and zone files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck as Slowness
from hypothesis import given

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.operations.parsing import to_json
from tests.support.api import Admin, emptied, figure, pool
from tests.support.gtmctl import Server, served
from tests.support.redis_server import RedisServer
from tests.support.strategies import Configuration, configurations, examples

few = examples(10, Slowness.function_scoped_fixture)
NOTHING = "version: 1\nhealth_checks: []\nlines: []\nzones: []\npools: []\ninstances: []\n"
SHOP = """\
version: 1
health_checks:
- {id: web, protocol: http}
pools:
- id: main
  type: ipv4
  health_checks: [web]
  addresses:
  - address: 192.0.2.1
  - {address: 192.0.2.2, weight: 3}
- id: backup
  type: ipv4
  addresses: [{address: 192.0.2.9}]
instances:
- name: shop
  policies:
  - name: world
    lines: [default]
    pool_sets:
    - pools: [{pool: main}]
    - pools: [{pool: backup}]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a"), allow_private_targets=True) as admin,
        served(admin) as server,
    ):
        yield server


@pytest.fixture
def gtm(running: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The API without objects; the working directory is a folder of the test's own."""
    emptied(running.admin)
    monkeypatch.chdir(tmp_path)
    return running


def test_a_service_from_a_file(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP)
    plan = gtm.run("plan", "-f", "shop.yaml", ends=6)
    assert [line for line in plan.out.splitlines() if line[:1] in "+~-" and line] == [
        "+ health check web",
        "+ pool main",
        "+ pool backup",
        "+ instance shop",
    ]
    assert "    - {address: 192.0.2.2, weight: 3, mode: auto}" in plan.out.splitlines()
    assert plan.out.splitlines()[-1] == "4 to create, 0 to change, 0 to delete; 0 stay as they are"
    assert gtm.admin.get("/pools")["items"] == []
    done = gtm.run("apply", "-f", "shop.yaml", "--yes")
    assert done.out == plan.out
    assert done.err == "applied: 4 created, 0 changed, 0 deleted\n"
    again = gtm.run("plan", "-f", "shop.yaml")
    assert (again.out, again.err) == ("", "nothing to do: it is so already\n")
    assert gtm.run("apply", "-f", "shop.yaml").err == "nothing to do: it is so already\n"


def test_a_plan_tells_field_by_field(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP)
    gtm.run("apply", "-f", "shop.yaml", "-y")
    changed = SHOP.replace("weight: 3", "weight: 5").replace("[{address: 192.0.2.9}]", "[]")
    changed = changed.replace("    - pools: [{pool: backup}]\n", "").replace("protocol: http", "protocol: ping")
    plan = gtm.run("plan", "-f", "-", typed=changed, ends=6)
    identifier = gtm.admin.get("/instances")["items"][0]["id"]
    assert plan.out.splitlines() == [
        "~ health check web",
        "    protocol: http -> ping",
        "~ pool main",
        "    addresses[192.0.2.2].weight: 3 -> 5",
        "~ pool backup",
        '    addresses[192.0.2.9]: removed {"address": "192.0.2.9", "weight": 1, "mode": "auto", "labels": {}}',
        f"~ instance shop ({identifier})",
        '    policies[world].pool_sets[failover]: removed {"name": "failover", '
        '"pools": [{"pool": "backup", "weight": 1}], "sticky": false}',
        "",
        "0 to create, 4 to change, 0 to delete; 0 stay as they are",
    ]
    data = gtm.run("plan", "-f", "-", "-o", "json", typed=changed, ends=6).json()
    assert [change["action"] for change in data["changes"]] == ["update"] * 4


def test_what_no_file_names_is_deleted_and_what_has_no_section_stays(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP)
    gtm.run("apply", "-f", "shop.yaml", "-y")
    without = {"pools": [pool("main", "192.0.2.1")], "instances": []}
    plan = gtm.run("plan", "-f", "-", typed=json.dumps(without), ends=6)
    identifier = gtm.admin.get("/instances")["items"][0]["id"]
    assert [line for line in plan.out.splitlines() if line[:2] in ("+ ", "~ ", "- ")] == [
        "~ pool main",
        f"- instance shop ({identifier})",
        "- pool backup",
    ]
    gtm.run("apply", "-f", "-", "-y", typed=json.dumps(without))
    assert [one["id"] for one in gtm.admin.get("/health-checks")["items"]] == ["web"]
    assert gtm.admin.get("/instances")["items"] == []


def test_every_error_of_the_api_has_file_line_and_path(gtm: Server) -> None:
    Path("conf").mkdir()
    Path("conf/pools.yaml").write_text(
        "pools:\n- id: a\n  type: ipv4\n  strategy: any\n  addresses:\n  - address: 192.0.2.1\n    weight: 5000\n"
        "- id: b\n  typ: ipv4\n"
    )
    Path("conf/zones.json").write_text('{"zones": [\n {"name": "z.example",\n  "rrsets": [{"name": "z.example"}]}]}')
    found = gtm.run("plan", "-f", "conf", ends=5)
    assert found.err.splitlines()[0] == "gtmctl: The document breaks rules"
    assert "  conf/pools.yaml:8: /pools/1/type (pool b): is required: one of 'ipv4', 'ipv6', 'domain'" in found.err
    assert sorted(line.strip().partition(")")[0] + ")" for line in found.err.splitlines()[1:]) == [
        "conf/pools.yaml:4: /pools/0/strategy (pool a)",
        "conf/pools.yaml:7: /pools/0/addresses/0/weight (pool a)",
        "conf/pools.yaml:8: /pools/1/type (pool b)",
        "conf/pools.yaml:9: /pools/1/typ (pool b)",
        "conf/zones.json:3: /zones/0/rrsets/0/records (zone z.example)",
        "conf/zones.json:3: /zones/0/rrsets/0/type (zone z.example)",
    ]


def test_rules_between_objects_are_told_at_their_line(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP.replace("pool: backup", "pool: bakcup").replace("[web]", "[web, wbe]"))
    found = gtm.run("apply", "-f", "shop.yaml", "-y", ends=5)
    assert found.err.splitlines()[1:] == [
        "  shop.yaml:7: /pools/0/health_checks/1 (pool main): there is no health check 'wbe'",
        "  shop.yaml:21: /instances/0/policies/0/pool_sets/1/pools/0/pool (instance shop): there is no pool 'bakcup'",
    ]
    assert gtm.admin.get("/pools")["items"] == []


def test_warnings_have_their_line(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP.replace("lines: [default]", "lines:\n    - default\n    - AS-JP"))
    done = gtm.run("apply", "-f", "shop.yaml", "-y")
    assert done.err.splitlines() == [
        "warning: shop.yaml:20: /instances/0/policies/0/lines/1 (instance shop): 'AS-JP' matches no client: "
        "the geo database has no country JP",
        "applied: 4 created, 0 changed, 0 deleted",
    ]


def test_overrides_in_force_are_listed_and_stay(gtm: Server) -> None:
    figure(gtm.admin)
    gtm.run("drain", "pool-b", "--reason", "upgrade")
    exported = gtm.run("export").out
    Path("all.yaml").write_text(exported.replace("ttl: 60", "ttl: 30"))
    plan = gtm.run("plan", "-f", "all.yaml", ends=6).out
    assert "overrides in force, which stay as they are" in plan
    assert "offline  pool pool-b" in plan
    gtm.run("apply", "-f", "all.yaml", "-y")
    assert len(gtm.admin.get("/overrides")["items"]) == 1


def test_the_brake_holds_a_change_of_too_much(gtm: Server) -> None:
    pools = [pool(f"p{n}", f"192.0.2.{n + 1}") for n in range(10)]
    gtm.run("apply", "-f", "-", "-y", typed=json.dumps({"pools": pools}))
    less = json.dumps({"pools": pools[:6]})
    plan = gtm.run("plan", "-f", "-", typed=less, ends=6)
    assert plan.out.splitlines()[-2:] == [
        "held by the brake: pools 0 changed and 4 deleted of 10",
        "held by the brake: all 0 changed and 4 deleted of 10",
    ]
    held = gtm.run("apply", "-f", "-", "-y", typed=less, ends=4)
    assert held.err.splitlines() == [
        "gtmctl: held by the brake: nothing was written",
        "  pools: 0 changed and 4 deleted of 10",
        "  all: 0 changed and 4 deleted of 10",
        "  --force does it all the same",
    ]
    assert len(gtm.admin.get("/pools")["items"]) == 10
    gtm.run("apply", "-f", "-", "-y", "--force", typed=less)
    assert len(gtm.admin.get("/pools")["items"]) == 6


def test_apply_asks_before_it_writes(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP)
    refused = gtm.run("apply", "-f", "shop.yaml", ends=2)
    assert refused.err == (
        "gtmctl: Apply: 4 to create, 0 to change, 0 to delete? Nobody can be asked here: --yes agrees\n"
    )
    assert "+ pool main" in refused.out
    dry = gtm.run("apply", "-f", "shop.yaml", "--dry-run")
    assert dry.err == "nothing was written (dry run)\n"
    assert gtm.admin.get("/pools")["items"] == []


def test_a_viewer_may_plan_and_not_apply(gtm: Server) -> None:
    Path("shop.yaml").write_text(SHOP)
    viewer = gtm.run("token", "create", "v", "--role", "viewer").out.strip()
    gtm.run("plan", "-f", "shop.yaml", ends=6, GTM_TOKEN=viewer)
    assert "needs the role admin" in gtm.run("apply", "-f", "shop.yaml", "-y", ends=1, GTM_TOKEN=viewer).err


@few
@given(configurations())
def test_any_configuration_survives_export_wipe_and_apply(running: Server, configuration: Configuration) -> None:
    gtm, catalog = running, configuration.catalog
    wipe(gtm)
    hosted = [zone for zone in catalog.zones.values() if zone.kind == "hosted"]
    given_objects = [*catalog.health_checks.values(), *catalog.lines.values(), *hosted, *catalog.pools.values()]
    names = {HealthCheck: "health_checks", Line: "lines", Zone: "zones", Pool: "pools", Instance: "instances"}
    file: dict[str, list[Any]] = {name: [] for name in names.values()}
    for value in (*given_objects, configuration.instance):
        file[names[type(value)]].append(to_json(value))
    for zone in file["zones"]:
        del zone["number"]
    gtm.run("apply", "-f", "-", "-y", "--force", "-q", typed=json.dumps(file))
    exported = gtm.run("export")
    held = gtm.admin.get("/export")
    assert exported.yaml() == held
    wipe(gtm)
    gtm.run("apply", "-f", "-", "-y", "-q", typed=exported.out)
    assert gtm.admin.get("/export") == held
    assert gtm.run("plan", "-f", "-", typed=exported.out).out == ""


def wipe(gtm: Server) -> None:
    gtm.run("apply", "-f", "-", "-y", "--force", "-q", typed=NOTHING)
    assert gtm.admin.get("/export")["instances"] == []


def test_a_section_alone_is_exported(gtm: Server) -> None:
    figure(gtm.admin)
    found = gtm.run("export", "--section", "pools", "-o", "json").json()
    assert list(found) == ["version", "pools"]
    assert len(found["pools"]) == 3


ZONE_FILE = """\
$TTL 300
@     IN SOA ns1 hostmaster 7 3600 600 604800 300
@     IN NS  ns1
ns1   IN A   192.0.2.53
www   IN CNAME gtm12345678.gtm.example.
txt   IN TXT "a b" "c"
"""


def records(gtm: Server) -> dict[tuple[str, str], list[str]]:
    items = gtm.admin.get("/zones/shop.example/rrsets?limit=1000")["items"]
    return {(item["name"].removesuffix(".shop.example"), item["type"]): item["records"] for item in items}


def test_a_zone_file_becomes_a_zone(gtm: Server) -> None:
    Path("shop.zone").write_text(ZONE_FILE)
    dry = gtm.run("zone", "import", "shop.example", "shop.zone", "--dry-run")
    assert dry.out.splitlines()[0] == "+ zone shop.example"
    assert gtm.run("zone", "show", "shop.example", ends=3).code == 3
    gtm.run("zone", "import", "Shop.Example.", "shop.zone", "-y")
    assert records(gtm) == {
        ("shop.example", "SOA"): ["ns1.shop.example hostmaster.shop.example 7 3600 600 604800 300"],
        ("shop.example", "NS"): ["ns1.shop.example"],
        ("ns1", "A"): ["192.0.2.53"],
        ("www", "CNAME"): ["gtm12345678.gtm.example"],
        ("txt", "TXT"): ['"a b" "c"'],
    }
    again = gtm.run("zone", "import", "shop.example", "shop.zone", "-y")
    assert (again.out, again.err) == ("", "zone shop.example holds all of it already\n")


def test_an_import_brings_a_zone_up_to_date_and_its_serial_forward(gtm: Server) -> None:
    gtm.run("zone", "import", "shop.example", "-", "-y", typed=ZONE_FILE)
    newer = ZONE_FILE.replace(" 7 ", " 8 ").replace("CNAME gtm12345678.gtm.example.", "A 192.0.2.80")
    newer = newer.replace("txt", "new")
    held = gtm.run("zone", "import", "shop.example", "-", "-y", typed=newer, ends=5)
    assert held.err.splitlines() == [
        "gtmctl: zone shop.example: nothing was written",
        "  www.shop.example A: 'A' cannot be beside the CNAME record at www.shop.example",
    ]
    assert ("new", "TXT") not in records(gtm)
    done = gtm.run("zone", "import", "shop.example", "-", "-y", "--replace", typed=newer)
    assert done.err == "zone shop.example: 5 sets of records written\n"
    now = records(gtm)
    assert set(now) == {("shop.example", "SOA"), ("shop.example", "NS"), ("ns1", "A"), ("www", "A"), ("new", "TXT")}
    # Four writes of other records have raised 7 to 11: the file's 8 would go back.
    assert now["shop.example", "SOA"] == ["ns1.shop.example hostmaster.shop.example 11 3600 600 604800 300"]
    gtm.run("zone", "import", "shop.example", "-", "-y", typed=newer.replace(" 8 ", " 2030010100 "))
    assert " 2030010100 " in records(gtm)["shop.example", "SOA"][0]


def test_an_import_that_breaks_rules_writes_nothing(gtm: Server) -> None:
    gtm.run("instance", "create", "s", "-f", "-", typed=json.dumps({"policies": []}), ends=5)
    figure(gtm.admin, names=[])
    gtm.run("zone", "create", "shop.example")
    shop = gtm.admin.get("/instances")["items"][0]
    gtm.run("instance", "set", "shop", "--extra-name", "www.shop.example")
    refused = gtm.run("zone", "import", "shop.example", "-", "-y", typed=ZONE_FILE, ends=5)
    assert f"'CNAME' would conflict with instance {shop['id']}" in refused.err
    assert records(gtm) == {}


def test_a_new_zone_that_cannot_be_filled_is_not_made(gtm: Server) -> None:
    text = "$TTL 60\nwww IN A 192.0.2.1\n@ IN CNAME www\n"
    refused = gtm.run("zone", "import", "new.example", "-", "-y", typed=text, ends=5)
    assert "new.example CNAME: 'CNAME' cannot be at the apex of a zone" in refused.err
    assert "nothing was written" in refused.err
    assert gtm.run("zone", "show", "new.example", ends=3).code == 3


@pytest.mark.parametrize("text", ["www IN A nope\n", "\x00\x01", "$GENERATE x\n"])
def test_what_is_no_zone_file_is_refused(gtm: Server, text: str) -> None:
    refused = gtm.run("zone", "import", "shop.example", "-", "-y", typed=text, ends=5)
    assert refused.err.startswith("gtmctl: - is no zone file of shop.example\n")


def test_the_file_in_the_docs_is_applied(gtm: Server) -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration-as-a-file.md").read_text()
    (example,) = re.findall(r"^```yaml\n(version: 1\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    done = gtm.run("apply", "-f", "-", "-y", typed=example)
    assert done.err == "applied: 7 created, 0 changed, 0 deleted\n"
    wrong = example.replace("192.0.2.2,", "192.0.2.2, weight: 5000,").replace("{pool: backup}", "{pool: bakcup}", 1)
    Path("gtm.yaml").write_text(wrong)
    (told,) = re.findall(r"^(gtmctl: The document breaks rules\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert gtm.run("plan", "-f", "gtm.yaml", ends=5).err == told
