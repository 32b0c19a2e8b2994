"""What healthd found out and decided, as it is kept in the store beside the configuration."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import MaxLen

from pdns_gtm_backend.domain.document import document

Health = Literal["up", "down", "unknown"]
Text = Annotated[str, MaxLen(1000)]


@document
class TargetState:
    """The health of a probed target, decided from the verdicts of the vantages.

    since: when it last changed, in seconds since the epoch by Redis's clock.
    vantages: how each reporting vantage saw it when that was decided.
    """

    health: Health
    since: float
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
    since: float
    reason: Text = ""
    previous: str | None = None
    returning: str | None = None
    returning_since: float | None = None


def policy_state_key(instance_id: str, policy: str, family: str) -> str:
    """The key of a policy's state for one family."""
    return f"{instance_id}|{policy}|{family}"


@document
class VantageVerdict:
    """How one vantage sees one target: `up` or down since a moment, with the reason of the last failure."""

    up: bool
    since: float
    reason: Text = ""
    detail: Text = ""


@document
class Heartbeat:
    """A vantage says that it is alive.

    time: seconds since the epoch by Redis's clock. targets: how many it probes. overdue: keys of targets whose probe is
    late, for which it is silent. lag: seconds that a probe starts late, 99th percentile.
    """

    time: float
    targets: int = 0
    overdue: tuple[str, ...] = ()
    lag: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    process: Text = ""
