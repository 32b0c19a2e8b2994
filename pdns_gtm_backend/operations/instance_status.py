"""What an operator sees of an instance: both statuses, what each policy answers from and why, and its pools."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pdns_gtm_backend.domain.answer import Choice, PolicyView, ServedInstance
from pdns_gtm_backend.domain.availability import PoolView, SetView
from pdns_gtm_backend.domain.configuration import pool_warnings
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.override import Override, policy_override
from pdns_gtm_backend.domain.statuses import health_check_status, request_status
from pdns_gtm_backend.domain.switchover import unavailable_reason
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.errors import NotFound
from pdns_gtm_backend.operations.line_warnings import line_warnings
from pdns_gtm_backend.operations.observation import observe
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.operations.pool_status import (
    PoolPart,
    moment,
    overrides_of_pools,
    pool_part,
    stale,
    targets_of_pool,
)
from pdns_gtm_backend.store.serving import Prepared, Serving
from pdns_gtm_backend.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A pool of a set."""

    pool: str
    weight: int
    available: bool


@dataclass(frozen=True, slots=True)
class SetStatus:
    """A set of a policy, as far as it carries one family."""

    name: str
    available: bool
    pools: Sequence[MemberStatus]


@dataclass(frozen=True, slots=True)
class Source:
    """The policy and the set that answers come from."""

    policy: str
    set: str


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """What a policy answers from for one family.

    effective_set: None where no set is available. since, reason: when and why it became so. rule: how answers come
    about (`domain.answer.Rule`). source: where from; another policy where this one has nothing to give.
    """

    effective_set: str | None
    since: str | None
    reason: str
    previous_set: str | None
    rule: str
    source: Source | None
    sets: Sequence[SetStatus]


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """A policy. mode: `auto`, or `pinned` to `pinned_set`."""

    name: str
    lines: Sequence[str]
    mode: str
    pinned_set: str | None
    families: Mapping[str, FamilyStatus]


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """Both statuses of an instance, and all that they come from.

    stale: too few vantages report, or the store is away; stale_reason says which.
    """

    id: str
    name: str
    cname: str
    enabled: bool
    health_check_status: str
    request_status: str
    stale: bool
    stale_reason: str | None
    policies: Sequence[PolicyStatus]
    pools: Sequence[PoolPart]
    overrides: Sequence[Override]
    warnings: Sequence[str]


def status_of_instance(operator: Operator, identifier: str) -> InstanceStatus:
    """Raises NotFound, Unavailable where there is no snapshot."""
    serving = operator.writer.reading()
    served = served_instance(operator, serving, identifier)
    instance, snapshot = served.instance, serving.snapshot
    pools = pools_of(served, serving)
    seen = observe(operator, list(dict.fromkeys(key for view in pools for key in targets_of_pool(view.pool))))
    reason = stale([check for view in pools for check in view.pool.health_checks], snapshot, seen)
    return InstanceStatus(
        id=instance.id,
        name=instance.name,
        cname=instance.cname,
        enabled=instance.enabled,
        health_check_status=health_check_status(pools),
        request_status=request_status(served),
        stale=reason is not None,
        stale_reason=reason,
        policies=policy_statuses(served, snapshot),
        pools=[pool_part(view, snapshot, seen) for view in pools],
        overrides=[*_overrides(served, pools, snapshot)],
        warnings=[*_warnings(operator, served, pools, snapshot)],
    )


def served_instance(operator: Operator, serving: Serving, identifier: str) -> ServedInstance:
    """Raises NotFound, also where the actor's token does not cover it."""
    served = serving.instances.get(identifier)
    if served is None or not operator.sees(served.instance.labels):
        raise NotFound(f"there is no instance {shown(identifier)}")
    return served


def pools_of(served: ServedInstance, serving: Prepared) -> Sequence[PoolView]:
    """The pools that an instance names and that exist, each once."""
    return [serving.pools[name] for name in sorted(served.instance.pool_ids()) if name in serving.pools]


def policy_statuses(served: ServedInstance, snapshot: Snapshot) -> Sequence[PolicyStatus]:
    """Every policy of an instance."""
    return [_policy(served, index, snapshot) for index in range(len(served.instance.policies))]


def _policy(served: ServedInstance, index: int, snapshot: Snapshot) -> PolicyStatus:
    policy = served.instance.policies[index]
    pin = policy_override(served.instance.id, policy.name, "pin", snapshot.overrides_on_instance(served.instance.id))
    families: dict[str, FamilyStatus] = {
        family: _family(views[index], served.choice(family, index), pin)
        for family, views in served.answers.views.items()
        if any(view.sets for view in views)
    }
    return PolicyStatus(
        name=policy.name,
        lines=policy.lines,
        mode="auto" if pin is None else "pinned",
        pinned_set=None if pin is None else pin.set,
        families=families,
    )


def _family(view: PolicyView, choice: Choice, pin: Override | None) -> FamilyStatus:
    state, name = view.state, view.set_name
    if state is not None and state.set == name:
        since, reason, previous = rfc3339(state.since), state.reason, state.previous
    else:
        pinned_at = pin.created if pin is not None and pin.set == name else None
        since, reason, previous = moment(pinned_at) or "", _undecided_reason(view, pin), state.set if state else None
    return FamilyStatus(
        effective_set=name,
        since=since or None,
        reason=reason,
        previous_set=previous,
        rule=choice.rule,
        source=Source(*choice.source) if choice.source is not None else None,
        sets=[_set(one) for one in view.sets],
    )


def _undecided_reason(view: PolicyView, pin: Override | None) -> str:
    """Why a set is in effect that the leader has not decided on yet."""
    if not view.sets:
        return f"the policy has no {view.family} pool: the default policy answers"
    if view.effective is None:
        return "no set is available: " + "; ".join(f"{s.name}: {unavailable_reason(s)}" for s in view.sets)
    if pin is not None and pin.set == view.set_name:
        return f"pinned by {pin.owner or 'an operator'}" + (f": {pin.reason}" if pin.reason else "")
    if view.effective == 0:
        return "the first set"
    return f"set {view.sets[0].name} unavailable: {unavailable_reason(view.sets[0])}"


def _set(view: SetView) -> SetStatus:
    pools = [MemberStatus(pool.pool.id, weight, pool.available) for pool, weight in view.members]
    return SetStatus(view.name, view.available, pools)


def _overrides(served: ServedInstance, pools: Sequence[PoolView], snapshot: Snapshot) -> Iterator[Override]:
    yield from snapshot.overrides_on_instance(served.instance.id)
    yield from overrides_of_pools([view.pool for view in pools], snapshot)


def _warnings(
    operator: Operator, served: ServedInstance, pools: Sequence[PoolView], snapshot: Snapshot
) -> Iterator[str]:
    if operator.capabilities is not None:
        for violation in line_warnings(served.instance, snapshot.lines, operator.capabilities()):
            yield violation.detail
    for name in sorted(served.instance.pool_ids() - {view.pool.id for view in pools}):
        yield f"pool {name} does not exist or cannot be read: it is left out"
    for view in pools:
        yield from (f"pool {view.pool.id}: {violation.detail}" for violation in pool_warnings(view.pool))
