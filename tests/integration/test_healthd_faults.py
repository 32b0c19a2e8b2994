"""Nothing fails alone: leaders and vantages that are killed, frozen and woken, and a Redis that goes away."""

import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from healthd.watch import LOST_SECONDS
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.leases import Lease
from pdns_gtm_backend.store.repository import Commit
from pdns_gtm_backend.store.snapshot import Change
from tests.support.healthd import Healthd, Origins, Site
from tests.support.store import instance, pool

A1, B1 = "127.0.23.1", "127.0.23.2"
TARGET = target_key("web", A1, None, None)
TAKEOVER_SECONDS = 15.0
"""A lease of 2 s and the next attempt, on a busy machine."""
FALL, INTERVAL, TIMEOUT = 2, 1, 5
LEFT_SECONDS = FALL * INTERVAL + 15.0
"""After a fault's end until an address that died in it has left; `make test-faults` measures the 2 s of design.md."""


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(A1, B1) as made:
        yield made


def configure(site: Site, origins: Origins, **check: Any) -> None:
    given = {"interval": INTERVAL, "timeout": TIMEOUT, "fall": FALL} | check
    site.configure(
        site.check(origins.port, **given),
        pool("a", A1, health_checks=("web",)),
        pool("b", B1, health_checks=("web",)),
        instance("gtm00000001", "a", "b"),
    )


def settled(site: Site, *names: str) -> None:
    """Wait until every vantage has said that both addresses are up."""
    site.until_health("up", A1, B1)
    site.until(lambda: all(site.client.hlen(keys.verdicts(name)) == 2 for name in names))
    site.until(lambda: site.effective() == "default")


def leading(site: Site, healthds: list[Healthd]) -> tuple[Healthd, Healthd]:
    """The one of two that leads, and the other."""
    site.until(lambda: site.leader() in {healthd.vantage for healthd in healthds})
    name = site.leader()
    return tuple(sorted(healthds, key=lambda healthd: healthd.vantage != name))  # type: ignore[return-value]


def begin_fault(site: Site, fault: str) -> None:
    match fault:
        case "killed":
            site.redis.kill()
        case "frozen":
            site.redis_signal(signal.SIGSTOP)
        case "full":
            site.client.config_set("maxmemory", "1mb")
        case "read-only":
            site.client.replicaof("127.0.0.1", "1")


def end_fault(site: Site, fault: str) -> None:
    match fault:
        case "killed":
            site.redis.start()
        case "frozen":
            site.redis_signal(signal.SIGCONT)
        case "full":
            site.client.config_set("maxmemory", "0")
        case "read-only":
            site.client.replicaof("NO", "ONE")


def refused(healthd: Healthd) -> int:
    """How many probes of a healthd found a connection refused."""
    found = re.search(
        r'^pdns_gtm_probe_failures_total{cause="refused",type="http"} (\S+)$', healthd.get("/metrics")[1], re.M
    )
    return 0 if found is None else int(float(found[1]))


@pytest.mark.parametrize("fault", ["killed", "frozen", "full", "read-only"])
def test_an_address_that_dies_while_redis_takes_no_writes_leaves(site: Site, origins: Origins, fault: str) -> None:
    configure(site, origins)
    healthd = site.healthd("hz")
    settled(site, "hz")
    before = len(site.events())
    begin_fault(site, fault)
    origins.stop(A1)
    site.until(lambda: refused(healthd) > FALL and healthd.ready()["store"]["writes"] != "ok")
    assert site.effective() == "default", "nobody could be told"
    ready = healthd.ready()
    assert (ready["ready"], ready["degraded"]) == (True, True)
    end_fault(site, fault)
    took = site.until(lambda: site.effective() == "failover")
    assert took < LEFT_SECONDS
    told = [event["kind"] for event in site.events()[before:] if event["kind"].startswith(("address", "pool", "set"))]
    assert told == ["address.down", "pool.unavailable", "set.switched"]
    assert healthd.get("/livez")[0] == 200


def test_a_state_that_redis_has_lost_is_told_again(site: Site, origins: Origins) -> None:
    """Restored from an older copy: what the vantage had told since is not in it."""
    configure(site, origins)
    site.healthd("hz")
    settled(site, "hz")
    copy = site.save_copy()
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    site.restore_copy(copy)
    site.until(lambda: site.follower.status.reloads >= 2)
    took = site.until(lambda: site.health(A1) == "down" and site.effective() == "failover")
    assert took < LEFT_SECONDS
    site.until(lambda: site.events("store.history-changed"))


