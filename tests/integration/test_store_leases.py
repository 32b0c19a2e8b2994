"""Leases, and what a vantage may write while it holds the one of its name."""

import threading
import time
from itertools import pairwise

import pytest
from redis.exceptions import RedisError

from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.store import keys, leases
from pdns_gtm_backend.store.connection import Client, connect
from pdns_gtm_backend.store.leases import LEASE_MILLISECONDS, RENEW_SECONDS, Lease
from pdns_gtm_backend.store.vantages import FEED_START, LeaseLost, News, Vantages
from tests.support.redis_server import RedisServer
from tests.support.store import eventually

TARGET = "web|192.0.2.1||"
UP = VantageVerdict(up=True, since=1.0)
DOWN = VantageVerdict(up=False, since=2.5, reason="refused", detail="é|{}")


@pytest.fixture
def vantages(client: Client) -> Vantages:
    return Vantages(client)


@pytest.fixture
def token(client: Client) -> str:
    """The token of a lease that is held on the name `hz`."""
    lease = Lease(client, keys.vantage_lease("hz"))
    assert lease.hold()
    return lease.token


def test_one_holds_a_lease_until_it_is_given_back(client: Client) -> None:
    first, second = Lease(client, "lease"), Lease(client, "lease")
    assert [first.hold(), second.hold(), first.hold(), second.hold()] == [True, False, True, False]
    second.drop()
    assert client.get("lease") == first.token, "only its holder gives it back"
    first.drop()
    assert not client.exists("lease")
    assert [second.hold(), first.hold()] == [True, False]


def test_a_lease_ends_by_itself_and_renewing_puts_that_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RENEW_SECONDS * 1000 * 2 < LEASE_MILLISECONDS, "one renewal may fail"
    monkeypatch.setattr(leases, "LEASE_MILLISECONDS", 600_000)
    first, second = Lease(client, "lease"), Lease(client, "lease")
    assert first.hold()
    assert 0 < client.pttl("lease") <= 600_000
    client.pexpire("lease", 300_000)
    assert first.hold()
    assert client.pttl("lease") > 300_000
    assert not second.hold()
    client.pexpire("lease", 50)
    eventually(second.hold)
    assert not first.hold(), "it slept, and is told so"


def test_a_holder_that_slept_has_another_token_when_it_holds_again(client: Client) -> None:
    lease = Lease(client, keys.vantage_lease("hz"))
    assert lease.hold()
    slept = lease.token
    client.delete(keys.vantage_lease("hz"))
    assert lease.hold()
    assert client.get(keys.vantage_lease("hz")) == lease.token
    assert lease.token != slept
    with pytest.raises(LeaseLost):
        Vantages(client).publish("hz", slept, {TARGET: UP})


