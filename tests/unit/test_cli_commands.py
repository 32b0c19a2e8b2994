"""gtmctl against the real API: every noun and verb, what it prints, and the exit codes that scripts rely on."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Admin, emptied, figure
from tests.support.gtmctl import Server, run, served
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a")) as admin,
        served(admin) as server,
    ):
        yield server


@pytest.fixture
def gtm(running: Server) -> Server:
    emptied(running.admin)
    return running


@pytest.fixture
def shop(gtm: Server) -> Any:
    """The figure: pools a, b and c, and the instance shop with policies mainland and world."""
    return figure(gtm.admin)


def test_a_pool_from_its_beginning_to_its_end(gtm: Server) -> None:
    gtm.run("check", "create", "web", "--protocol", "http", "--http-path", "/healthz", "--timeout", "2")
    made = gtm.run("pool", "create", "a", "192.0.2.1", "192.0.2.2=3", "--health-check", "web", "--strategy", "weighted")
    assert made.err == "pool a: created\n"
    assert made.rows() == [["a", "ipv4", "weighted", "yes", "1", "web", "192.0.2.1,192.0.2.2"]]
    assert gtm.run("pool", "create", "six", "2001:DB8::1", "-o", "json").json()["type"] == "ipv6"
    assert gtm.run("pool", "create", "named", "a.example", "-o", "yaml").yaml()["type"] == "domain"
    changed = gtm.run("pool", "set", "a", "--min-available", "50%", "--max-answers", "2", "--health-check", "none")
    assert changed.out.splitlines() == [
        "~ pool a",
        "    min_available: 1 -> 50%",
        "    max_answers: null -> 2",
        '    health_checks: ["web"] -> []',
    ]
    assert gtm.run("pool", "set", "a", "--max-answers", "none").out.splitlines()[1] == "    max_answers: 2 -> null"
    assert gtm.run("pool", "disable", "a").out.splitlines()[1] == "    enabled: true -> false"
    assert gtm.run("pool", "enable", "a").out.splitlines()[1] == "    enabled: false -> true"
    assert gtm.run("pool", "enable", "a").err == "pool a: is so already\n"
    assert [row[0] for row in gtm.run("pools", "list").rows()] == ["a", "named", "six"]
    assert [row[0] for row in gtm.run("pool", "list", "--type", "ipv6").rows()] == ["six"]
    assert gtm.run("pool", "list", "--instance", "nope", ends=3).err.startswith("gtmctl: there is no instance 'nope'")
    assert gtm.run("pool", "show", "a").yaml() == gtm.admin.get("/pools/a")
    deleted = gtm.run("pool", "delete", "a", "six", "named", "--yes")
    assert deleted.err == "pool a: deleted\npool six: deleted\npool named: deleted\n"
    assert gtm.run("pool", "list").err == "there is no pool\n"
    assert gtm.run("pool", "list", "-q", "-o", "json").json() == []


def test_addresses_one_by_one(gtm: Server) -> None:
    gtm.run("pool", "create", "a", "192.0.2.1")
    added = gtm.run("address", "add", "a", "192.0.2.2", "192.0.2.3", "--weight", "5", "--label", "site=hz")
    assert added.err.splitlines() == ["address 192.0.2.2 of pool a: added", "address 192.0.2.3 of pool a: added"]
    changed = gtm.run("address", "set", "a", "192.0.2.3", "--mode", "offline", "--label", "site-", "--label", "rack=7")
    assert changed.out.splitlines() == [
        "~ address 192.0.2.3",
        "    mode: auto -> offline",
        "    labels.site: removed hz",
        "    labels.rack: added 7",
    ]
    assert [row[:2] for row in gtm.run("address", "list", "a").rows()] == [
        ["192.0.2.1", "up"],
        ["192.0.2.2", "up"],
        ["192.0.2.3", "offline"],
    ]
    assert gtm.run("address", "show", "a", "192.0.2.2").yaml()["weight"] == 5
    gtm.run("address", "delete", "a", "192.0.2.1", "192.0.2.2", "-y")
    assert [one["address"] for one in gtm.admin.get("/pools/a")["addresses"]] == ["192.0.2.3"]
    again = gtm.run("address", "add", "a", "192.0.2.3", ends=4)
    assert "exists already" in again.err
    wrong = gtm.run("address", "add", "a", "2001:db8::1", "--weight", "2000", ends=5)
    assert "  --weight: 2000 is not allowed: must be a whole number from 0 to 1000" in wrong.err.splitlines()


def test_an_instance_as_its_owner_sees_it(gtm: Server) -> None:
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")):
        gtm.run("pool", "create", name, address)
    policies = ["--policy", "mainland", "AS-CN", "a/c", "--policy", "world", "default", "b=3,a/c"]
    made = gtm.run("instance", "create", "shop", *policies, "--service-domain", "www.shop.example", "-o", "json").json()
    assert made["cname"] == f"{made['id']}.gtm.example"
    assert gtm.run("instance", "list").rows()[0][:2] == ["shop", made["cname"]]
    for name in ("shop", made["id"], made["cname"], "www.shop.example"):
        assert gtm.run("instance", "show", name).yaml()["id"] == made["id"]
    assert gtm.run("policy", "list", "shop").rows() == [
        ["mainland", "AS-CN", "default:a/failover:c", "auto", "0"],
        ["world", "default", "default:b=3,a/failover:c", "auto", "0"],
    ]
    changed = gtm.run("instance", "set", "shop", "--ttl", "20", "--label", "team=web", "--when-all-down", "fail_closed")
    assert changed.out.splitlines()[1:] == [
        "    ttl: 60 -> 20",
        "    when_all_down: fail_open -> fail_closed",
        "    labels.team: added web",
    ]
    assert gtm.run("instance", "disable", "shop").out.splitlines()[1] == "    enabled: true -> false"
    assert "DISABLED" in gtm.run("instance", "status", "shop").out
    gtm.run("instance", "enable", "shop")
    gtm.run("instance", "rename", "shop", "market")
    copied = gtm.run("instance", "copy", "market", "twin", "-o", "json")
    assert copied.err == "instance twin: created\n"
    assert copied.json()["service_domains"] == []
    assert copied.json()["id"] != made["id"]
    assert copied.json()["policies"] == gtm.admin.get(f"/instances/{made['id']}")["policies"]
    gtm.run("instance", "delete", "twin", "market", "-y")
    assert gtm.run("instance", "show", "market", ends=3).err.startswith("gtmctl: there is no instance 'market'")


def test_policies_one_by_one(gtm: Server, shop: Any) -> None:
    gtm.run("line", "create", "telecom", "cidr:203.0.113.0/24")
    changed = gtm.run(
        *(
            "policy",
            "set",
            "shop",
            "mainland",
            "--lines",
            "AS-CN,line:telecom",
            "--sets",
            "near:pool-a=2,pool-b/pool-c",
        ),
        *("--failback", "manual", "--failback-delay", "30"),
    )
    assert changed.out.splitlines() == [
        f"~ instance shop ({shop['id']})",
        '    policies[mainland].lines: ["AS-CN"] -> ["AS-CN", "line:telecom"]',
        '    policies[mainland].pool_sets[default]: removed {"name": "default", '
        '"pools": [{"pool": "pool-a", "weight": 1}], "sticky": false}',
        '    policies[mainland].pool_sets[near]: added {"name": "near", "pools": [{"pool": "pool-a", "weight": 2}, '
        '{"pool": "pool-b", "weight": 1}], "sticky": false}',
        "    policies[mainland].failback: auto -> manual",
        "    policies[mainland].failback_delay: 0.0 -> 30.0",
    ]
    gtm.run("policy", "set", "shop", "america", "--lines", "NA", "--sets", "pool-c")
    assert [policy["name"] for policy in gtm.admin.get(f"/instances/{shop['id']}")["policies"]] == [
        "mainland",
        "world",
        "america",
    ]
    gtm.run("policy", "delete", "shop", "mainland", "-y")
    assert gtm.run("policy", "delete", "shop", "mainland", "-y", ends=3).err == (
        "gtmctl: there is no policy 'mainland'; there are: world, america\n"
    )
    last = gtm.run("policy", "delete", "shop", "world", "-y", ends=5)
    assert "no policy has the line 'default'" in last.err
    wrong = gtm.run("policy", "set", "shop", "america", "--lines", "NA-XXX", ends=5)
    assert "  /policies/1/lines/0 (policy america): 'NA-XXX' is no line" in wrong.err
    assert "a pool is missing" in gtm.run("policy", "set", "shop", "america", "--sets", "a//b", ends=2).err


def test_checks_and_lines(gtm: Server) -> None:
    gtm.run("check", "create", "dns", "--protocol", "tcp", "--port", "53", "--interval", "2.5")
    assert gtm.run("check", "list", "--protocol", "tcp").rows()[0][:5] == ["dns", "tcp", "53", "2.5", "3"]
    assert gtm.run("check", "set", "dns", "--port", "5353").out.splitlines()[1] == "    port: 53 -> 5353"
    gtm.run("line", "create", "near", "AS-CN", "AS-JP", "--name", "Near us")
    assert gtm.run("lines", "list").rows() == [["near", "Near us", "AS-CN,AS-JP"]]
    assert gtm.run("line", "set", "near", "--member", "AS-CN").err.splitlines() == []
    gtm.run("line", "delete", "near", "-y")
    gtm.run("check", "delete", "dns", "-y")


def test_every_fault_is_told_by_its_option(gtm: Server) -> None:
    wrong = gtm.run(
        *("check", "create", "web", "--protocol", "http", "--port", "99999", "--interval", "0"),
        *("--http-expect-status", "99", "--http-path", "x"),
        ends=5,
    )
    assert wrong.out == ""
    assert wrong.err.splitlines() == [
        "gtmctl: The document breaks rules",
        "  --port: 99999 is not allowed: must be a whole number from 1 to 65535 or null",
        "  --interval: 0.0 is not allowed: must be a number from 1 to 86400",
        "  --http-expect-status: '99' is not allowed: must be text of 3 to 255 characters",
        "  --http-path: 'x' must start with '/'",
    ]


def test_objects_from_files(gtm: Server, tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text("id: a\ntype: ipv4\nstrategy: all\naddresses:\n- {address: 192.0.2.1}\n")
    made = gtm.run("pool", "create", "-f", str(tmp_path / "pool.yaml"), "--strategy", "weighted", "-o", "json").json()
    assert (made["id"], made["strategy"], len(made["addresses"])) == ("a", "weighted", 1)
    other = gtm.run(
        "pool", "create", "b", "-f", "-", "-o", "json", typed=json.dumps({"id": "x", "type": "ipv6"})
    ).json()
    assert (other["id"], other["type"]) == ("b", "ipv6")
    (tmp_path / "bad.yaml").write_text("id: c\ntype: ipv4\n\naddresses:\n- address: 192.0.2.1\n- address: 192.0.2.1\n")
    bad = gtm.run("pool", "create", "-f", str(tmp_path / "bad.yaml"), ends=5)
    assert f"{tmp_path}/bad.yaml:6: /addresses/1/address: '192.0.2.1' is already at /addresses/0" in bad.err
    assert "give an id, or a file" in gtm.run("pool", "create", ends=2).err


def editor_that(folder: Path, script: str) -> Path:
    """An editor that does what a script does to the file; the file is newer then, by the second that clocks tell."""
    editor = folder / "editor"
    editor.write_text(f"#!/bin/sh\nset -e\n{script}\ntouch -d '+2 seconds' \"$1\"\n")
    editor.chmod(0o700)
    return editor


@pytest.mark.parametrize(
    ("script", "code", "said", "strategy"),
    [
        ("sed -i 's/strategy: all/strategy: sequence/' \"$1\"", 0, "strategy: all -> sequence", "sequence"),
        ("true", 0, "nothing was changed", "all"),
        ("sed -i 's/strategy: all/strategy: nonsense/' \"$1\"", 5, "line:4: /strategy: 'nonsense' is not", "all"),
        ("sed -i 's/^type: .*/type: [/' \"$1\"", 5, "the configuration cannot be read", "all"),
    ],
)
def test_editing(
    gtm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: int, said: str, strategy: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gtm.run("pool", "create", "a", "192.0.2.1")
    editor = editor_that(tmp_path, script)
    done = gtm.run("pool", "edit", "a", typed="n\n", ends=code, EDITOR=str(editor), VISUAL="")
    assert said in done.out + done.err
    assert gtm.admin.get("/pools/a")["strategy"] == strategy
    if code:
        kept = Path(done.err.split("what you wrote is kept in ")[1].splitlines()[0])
        assert "strategy" in kept.read_text()


def test_an_object_that_was_changed_meanwhile_is_not_overwritten(
    gtm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gtm.run("pool", "create", "a", "192.0.2.1")
    other = f"{sys.executable} -m pdns_gtm_backend.cli pool set a --strategy sticky >/dev/null"
    editor = editor_that(tmp_path, f"{other}; sed -i 's/strategy: all/strategy: sequence/' \"$1\"")
    done = gtm.run("pool", "edit", "a", ends=4, EDITOR=str(editor), VISUAL="")
    assert "gtmctl: pool a was changed by somebody else after it was read here: nothing was written" in done.err
    assert gtm.admin.get("/pools/a")["strategy"] == "sticky"
    assert "strategy: sequence" in Path(done.err.split("what you wrote is kept in ")[1].splitlines()[0]).read_text()


def test_drain_and_undrain(gtm: Server, shop: Any) -> None:
    preview = gtm.run("drain", "pool-b", "--dry-run")
    assert preview.rows() == [["shop", "world", "ipv4", "default", "failover"]]
    assert preview.err == "offline on pool pool-b: would be set (dry run)\n"
    assert gtm.run("override", "list").err == "there is no override\n"
    before = datetime.now(UTC)
    gtm.run("drain", "pool-b", "--for", "2h", "--reason", "upgrade of \x1b[31mb")
    (held,) = gtm.run("override", "list", "-o", "json").json()
    assert abs(datetime.fromisoformat(held["until"]) - before - timedelta(hours=2)) < timedelta(seconds=30)
    (row,) = gtm.run("override", "list").rows()
    assert row[1:3] == ["offline", "pool pool-b"]
    assert row[-1] == "upgrade of \\x1b[31mb"
    assert gtm.run("undrain", "pool-b", "--dry-run").err == "pool pool-b: would no longer be drained (dry run)\n"
    assert len(gtm.admin.get("/overrides")["items"]) == 1
    assert gtm.run("undrain", "pool-b").err == "pool pool-b: no longer drained\n"
    assert gtm.run("undrain", "pool-b", ends=3).err.splitlines()[0] == "gtmctl: pool pool-b is not drained"


def test_what_is_drained_is_what_was_named(gtm: Server, shop: Any) -> None:
    gtm.run("address", "set", "pool-a", "192.0.2.1", "--label", "site=hz")
    gtm.run("drain", "pool-a", "192.0.2.1")
    gtm.run("drain", "--label", "site=hz")
    gtm.run("drain", "--address", "192.0.2.1")
    gtm.run("drain", "pool-a", "--label", "site=hz", "--force")
    assert len(gtm.admin.get("/overrides")["items"]) == 4
    assert gtm.run("undrain", "pool-a", ends=3).code == 3
    gtm.run("undrain", "--label", "site=hz")
    gtm.run("undrain", "pool-a", "192.0.2.1")
    left = [one["selector"] for one in gtm.admin.get("/overrides")["items"]]
    assert sorted((one["pool"] or "", one["address"] or "", one["label"] or "") for one in left) == [
        ("", "192.0.2.1", ""),
        ("pool-a", "", "site=hz"),
    ]
    for wrong in ([], ["pool-a", "192.0.2.1", "--address", "192.0.2.1"]):
        assert gtm.run("drain", *wrong, ends=2).code == 2
    assert "POOL: there is no pool" in gtm.run("drain", "nope", ends=5).err


def test_the_brake_holds_what_would_leave_nothing(gtm: Server, shop: Any) -> None:
    gtm.run("drain", "pool-b")
    held = gtm.run("drain", "pool-c", ends=4)
    assert "this leaves no available set for shop/world (ipv4)" in held.err
    assert "--force does it" in held.err
    forced = gtm.run("drain", "pool-c", "--force", "--dry-run")
    assert forced.rows() == [["shop", "world", "ipv4", "failover", "default of policy mainland"]]
    gtm.run("drain", "pool-c", "--force")
    assert [row[0] for row in gtm.run("status").rows()[:2]] == ["pool unavailable", "pool unavailable"]


def test_overrides_of_other_effects(gtm: Server, shop: Any) -> None:
    made = gtm.run("override", "create", "failed", "pool-a", "--owner", "ops", "--reason", "drill", "-o", "json").json()
    assert (made["effect"], made["owner"], made["selector"]["pool"]) == ("failed", "ops", "pool-a")
    assert gtm.run("override", "show", made["id"]).yaml()["reason"] == "drill"
    assert gtm.run("override", "list", "--effect", "online").err == "there is no override like that\n"
    gtm.run("override", "delete", made["id"], "-y")
    assert gtm.run("override", "create", "pin", "pool-a", ends=2).code == 2


def test_switching_a_policy(gtm: Server, shop: Any) -> None:
    pinned = gtm.run("switch", "shop", "world", "--set", "failover", "--reason", "test")
    assert pinned.rows() == [["shop", "world", "ipv4", "default", "failover"]]
    assert pinned.err == "policy world of instance shop pinned to set failover\n"
    assert [row[1] for row in gtm.run("override", "list", "--instance", "shop").rows()] == ["pin"]
    assert len(gtm.run("pool", "list", "--instance", "shop").rows()) == 3
    status = gtm.run("instance", "status", "shop")
    assert "failover (pinned)" in status.out
    assert "overrides in force" in status.out
    assert gtm.run("switch", "shop", "world", "--failback", ends=4).err.startswith("gtmctl: The request contradicts")
    gtm.run("switch", "shop", "world", "--auto")
    assert gtm.run("override", "list", "-o", "json").json() == []
    assert "--set: 'nope' is no set of policy world" in gtm.run("switch", "shop", "world", "--set", "nope", ends=5).err
    assert gtm.run("switch", "shop", "nope", "--auto", ends=3).code == 3
    for wrong in ([], ["--auto", "--failback"], ["--auto", "--for", "1h", "--until", "2030-01-31T12:00:00Z"]):
        assert gtm.run("switch", "shop", "world", *wrong, ends=2).code == 2
    assert (
        "--for or --until"
        in gtm.run("switch", "shop", "world", "--set", "failover", "--until", "2030-01-31T12:00:00", ends=5).err
    )


def test_a_drill_is_previewed_executed_and_rolled_back(gtm: Server, shop: Any) -> None:
    what = ["--pool", "pool-b", "--address", "pool-a/192.0.2.1"]
    made = gtm.run("drill", "create", "b-lost", *what, "--reason", "yearly")
    assert made.rows()[0][0] == "b-lost"
    assert made.rows()[0][2:] == ["unexecuted", "-", "-", "pool pool-b,pool pool-a address 192.0.2.1", "yearly"]
    switches = [["shop", "mainland", "ipv4", "default", "failover"], ["shop", "world", "ipv4", "default", "failover"]]
    assert gtm.run("drill", "preview", "b-lost").rows() == switches
    assert gtm.run("drill", "execute", "b-lost", "--dry-run").rows() == switches
    assert gtm.admin.get("/overrides")["items"] == []
    assert "Nobody can be asked" in gtm.run("drill", "execute", "b-lost", ends=2).err
    done = gtm.run("drill", "execute", "b-lost", "--yes")
    assert done.rows() == switches
    assert done.err == "drill b-lost: executed; gtmctl drill rollback b-lost takes it back\n"
    assert [one["effect"] for one in gtm.admin.get("/overrides")["items"]] == ["failed", "failed"]
    assert gtm.run("drill", "list", "--state", "executed").rows()[0][2] == "executed"
    assert gtm.run("drill", "delete", "b-lost", "-y", ends=4).err.startswith("gtmctl: The request contradicts")
    assert [row[4] for row in gtm.run("drill", "rollback", "b-lost").rows()] == ["default", "default"]
    assert gtm.admin.get("/overrides")["items"] == []
    assert gtm.run("drill", "show", "b-lost").yaml()["state"] == "rolled_back"
    assert gtm.run("drill", "rollback", "b-lost", ends=4).code == 4
    gtm.run("drill", "delete", "b-lost", "-y")
    assert gtm.run("drill", "show", "b-lost", ends=3).code == 3


def test_a_drill_that_leaves_nothing_is_held_by_the_brake(gtm: Server, shop: Any) -> None:
    gtm.run("drill", "create", "all-lost", "--pool", "pool-b", "--pool", "pool-c")
    held = gtm.run("drill", "execute", "all-lost", "--yes", ends=4)
    assert "this leaves no available set for shop/world (ipv4)" in held.err
    assert gtm.run("drill", "execute", "all-lost", "--yes", "--force", "-o", "json").json()["state"] == "executed"
    gtm.run("drill", "rollback", "all-lost")
    wrong = gtm.run("drill", "create", "x", "--pool", "nope", "--label", "nonsense", ends=5)
    assert "/selectors/0/pool: there is no pool 'nope'" in wrong.err
    assert "/selectors/1/label: 'nonsense' is not of the form key=value" in wrong.err
    assert gtm.run("drill", "create", "x", ends=2).code == 2


def test_what_nothing_probes_cannot_be_probed(gtm: Server, shop: Any) -> None:
    for command in (["probe"], ["address", "history"]):
        assert "pool pool-a has no health check" in gtm.run(*command, "pool-a", "192.0.2.1", ends=3).err
    gtm.run("check", "create", "web", "--protocol", "http")
    gtm.run("pool", "set", "pool-a", "--health-check", "web")
    assert gtm.run("address", "history", "pool-a", "192.0.2.1").err == "no vantage reports now\n"
    assert gtm.run("probe", "pool-a", "192.0.2.1", ends=1).err == "no vantage reports now\n"


def test_simulate_says_what_and_why(gtm: Server, shop: Any) -> None:
    told = gtm.run("simulate", shop["cname"], "1.2.4.8").out
    assert told.splitlines()[0] == f"{shop['cname']} 60 A 192.0.2.1"
    assert "line AS-CN of policy mainland decides" in told
    assert "192.0.2.3  pool-c  failover  set failover does not answer" in told
    nothing = gtm.run("simulate", shop["cname"], "8.8.8.8", "--type", "aaaa").out
    assert nothing.startswith(f"{shop['cname']} has no AAAA records for 8.8.8.0/24")
    found = gtm.run("simulate", shop["cname"], "8.8.8.0/24", "-o", "json").json()
    assert found["answer"]["records"] == ["192.0.2.2"]
    wrong = gtm.run("simulate", shop["cname"], "here", ends=5)
    assert "  client: 'here' is neither an address nor a network like 192.0.2.0/24" in wrong.err
    assert gtm.run("simulate", "nowhere.example", "8.8.8.8", ends=3).code == 3


def test_zones_and_records(gtm: Server) -> None:
    gtm.run("zone", "create", "shop.example")
    gtm.run("record", "set", "shop.example", "www", "cname", "gtm1.gtm.example.", "--ttl", "60")
    gtm.run("record", "set", "shop.example", "@", "MX", "10 mail.shop.example.", "20 mail.other.example.")
    changed = gtm.run("record", "set", "shop.example", "www.shop.example", "CNAME", "gtm2.gtm.example")
    assert changed.rows() == [["www.shop.example", "CNAME", "60", "gtm2.gtm.example"]]
    assert gtm.run("record", "list", "shop.example").rows() == [
        ["shop.example", "MX", "3600", "10 mail.shop.example"],
        ["shop.example", "MX", "3600", "20 mail.other.example"],
        ["www.shop.example", "CNAME", "60", "gtm2.gtm.example"],
    ]
    assert len(gtm.run("rrsets", "list", "shop.example", "-o", "json").json()) == 2
    wrong = gtm.run("record", "set", "shop.example", "a", "A", "x", ends=5)
    assert "/records/0: 'x' is no A record" in wrong.err
    gtm.run("record", "delete", "shop.example", "www", "CNAME", "-y")
    assert gtm.run("record", "show", "shop.example", "www", "CNAME", ends=3).code == 3
    assert [row[0] for row in gtm.run("zone", "list").rows()] == ["gtm.example", "shop.example"]
    assert gtm.run("zone", "delete", "gtm.example", "-y", ends=1).err.startswith("gtmctl: The token does not allow")
    gtm.run("zone", "delete", "shop.example", "-y")


def test_tokens_are_told_once(gtm: Server) -> None:
    made = gtm.run("token", "create", "ci", "--role", "operator", "--for", "30d", "--label", "team=web")
    secret = made.out.strip()
    assert secret.startswith("gtm_")
    assert secret not in made.err
    rows = {row[1]: row for row in gtm.run("token", "list").rows()}
    assert rows["ci"][2:4] == ["operator", "team=web"]
    assert secret not in gtm.run("token", "list", "-o", "json").out
    assert gtm.run("pool", "create", "a", "192.0.2.1", ends=1, GTM_TOKEN=secret).err.startswith(
        "gtmctl: The token does not allow"
    )
    gtm.run("token", "delete", "ci", "-y")
    refused = gtm.run("pool", "list", ends=1, GTM_TOKEN=secret)
    assert refused.err.splitlines()[0].startswith("gtmctl: A valid token is needed")
    assert "give a token: --token-file" in refused.err
    assert (
        "--for or --until: "
        in gtm.run("token", "create", "x", "--role", "viewer", "--until", "2020-01-01T00:00:00Z", ends=5).err
    )
    assert gtm.run("token", "create", "dry", "--role", "viewer", "--dry-run").out == ""


def test_audit_tells_who_changed_what(gtm: Server) -> None:
    gtm.run("pool", "create", "a", "192.0.2.1")
    gtm.run("pool", "set", "a", "--strategy", "weighted", "--max-answers", "2")
    gtm.run("pool", "delete", "a", "-y")
    rows = gtm.run("audit", "--kind", "pools", "--object", "a", "-n", "2").rows()
    assert [row[1:] for row in rows] == [
        ["bootstrap", "127.0.0.1", "patch", "pools", "a", "strategy: all -> weighted; max_answers: null -> 2"],
        ["bootstrap", "127.0.0.1", "delete", "pools", "a", "-"],
    ]
    assert [entry["action"] for entry in gtm.run("audit", "--object", "a", "-o", "json").json()] == [
        "create",
        "patch",
        "delete",
    ]
    assert gtm.run("audit", "--actor", "nobody").err == "there is nothing yet\n"
    assert gtm.run("events", "--kind", "set.switched").err == "there is nothing yet\n"


def test_status_is_what_is_wrong_first(gtm: Server, shop: Any) -> None:
    gtm.run("drain", "pool-b")
    screen = gtm.run("status")
    rows = screen.rows()
    assert rows[0][:2] == ["pool unavailable", "pool-b"]
    assert ["switched", "shop world ipv4"] in [row[:2] for row in rows]
    assert "1 instances" in screen.out.splitlines()[-1]
    found = gtm.run("status", "-o", "json").json()
    assert [trouble["level"] for trouble in found["troubles"]] == sorted(t["level"] for t in found["troubles"])
    assert "pool pool-b: exception" in gtm.run("status", "shop").out
    assert "used by shop" in gtm.run("pool", "status", "pool-b").out


def test_what_is_asked_is_answered_by_yes_or_not_done(gtm: Server) -> None:
    gtm.run("pool", "create", "a", "192.0.2.1")
    refused = gtm.run("pool", "delete", "a", ends=2)
    assert refused.err == "gtmctl: Delete pool a? Nobody can be asked here: --yes agrees\n"
    dry = gtm.run("pool", "delete", "a", "--dry-run")
    assert dry.err == "pool a: would be deleted (dry run)\n"
    assert gtm.admin.get("/pools/a")["id"] == "a"


@pytest.mark.parametrize(
    "command",
    [
        ["pool", "create", "b", "192.0.2.9"],
        ["pool", "set", "pool-a", "--strategy", "sticky"],
        ["address", "add", "pool-a", "192.0.2.9"],
        ["address", "set", "pool-a", "192.0.2.1", "--weight", "7"],
        ["address", "delete", "pool-a", "192.0.2.1"],
        ["check", "create", "web", "--protocol", "ping"],
        ["line", "create", "near", "AS-CN"],
        ["instance", "create", "more", "--policy", "world", "default", "pool-a"],
        ["instance", "rename", "shop", "market"],
        ["instance", "disable", "shop"],
        ["instance", "copy", "shop", "twin"],
        ["instance", "delete", "shop"],
        ["policy", "set", "shop", "world", "--failback", "manual"],
        ["policy", "delete", "shop", "mainland"],
        ["zone", "create", "new.example"],
        ["record", "set", "gtm.example", "ns1", "A", "192.0.2.53"],
        ["drain", "pool-a"],
        ["drill", "create", "x", "--pool", "pool-a"],
        ["switch", "shop", "world", "--set", "failover"],
        ["token", "create", "x", "--role", "viewer"],
    ],
    ids=" ".join,
)
def test_a_dry_run_writes_nothing(gtm: Server, shop: Any, command: list[str]) -> None:
    def held() -> list[Any]:
        lists = (gtm.admin.get(f"/{kind}")["items"] for kind in ("overrides", "tokens", "zones"))
        return [gtm.admin.get("/export"), *([item.get("id") or item for item in items] for items in lists)]

    before = held()
    done = gtm.run(*command, "--dry-run")
    assert "would" in done.err
    assert held() == before


def test_deleting_what_is_used_names_its_users(gtm: Server, shop: Any) -> None:
    refused = gtm.run("pool", "delete", "pool-a", "-y", ends=4)
    assert "pool 'pool-a' is used by instance shop: take it out there first" in refused.err


def test_a_server_that_is_not_there_is_unavailable() -> None:
    port = free_port()
    done = run("pool", "list", ends=69, environment={"GTM_API": f"http://127.0.0.1:{port}"})
    assert done.err.splitlines()[0] == f"gtmctl: http://127.0.0.1:{port} does not answer: connection refused"
    assert "--server, GTM_API or the profile file" in done.err


def test_what_is_no_admin_api_is_told(gtm: Server) -> None:
    done = gtm.run("pool", "list", "--server", gtm.url + "/elsewhere", ends=3)
    assert "there is nothing at /elsewhere/api/v1/pools" in done.err


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["pool"], ["pool", "show"], ["pool", "list", "--nope"], ["-o", "xml", "status"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert run(*arguments, ends=2, environment={}).out == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_GTMCTL_COMPLETE=" in run("completion", shell, environment={}).out


def test_names_are_completed_from_the_api(gtm: Server, shop: Any) -> None:
    def completed(words: str, **environment: str) -> list[str]:
        asked = {"_GTMCTL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        return gtm.run(**asked, **environment).out.split()

    assert completed("gtmctl pool show pool-") == ["plain,pool-a", "plain,pool-b", "plain,pool-c"]
    assert completed("gtmctl instance status s") == ["plain,shop"]
    assert completed("gtmctl inst") == ["plain,instance"]
    assert completed("gtmctl pool show pool-", GTM_TOKEN="wrong") == []