def test_a_verdict_whose_state_was_lost_after_it_was_decided_is_decided_anew(site: Site, origins: Origins) -> None:
    """A leader that did not yet know that Redis was restored has noted the verdict as decided; the states are gone."""
    configure(site, origins)
    healthd = site.healthd("hz")
    settled(site, "hz")
    before = site.follower.serving.snapshot
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    newest: Any = site.client.xrevrange(keys.VERDICT_FEED, count=1)
    site.until(lambda: site.vantages.decided() == newest[0][0])
    assert healthd.stop() == 0
    lost = [
        Change(kind, key, before.documents[kind].get(key))
        for kind in (kinds.TARGET_STATES, kinds.POLICY_STATES)
        for key in site.follower.serving.snapshot.documents[kind]
    ]
    site.repository.commit(Commit(lost), site.store_id)
    site.until(lambda: (site.health(A1), site.effective()) == ("up", "default"))
    site.client.hset(keys.LEADERSHIP, "replication_id", "another history")
    assert site.vantages.verdicts("hz")[TARGET].health == "down"
    healthd.start()
    site.until(lambda: (site.health(A1), site.effective()) == ("down", "failover"))


def test_a_killed_leader_is_replaced_in_time_and_nothing_changes_by_that(site: Site, origins: Origins) -> None:
    configure(site, origins, min_vantages=1)
    healthds = [site.healthd(name) for name in ("ber", "hz")]
    settled(site, "ber", "hz")
    leader, other = leading(site, healthds)
    writes = len(site.writes())
    leader.kill()
    took = site.until(lambda: site.leader() == other.vantage)
    assert took < TAKEOVER_SECONDS
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    changed = [write for write in site.writes()[writes:] if write]
    assert [sorted(key.partition("/")[0] for key in write) for write in changed] == [["policy-states", "target-states"]]
    assert [(e["from"], e["to"]) for e in site.events("leader.changed")][-1] == (leader.vantage, other.vantage)


def test_what_the_last_leader_left_undone_is_done(site: Site, origins: Origins) -> None:
    """An address dies at the same moment as the leader: its successor decides the verdict that nobody has decided."""
    configure(site, origins, min_vantages=1)
    healthds = [site.healthd(name) for name in ("ber", "hz")]
    settled(site, "ber", "hz")
    leader, other = leading(site, healthds)
    leader.signal(signal.SIGSTOP)
    origins.stop(A1)
    took = site.until(lambda: site.effective() == "failover")
    assert took < LEFT_SECONDS + HEARTBEAT_SILENCE
    assert site.leader() == other.vantage
    leader.kill()


HEARTBEAT_SILENCE = 6.0
"""Until the silent vantage no longer counts, the one that is left is half of two: no majority."""


def test_a_leader_that_wakes_after_its_lease_writes_nothing(site: Site, origins: Origins) -> None:
    configure(site, origins, min_vantages=1)
    healthds = [site.healthd(name) for name in ("ber", "hz")]
    settled(site, "ber", "hz")
    leader, other = leading(site, healthds)
    leader.signal(signal.SIGSTOP)
    took = site.until(lambda: site.leader() == other.vantage)
    assert took < TAKEOVER_SECONDS
    site.until(lambda: site.events("vantage.lost"))
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    token = site.client.get(keys.LEADER)
    before = len(site.events())
    leader.signal(signal.SIGCONT)
    site.until(lambda: not leader.ready()["leader"])
    site.until(lambda: site.events("vantage.back"))
    time.sleep(2 * INTERVAL)
    assert site.client.get(keys.LEADER) == token
    assert site.leader() == other.vantage
    told = [event["kind"] for event in site.events()[before:]]
    assert "leader.changed" not in told
    assert "set.switched" not in told
    origins.start(A1)
    site.until(lambda: site.effective() == "default")
    switches = [(event["from"], event["to"]) for event in site.events("set.switched")]
    assert switches == [("default", "failover"), ("failover", "default")]