def test_of_many_that_want_a_lease_one_holds_it_at_a_time(server: RedisServer) -> None:
    lock = threading.Lock()
    terms: list[tuple[float, float]] = []

    def stand() -> None:
        with server.connect() as client:
            lease = Lease(client, "shared")
            while len(terms) < 40:
                if not lease.hold():
                    time.sleep(0.002)
                    continue
                began = time.monotonic()
                time.sleep(0.01)
                ended = time.monotonic()
                lease.drop()
                with lock:
                    terms.append((began, ended))

    threads = [threading.Thread(target=stand) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    terms.sort()
    assert len(terms) >= 40
    assert all(ended <= began for (_, ended), (began, _) in pairwise(terms))


def test_without_redis_a_lease_is_not_held_and_that_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    lease = Lease(connect(f"unix://{tmp_path_factory.mktemp('s') / 'none'}"), "lease")
    with pytest.raises(RedisError):
        lease.hold()
    with pytest.raises(RedisError):
        lease.drop()


def test_verdicts_are_kept_by_vantage_and_told_in_the_feed(vantages: Vantages, token: str) -> None:
    vantages.publish("hz", token, {TARGET: UP, "web|192.0.2.2||": DOWN})
    assert vantages.verdicts("hz") == {TARGET: UP, "web|192.0.2.2||": DOWN}
    assert vantages.verdicts("sh") == {}
    assert vantages.verdicts_on("hz", [TARGET, "missing"]) == {TARGET: UP}
    assert vantages.verdicts_on("hz", []) == {}
    news = vantages.news(FEED_START, None)
    assert [(item.vantage, item.target) for item in news] == [("hz", TARGET), ("hz", "web|192.0.2.2||")]
    vantages.publish("hz", token, {TARGET: None})
    assert vantages.verdicts("hz") == {"web|192.0.2.2||": DOWN}


def test_news_are_read_on_from_a_position(vantages: Vantages, token: str) -> None:
    for number in range(5):
        vantages.publish("hz", token, {f"t{number}": UP})
    first = vantages.news(FEED_START, None, count=2)
    rest = vantages.news(first[-1].position, None)
    assert [item.target for item in (*first, *rest)] == ["t0", "t1", "t2", "t3", "t4"]
    began = time.monotonic()
    assert vantages.news(rest[-1].position, 100) == []
    assert 0.09 <= time.monotonic() - began < 15


def test_news_wake_who_waits_for_them(server: RedisServer, vantages: Vantages, token: str) -> None:
    found: list[News] = []

    def wait() -> None:
        with server.connect() as client:
            while not found:
                found.extend(Vantages(client).news(FEED_START, 900))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    vantages.publish("hz", token, {TARGET: UP})
    thread.join()
    assert [(item.vantage, item.target) for item in found] == [("hz", TARGET)]


def test_a_heartbeat_has_the_time_of_redis(vantages: Vantages, token: str) -> None:
    vantages.beat("hz", token, Heartbeat(time=5, targets=3, overdue=(TARGET,), lag=0.25, labels={"site": "é"}))
    beat = vantages.heartbeats()["hz"]
    assert (beat.targets, beat.overdue, beat.lag, beat.labels) == (3, (TARGET,), 0.25, {"site": "é"})
    assert abs(beat.time - time.time()) < 2


@pytest.mark.parametrize("holder", [None, "another-token"])
def test_without_the_lease_of_its_name_a_vantage_writes_nothing(
    client: Client, vantages: Vantages, token: str, holder: str | None
) -> None:
    client.delete(keys.vantage_lease("hz"))
    if holder:
        client.set(keys.vantage_lease("hz"), holder)
    with pytest.raises(LeaseLost, match="hz"):
        vantages.publish("hz", token, {TARGET: DOWN})
    with pytest.raises(LeaseLost, match="hz"):
        vantages.beat("hz", token, Heartbeat(time=0))
    assert set(client.keys("*")) == ({keys.vantage_lease("hz")} if holder else set())  # type: ignore[arg-type]


def test_how_far_verdicts_are_decided_is_noted_by_the_leader_alone(client: Client, vantages: Vantages) -> None:
    assert vantages.decided() == FEED_START
    leader = Lease(client, keys.LEADER)
    assert leader.hold()
    assert vantages.set_decided("5-1", leader.token)
    assert vantages.decided() == "5-1"
    assert not vantages.set_decided("9-0", "another")
    client.delete(keys.LEADER)
    assert not vantages.set_decided("9-0", leader.token)
    assert vantages.decided() == "5-1"


@pytest.mark.parametrize(
    "garbage", [b"", b"nonsense", b"{}", b"[]", b"\xff\xfe", b"[" * 10_000, b'{"up": "yes", "since": 1}']
)
def test_garbage_is_left_out_and_named(
    client: Client, vantages: Vantages, token: str, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    vantages.publish("hz", token, {TARGET: UP})
    vantages.beat("hz", token, Heartbeat(time=0, targets=1))
    client.hset(keys.verdicts("hz"), "broken", garbage)  # type: ignore[arg-type]
    client.hset(keys.HEARTBEATS, "broken", garbage)  # type: ignore[arg-type]
    assert vantages.verdicts("hz") == {TARGET: UP}
    assert vantages.verdicts_on("hz", [TARGET, "broken"]) == {TARGET: UP}
    assert list(vantages.heartbeats()) == ["hz"]
    assert "broken" in caplog.text


def test_garbage_in_the_feed_is_passed(client: Client, vantages: Vantages, token: str) -> None:
    for _ in range(3):
        client.xadd(keys.VERDICT_FEED, {"garbage": b"\xff"})
    vantages.publish("hz", token, {TARGET: UP})
    position, found = FEED_START, []
    for _ in range(10):
        news = vantages.news(position, None, count=2)
        found += [item.target for item in news if item.target]
        position = news[-1].position if news else position
    assert found == [TARGET]
    assert vantages.news(position, None) == []
