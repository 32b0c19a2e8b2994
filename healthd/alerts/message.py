"""What a receiver is sent: an event, or several at once, as JSON data and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pdns_gtm_backend.domain.event import TEST, summary
from pdns_gtm_backend.domain.moment import rfc3339

GROUP: Final = "alert.group"
"""The kind of a message of several events; it is never in the stream."""
MOST_LINES: Final = 50
MOST_OCTETS: Final = 16_000
"""Of a text: a robot of DingTalk takes 20,000 octets."""
MOST_KINDS: Final = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One event for one receiver, or several. summary: one line. text: for people, with the ids of the events.

    id: of the event, the same each time that it is sent; of several: of the first and of the last, `first_last`.
    body: the event as /events shows it, with `receiver`, `summary` and `test`; several are its `events`.
    """

    id: str
    kind: str
    summary: str
    text: str
    body: Mapping[str, Any]


def message_of(event: Mapping[str, Any], receiver: str) -> Message:
    """The message of an entry of the stream of events."""
    told = summary(event)
    kind = str(event.get("kind"))
    body = {**event, "receiver": receiver, "summary": told, "test": kind == TEST}
    return Message(str(event["id"]), kind, told, f"{told} ({event['id']})", body)


def message_of_all(events: Sequence[Mapping[str, Any]], receiver: str) -> Message:
    """The message of some entries of the stream, one or more, the oldest first."""
    messages = [message_of(event, receiver) for event in events]
    if len(messages) == 1:
        return messages[0]
    first, last = messages[0], messages[-1]
    identifier = f"{first.id}_{last.id}"
    told = f"{len(messages)} events: {_counted(messages)}"
    body = {
        "id": identifier,
        "time": last.body.get("time"),
        "kind": GROUP,
        "receiver": receiver,
        "summary": told,
        "test": False,
        "events": [message.body for message in messages],
    }
    return Message(identifier, GROUP, told, f"{told}\n{_lines(messages)}", body)


def _lines(messages: Sequence[Message]) -> str:
    """A line for each, as many as a message for people should hold, and what the others are."""
    lines: list[str] = []
    octets = 0
    for message in messages[:MOST_LINES]:
        octets += len(message.text.encode("utf-8", "replace")) + 1
        if octets > MOST_OCTETS:
            break
        lines.append(message.text)
    rest = messages[len(lines) :]
    if rest:
        lines.append(f"and {len(rest)} more: {_counted(rest)} ({rest[0].id} to {rest[-1].id})")
    return "\n".join(lines)


def _counted(messages: Sequence[Message]) -> str:
    counts = Counter(message.kind if message.kind.isprintable() else "unreadable" for message in messages)
    named = [f"{count} {kind[:64]}" for kind, count in counts.most_common(MOST_KINDS)]
    others = counts.total() - sum(count for _, count in counts.most_common(MOST_KINDS))
    return ", ".join([*named, f"{others} others"] if others else named)


def trial_event(identifier: str, receiver: str, leader: str, now: float) -> Mapping[str, Any]:
    """What a receiver is tried with. leader: the healthd that sends it."""
    return {
        "id": identifier,
        "time": rfc3339(now),
        "kind": TEST,
        "object_kind": "alert",
        "object": receiver,
        "reason": f"a test, sent by {leader}",
    }
