"""The health of an address from the verdicts of the vantages.

The rule: down when strictly more than the check's `quorum` of the reporting vantages see it down. Only a verdict that
changes makes it count again; a vantage that joins, leaves or falls silent never changes a state by itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.state import Heartbeat, TargetState, VantageVerdict

HEARTBEAT_LIMIT: Final = 3.0
"""Seconds without a heartbeat after which a vantage no longer reports."""

ROUNDING: Final = 1e-9
LEAST_SUSPENDED: Final = 2
"""Targets that a vantage must see down to be doubted itself: one alone is as likely to be at fault as the vantage."""


def needed_vantages(check: HealthCheck, configured: int) -> int:
    """How many vantages must report for a state to change: `min_vantages`, or 1 where one is configured, else 2."""
    if check.min_vantages is not None:
        return check.min_vantages
    return 1 if configured <= 1 else 2


def selects(selector: str, name: str, labels: Mapping[str, str]) -> bool:
    """Does an entry of a check's `vantages` mean the vantage of this name and these labels?"""
    key, equals, value = selector.partition("=")
    return labels.get(key) == value if equals else selector == name


def probes(check: HealthCheck, name: str, labels: Mapping[str, str]) -> bool:
    """Is the vantage of this name and these labels one of those that probe by `check`?"""
    return check.vantages is None or any(selects(selector, name, labels) for selector in check.vantages)


def configured_vantages(check: HealthCheck, known: Mapping[str, Heartbeat]) -> frozenset[str]:
    """The vantages that probe by `check`: those it names, known or not, and the known ones that it selects."""
    named = (selector for selector in check.vantages or () if "=" not in selector)
    return frozenset([*named, *(name for name, beat in known.items() if probes(check, name, beat.labels))])


def is_fresh(beat: Heartbeat, now: float) -> bool:
    """Is this heartbeat young enough for its vantage to count? now: seconds since the epoch by Redis's clock."""
    return now - beat.time <= HEARTBEAT_LIMIT


def is_reporting(beat: Heartbeat, now: float) -> bool:
    """Do the verdicts of the vantage of this heartbeat count, but for overdue targets?"""
    return is_fresh(beat, now) and not beat.suspended


