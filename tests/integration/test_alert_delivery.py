"""How receivers are told by the one that leads: in order, at least once, and without waiting for each other."""

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry

from healthd.alerts import posting
from healthd.alerts.courier import Courier
from healthd.alerts.message import Message
from healthd.alerts.metrics import AlertMetrics
from healthd.alerts.receiver import Desk
from healthd.alerts.sending import make_means
from pdns_gtm_backend.domain.alert import Alert, Smtp, Webhook
from pdns_gtm_backend.domain.event import EventKind
from pdns_gtm_backend.operations.alert_secrets import settle
from pdns_gtm_backend.operations.sealing import Sealer
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.alert_deliveries import AlertTests, Deliveries, Delivery, Reading
from pdns_gtm_backend.store.repository import Commit
from tests.support.healthd import Site
from tests.support.receivers import HttpReceiver, MailReceiver
from tests.support.redis_server import RedisServer
from tests.support.store import eventually

KINDS = get_args(EventKind)
SEALER = Sealer("a-secret-of-many-characters")
EVENT_ID = re.compile(r"\((\d+-\d+)\)")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("s")) as site:
        yield site


@pytest.fixture
def site(started: Site) -> Iterator[Site]:
    """Without receivers and what is known of them."""
    yield started
    for name in list(started.follower.serving.snapshot.alerts):
        started.remove(kinds.ALERTS, name)
    started.client.delete(keys.ALERT_DELIVERIES, keys.LEADER)


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as running:
        yield running


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a while is no receiver that hangs."""
    monkeypatch.setattr(posting, "SEND_SECONDS", 120.0)


class Ahead(Deliveries):
    """On a clock that runs ahead of Redis's by some seconds."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class Leading:
    """One that leads. registry: of its metrics."""

    def __init__(self, site: Site) -> None:
        self.token = secrets.token_hex(16)
        self.site = site
        self.client = site.redis.connect()
        self.deliveries = Ahead(self.client)
        self.registry = CollectorRegistry()
        desk = Desk(
            deliveries=self.deliveries,
            follower=site.follower,
            sealer=SEALER,
            means=make_means(allow_private=True, commands=None),
            metrics=AlertMetrics(self.registry),
            holder=lambda: self.token,
            fraction=lambda: 1.0,
        )
        self.courier = Courier(desk, AlertTests(self.client), "hz")

    def metric(self, name: str, alert: str) -> float | None:
        return self.registry.get_sample_value(f"pdns_gtm_alert_{name}", {"alert": alert})

    def known(self, alert: str) -> Delivery:
        return self.deliveries.get(alert) or Delivery()


@contextmanager
def leading(site: Site) -> Iterator[Leading]:
    one = Leading(site)
    site.client.set(keys.LEADER, one.token)
    one.courier.start()
    try:
        yield one
    finally:
        one.courier.stop()
        one.client.close()


def webhook(name: str, receiver: HttpReceiver, **fields: Any) -> Alert:
    return Alert(id=name, channel="webhook", webhook=Webhook(url=receiver.url(f"/{name}")), **fields)


def chat(name: str, receiver: HttpReceiver, **fields: Any) -> Alert:
    alert, violations = settle(
        SEALER, None, Alert(id=name, channel="slack", secrets={"url": receiver.url(f"/{name}")}, **fields)
    )
    assert list(violations) == []
    return alert


def happen(site: Site, *words: str, kind: str = "address.down", **fields: Any) -> None:
    """Write an event for each word, which is its reason."""
    events = [{"kind": kind, "from": "up", "to": "down", "reason": word, **fields} for word in words]
    revision = site.repository.commit(Commit([], events=events), site.store_id)
    assert site.follower.wait_for(revision, 60)


def told(receiver: HttpReceiver, *, repeats: bool = False) -> list[str]:
    """The reasons of what a receiver was told of, in order."""
    found = [(event["id"], event["reason"]) for event in receiver.events()]
    return [reason for _, reason in (found if repeats else dict.fromkeys(found))]


def written(site: Site) -> list[str]:
    """The ids of all events, in order."""
    found: Any = site.client.xrange(keys.EVENTS)
    return [identifier for identifier, _ in found]


