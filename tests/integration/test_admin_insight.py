"""What operators look at: statuses from states and verdicts, simulated clients, events, audit, vantages."""

from collections.abc import Iterator
from typing import Any

import pytest

from pdns_gtm_backend.domain.state import Heartbeat, PolicyState, TargetState, VantageVerdict, policy_state_key
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.leases import Lease
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from pdns_gtm_backend.store.vantages import Vantages
from tests.support.api import Admin, emptied, figure, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS


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


def monitored(admin: Admin) -> Any:
    """The figure with a check on every pool; returns the instance."""
    admin.post("/health-checks", {"id": "web", "protocol": "http"})
    for name, address in (("pool-a", "192.0.2.1"), ("pool-b", "192.0.2.2"), ("pool-c", "192.0.2.3")):
        admin.post("/pools", pool(name, address, health_checks=["web"]))
    policies = [policy("mainland", ["AS-CN"], "pool-a", "pool-c"), policy("world", ["default"], "pool-b", "pool-c")]
    return admin.post("/instances", {"name": "shop", "policies": policies})


def decided(admin: Admin, *changes: Change, events: tuple[dict[str, Any], ...] = ()) -> None:
    """Write states as the leader does."""
    follower = admin.services.follower
    position = follower.serving.snapshot.position
    revision = Repository(follower.repository.client).commit(Commit(changes, events), position.store_id)
    assert follower.wait_for(revision, SECONDS)


def seen_by(admin: Admin, name: str, **verdicts: VantageVerdict) -> None:
    """A heartbeat of a vantage, and its verdicts on the addresses a, b and c."""
    client = admin.services.follower.repository.client
    lease, store = Lease(client, keys.vantage_lease(name)), Vantages(client)
    assert lease.hold()
    store.publish(name, lease.token, {f"web|192.0.2.{'abc'.index(k) + 1}||": v for k, v in verdicts.items()})
    store.beat(name, lease.token, Heartbeat(time=0, targets=3, labels={"country": "CN"}))


def test_the_status_of_an_instance_whose_pool_has_failed(admin: Admin) -> None:
    made = monitored(admin)
    up, down = (
        VantageVerdict(up=True, since=1000.0),
        VantageVerdict(up=False, since=2000.5, reason="timeout", detail="no answer within 3 s"),
    )
    seen_by(admin, "local", a=down, b=up, c=up)
    failed = TargetState(health="down", since=2001.0, reason="no answer within 3 s (local)", vantages={"local": "down"})
    fine = TargetState(health="up", since=1001.0, vantages={"local": "up"})
    switched = PolicyState(set="failover", since=2001.0, reason="set default unavailable: pool-a", previous="default")
    decided(
        admin,
        Change(kinds.TARGET_STATES, "web|192.0.2.1||", failed),
        Change(kinds.TARGET_STATES, "web|192.0.2.2||", fine),
        Change(kinds.TARGET_STATES, "web|192.0.2.3||", fine),
        Change(kinds.POLICY_STATES, policy_state_key(made["id"], "mainland", "ipv4"), switched),
    )
    status = admin.get(f"/instances/{made['id']}/status")
    assert (status["health_check_status"], status["request_status"]) == ("exception", "error")
    assert (status["stale"], status["stale_reason"]) == (False, None)
    mainland = status["policies"][0]
    assert (mainland["name"], mainland["lines"], mainland["mode"], mainland["pinned_set"]) == (
        "mainland",
        ["AS-CN"],
        "auto",
        None,
    )
    assert mainland["families"] == {
        "ipv4": {
            "effective_set": "failover",
            "since": "1970-01-01T00:33:21.000Z",
            "reason": "set default unavailable: pool-a",
            "previous_set": "default",
            "rule": "set",
            "source": {"policy": "mainland", "set": "failover"},
            "sets": [
                {"name": "default", "available": False, "pools": [{"pool": "pool-a", "weight": 1, "available": False}]},
                {"name": "failover", "available": True, "pools": [{"pool": "pool-c", "weight": 1, "available": True}]},
            ],
        }
    }
    failed_pool = status["pools"][0]
    assert (failed_pool["id"], failed_pool["status"], failed_pool["available"]) == ("pool-a", "exception", False)
    assert failed_pool["addresses"] == [
        {
            "address": "192.0.2.1",
            "availability": "down",
            "health": "down",
            "reason": "down: no answer within 3 s (local)",
            "since": "1970-01-01T00:33:21.000Z",
            "mode": "auto",
            "weight": 1,
            "labels": {},
            "override": None,
            "checks": [
                {
                    "check": "web",
                    "health": "down",
                    "since": "1970-01-01T00:33:21.000Z",
                    "reason": "no answer within 3 s (local)",
                    "vantages": {
                        "local": {
                            "verdict": "down",
                            "since": "1970-01-01T00:33:20.500Z",
                            "last_failure": {"reason": "timeout", "detail": "no answer within 3 s"},
                            "latency": None,
                            "loss": None,
                        }
                    },
                }
            ],
        }
    ]
    own = admin.get("/pools/pool-a/status")
    assert own["addresses"] == failed_pool["addresses"]
    assert own["used_by"] == [{"id": made["id"], "name": "shop"}]
    assert [i["id"] for i in admin.get("/instances?request_status=error&health_check_status=exception")["items"]] == [
        made["id"]
    ]