def reporting_vantages(
    check: HealthCheck, target: str, heartbeats: Mapping[str, Heartbeat], now: float
) -> frozenset[str]:
    """Those whose heartbeat is fresh, that are not suspended, and for which the target is not overdue."""
    return frozenset(
        name
        for name in configured_vantages(check, heartbeats)
        if (beat := heartbeats.get(name)) and is_reporting(beat, now) and target not in beat.overdue
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the verdicts say now.

    health: None where too few vantages have a verdict. frozen: fewer report than must, whatever they see.
    """

    health: Literal["up", "down"] | None
    frozen: bool
    vantages: Mapping[str, Literal["up", "down"]]


def judge(
    check: HealthCheck, verdicts: Mapping[str, VantageVerdict], reporting: Collection[str], configured: int
) -> Judgement:
    """Count the verdicts of the reporting vantages."""
    counted = {name: verdicts[name] for name in sorted(reporting) if name in verdicts}
    seen: dict[str, Literal["up", "down"]] = {name: "up" if v.up else "down" for name, v in counted.items()}
    needed = needed_vantages(check, configured)
    if len(counted) < needed:
        return Judgement(None, len(reporting) < needed, seen)
    down = sum(not verdict.up for verdict in counted.values())
    # A share that is equal but for rounding is not more: 0.57 * 100 is below 57 in binary, and 1/3 is no decimal.
    more = down - check.quorum * len(counted) > ROUNDING
    return Judgement("down" if more else "up", False, seen)


def next_target_state(
    previous: TargetState | None,
    changed: VantageVerdict,
    judgement: Judgement,
    verdicts: Mapping[str, VantageVerdict],
    now: float,
) -> TargetState | None:
    """The state after the verdict of one vantage changed; None where it stays as it is.

    A change can only move the state its own way: a verdict that turns up never takes an address down because others
    left since. The first verdicts decide an unknown state.
    """
    if judgement.health is None:
        return None
    decided = previous is not None and previous.health != "unknown"
    if decided and judgement.health != ("up" if changed.up else "down"):
        return None
    if previous is not None and previous.health == judgement.health:
        return None
    return TargetState(
        health=judgement.health,
        since=now,
        reason="" if judgement.health == "up" else down_reason(judgement, verdicts),
        vantages=judgement.vantages,
    )


def down_reason(judgement: Judgement, verdicts: Mapping[str, VantageVerdict]) -> str:
    """What the vantages that see it down say, each distinct sentence once."""
    told: dict[str, list[str]] = {}
    for name, seen in judgement.vantages.items():
        if seen == "down":
            verdict = verdicts[name]
            told.setdefault(verdict.detail or verdict.reason or "failed", []).append(name)
    return "; ".join(f"{detail} ({', '.join(names)})" for detail, names in told.items())[:1000]


def stale_reason(check: HealthCheck, heartbeats: Mapping[str, Heartbeat], now: float) -> str | None:
    """Why states of a check are frozen, all of them or those of some targets; None where enough vantages report."""
    configured = configured_vantages(check, heartbeats)
    needed = needed_vantages(check, len(configured))
    reporting = reporting_vantages(check, "", heartbeats, now)
    if len(reporting) < needed:
        silent = [f"{name} {_silence(heartbeats.get(name), now)}" for name in sorted(configured - reporting)]
        named = f": {', '.join(silent)}" if silent else ""
        return f"{len(reporting)} of {needed} needed vantages report{named}"[:1000]
    overdue: dict[str, int] = {}
    for name in reporting:
        for target in heartbeats[name].overdue:
            if target.startswith(f"{check.id}|"):
                overdue[target] = overdue.get(target, 0) + 1
    frozen = sum(len(reporting) - silent < needed for silent in overdue.values())
    return f"of {frozen} targets fewer than {needed} vantages know the state: probes are overdue" if frozen else None


def _silence(beat: Heartbeat | None, now: float) -> str:
    if beat is None:
        return "was never seen"
    if not is_fresh(beat, now):
        return f"is silent since {rfc3339(beat.time)}"
    return f"is suspended ({beat.suspended})"


def suspensions(
    previous: Mapping[str, str],
    heartbeats: Mapping[str, Heartbeat],
    verdicts: Mapping[str, Mapping[str, VantageVerdict]],
    now: float,
) -> dict[str, str]:
    """The vantages whose verdicts do not count since they see everything down while another sees some of it up.

    previous: the suspensions so far. verdicts: by vantage, then by target. Returns the reasons by vantage. What a
    vantage says of itself (`Heartbeat.suspended`) is no part of this. One whose reference target answers is not
    suspended: its network works. A suspension ends when the vantage sees something up, or another one sees the same
    down; that others leave does not end it, so that their leaving changes no state.
    """
    found: dict[str, str] = {}
    speaking = [name for name, beat in heartbeats.items() if is_reporting(beat, now)]
    for name, beat in heartbeats.items():
        held, silent = verdicts.get(name, {}), frozenset(beat.overdue)
        if beat.reference or len(heartbeats) == 1 or any(v.up and key not in silent for key, v in held.items()):
            continue
        down = held.keys() - silent
        if len(down) < LEAST_SUSPENDED:
            continue
        seen = {other: _seen_up(down, verdicts.get(other, {})) for other in speaking if other != name}
        contrary = {other: up for other, up in seen.items() if up}
        if contrary:
            told = ", ".join(f"{other} sees {up} up" for other, up in sorted(contrary.items()))
            found[name] = f"sees all {len(down)} targets down, of which {told}"[:1000]
        elif name in previous and all(up is None for up in seen.values()):
            found[name] = previous[name]
    return found


def _seen_up(targets: Collection[str], verdicts: Mapping[str, VantageVerdict]) -> int | None:
    """How many of `targets` another vantage sees up; None where it has no verdict on any."""
    common = [verdicts[target].up for target in targets if target in verdicts]
    return sum(common) if common else None
