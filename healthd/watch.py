"""What the leader tells of the vantages themselves: which are silent or suspended, and which states that freezes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from healthd.events import Event
from pdns_gtm_backend.domain.quorum import HEARTBEAT_LIMIT, is_fresh, stale_reason
from pdns_gtm_backend.domain.state import Heartbeat
from pdns_gtm_backend.store.snapshot import Snapshot
from pdns_gtm_backend.store.vantages import with_suspensions

LOST_SECONDS: Final = 6.0
"""Without a heartbeat for so long, a vantage is said to be lost. It stops to count earlier, which harms nothing."""
SUSPENSION_SECONDS: Final = 3.0
"""A vantage that sees everything down first is no news: the others see it a moment later."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of the vantages.

    suspended: those that the leader has suspended for long enough to say so, with the reasons. doubted: since when
    each one that it has suspended is. told: all that are said to be suspended, also by themselves. silent, stale: None
    until it was looked at once; by vantage, and by check with the reason.
    """

    suspended: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, float] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    silent: frozenset[str] | None = None
    stale: Mapping[str, str] | None = None


def watch(
    before: Watch, snapshot: Snapshot, heartbeats: Mapping[str, Heartbeat], suspended: Mapping[str, str], now: float
) -> tuple[Watch, list[Event]]:
    """Look again: what is known after it, and what is to be told.

    suspended: those that the leader suspends now. now: seconds since the epoch by Redis's clock.
    """
    doubted = {name: before.doubted.get(name, now) for name in suspended}
    said = {
        name: reason
        for name, reason in suspended.items()
        if name in before.suspended or now - doubted[name] >= SUSPENSION_SECONDS
    }
    beats = with_suspensions(heartbeats, said)
    lenient = now - (LOST_SECONDS - HEARTBEAT_LIMIT)
    silent = frozenset(name for name, beat in beats.items() if not is_fresh(beat, lenient))
    told = frozenset(name for name, beat in beats.items() if beat.suspended and name not in silent)
    after = Watch(said, doubted, told, silent, stale_checks(snapshot, beats, lenient))
    return after, [
        *_silence_events(before, after, heartbeats),
        *_suspension_events(before, after, beats),
        *_stale_events(before, after, snapshot),
    ]


def stale_checks(snapshot: Snapshot, heartbeats: Mapping[str, Heartbeat], now: float) -> dict[str, str]:
    """The checks in use whose states are frozen since too few vantages report, with the reason.

    None before the first vantage was ever seen: there are no states yet.
    """
    if not heartbeats:
        return {}
    reasons = (
        (name, stale_reason(check, heartbeats, now))
        for name, check in snapshot.health_checks.items()
        if snapshot.pools_using_check(name)
    )
    return {name: reason for name, reason in reasons if reason is not None}


def _silence_events(before: Watch, after: Watch, heartbeats: Mapping[str, Heartbeat]) -> Iterator[Event]:
    if before.silent is None or after.silent is None:
        return
    for name in sorted(after.silent - before.silent):
        reason = f"no heartbeat for {LOST_SECONDS:g} s"
        yield {"kind": "vantage.lost", "vantage": name, "from": "reporting", "to": "silent", "reason": reason}
    for name in sorted(before.silent - after.silent):
        there = name in heartbeats
        yield {
            "kind": "vantage.back" if there else "vantage.forgotten",
            "vantage": name,
            "from": "silent",
            "to": "reporting" if there else "forgotten",
            "reason": "heartbeats again" if there else "removed by an operator",
        }


def _suspension_events(before: Watch, after: Watch, heartbeats: Mapping[str, Heartbeat]) -> Iterator[Event]:
    for name in sorted(after.told - before.told):
        reason = heartbeats[name].suspended
        yield {"kind": "vantage.suspended", "vantage": name, "from": "counted", "to": "suspended", "reason": reason}
    for name in sorted(before.told - after.told):
        reason = "its verdicts count again" if name in heartbeats else "removed by an operator"
        yield {"kind": "vantage.resumed", "vantage": name, "from": "suspended", "to": "counted", "reason": reason}


def _stale_events(before: Watch, after: Watch, snapshot: Snapshot) -> Iterator[Event]:
    if before.stale is None or after.stale is None:
        return
    for name in sorted(after.stale.keys() - before.stale.keys()):
        yield _stale_event("state.stale", name, snapshot) | {
            "from": "fresh",
            "to": "stale",
            "reason": after.stale[name],
        }
    for name in sorted(before.stale.keys() - after.stale.keys()):
        yield _stale_event("state.fresh", name, snapshot) | {
            "from": "stale",
            "to": "fresh",
            "reason": "enough vantages report",
        }


def _stale_event(kind: str, check: str, snapshot: Snapshot) -> Event:
    pools = sorted(snapshot.pools_using_check(check))
    instances = sorted({instance for pool in pools for instance in snapshot.instances_using_pool(pool)})
    return {"kind": kind, "check": check, "pools": pools, "instances": instances}