def test_what_nobody_reports_on_is_stale(admin: Admin) -> None:
    made = monitored(admin)
    status = admin.get(f"/instances/{made['id']}/status")
    assert (status["stale"], status["stale_reason"]) == (True, "check web: 0 of 1 needed vantages report")
    assert status["pools"][0]["addresses"][0]["checks"][0]["reason"] == "no verdict yet"
    seen_by(admin, "local")
    assert admin.get(f"/instances/{made['id']}/status")["stale"] is False
    client = admin.services.follower.repository.client
    client.hset(keys.HEARTBEATS, "far", '{"time": 5.0}')
    stale = admin.get("/pools/pool-a/status")["stale_reason"]
    assert stale.startswith("check web: 1 of 2 needed vantages report: far is silent since 1970-01-01T00:00:05.000Z")
    unmonitored = figure_without_checks(admin)
    assert admin.get(f"/instances/{unmonitored['id']}/status")["stale"] is False


def test_what_was_never_reported_is_said_to_be(admin: Admin) -> None:
    admin.post("/health-checks", {"id": "web", "protocol": "external"})
    admin.post("/pools", pool("pool-a", "192.0.2.1", "192.0.2.2", health_checks=["web"]))

    def reasons() -> list[tuple[str, str]]:
        addresses = admin.get("/pools/pool-a/status")["addresses"]
        return [(address["reason"], address["checks"][0]["reason"]) for address in addresses]

    assert reasons() == [("no verdict yet", "no verdict yet")] * 2, "nobody probes"
    seen_by(admin, "local", b=VantageVerdict(up=True, since=1000.0))
    assert reasons() == [("nothing was reported yet",) * 2, ("no verdict yet",) * 2]


def figure_without_checks(admin: Admin) -> Any:
    admin.post("/pools", pool("plain", "192.0.2.9"))
    return admin.post("/instances", {"name": "plain", "policies": [policy("world", ["default"], "plain")]})


def test_vantages_and_garbage_among_them(admin: Admin) -> None:
    seen_by(admin, "local")
    client = admin.services.follower.repository.client
    client.hset(keys.HEARTBEATS, "broken", "{not json")
    (local,) = admin.get("/vantages")["items"]
    assert (local["name"], local["reporting"], local["targets"], local["overdue"]) == ("local", True, 3, 0)
    assert local["labels"] == {"country": "CN"}
    assert 0 <= local["age"] < 5
    assert local["heartbeat"].endswith("Z")
    assert (local["suspended"], local["reference"]) == ("", None)


def simulated(admin: Admin, name: str, client: str, rrtype: str = "A", expect: int = 200) -> Any:
    return admin.get(f"/simulate?name={name}&client={client}&type={rrtype}", expect)


