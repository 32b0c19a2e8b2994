"""The health of an address from the verdicts of the vantages.

The rule: down when strictly more than the check's `quorum` of the reporting vantages see it down. Only a verdict that
changes makes it count again; a vantage that joins, leaves or falls silent never changes a state by itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.state import Heartbeat, TargetState, VantageVerdict

HEARTBEAT_LIMIT: Final = 6.0
"""Seconds without a heartbeat after which a vantage no longer reports."""


def needed_vantages(check: HealthCheck, configured: int) -> int:
    """How many vantages must report for a state to change: `min_vantages`, or 1 where one is configured, else 2."""
    if check.min_vantages is not None:
        return check.min_vantages
    return 1 if configured <= 1 else 2


def configured_vantages(check: HealthCheck, known: Collection[str]) -> frozenset[str]:
    """The vantages that probe by `check`: those it names, or all that are known."""
    return frozenset(known if check.vantages is None else check.vantages)


def reporting_vantages(
    check: HealthCheck, target: str, heartbeats: Mapping[str, Heartbeat], now: float
) -> frozenset[str]:
    """Those whose heartbeat is fresh and does not list the target as overdue."""
    return frozenset(
        name
        for name in configured_vantages(check, heartbeats)
        if (beat := heartbeats.get(name)) and now - beat.time <= HEARTBEAT_LIMIT and target not in beat.overdue
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
    # Exact: 0.57 * 100 is less than 57 in binary, and 57 of 100 would be more than that share.
    limit = Fraction(str(check.quorum)) * len(counted)
    return Judgement("down" if down > limit else "up", False, seen)


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
    """Why states of a check are frozen; None where enough vantages report."""
    reporting = reporting_vantages(check, "", heartbeats, now)
    needed = needed_vantages(check, len(configured_vantages(check, heartbeats)))
    if len(reporting) >= needed:
        return None
    named = f" ({', '.join(sorted(reporting))})" if reporting else ""
    return f"{len(reporting)} of {needed} needed vantages report{named}"