def test_a_leader_alone_that_was_frozen_goes_on_where_it_was(site: Site, origins: Origins) -> None:
    configure(site, origins)
    healthd = site.healthd("hz")
    settled(site, "hz")
    before = len(site.events())
    healthd.signal(signal.SIGSTOP)
    site.until(lambda: not site.client.exists(keys.LEADER, keys.vantage_lease("hz")))
    origins.stop(A1)
    healthd.signal(signal.SIGCONT)
    took = site.until(lambda: site.effective() == "failover")
    assert took < LEFT_SECONDS
    told = [event["kind"] for event in site.events()[before:]]
    assert [kind for kind in told if not kind.startswith("vantage")] == [
        "address.down",
        "pool.unavailable",
        "set.switched",
    ]


def test_a_second_process_of_the_same_name_stands_by_and_takes_over(site: Site, origins: Origins) -> None:
    configure(site, origins)
    first = site.healthd("hz")
    settled(site, "hz")
    second = site.healthd("hz")
    site.until(lambda: second.ready()["ready"])
    time.sleep(1)
    assert not second.ready()["vantage"]["probing"]
    assert second.ready()["vantage"]["targets"] == 0
    process = site.vantages.heartbeats()["hz"].process
    first.signal(signal.SIGSTOP)
    took = site.until(lambda: second.ready()["vantage"]["probing"])
    assert took < TAKEOVER_SECONDS
    site.until(lambda: site.vantages.heartbeats()["hz"].process != process)
    before = len(site.events("address.down", "address.up", "address.unknown"))
    first.signal(signal.SIGCONT)
    site.until(lambda: not first.ready()["vantage"]["probing"])
    assert second.ready()["vantage"]["probing"]
    origins.stop(A1)
    site.until(lambda: site.effective() == "failover")
    assert len(site.events("address.down", "address.up", "address.unknown")) == before + 1


def test_one_that_wakes_and_gets_its_name_back_believes_the_store_and_not_its_memory(
    site: Site, origins: Origins
) -> None:
    """What it saw before it was frozen is older than what the other process of its name has told meanwhile."""
    configure(site, origins, interval=5, fast_interval=5, fall=3, rise=3)
    first = site.healthd("hz")
    settled(site, "hz")
    first.signal(signal.SIGSTOP)
    origins.stop(A1)
    site.configure(site.check(origins.port))
    second = site.healthd("hz")
    site.until(lambda: site.effective() == "failover")
    assert second.stop() == 0
    site.configure(site.check(origins.port, interval=60, fall=3, rise=3, fast_interval=60))
    before = len(site.events("address.up"))
    first.signal(signal.SIGCONT)
    site.until(lambda: first.ready()["vantage"]["probing"] and site.client.exists(keys.vantage_lease("hz")))
    time.sleep(2)
    assert site.effective() == "failover"
    assert len(site.events("address.up")) == before


def test_one_that_joins_and_one_that_leaves_change_nothing(site: Site, origins: Origins) -> None:
    configure(site, origins)
    origins.stop(B1)
    site.healthd("ber")
    site.until_health("up", A1)
    site.until_health("down", B1)
    before = len(site.events())
    hz = site.healthd("hz")
    site.until(lambda: site.client.hlen(keys.verdicts("hz")) == 2)
    site.until(lambda: "hz" in site.vantages.heartbeats())
    assert hz.stop() == 0
    site.until(lambda: site.events("state.stale"))
    told = site.events()[before:]
    assert [event["kind"] for event in told] == ["vantage.lost", "state.stale"]
    assert "1 of 2 needed vantages report: hz is silent since" in told[1]["reason"]
    origins.stop(A1)
    site.until(lambda: site.client.smembers(keys.VERDICTS_WAITING) == {f"ber|{TARGET}"})
    time.sleep(1)
    assert site.health(A1) == "up", "frozen: one of two cannot take anything down"
    hz.start()
    site.until_health("down", A1)
    site.until(lambda: not site.client.exists(keys.VERDICTS_WAITING))
    assert site.events("state.fresh")