def test_a_simulated_client_gets_what_it_would_and_the_reasons(admin: Admin) -> None:
    made = figure(admin, service_domains=["www.shop.example"], ttl=30)
    got = simulated(admin, made["cname"].upper() + ".", "1.2.4.8")
    assert got["instance"] == {"id": made["id"], "name": "shop", "cname": made["cname"], "by": "cname"}
    assert got["answer"] == {"type": "A", "ttl": 30, "records": ["192.0.2.1"]}
    assert (got["client"], got["scope"], got["ttl"]) == ("1.2.4.0/24", 24, 30)
    assert got["place"] == {
        "continent": "AS",
        "country": "CN",
        "subdivision": "",
        "asn": 0,
        "source": "tor-geoipdb text",
    }
    assert got["matched"] == {"line": "AS-CN", "expression": "AS-CN", "policy": "mainland"}
    assert got["lost"] == [{"line": "default", "expression": "default", "policy": "world"}]
    assert (got["policy"], got["rule"], got["source_policy"], got["source_set"]) == (
        "mainland",
        "set",
        "mainland",
        "default",
    )
    assert got["drawn_from"] == [{"address": "192.0.2.1", "pool": "pool-a", "probability": 1.0}]
    assert got["left_out"] == [
        {"address": "192.0.2.3", "pool": "pool-c", "set": "failover", "reason": "set failover does not answer"}
    ]
    assert "line AS-CN of policy mainland decides" in got["why"]
    world = simulated(admin, "www.shop.example", "8.8.8.0/24")
    assert (world["instance"]["by"], world["answer"]["records"]) == ("service_domains", ["192.0.2.2"])
    six = simulated(admin, made["cname"], "2001:db8:1::1")
    assert (six["client"], six["matched"]["policy"]) == ("2001:db8:1::/56", "mainland")
    assert simulated(admin, made["cname"], "8.8.8.8", "AAAA")["answer"] == {"type": "AAAA", "ttl": 30, "records": []}


def test_a_simulation_shows_weights_drains_and_fail_open(admin: Admin) -> None:
    addresses = [
        {"address": "192.0.2.1", "weight": 3},
        {"address": "192.0.2.2"},
        {"address": "192.0.2.3", "mode": "offline"},
    ]
    admin.post("/pools", {"id": "w", "type": "ipv4", "strategy": "weighted", "addresses": addresses})
    made = admin.post("/instances", {"name": "w", "policies": [policy("world", ["default"], "w")]})
    got = simulated(admin, made["cname"], "8.8.8.8")
    assert {d["address"]: d["probability"] for d in got["drawn_from"]} == {"192.0.2.1": 0.75, "192.0.2.2": 0.25}
    assert [(left["address"], left["reason"]) for left in got["left_out"]] == [("192.0.2.3", "mode offline")]
    admin.post("/overrides?force=true", {"selector": {"pool": "w"}, "effect": "failed"})
    opened = simulated(admin, made["cname"], "8.8.8.8")
    assert (opened["rule"], sorted(opened["answer"]["records"])) == (
        "fail_open",
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    )
    assert opened["why"][-1].endswith("all addresses of set default are answered (when_all_down: fail_open)")
    admin.patch(f"/instances/{made['id']}", {"enabled": False})
    disabled = simulated(admin, made["cname"], "8.8.8.8")
    assert (disabled["rule"], disabled["answer"]["records"], disabled["drawn_from"]) == ("disabled", [], [])
    assert {left["reason"] for left in disabled["left_out"]} == {"the instance is disabled"}
    families = admin.get(f"/instances/{made['id']}/status")["policies"][0]["families"]
    assert (families["ipv4"]["rule"], families["ipv4"]["source"]) == ("disabled", None)


def test_names_of_zones_and_wildcards_are_simulated(admin: Admin) -> None:
    admin.post("/zones", {"name": "shop.example"})
    admin.post("/pools", pool("pool-a", "192.0.2.1"))
    names = ["www.shop.example", "*.app.shop.example"]
    admin.post("/instances", {"name": "shop", "names": names, "policies": [policy("world", ["default"], "pool-a")]})
    for name in ("www.shop.example", "x.app.shop.example", "a.b.app.shop.example"):
        assert simulated(admin, name, "8.8.8.8")["answer"]["records"] == ["192.0.2.1"], name
    for name in ("app.shop.example", "x.www.shop.example", "shop.example"):
        assert simulated(admin, name, "8.8.8.8", expect=404)["status"] == 404, name


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", ["name", "client"]),
        ("name=a..b&client=x&type=MX", ["name", "type", "client"]),
        ("name=a.example&client=300.1.1.1", ["client"]),
        ("name=a.example&client=192.0.2.1&ttl=5", ["ttl"]),
    ],
)
def test_bad_simulations(admin: Admin, query: str, parameters: list[str]) -> None:
    assert [error["parameter"] for error in admin.get(f"/simulate?{query}", 400)["errors"]] == parameters


def test_an_instance_of_names_answers_a_cname(admin: Admin) -> None:
    admin.post("/pools", pool("names", "origin.example.net", family="domain"))
    made = admin.post(
        "/instances", {"name": "n", "kind": "domain", "policies": [policy("world", ["default"], "names")]}
    )
    for rrtype in ("A", "CNAME"):
        assert simulated(admin, made["cname"], "8.8.8.8", rrtype)["answer"]["type"] == "CNAME"
    plain = figure_without_checks(admin)
    refused = simulated(admin, plain["cname"], "8.8.8.8", "CNAME", 400)
    assert refused["errors"][0]["parameter"] == "type"


