"""What healthd found out and decided, as it is kept in the store beside the configuration."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.target import target_key

Health = Literal["up", "down", "unknown"]
Text = Annotated[str, MaxLen(1000)]
Moment = Annotated[float, Ge(0), Le(253_402_300_799)]
"""Seconds since the epoch, up to the end of the year 9999 (RFC 3339 has four digits for it)."""


@document
class TargetState:
    """The health of a probed target, decided from the verdicts of the vantages.

    since: when it last changed, in seconds since the epoch by Redis's clock.
    vantages: how each reporting vantage saw it when that was decided.
    """

    health: Health
    since: Moment
    reason: Text = ""
    vantages: Mapping[str, Literal["up", "down"]] = field(default_factory=dict)


@document
class PolicyState:
    """The set that a policy answers from for one family.

    since, reason: when and why it became the effective set.
    previous: the set before it; None at first.
    returning, returning_since: an earlier set that is available again, and since when, while `failback_delay` runs.
    """

    set: str
    since: Moment
    reason: Text = ""
    previous: str | None = None
    returning: str | None = None
    returning_since: Moment | None = None


def policy_state_key(instance_id: str, policy: str, family: str) -> str:
    """The key of a policy's state for one family."""
    return f"{instance_id}|{policy}|{family}"


def carried_states(before: Pool, after: Pool, states: Mapping[str, TargetState]) -> dict[str, TargetState]:
    """The states that the targets of an edited pool begin with, by target key.

    `host` and `sni` are part of a target: an address keeps its last state until it is heard of under its new name.
    """
    if (before.host, before.sni) == (after.host, after.sni):
        return {}
    kept = {address.address for address in before.addresses}
    carried = {}
    for check in after.health_checks:
        for address in after.addresses:
            new = target_key(check, address.address, after.host, after.sni)
            state = states.get(target_key(check, address.address, before.host, before.sni))
            if state is not None and new not in states and check in before.health_checks and address.address in kept:
                carried[new] = state
    return carried


@document
class VantageVerdict:
    """How one vantage sees one target: `up` or down since a moment, with the reason of the last failure."""

    up: bool
    since: Moment
    reason: Text = ""
    detail: Text = ""

    @property
    def health(self) -> Health:
        """The verdict as a state has it."""
        return "up" if self.up else "down"


@document
class Heartbeat:
    """A vantage says that it is alive.

    time: seconds since the epoch by Redis's clock. targets: how many it probes. overdue: keys of targets whose probe is
    late, for which it is silent. lag: seconds that a probe starts late, 99th percentile.
    suspended: why its verdicts do not count now; "" = they do. reference: does one of its reference targets answer?
    None = it has none. process: made anew by each process that has had the name.
    """

    time: Moment
    targets: int = 0
    overdue: tuple[str, ...] = ()
    lag: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    suspended: Text = ""
    reference: bool | None = None
    process: Text = ""


@document
class ProbeRecord:
    """One probe of a target, as the vantage that made it remembers it.

    at: when it ended, in seconds since the epoch by Redis's clock. reason: why it failed, None where it passed.
    phase: the last one entered. duration: of the whole probe, timings: of each phase, in seconds.
    """

    at: Moment
    ok: bool
    reason: Text | None
    detail: Text
    phase: Text
    duration: float
    timings: Mapping[str, float] = field(default_factory=dict)