def until_told(receiver: HttpReceiver, *words: str) -> None:
    def so() -> bool:
        return told(receiver) == list(words)

    try:
        eventually(so)
    except AssertionError:
        raise AssertionError(f"{told(receiver)}, not {list(words)}") from None


def until(holds: Callable[[], object]) -> None:
    eventually(holds)


def test_every_kind_is_delivered_once_and_in_order(site: Site, receiver: HttpReceiver) -> None:
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        for kind in KINDS:
            happen(site, kind, kind=kind)
        until_told(receiver, *KINDS)
        until(lambda: leader.known("ops").delivered == len(KINDS))
        assert told(receiver, repeats=True) == list(KINDS)
        assert [post.headers["webhook-id"] for post in receiver.posts] == [event["id"] for event in receiver.events()]
        until(lambda: leader.metric("backlog", "ops") == 0)
        assert leader.metric("delivered_total", "ops") == len(KINDS)
        assert leader.metric("last_success_timestamp_seconds", "ops")


def test_what_is_not_taken_is_sent_again_with_the_same_id(site: Site, receiver: HttpReceiver) -> None:
    receiver.answers = [(500, b"one"), (503, b"two")]
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        happen(site, "first", "second")
        until_told(receiver, "first", "second")
        assert told(receiver, repeats=True) == ["first", "first", "first", "second"]
        first, again, third, _ = receiver.posts
        assert first.headers["webhook-id"] == again.headers["webhook-id"] == third.headers["webhook-id"]
        assert first.body == again.body == third.body
        until(lambda: leader.known("ops").delivered == 2)
        known = leader.known("ops")
        assert (known.attempts, known.failure, known.given_up) == (0, "HTTP 503: two", 0)
        assert known.last_failure is not None and known.last_success is not None
        assert known.last_failure <= known.last_success
        assert leader.metric("failures_total", "ops") == 2


def test_one_that_hangs_keeps_nobody_waiting(site: Site, receiver: HttpReceiver) -> None:
    with HttpReceiver() as stuck:
        stuck.gate.clear()
        site.configure(webhook("ops", receiver), webhook("stuck", stuck))
        with leading(site) as leader:
            happen(site, "first", "second")
            until_told(receiver, "first", "second")
            until(lambda: told(stuck) == ["first"])
            happen(site, "third")
            until_told(receiver, "first", "second", "third")
            assert (leader.known("stuck").delivered, told(stuck)) == (0, ["first"])
            stuck.gate.set()
            until_told(stuck, "first", "second", "third")


def test_another_leader_goes_on_where_the_last_one_stopped(site: Site, receiver: HttpReceiver) -> None:
    site.configure(webhook("ops", receiver))
    with leading(site) as last:
        happen(site, "first")
        until(lambda: last.known("ops").delivered == 1)
        receiver.gate.clear()
        happen(site, "second", "third")
        until(lambda: told(receiver) == ["first", "second"])
        with leading(site) as following:
            last.token = ""
            until(lambda: len(receiver.posts) >= 3)
            receiver.gate.set()
            until_told(receiver, "first", "second", "third")
            until(lambda: following.known("ops").delivered == 3)
    assert told(receiver, repeats=True) == ["first", "second", "second", "third"]
    assert len({event["id"] for event in receiver.events()}) == 3


def test_only_the_one_that_leads_notes_anything(site: Site) -> None:
    site.client.set(keys.LEADER, "now")
    deliveries = Deliveries(site.client)
    assert deliveries.note("ops", Delivery(position="1-0"), "now")
    assert not deliveries.note("ops", Delivery(position="2-0"), "before")
    assert deliveries.get("ops") == Delivery(position="1-0")
    assert not deliveries.note("ops", None, "before")
    assert deliveries.note("ops", None, "now")
    assert deliveries.known() == []


def test_a_new_receiver_begins_now(site: Site, receiver: HttpReceiver) -> None:
    happen(site, "history")
    site.configure(webhook("ops", receiver))
    happen(site, "before anyone leads")
    with leading(site):
        happen(site, "after")
        until_told(receiver, "before anyone leads", "after")