def test_events_are_paged_and_filtered(admin: Admin) -> None:
    listed = tuple(
        {
            "kind": "address.down" if n % 2 else "address.up",
            "pool": f"p{n % 3}",
            "address": "192.0.2.1",
            "instances": [f"gtm{n % 4}"],
            "n": n,
        }
        for n in range(30)
    )
    decided(admin, events=listed)
    decided(admin, events=({"kind": "set.switched", "instance": "gtm1", "policy": "world", "n": 30},))
    client = admin.services.follower.repository.client
    client.xadd(keys.EVENTS, {"revision": "9", "event": "{broken"})
    everything = admin.get("/events?limit=1000")
    assert [e.get("n") for e in everything["items"]] == [*range(31), None]
    assert (everything["items"][-1]["kind"], everything["next"]) == ("unreadable", None)
    first = everything["items"][0]
    assert first["time"].endswith("Z")
    assert isinstance(first["revision"], int)
    seen, path = [], "/events?limit=7"
    while path:
        page = admin.get(path)
        seen += [e.get("n") for e in page["items"]]
        path = f"/events?limit=7&after={page['next']}" if page["next"] else ""
    assert seen == [*range(31), None]
    assert [e["n"] for e in admin.get("/events?instance=gtm1&limit=1000")["items"]] == [1, 5, 9, 13, 17, 21, 25, 29, 30]
    assert [e["n"] for e in admin.get("/events?pool=p2&kind=address.up")["items"]] == [2, 8, 14, 20, 26]
    newest = admin.get("/events?order=newest&limit=2")
    assert [e.get("n") for e in newest["items"]] == [None, 30]
    assert [e["n"] for e in admin.get(f"/events?before={newest['next']}&limit=2")["items"]] == [29, 28]
    assert admin.get(f"/events?after={everything['items'][-1]['id']}") == {"items": [], "next": None}
    for query, parameter in (
        ("after=x", "after"),
        ("order=up", "order"),
        ("order=newest&after=1", "after"),
        ("limit=0", "limit"),
    ):
        assert admin.get(f"/events?{query}", 400)["errors"][0]["parameter"] == parameter


def test_every_change_is_in_the_audit_with_who_where_and_what(admin: Admin) -> None:
    made = admin.post("/pools", pool("web", "192.0.2.1"))
    admin.patch("/pools/web", {"strategy": "sequence"})
    admin.put("/pools/web/addresses/192.0.2.1", {"weight": 9})
    admin.delete("/pools/web")
    http = {"headers": {"Authorization": "Bearer secret-of-a-probe"}}
    admin.post("/health-checks", {"id": "web", "protocol": "http", "http": http})
    assert admin.get("/health-checks/web")["http"]["headers"] == http["headers"]
    token = admin.post("/tokens", {"name": "ci", "role": "operator"})
    entries = admin.get("/audit?limit=1000")["items"]
    told = [(e["action"], e["kind"], e["object"]) for e in entries]
    assert told[-6:] == [
        ("create", "pools", "web"),
        ("patch", "pools", "web"),
        ("replace", "pools", "web/addresses/192.0.2.1"),
        ("delete", "pools", "web"),
        ("create", "health-checks", "web"),
        ("create", "tokens", token["id"]),
    ]
    created, patched, address, deleted = entries[-6:-2]
    assert (created["before"], created["after"]) == (None, made)
    assert (patched["before"], patched["after"]) == (made, made | {"strategy": "sequence"})
    assert (address["before"]["weight"], address["after"]["weight"]) == (1, 9)
    assert deleted["after"] is None
    who = admin.get("/tokens?name=bootstrap")["items"][0]
    assert created["actor"] == {"id": who["id"], "name": "bootstrap", "role": "admin"}
    assert created["origin"] == "127.0.0.1"
    assert created["time"].endswith("Z")
    assert [e["object"] for e in admin.get("/audit?kind=tokens&actor=bootstrap")["items"]] == [token["id"]]
    assert [e["action"] for e in admin.get("/audit?object=web&kind=pools&order=newest")["items"]] == [
        "delete",
        "patch",
        "create",
    ]
    client = admin.services.follower.repository.client
    kept = str(client.xrange(keys.AUDIT))
    assert "secret-of-a-probe" not in kept
    assert token["token"] not in kept
    assert "hash" not in kept
