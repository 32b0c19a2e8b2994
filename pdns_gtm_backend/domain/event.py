"""Events: the kinds that there are, and how one is told in a sentence."""

from collections.abc import Mapping
from typing import Any, Final, Literal

EventKind = Literal[
    "address.up",
    "address.down",
    "address.unknown",
    "address.offline",
    "pool.available",
    "pool.unavailable",
    "set.switched",
    "instance.all_down",
    "instance.recovered",
    "vantage.lost",
    "vantage.back",
    "vantage.forgotten",
    "vantage.suspended",
    "vantage.resumed",
    "state.stale",
    "state.fresh",
    "override.expired",
    "leader.changed",
    "store.history-changed",
    "configuration.changed",
]
"""Every kind that is written to the stream of events."""
TEST: Final = "alert.test"
"""The kind of what is sent to try an alert receiver; it is never in the stream."""
MOST: Final = 500
"""Characters of a sentence."""
NAMES: Final = ("instance_name", "policy", "family", "pool", "address", "vantage", "check", "override")
OBJECT: Final = ("object_kind", "object")


def about(event: Mapping[str, Any]) -> str:
    """What an event is about: the names in it."""
    names = OBJECT if event.get("object_kind") else NAMES
    return " ".join(str(event[name]) for name in names if event.get(name))


def summary(event: Mapping[str, Any]) -> str:
    """An event in one line of printable characters: the kind, what it is about, from what to what, and why."""
    change = f"{event.get('from')} -> {event.get('to')}" if "to" in event else ""
    told = f"{event.get('kind')}: {' '.join(part for part in (about(event), change) if part)}"
    if event.get("reason"):
        told += f": {event['reason']}"
    return "".join(character if character.isprintable() else " " for character in told)[:MOST]
