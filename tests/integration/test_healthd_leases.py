"""Leases and what a leader leaves behind, in a real Redis."""

import pytest

from pdns_gtm_backend.domain.state import Heartbeat, TargetState, VantageVerdict
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.leases import LEASE_MILLISECONDS, Lease
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository
from pdns_gtm_backend.store.vantages import (
    AHEAD,
    FEED_START,
    TOLD,
    Ahead,
    Leadership,
    LeaseLost,
    Vantages,
    VantagesTold,
)

KEY = keys.vantage_lease("hz")


def test_one_holder_at_a_time_for_a_limited_time(client: Client) -> None:
    first, second = Lease(client, KEY), Lease(client, KEY)
    assert first.hold()
    assert not second.hold()
    assert first.hold()
    assert client.get(KEY) == first.token
    assert 0 < int(str(client.pttl(KEY))) <= LEASE_MILLISECONDS
    second.drop()
    assert client.get(KEY) == first.token, "only what is one's own is given back"
    first.drop()
    assert second.hold()
    assert not first.keep(first.token)
    assert not first.hold()


def test_each_holding_has_a_token_of_its_own(client: Client) -> None:
    lease = Lease(client, KEY)
    assert lease.hold()
    first = lease.token
    assert lease.hold()
    assert lease.token == first, "renewed"
    client.delete(KEY)
    assert lease.hold()
    assert lease.token not in ("", first)
    second = lease.token
    assert lease.hold(anew=True)
    assert lease.token not in (first, second), "what was sent with the last token is refused from now on"
    assert client.get(KEY) == lease.token
    assert not lease.keep(second)
    assert lease.keep(lease.token)


