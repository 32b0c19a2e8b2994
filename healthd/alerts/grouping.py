"""What is to be done next for a receiver: which of the events that wait are sent together, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal

from healthd.alerts.retry import is_over
from pdns_gtm_backend.domain.alert import GROUP_SECONDS, Alert

FOR_PROGRAMS: Final = 100
"""Events that are looked at at once, so that no message holds more. A program is sent each of them whole."""
FOR_PEOPLE: Final = 1000

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a receiver is told.

    group_seconds: what happens within so many is one message; None = each event is one. give_up_after: seconds. upto:
    id of the last event of a message that was not taken and is sent again as it was, "" = there is none. full: as many
    events as a message may hold were read.
    """

    group_seconds: int | None
    give_up_after: float
    upto: str = ""
    full: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What is next: `send` or `give-up` some events, `skip` what is not for this receiver, or `wait` some seconds.

    through: how many of the events that were read are done with after it.
    """

    act: Literal["send", "give-up", "skip", "wait"]
    events: Sequence[Entry] = ()
    through: int = 0
    seconds: float = 0.0


def next_step(entries: Sequence[Entry], wanted: Sequence[bool], terms: Terms, now: float) -> Step:
    """The next step for `entries`, the oldest first, of which some are `wanted`. now: seconds, by Redis's clock."""
    chosen = [index for index, want in enumerate(wanted) if want]
    if not chosen:
        return Step("skip", through=len(entries))

    def first(act: Literal["send", "give-up"], count: int) -> Step:
        through = chosen[count] if count < len(chosen) else len(entries)
        return Step(act, [entries[index] for index in chosen[:count]], through)

    over = sum(1 for _ in takewhile(lambda i: is_over(happened(entries[i]), now, terms.give_up_after), chosen))
    if over:
        return first("give-up", over)
    if terms.group_seconds is None:
        return first("send", 1)
    if terms.upto:
        last = _ordered(terms.upto)
        again = sum(1 for index in chosen if _ordered(str(entries[index]["id"])) <= last)
        if again:
            return first("send", again)
    left = happened(entries[chosen[0]]) + terms.group_seconds - now
    if left > 0 and not terms.full:
        # A clock that was set back must not make anybody wait for long.
        return Step("wait", seconds=min(left, terms.group_seconds))
    return first("send", len(chosen))


def most_together(alert: Alert) -> int:
    """How many events are looked at at once for a receiver."""
    return FOR_PEOPLE if alert.channel in GROUP_SECONDS else FOR_PROGRAMS


def happened(entry: Entry) -> float:
    """When an event was written, in seconds since the epoch by Redis's clock: its id begins with that."""
    return _ordered(str(entry["id"]))[0] / 1000


def _ordered(identifier: str) -> tuple[int, int]:
    milliseconds, _, sequence = identifier.partition("-")
    return int(milliseconds), int(sequence or 0)
