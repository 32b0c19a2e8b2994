"""Which events are sent together, and what a message of several says: nothing is lost, nothing twice, all in order."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthd.alerts.grouping import Entry, Step, Terms, next_step
from healthd.alerts.message import GROUP, MOST_LINES, MOST_OCTETS, message_of, message_of_all
from pdns_gtm_backend.domain.alert import GROUP_SECONDS, Alert

BEGIN = 1_795_000_000
GIVE_UP = 60
GROUPED = st.none() | st.integers(0, 20)


def event(milliseconds: int, number: int, kind: str = "address.down", **fields: Any) -> dict[str, Any]:
    return {"id": f"{BEGIN * 1000 + milliseconds}-{number}", "kind": kind, "reason": f"no {number}", **fields}


def step_of(entries: list[Entry], now: float, seconds: int | None = 2, **fields: Any) -> Step:
    return next_step(entries, [True] * len(entries), Terms(seconds, GIVE_UP, **fields), BEGIN + now)


class Simulated:
    """A receiver and the leaders that tell it. page: how many events are read at once."""

    def __init__(self, seconds: int | None, page: int) -> None:
        self.seconds, self.page = seconds, page
        self.stream: list[Entry] = []
        self.wanted: list[bool] = []
        self.position = 0
        self.upto = ""
        self.accepted: list[Entry] = []
        self.given_up: list[Entry] = []
        self.failed: list[str] = []

    def cycle(self, now: float, takes: bool) -> str:
        """What a leader does once with what it reads now."""
        entries = self.stream[self.position :][: self.page]
        wanted = self.wanted[self.position :][: self.page]
        while entries:
            step = next_step(
                entries, wanted, Terms(self.seconds, GIVE_UP, self.upto, len(entries) == self.page), BEGIN + now
            )
            if step.act == "wait":
                assert 0 < step.seconds <= (self.seconds or 0)
                return "wait"
            assert step.through > 0, "every other step goes on"
            if step.act == "send":
                self.check_repeat(step)
                if not takes:
                    self.upto = str(step.events[-1]["id"])
                    self.failed = [str(entry["id"]) for entry in step.events]
                    return "failed"
                self.upto, self.failed = "", []
                self.accepted += step.events
            elif step.act == "give-up":
                self.given_up += step.events
            self.position += step.through
            entries, wanted = entries[step.through :], wanted[step.through :]
        return "all"

    def check_repeat(self, step: Step) -> None:
        """What was not taken is sent again as it was, but for what is too old by now."""
        if self.upto and (left := [one for one in self.failed if one not in {e["id"] for e in self.given_up}]):
            assert [entry["id"] for entry in step.events] == left


@settings(max_examples=150)
@given(st.data(), GROUPED, st.integers(1, 8))
def test_nothing_is_lost_or_told_twice_and_the_order_is_kept(
    data: st.DataObject, seconds: int | None, page: int
) -> None:
    simulated, now = Simulated(seconds, page), 0.0
    for _ in range(data.draw(st.integers(0, 25))):
        for _ in range(data.draw(st.integers(0, 5))):
            simulated.stream.append(event(int(now * 1000), len(simulated.stream)))
            simulated.wanted.append(data.draw(st.booleans()))
        if data.draw(st.integers(0, 9)) == 0:
            simulated.upto, simulated.failed = "", []
        now += data.draw(st.floats(0, 15))
        simulated.cycle(now, takes=data.draw(st.booleans()))
    while simulated.position < len(simulated.stream):
        now += seconds or 0
        assert simulated.cycle(now, takes=True) in ("all", "wait")
    expected = [entry for entry, want in zip(simulated.stream, simulated.wanted, strict=True) if want]
    told = sorted([*simulated.accepted, *simulated.given_up], key=expected.index)
    assert told == expected
    assert simulated.accepted == sorted(simulated.accepted, key=expected.index)


def test_what_happens_together_is_gathered_and_sent_together() -> None:
    entries: list[Entry] = [event(0, 0), event(100, 1), event(1900, 2)]
    assert step_of(entries, 1.5) == Step("wait", seconds=pytest.approx(0.5))
    assert step_of(entries, 2.0) == Step("send", entries, 3)
    assert step_of(entries, 0.0, 0) == Step("send", entries, 3)
    assert step_of(entries, 0.0, full=True) == Step("send", entries, 3)
    assert step_of(entries, -1000.0) == Step("wait", seconds=2), "a clock that was set back"
    assert step_of(entries, 0.0, None) == Step("send", entries[:1], 1)
    assert step_of(entries, 9.0, upto=entries[1]["id"]) == Step("send", entries[:2], 2)
    assert step_of(entries, GIVE_UP + 0.5) == Step("give-up", entries[:2], 2)


def test_what_is_for_others_is_passed_over() -> None:
    entries = [event(0, number) for number in range(5)]
    terms = Terms(None, GIVE_UP)
    assert next_step(entries, [False] * 5, terms, BEGIN) == Step("skip", through=5)
    assert next_step(entries, [False, True, False, True, False], terms, BEGIN) == Step("send", [entries[1]], 3)
    assert next_step(entries, [False, True, False, False, False], terms, BEGIN) == Step("send", [entries[1]], 5)


def test_which_channels_are_for_people() -> None:
    assert {channel: Alert(id="a", channel=channel).gathered for channel in GROUP_SECONDS} == GROUP_SECONDS
    assert Alert(id="a", channel="webhook").gathered is None
    assert Alert(id="a", channel="webhook", group_seconds=0).gathered == 0
    assert Alert(id="a", channel="slack", group_seconds=30).gathered == 30


def test_a_message_of_many_names_some_and_counts_the_rest() -> None:
    events = [
        event(number, number, "pool.unavailable" if number % 10 == 0 else "address.down") for number in range(500)
    ]
    message = message_of_all(events, "ops")
    assert (message.id, message.kind) == (f"{events[0]['id']}_{events[-1]['id']}", GROUP)
    assert message.summary == "500 events: 450 address.down, 50 pool.unavailable"
    head, *lines = message.text.split("\n")
    assert head == message.summary
    assert lines[:-1] == [message_of(one, "ops").text for one in events[:MOST_LINES]]
    counted = f"and 450 more: 405 address.down, 45 pool.unavailable ({events[50]['id']} to {events[-1]['id']})"
    assert lines[-1] == counted
    assert [one["id"] for one in message.body["events"]] == [one["id"] for one in events]
    assert (message.body["receiver"], message.body["test"]) == ("ops", False)


def test_a_message_of_one_is_that_event() -> None:
    one = event(0, 1)
    assert message_of_all([one], "ops") == message_of(one, "ops")


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=700)), min_size=2, max_size=120))
def test_a_text_is_never_too_long_and_no_event_can_add_lines(texts: list[tuple[str, str]]) -> None:
    events = [event(number, number, kind, reason=reason) for number, (kind, reason) in enumerate(texts)]
    message = message_of_all(events, "ops")
    assert len(message.text.encode("utf-8", "replace")) < MOST_OCTETS + 1000
    lines = message.text.split("\n")
    shown = [line for line in lines if line.endswith(tuple(f"({one['id']})" for one in events))]
    rest = len(events) - len(shown)
    assert len(lines) == 1 + len(shown) + (1 if rest else 0)
    assert not rest or lines[-1].startswith(f"and {rest} more: ")
    assert "".join(lines).isprintable()
    assert json.dumps(message.body)