def test_what_waits_for_a_vantage_outlives_the_leader(site: Site, origins: Origins) -> None:
    configure(site, origins)
    ber, hz = (site.healthd(name) for name in ("ber", "hz"))
    settled(site, "ber", "hz")
    hz.kill()
    site.until(lambda: site.events("state.stale"))
    origins.stop(A1)
    site.until(lambda: site.client.sismember(keys.VERDICTS_WAITING, f"ber|{TARGET}"))
    assert ber.stop() == 0
    ber.start()
    site.until(lambda: ber.ready()["leader"] and ber.ready()["vantage"]["probing"])
    time.sleep(1)
    assert site.health(A1) == "up"
    hz.start()
    site.until_health("down", A1)


def test_a_vantage_that_is_forgotten_is_waited_for_no_longer(site: Site, origins: Origins) -> None:
    configure(site, origins)
    site.healthd("ber")
    gone = site.healthd("gone")
    settled(site, "ber", "gone")
    gone.kill()
    site.until(lambda: site.events("state.stale"))
    origins.stop(A1)
    site.until(lambda: site.client.sismember(keys.VERDICTS_WAITING, f"ber|{TARGET}"))
    assert site.vantages.forget("gone", site.store_id)
    site.until_health("down", A1)
    site.until(lambda: site.events()[-1]["kind"] == "state.fresh")
    assert [event["kind"] for event in site.events()][-2:] == ["vantage.forgotten", "state.fresh"]


def test_a_verdict_that_comes_before_the_configuration_it_is_about(site: Site, origins: Origins) -> None:
    """Each vantage follows the store by itself, so that it may be ahead of the leader."""
    site.configure(site.check(origins.port, vantages=("ahead",)))
    leader = site.healthd("hz")
    site.until(lambda: leader.ready()["leader"])
    lease = Lease(site.client, keys.vantage_lease("ahead"))
    assert lease.hold()
    now = site.vantages.beat("ahead", lease.token, Heartbeat(time=0))
    down = VantageVerdict(up=False, since=now, detail="refused")
    site.vantages.publish("ahead", lease.token, {TARGET: down, target_key("web", B1, None, None): down})
    site.until(lambda: site.client.sismember(keys.VERDICTS_WAITING, f"ahead|{TARGET}"))
    site.configure(pool("a", A1, health_checks=("web",)))
    lease.hold()
    site.vantages.beat("ahead", lease.token, Heartbeat(time=0))
    site.until_health("down", A1)
    lease.hold()
    site.vantages.publish("ahead", lease.token, {target_key("web", B1, None, None): None})
    site.until(lambda: not site.client.exists(keys.VERDICTS_WAITING))


def test_of_three_two_decide(site: Site, origins: Origins) -> None:
    configure(site, origins)
    healthds = {name: site.healthd(name) for name in ("ber", "hkg", "hz")}
    settled(site, *healthds)
    before = len(site.events("address.down", "address.up"))
    origins.stop(A1)
    site.until_health("down", A1)
    state = site.state(A1)
    assert state is not None
    assert list(state.vantages.values()).count("down") >= 2
    healthds["hkg"].kill()
    origins.start(A1)
    site.until_health("up", A1)
    assert [e["kind"] for e in site.events("address.down", "address.up")][before:] == ["address.down", "address.up"]


def test_vantages_that_were_lost_together_with_the_leader_are_told_once(site: Site, origins: Origins) -> None:
    """A whole site is gone, and with it the leader; the next one starts when their last heartbeats are old already."""
    configure(site, origins)
    gone = {name: site.healthd(name) for name in ("ber", "hz")}
    settled(site, *gone)
    before = len(site.events())
    for healthd in gone.values():
        healthd.kill()
    newest = max(beat.time for beat in site.vantages.heartbeats().values())
    site.until(lambda: site.repository.time() - newest > LOST_SECONDS)
    following = site.healthd("bj")
    site.until(lambda: len(site.events("vantage.lost")) == 2 and site.events("state.stale"))
    following.kill()
    following.start()
    site.until(lambda: following.ready()["leader"])
    gone["ber"].start()
    site.until(lambda: "ber" in [event["vantage"] for event in site.events("vantage.back")])
    about = ("vantage.lost", "vantage.back", "state.stale")
    told = [(event["kind"], event.get("vantage")) for event in site.events()[before:] if event["kind"] in about]
    assert [one for one in told if one[1] != "bj"] == [
        ("vantage.lost", "ber"),
        ("vantage.lost", "hz"),
        ("state.stale", None),
        ("vantage.back", "ber"),
    ]
