"""What a receiver is sent: an event, as JSON data and as a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdns_gtm_backend.domain.event import TEST, summary
from pdns_gtm_backend.domain.moment import rfc3339


@dataclass(frozen=True, slots=True)
class Message:
    """One event for one receiver. id: of the event, the same each time that it is sent. summary: one line.

    body: the event as /events shows it, with `receiver`, `summary` and `test`.
    """

    id: str
    kind: str
    summary: str
    body: Mapping[str, Any]


def message_of(event: Mapping[str, Any], receiver: str) -> Message:
    """The message of an entry of the stream of events."""
    told = summary(event)
    kind = str(event.get("kind"))
    body = {**event, "receiver": receiver, "summary": told, "test": kind == TEST}
    return Message(str(event["id"]), kind, told, body)


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
