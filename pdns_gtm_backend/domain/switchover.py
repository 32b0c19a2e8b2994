"""Which set of a policy is in effect: failover at once, failback by the policy's rule, a pin above both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pdns_gtm_backend.domain.availability import SetView
from pdns_gtm_backend.domain.state import PolicyState

Mode = Literal["auto", "pinned"]


@dataclass(frozen=True, slots=True)
class Command:
    """What operators say of a policy: the set that it is pinned to, and whether to go back now."""

    pinned: str | None = None
    pinned_by: str = ""
    failback_now: bool = False


NO_COMMAND = Command()


@dataclass(frozen=True, slots=True)
class Decision:
    """The state of a policy, and when to decide again although nothing has changed (None = not by itself)."""

    state: PolicyState
    again_at: float | None = None


def effective_index(sets: Sequence[SetView], current: str | None, pinned: str | None) -> int | None:
    """The set to answer from, by index: the pinned one, else the current one while available, else the first available.

    None where none is available: the all-down rule answers. `current` None means the first set. Going back to an
    earlier set is no part of this: that is a decision, which changes `current`.
    """
    names = [view.name for view in sets]
    if pinned in names:
        return names.index(pinned)
    kept = names.index(current) if current in names else 0
    if sets and sets[kept].available:
        return kept
    return next((index for index, view in enumerate(sets) if view.available), None)


def decide(
    sets: Sequence[SetView],
    previous: PolicyState | None,
    failback: Literal["auto", "manual"],
    failback_delay: float,
    command: Command,
    now: float,
) -> Decision:
    """The next state of a policy for one family.

    sets: the sets that carry the family, in order, at least one. previous: None where it was never decided; the policy
    then starts from its first set. now: seconds since the epoch.
    """
    state = previous or PolicyState(set=sets[0].name, since=now, reason="first decision")
    names = [view.name for view in sets]
    if command.pinned in names:
        return Decision(_switched(state, command.pinned, _pin_reason(command), now))
    if state.set not in names:
        chosen = next((view for view in sets if view.available), sets[0])
        state = _switched(state, chosen.name, f"set {state.set} is gone", now)
    current = names.index(state.set)
    if not sets[current].available:
        return Decision(_failed_over(sets, state, current, now))
    return _failed_back(sets, state, current, failback, failback_delay, command, now)


def _pin_reason(command: Command) -> str:
    return f"pinned to {command.pinned}" + (f" by {command.pinned_by}" if command.pinned_by else "")


def _failed_over(sets: Sequence[SetView], state: PolicyState, current: int, now: float) -> PolicyState:
    chosen = next((view for view in sets if view.available), None)
    if chosen is None:
        return _settled(state)
    return _switched(state, chosen.name, f"set {state.set} unavailable: {unavailable_reason(sets[current])}", now)


def _failed_back(
    sets: Sequence[SetView],
    state: PolicyState,
    current: int,
    failback: Literal["auto", "manual"],
    delay: float,
    command: Command,
    now: float,
) -> Decision:
    if command.failback_now:
        earlier = next((view for view in sets[:current] if view.available), None)
        if earlier is not None:
            return Decision(_switched(state, earlier.name, "failback by an operator", now))
    earlier = next((view for view in sets[:current] if view.verified), None)
    if earlier is None or failback == "manual":
        return Decision(_settled(state))
    began = state.returning_since if state.returning == earlier.name else now
    began = now if began is None else began
    if now >= began + delay:
        return Decision(_switched(state, earlier.name, f"set {earlier.name} available again", now))
    return Decision(replace(state, returning=earlier.name, returning_since=began), began + delay)


def _switched(state: PolicyState, name: str, reason: str, now: float) -> PolicyState:
    if name == state.set:
        return _settled(state)
    return PolicyState(set=name, since=now, reason=reason, previous=state.set)


def _settled(state: PolicyState) -> PolicyState:
    if state.returning is None and state.returning_since is None:
        return state
    return replace(state, returning=None, returning_since=None)


def unavailable_reason(view: SetView) -> str:
    """Why a set is not available, pool by pool."""
    reasons = [f"pool {pool.pool.id}: {pool.reason}" for pool, weight in view.members if weight and not pool.available]
    return "; ".join(reasons)[:500] or "no pool of weight above 0"
