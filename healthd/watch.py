"""What the leader tells of the vantages themselves: which are silent or suspended, and which states that freezes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from healthd.events import Event
from pdns_gtm_backend.domain.quorum import HEARTBEAT_LIMIT, is_fresh, stale_reason
from pdns_gtm_backend.domain.state import Heartbeat
from pdns_gtm_backend.store.snapshot import Snapshot
from pdns_gtm_backend.store.vantages import VantagesTold, with_suspensions

LOST_SECONDS: Final = 6.0
"""Without a heartbeat for so long, a vantage is said to be lost. It stops to count earlier, which harms nothing."""
SUSPENSION_SECONDS: Final = 3.0
"""A vantage that sees everything down first is no news: the others see it a moment later."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of the vantages.

    suspended: those that the leader has suspended for long enough to say so, with the reasons. doubted: since when
    each one that it has suspended is. told: all that are said to be suspended, also by themselves. silent: those that
    are said to be lost. stale: the checks that are said to be stale. since: when this leader looked first, None = it
    has not yet.
    """

    suspended: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, float] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    since: float | None = None

    def record(self) -> VantagesTold:
        """What the next leader must know, so that nothing is told twice or never."""
        return VantagesTold(
            suspended=self.suspended,
            distrusted=tuple(sorted(self.told)),
            silent=tuple(sorted(self.silent)),
            stale=tuple(sorted(self.stale)),
        )


def recalled(told: VantagesTold) -> Watch:
    """What a leader knows before it looks: what the last one told."""
    return Watch(
        told.suspended, told=frozenset(told.distrusted), silent=frozenset(told.silent), stale=frozenset(told.stale)
    )


def watch(
    before: Watch, snapshot: Snapshot, heartbeats: Mapping[str, Heartbeat], suspended: Mapping[str, str], now: float
) -> tuple[Watch, list[Event]]:
    """Look again: what is known after it, and what is to be told.

    Nothing is lost or stale before this leader has looked for as long as a vantage may be silent: while there was no
    leader or no Redis, no heartbeat could come. suspended: those that the leader suspends now. now: seconds since the
    epoch by Redis's clock.
    """
    since = now if before.since is None else before.since
    steady = now - since >= LOST_SECONDS
    doubted = {name: before.doubted.get(name, now) for name in suspended}
    said = {
        name: reason
        for name, reason in suspended.items()
        if name in before.suspended or now - doubted[name] >= SUSPENSION_SECONDS
    }
    beats = with_suspensions(heartbeats, said)
    lenient = now - (LOST_SECONDS - HEARTBEAT_LIMIT)
    silent = frozenset(
        name for name, beat in beats.items() if not is_fresh(beat, lenient) and (steady or name in before.silent)
    )
    told = frozenset(name for name, beat in beats.items() if beat.suspended and name not in silent)
    reasons = stale_checks(snapshot, beats, lenient)
    stale = frozenset(name for name in reasons if steady or name in before.stale)
    after = Watch(said, doubted, told, silent, stale, since)
    return after, [
        *_silence_events(before, after, heartbeats),
        *_suspension_events(before, after, beats),
        *_stale_events(before, after, reasons, snapshot),
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


def _stale_events(before: Watch, after: Watch, reasons: Mapping[str, str], snapshot: Snapshot) -> Iterator[Event]:
    for name in sorted(after.stale - before.stale):
        yield _stale_event("state.stale", name, snapshot) | {
            "from": "fresh",
            "to": "stale",
            "reason": reasons[name],
        }
    for name in sorted(before.stale - after.stale):
        yield _stale_event("state.fresh", name, snapshot) | {
            "from": "stale",
            "to": "fresh",
            "reason": "enough vantages report",
        }


def _stale_event(kind: str, check: str, snapshot: Snapshot) -> Event:
    pools = sorted(snapshot.pools_using_check(check))
    instances = sorted({instance for pool in pools for instance in snapshot.instances_using_pool(pool)})
    return {"kind": kind, "check": check, "pools": pools, "instances": instances}
