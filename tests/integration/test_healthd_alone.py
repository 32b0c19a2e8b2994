"""One healthd: failover and back, edits of the configuration, overrides, restarts, a store that is not its own."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.state import policy_state_key
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys, kinds
from tests.support.healthd import Healthd, Origins, Site
from tests.support.ports import free_port
from tests.support.store import instance, pool

A1, A2, B1 = "127.0.21.1", "127.0.21.2", "127.0.21.3"
INSTANCE = "gtm00000001"
KEY = policy_state_key(INSTANCE, "world", "ipv4")


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(A1, B1) as made:
        yield made


@pytest.fixture
def shop(site: Site, origins: Origins) -> Healthd:
    """Pool a (A1 answers, A2 does not) before pool b (B1 answers); one healthd that has seen it all."""
    site.configure(
        site.check(origins.port),
        pool("a", A1, A2, health_checks=("web",)),
        pool("b", B1, health_checks=("web",)),
        instance(INSTANCE, "a", "b"),
    )
    healthd = site.healthd("hz")
    site.until_health("up", A1, B1)
    site.until_health("down", A2)
    site.until(lambda: site.effective() == "default")
    return healthd


def test_failover_and_back(site: Site, shop: Healthd, origins: Origins) -> None:
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    writes = [write for write in site.writes() if KEY in {key.partition("/")[2] for key in write}]
    assert set(writes[-1]) == {f"target-states/{target_key('web', A1, None, None)}", f"policy-states/{KEY}"}
    origins.start(A1)
    site.until(lambda: site.effective() == "default")
    told = [(e["kind"], e.get("address"), e.get("from"), e.get("to")) for e in site.events()]
    assert sorted(told[:4], key=str) == sorted(
        [
            ("leader.changed", None, None, "hz"),
            ("address.up", A1, "unknown", "up"),
            ("address.down", A2, "unknown", "down"),
            ("address.up", B1, "unknown", "up"),
        ],
        key=str,
    )
    assert told[4:] == [
        ("address.down", A1, "up", "down"),
        ("pool.unavailable", None, "available", "unavailable"),
        ("set.switched", None, "default", "failover"),
        ("address.up", A1, "down", "up"),
        ("pool.available", None, "unavailable", "available"),
        ("set.switched", None, "failover", "default"),
    ]
    down = site.events("address.down")[-1]
    assert down["reason"] == f"down: connection refused by {A1}:{origins.port} (hz)"
    assert down["vantages"] == {"hz": "down"}
    since = datetime.fromisoformat(down["since"])
    assert timedelta(0) < datetime.now(UTC) - since < timedelta(seconds=300)


def test_failback_waits_for_its_delay(site: Site, shop: Healthd, origins: Origins) -> None:
    policy = site.follower.serving.snapshot.instances[INSTANCE].policies[0]
    held = site.follower.serving.snapshot.instances[INSTANCE]
    site.configure(replace(held, policies=(replace(policy, failback_delay=2),)))
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    origins.start(A1)
    site.until_health("up", A1)
    returning = site.follower.serving.snapshot.policy_states[KEY]
    site.until(lambda: site.effective() == "default")
    up, back = (datetime.fromisoformat(site.events(kind)[-1]["since"]) for kind in ("address.up", "set.switched"))
    assert back - up >= timedelta(seconds=1.9), "two seconds from when it was available again"
    assert (returning.set, returning.returning) == ("failover", "default")


def test_changes_that_come_together_are_written_together(site: Site) -> None:
    addresses = [f"127.0.22.{number}" for number in range(1, 101)]
    with Origins(*addresses) as origins:
        check = site.check(origins.port, interval=5, timeout=5, fall=3)
        site.configure(check, pool("a", *addresses, health_checks=("web",)))
        site.healthd("hz")
        site.until_health("up", *addresses)
    writes = [write for write in site.writes() if any(key.startswith("target-states/") for key in write)]
    assert sum(len(write) for write in writes) == len(addresses)
    since = [state.since for state in site.follower.serving.snapshot.target_states.values()]
    assert len(writes) <= (max(since) - min(since)) / 0.02 + 5, "one at most every 20 ms"


def test_a_check_that_is_edited_keeps_the_last_state_until_it_says_otherwise(
    site: Site, shop: Healthd, origins: Origins
) -> None:
    assert site.follower.serving.snapshot.target_states[target_key("web", A1, None, None)].health == "up"
    began = time.monotonic()
    site.configure(site.check(free_port(), fall=3))
    site.until_health("down", A1)
    assert time.monotonic() - began > 1.5, "three failures a second apart"
    assert not any(event["to"] == "unknown" for event in site.events())
    site.configure(site.check(origins.port))
    site.until_health("up", A1, B1)


def test_targets_follow_the_configuration(site: Site, shop: Healthd, origins: Origins) -> None:
    origins.start(A2)
    site.until_health("up", A2)
    site.configure(pool("a", A1, health_checks=("web",)))
    site.until(lambda: site.state(A2) is None)
    gone = target_key("web", A2, None, None)
    site.until(lambda: not site.client.hexists(keys.verdicts("hz"), gone))
    site.configure(pool("a", A1, A2, health_checks=("web",)))
    site.until_health("up", A2)
    site.configure(pool("a", A1, A2))
    site.until(lambda: site.state(A1) is None)
    assert site.follower.serving.pools["a"].available, "not monitored"
    site.remove(kinds.HEALTH_CHECKS, "web")
    site.until(lambda: shop.ready()["vantage"]["targets"] == 0)


def test_an_address_keeps_its_state_when_the_host_of_its_pool_changes(site: Site, shop: Healthd) -> None:
    before = site.state(A2)
    site.configure(pool("a", A1, A2, health_checks=("web",), host="www.shop.example"))
    site.until(lambda: site.state(A2, host="www.shop.example") is not None)
    carried = site.state(A2, host="www.shop.example")
    assert before is not None
    assert carried is not None
    assert (carried.health, carried.since) == ("down", before.since)
    site.until(lambda: site.state(A2) is None)
    named = target_key("web", A2, "www.shop.example", None)
    site.until(lambda: site.client.hexists(keys.verdicts("hz"), named))
    assert not any(event["to"] == "unknown" for event in site.events())


def test_overrides_end_and_failback_is_carried_out(site: Site, shop: Healthd) -> None:
    offline = Override(id="o1", selector=Selector(pool="a"), effect="offline")
    site.override(offline)
    site.until(lambda: site.effective() == "failover")
    until = datetime.now(UTC) + timedelta(seconds=0.5)
    site.override(replace(offline, until=until))
    site.until(lambda: site.effective() == "default")
    assert datetime.now(UTC) > until
    site.until(lambda: "o1" not in site.follower.serving.snapshot.overrides)
    expired = site.events("override.expired")
    assert [(event["override"], event["to"]) for event in expired] == [("o1", "removed")]
    policy = Selector(instance=INSTANCE, policy="world")
    site.override(Override(id="p1", selector=policy, effect="pin", set="failover", owner="ann"))
    site.until(lambda: site.events("set.switched")[-1]["reason"] == "pinned to failover by ann")
    site.override(Override(id="f1", selector=policy, effect="failback"))
    site.until(lambda: "f1" not in site.follower.serving.snapshot.overrides)
    assert site.effective() == "failover", "a pin is above it"
    assert site.events("set.switched")[-1]["reason"] == "pinned to failover by ann"
    site.remove_override("p1")
    site.until(lambda: site.effective() == "default")


def test_a_restart_keeps_verdicts_and_states(site: Site, shop: Healthd, origins: Origins) -> None:
    site.configure(site.check(origins.port, fall=2))
    before = len(site.events())
    assert shop.stop() == 0
    origins.stop(A1)
    assert site.client.get(keys.LEADER) is None, "given back"
    assert site.client.get(keys.vantage_lease("hz")) is None
    time.sleep(0.5)
    assert site.health(A1) == "up"
    shop.start()
    site.until_health("down", A1)
    told = [(event["kind"], event["from"]) for event in site.events()[before:] if event["kind"] != "vantage.back"]
    assert told == [("address.down", "up"), ("pool.unavailable", "available"), ("set.switched", "default")]


def test_nothing_is_written_into_another_store_and_adopting_it_brings_everything_back(
    site: Site, shop: Healthd, origins: Origins
) -> None:
    site.client.flushall()
    site.until(lambda: shop.ready()["store"]["state"] == "foreign")
    site.client.flushall()
    origins.stop(A1)
    time.sleep(2)
    assert site.client.keys("*") == [], "neither leases nor verdicts nor heartbeats"
    ready = shop.ready()
    assert (ready["ready"], ready["degraded"], ready["leader"]) == (True, True, False)
    assert ready["vantage"] == {"name": "hz", "probing": True, "targets": 3}
    origins.start(A1)
    origins.stop(B1)
    site.client.set(keys.STORE_ID, site.store_id)
    site.until(lambda: shop.ready()["leader"])
    site.until(lambda: site.client.hlen(keys.verdicts("hz")) == 0)
    assert shop.ready()["vantage"]["probing"]


def test_garbage_in_the_store_is_named_and_nothing_stops(site: Site, shop: Healthd, origins: Origins) -> None:
    site.client.xadd(keys.VERDICT_FEED, {"nonsense": "1"})
    site.client.xadd(keys.VERDICT_FEED, {"vantage": "no|one", "target": "x"})
    site.client.hset(keys.HEARTBEATS, "broken", "{")
    site.client.hset(keys.HEARTBEATS, b"\xff\xfe", '{"time": 1}')
    site.client.hset(keys.HEARTBEATS, "far-away", '{"time": 1e300}')
    site.client.hset(keys.verdicts("hz"), target_key("web", B1, None, None), '{"up": "perhaps"}')
    site.client.set(keys.VERDICTS_DECIDED, "tomorrow")
    site.client.sadd(keys.VERDICTS_WAITING, "gar", b"\xff|b\xffge")
    site.client.hset(keys.LEADERSHIP, "told", "many")
    site.client.rpush(keys.vantage_requests("hz"), "{}", '{"id": "../../x", "kind": "probe"}')
    shop.stop()
    shop.start()
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    log = shop.output.read_text()
    assert "heartbeat of 'broken' in the store is broken" in log
    assert log.count("heartbeat of 'broken' in the store is broken") <= 3, "said once by each that reads it"
    site.until(lambda: json.loads(str(site.client.hget(keys.verdicts("hz"), target_key("web", B1, None, None))))["up"])


def test_what_its_status_pages_say(site: Site, shop: Healthd) -> None:
    assert shop.get("/livez") == (200, '{"stuck": []}\n')
    assert shop.get("/nothing")[0] == 404
    ready = shop.ready()
    assert ready["store"] == {"state": "following", "detail": "", "writes": "ok"}
    status, metrics = shop.get("/metrics")
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(values["pdns_gtm_leader"]) == 1
    assert float(values["pdns_gtm_leader_transitions_total"]) == 1
    assert float(values["pdns_gtm_probe_targets"]) == 3
    assert float(values["pdns_gtm_vantage_active"]) == 1
    probes = float(values['pdns_gtm_probes_total{type="http"}'])
    assert probes >= 3
    assert float(values['pdns_gtm_probe_duration_seconds_count{type="http"}']) >= probes
    assert float(values['pdns_gtm_probe_failures_total{cause="refused",type="http"}']) >= 1
    assert float(values["pdns_gtm_probe_overruns_total"]) == 0
    assert 0 <= float(values["pdns_gtm_probe_lag_seconds"]) < 30
    site.redis.kill()
    site.until(lambda: shop.ready()["degraded"])
    site.until(lambda: shop.ready()["store"]["writes"] != "ok")
    assert shop.get("/readyz")[0] == 200, "a snapshot serves"