def test_an_attempt_of_which_nobody_heard_is_found_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis was frozen: the attempt failed here, and takes the lease there when Redis wakes."""
    lease = Lease(client, KEY)
    assert lease.hold()
    client.delete(KEY)
    carried_out = lease._renew

    def unanswered(**arguments: object) -> None:
        carried_out(**arguments)
        raise TimeoutError

    monkeypatch.setattr(lease, "_renew", unanswered)
    with pytest.raises(TimeoutError):
        lease.hold()
    assert client.get(KEY) != lease.token
    monkeypatch.undo()
    assert lease.hold(), "not lost to ourselves until it expires"
    assert client.get(KEY) == lease.token


def test_a_vantage_without_its_lease_writes_nothing(client: Client) -> None:
    lease, vantages = Lease(client, KEY), Vantages(client)
    verdict = VantageVerdict(up=True, since=1)
    with pytest.raises(LeaseLost):
        vantages.publish("hz", lease.token, {"web|192.0.2.1||": verdict})
    with pytest.raises(LeaseLost):
        vantages.beat("hz", lease.token, Heartbeat(time=0))
    assert lease.hold()
    vantages.publish("hz", lease.token, {"web|192.0.2.1||": verdict})
    seconds, microseconds = client.time()
    assert abs(vantages.beat("hz", lease.token, Heartbeat(time=0)) - (seconds + microseconds / 1e6)) < 1
    vantages.publish("hz", lease.token, {"web|192.0.2.1||": None, "web|192.0.2.2||": verdict})
    assert vantages.verdicts("hz") == {"web|192.0.2.2||": verdict}
    told = [item.target for item in vantages.news(FEED_START, None)]
    assert told == ["web|192.0.2.1||", "web|192.0.2.1||", "web|192.0.2.2||"], "also that a target is probed no more"
    look = vantages.look({"hz": ["web|192.0.2.1||", "web|192.0.2.2||"], "nobody": ["x"]})
    assert look.verdicts == {"hz": {"web|192.0.2.2||": verdict}, "nobody": {}}
    assert look.time - 1 < look.heartbeats["hz"].time <= look.time


def test_what_a_leader_leaves_behind(client: Client) -> None:
    lease, vantages = Lease(client, keys.LEADER), Vantages(client)
    assert (vantages.decided(), vantages.waiting(), vantages.leadership()) == (FEED_START, frozenset(), Leadership())
    assert not vantages.set_decided("5-0", lease.token)
    assert lease.hold()
    causes = {("hz", "web|192.0.2.1|www.shop.example|"), ("ber", "web|2001:db8::1||")}
    left = Leadership("hz", 12, "abc")
    assert vantages.set_decided("5-0", lease.token, wait=causes, suspensions={"hz": "sees all down"}, leadership=left)
    assert (vantages.decided(), vantages.waiting(), vantages.leadership()) == ("5-0", causes, left)
    assert vantages.suspensions() == {"hz": "sees all down"}
    assert vantages.set_decided("6-1", lease.token, done=[("ber", "web|2001:db8::1||")])
    assert len(vantages.waiting()) == 1
    assert (vantages.suspensions(), vantages.leadership()) == ({"hz": "sees all down"}, left)
    assert vantages.set_decided("6-1", lease.token, suspensions={})
    assert vantages.suspensions() == {}
    client.xadd(keys.EVENTS, {"revision": "15", "event": "{}"})
    assert vantages.leadership().told == 15, "it told more than it came to note"
    client.xadd(keys.EVENTS, {"revision": "many", "event": "{}"})
    assert vantages.leadership().told == 12


def test_what_was_told_of_vantages_is_written_with_the_events_or_not_at_all(client: Client) -> None:
    lease, vantages, repository = Lease(client, keys.LEADER), Vantages(client), Repository(client)
    assert lease.hold()
    store_id = repository.identify()
    assert vantages.told() == VantagesTold()
    assert vantages.set_decided("5-0", lease.token, suspensions={"hz": "sees all down"})
    assert vantages.told() == VantagesTold(suspended={"hz": "sees all down"}, distrusted=("hz",))
    told = VantagesTold(suspended={}, distrusted=("bj",), silent=("hz",), stale=("web",))
    event = {"kind": "vantage.lost", "vantage": "hz"}
    with pytest.raises(Conflict):
        repository.commit(Commit([], [event], lease="another", left=told.left()), store_id)
    assert (client.xlen(keys.EVENTS), vantages.told().silent) == (0, ())
    repository.commit(Commit([], [event], lease=lease.token, left=told.left()), store_id)
    assert (client.xlen(keys.EVENTS), vantages.told()) == (1, told)
    assert not vantages.set_decided("6-0", "another", told=VantagesTold())
    assert vantages.set_decided("6-0", lease.token, leadership=Leadership("hz", 12, "abc"))
    assert vantages.told() == told
    client.hset(keys.LEADERSHIP, TOLD, "garbage")
    assert vantages.told().distrusted == ("hz",), "as far as that is known otherwise"


def test_what_was_written_ahead_is_known_until_it_is_taken_back(client: Client) -> None:
    lease, vantages, repository = Lease(client, keys.LEADER), Vantages(client), Repository(client)
    assert lease.hold()
    store_id = repository.identify()
    ahead = Ahead(told=7, states={"web|192.0.2.1||": TargetState(health="up", since=1.0), "web|192.0.2.2||": None})
    repository.commit(Commit([], lease=lease.token, left=ahead.left()), store_id)
    assert vantages.ahead() == ahead
    repository.commit(Commit([], lease=lease.token, left={AHEAD: ""}), store_id)
    assert vantages.ahead() is None
    client.hset(keys.LEADERSHIP, AHEAD, "garbage")
    assert vantages.ahead() is None


def test_does_the_feed_still_hold_what_is_not_decided(client: Client) -> None:
    vantages = Vantages(client)
    assert vantages.reaches_back_to("5-0")
    for number in range(1, 10):
        client.xadd(keys.VERDICT_FEED, {"vantage": "hz", "target": "x"}, id=f"{number}-0")
    assert vantages.reaches_back_to("5-0")
    assert vantages.reaches_back_to(FEED_START)
    client.xtrim(keys.VERDICT_FEED, minid="7-0", approximate=False)
    assert not vantages.reaches_back_to("5-0")
    assert vantages.reaches_back_to("7-0")