def test_one_that_is_enabled_again_is_not_told_what_was_meanwhile(site: Site, receiver: HttpReceiver) -> None:
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        happen(site, "first")
        until(lambda: leader.known("ops").delivered == 1)
        site.configure(webhook("ops", receiver, enabled=False))
        until(lambda: leader.known("ops").position == "")
        happen(site, "meanwhile")
        site.configure(webhook("ops", receiver))
        happen(site, "after")
        until_told(receiver, "first", "after")
        assert leader.known("ops").delivered >= 1
        site.remove(kinds.ALERTS, "ops")
        until(lambda: leader.deliveries.known() == [])


def test_an_event_that_is_too_old_is_given_up_and_the_next_is_told(
    site: Site, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "healthd.alerts.receiver")
    receiver.always = (500, b"gone")
    site.configure(webhook("ops", receiver, give_up_after=60))
    with leading(site) as leader:
        happen(site, "old", "old too")
        until(lambda: leader.known("ops").attempts >= 1)
        leader.deliveries.ahead = 100
        until(lambda: leader.known("ops").given_up == 2)
        leader.deliveries.ahead, receiver.always = 0, (200, b"")
        happen(site, "new")
        until_told(receiver, "old", "new")
        assert leader.metric("given_up_total", "ops") == 2
    said = [record.getMessage() for record in caplog.records]
    assert "alert ops: 2 events are older than 60 s and are given up; the last failure was: HTTP 500: gone" in said


def test_one_that_is_configured_anew_is_tried_at_once(site: Site, receiver: HttpReceiver) -> None:
    with HttpReceiver((500, b"")) as wrong:
        site.configure(webhook("ops", wrong))
        with leading(site) as leader:
            happen(site, "first")
            until(lambda: leader.known("ops").attempts >= 2)
            site.configure(webhook("ops", receiver))
            until_told(receiver, "first")


def test_receivers_are_told_what_their_filters_let_through(site: Site, receiver: HttpReceiver) -> None:
    site.configure(
        webhook("ups", receiver, kinds=("address.up",)),
        webhook("shop", receiver, instances=("shop",)),
        webhook("a", receiver, pools=("a",)),
    )
    with leading(site):
        happen(site, "up", kind="address.up")
        happen(site, "shop", instance="gtm00000001", instance_name="shop")
        happen(site, "a", pool="a")
        happen(site, "other", pool="b")
        happen(site, "up too", kind="address.up", pool="b")
        until(lambda: len(receiver.posts) == 4)
        found = {(event["receiver"], event["reason"]) for event in receiver.events()}
    assert found == {("ups", "up"), ("ups", "up too"), ("shop", "shop"), ("a", "a")}


def test_a_broken_event_stops_nobody(site: Site, receiver: HttpReceiver) -> None:
    site.configure(webhook("ops", receiver))
    with leading(site):
        for text in ("no json", "[]", '{"kind": 5, "reason": "odd", "instances": 7}', '{"reason": "\\ud800"}'):
            site.client.xadd(keys.EVENTS, {"revision": "x", "event": text})
        happen(site, "first")
        until(lambda: "first" in [event.get("reason") for event in receiver.events()])
        assert [event.get("kind") for event in receiver.events()][:2] == ["unreadable", "unreadable"]


def test_what_cannot_be_told_at_all_stops_nobody(
    site: Site, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that does this is known: a channel is made to fail on one event, alone and among others."""
    whole = posting.slack_body

    def fails(message: Message) -> bytes:
        if "poison" in message.text:
            raise ZeroDivisionError
        return whole(message)

    monkeypatch.setattr(posting, "slack_body", fails)
    site.configure(chat("chat", receiver, group_seconds=0))
    with leading(site) as leader:
        happen(site, "one", "two", "poison", "three", "four")
        until(lambda: leader.known("chat").delivered == 4)
        assert leader.known("chat").given_up == leader.metric("given_up_total", "chat") == 1
        texts = "".join(post.json["text"] for post in receiver.posts)
        assert [texts.count(word) for word in ("one", "two", "three", "four", "poison")] == [1, 1, 1, 1, 0]
    (said,) = [one.getMessage() for one in caplog.records if "is given up: " in one.getMessage()]
    assert "the message cannot be built: ZeroDivisionError" in said


def test_one_that_is_told_no_more_is_not_counted(site: Site, receiver: HttpReceiver) -> None:
    receiver.gate.clear()
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        happen(site, "first")
        until(lambda: receiver.posts)
        assert leader.metric("backlog", "ops") == 1
        threads = [thread for thread in threading.enumerate() if thread.name == "alert ops"]
        leader.token = ""
        until(lambda: leader.metric("backlog", "ops") is None)
        receiver.gate.set()
        until(lambda: not any(thread.is_alive() for thread in threads))
        names = ("delivered_total", "duration_seconds_count", "last_success_timestamp_seconds", "backlog")
        assert [leader.metric(name, "ops") for name in names] == [None] * 4


def test_redis_that_is_away_for_a_while_loses_nothing(site: Site, receiver: HttpReceiver) -> None:
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        happen(site, "first")
        until(lambda: leader.known("ops").delivered == 1)
        site.redis.kill()
        site.redis.start()
        until(lambda: site.follower.status.state == "following")
        happen(site, "second")
        until_told(receiver, "first", "second")


def test_the_leader_answers_tests(site: Site, receiver: HttpReceiver) -> None:
    revision = site.configure(webhook("ops", receiver, enabled=False))
    asking = AlertTests(site.client)
    with leading(site):
        reply = asking.ask("ops", revision, 60)
        assert reply is not None and (reply.status, reply.error) == ("HTTP 200", "")
        (event,) = receiver.events()
        assert (event["id"], event["test"], event["kind"]) == (reply.event, True, "alert.test")
        receiver.always = (418, b"teapot")
        refused = asking.ask("ops", revision, 60)
        assert refused is not None and refused.error == "HTTP 418: teapot"
        unknown = asking.ask("nothing", revision, 60)
        assert unknown is not None and "does not know" in unknown.error
    assert asking.ask("ops", revision, 0.1) is None


def test_many_events_are_a_handful_of_messages_for_people(site: Site, receiver: HttpReceiver) -> None:
    with MailReceiver() as box:
        smtp = Smtp(
            host="127.0.0.1", port=box.port, security="none", sender="gtm@example.com", recipients=("ops@example.com",)
        )
        site.configure(
            chat("chat", receiver, group_seconds=1),
            webhook("all", receiver, group_seconds=1),
            Alert(id="mail", channel="smtp", smtp=smtp),
        )
        with leading(site) as leader:
            before = len(written(site))
            for part in range(10):
                happen(site, *(f"event {part} {number}" for number in range(50)))
            ids = written(site)[before:]
            until(lambda: [leader.known(name).delivered for name in ("chat", "all", "mail")] == [500] * 3)
            assert leader.metric("delivered_total", "chat") == 500
            assert leader.known("chat").position == ids[-1]
    chats = [post.json["text"] for post in receiver.posts if post.path == "/chat"]
    assert 1 <= len(chats) <= 10, "at the most one for each write, on a machine that stands still between them"
    assert sum(int(text.partition(" events: ")[0]) for text in chats) == 500
    named = [one for text in chats for one in EVENT_ID.findall(text)]
    assert len(named) >= 50 and set(named) <= set(ids)
    letters = [letter.message for letter in box.letters]
    assert 1 <= len(letters) <= 10
    assert "events: " in str(letters[0]["Subject"])
    assert len({str(letter["Message-ID"]) for letter in letters}) == len(letters)
    whole = [post.json for post in receiver.posts if post.path == "/all"]
    assert 5 <= len(whole) <= 10
    assert max(len(group["events"]) for group in whole) <= 100
    assert [one["id"] for group in whole for one in group["events"]] == ids


def test_a_message_of_several_that_was_not_taken_is_sent_again_as_it_was(site: Site, receiver: HttpReceiver) -> None:
    receiver.always = (500, b"no")
    site.configure(chat("chat", receiver, group_seconds=0))
    with leading(site) as leader:
        happen(site, "first", "second")
        until(lambda: leader.known("chat").attempts >= 1)
        assert leader.known("chat").delivered == 0
        happen(site, "third")
        receiver.always = (200, b"ok")
        until(lambda: leader.known("chat").delivered == 3)
    *refused, again, last = receiver.posts
    assert refused
    assert {(post.body, post.headers["webhook-id"]) for post in refused} == {(again.body, again.headers["webhook-id"])}
    assert "first" in again.json["text"] and "second" in again.json["text"]
    assert "third" in last.json["text"] and "second" not in last.json["text"]


def test_a_receiver_that_asks_to_be_left_alone_is(site: Site, receiver: HttpReceiver) -> None:
    receiver.answers = [(429, b"slow down")]
    receiver.headers = {"Retry-After": "3"}
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        began = time.monotonic()
        happen(site, "first")
        until(lambda: leader.known("ops").delivered == 1)
        assert time.monotonic() - began >= 3, "without being asked it is tried again after half a second"
        assert leader.known("ops").failure == "HTTP 429: slow down"
    assert told(receiver, repeats=True) == ["first", "first"]


def test_events_that_were_not_kept_for_long_enough_are_said_to_be_lost(
    site: Site, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "healthd.alerts.receiver")
    site.configure(webhook("ops", receiver))
    with leading(site) as leader:
        happen(site, "first")
        until(lambda: leader.known("ops").delivered == 1)
    assert leader.known("ops").gaps == 0
    position = leader.known("ops").position
    happen(site, "lost", "kept")
    site.client.xtrim(keys.EVENTS, maxlen=1, approximate=False)
    receiver.answers = [(500, b"no")]
    with leading(site) as following:
        until_told(receiver, "first", "kept")
        until(lambda: following.known("ops").delivered == 2)
        assert (following.known("ops").gaps, following.known("ops").gap) == (1, position)
        assert following.metric("gaps_total", "ops") == 1
        happen(site, "after")
        until_told(receiver, "first", "kept", "after")
        assert following.known("ops").gaps == 1
    kept = written(site)[0]
    said = [record.getMessage() for record in caplog.records]
    words = f"alert ops: event {position}, the last that it was told, is no longer kept: some may be lost before {kept}"
    assert said.count(words) == 1


def test_a_receiver_that_was_told_nothing_yet_can_miss_events_too(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis, redis.connect() as client:
        deliveries = Deliveries(client)
        assert deliveries.read("", 10) == Reading([])
        ids = [client.xadd(keys.EVENTS, {"event": "{}"}) for _ in range(4)]
        whole = deliveries.read("0-0", 10)
        assert ([one for one, _ in whole.events], whole.gap) == (ids, False)
        page = deliveries.read(str(ids[0]), 2)
        assert ([one for one, _ in page.events], page.gap) == (ids[1:3], False)
        client.xtrim(keys.EVENTS, maxlen=2, approximate=False)
        for position in ("", "0-0", str(ids[1])):
            found = deliveries.read(position, 10)
            assert ([one for one, _ in found.events], found.gap) == (ids[2:], True)
        assert deliveries.read(str(ids[2]), 10).gap is False
        assert deliveries.read(str(ids[3]), 10) == Reading([])


def test_a_new_receiver_begins_with_its_revision_however_much_has_happened_since(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis, redis.connect() as client:
        deliveries = Deliveries(client)
        assert deliveries.beginning(0) == deliveries.beginning(7) == "0-0"
        pipe = client.pipeline(transaction=False)
        for number in range(2500):
            pipe.xadd(keys.EVENTS, {"event": "{}"} if number % 100 == 50 else {"revision": str(number), "event": "{}"})
        ids = pipe.execute()
        assert deliveries.beginning(7) == ids[7]
        assert deliveries.beginning(150) == ids[149], "which revision wrote that one is not known"
        assert deliveries.beginning(1499) == ids[1499]
        assert deliveries.beginning(9999) == deliveries.beginning(0) == ids[-1]
