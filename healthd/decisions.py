"""What the leader decides, as pure functions: the states of targets and of policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from healthd.events import Event, events_between
from pdns_gtm_backend.domain.answer import PolicyView
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.override import Override, policy_override
from pdns_gtm_backend.domain.quorum import (
    Judgement,
    configured_vantages,
    judge,
    next_target_state,
    reporting_vantages,
)
from pdns_gtm_backend.domain.state import (
    Heartbeat,
    TargetState,
    VantageVerdict,
    carried_states,
    policy_state_key,
)
from pdns_gtm_backend.domain.switchover import Command, decide
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving, touched
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import Ahead, Cause


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the vantages say. verdicts: by target, then by vantage. now: seconds since the epoch by Redis's clock."""

    verdicts: Mapping[str, Mapping[str, VantageVerdict]]
    heartbeats: Mapping[str, Heartbeat]
    now: float


@dataclass(frozen=True, slots=True)
class TargetDecision:
    """states: new states by target. waiting: the causes that cannot be decided now, since too few vantages report, or
    since the target is not known here: the vantage knows a newer configuration, or an older one.

    outvoted: those without effect now, where one that says otherwise may have been dead already when the verdict
    changed: it has not been heard of since.
    """

    states: Mapping[str, TargetState]
    waiting: frozenset[Cause]
    outvoted: frozenset[Cause]


def decide_targets(snapshot: Snapshot, causes: Iterable[Cause], evidence: Evidence) -> TargetDecision:
    """The states of targets on which the verdict of a vantage changed: nothing else can change a state."""
    states: dict[str, TargetState] = {}
    waiting: set[Cause] = set()
    outvoted: set[Cause] = set()
    for vantage, target in causes:
        check = snapshot.health_checks.get(target.partition("|")[0])
        verdicts = evidence.verdicts.get(target, {})
        changed = verdicts.get(vantage)
        if changed is None:
            continue
        if check is None or not is_probed(snapshot, target):
            waiting.add((vantage, target))
            continue
        configured = configured_vantages(check, evidence.heartbeats)
        previous = states.get(target) or snapshot.target_states.get(target)
        if previous is not None and previous.health == changed.health:
            continue
        reporting = reporting_vantages(check, target, evidence.heartbeats, evidence.now)
        judgement = judge(check, verdicts, reporting, len(configured))
        if judgement.health is None or vantage not in reporting:
            waiting.add((vantage, target))
            continue
        state = next_target_state(previous, changed, judgement, verdicts, evidence.now)
        if state is not None:
            states[target] = state
        elif not _answered(changed, judgement, evidence):
            outvoted.add((vantage, target))
    moot = {
        (vantage, target)
        for vantage, target in waiting | outvoted
        if target in states and states[target].health == evidence.verdicts[target][vantage].health
    }
    return TargetDecision(states, frozenset(waiting - moot), frozenset(outvoted - moot))


def _answered(changed: VantageVerdict, judgement: Judgement, evidence: Evidence) -> bool:
    """Were all who say otherwise alive after the verdict changed?"""
    moment = min(changed.since, evidence.now)
    return all(
        evidence.heartbeats[vantage].time > moment
        for vantage, seen in judgement.vantages.items()
        if seen != changed.health
    )


def is_probed(snapshot: Snapshot, target: str) -> bool:
    """Does a pool still have this target?"""
    check, _, rest = target.partition("|")
    address = rest.partition("|")[0]
    pools = (snapshot.pools[name] for name in snapshot.pools_with_address(address))
    return any(check in p.health_checks and target_key(check, address, p.host, p.sni) == target for p in pools)


def instances_probing(targets: Iterable[str], snapshot: Snapshot) -> frozenset[str]:
    """The instances with a pool that has one of these targets."""
    changes = [Change(kinds.TARGET_STATES, target, None) for target in targets]
    return frozenset(touched(snapshot, snapshot, changes)[1])


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """changes: states of policies to write, and failback overrides that are carried out, to delete.

    again_at: the earliest moment at which a policy must be decided again by itself, by instance.
    """

    changes: tuple[Change, ...]
    again_at: Mapping[str, float]


def decide_policies(serving: Serving, instances: Iterable[str], now: float) -> PolicyDecision:
    """The states of all policies of `instances`."""
    changes: list[Change] = []
    again: dict[str, float] = {}
    for name in sorted(instances):
        served = serving.instances.get(name)
        if served is None:
            continue
        for views in served.answers.views.values():
            for view in views:
                change, moment = _decide_policy(served.instance, view, serving.snapshot, now)
                changes += change
                if moment is not None:
                    again[name] = min(moment, again.get(name, moment))
        changes += _carried_out(served.instance, serving.snapshot)
    return PolicyDecision(tuple(changes), again)


def _decide_policy(
    instance: Instance, view: PolicyView, snapshot: Snapshot, now: float
) -> tuple[list[Change], float | None]:
    if not view.sets:
        return [], None
    overrides = snapshot.overrides_on_instance(instance.id)
    pin = policy_override(instance.id, view.policy.name, "pin", overrides)
    command = Command(
        pinned=pin.set if pin else None,
        pinned_by=pin.owner if pin else "",
        failback_now=policy_override(instance.id, view.policy.name, "failback", overrides) is not None,
    )
    policy = view.policy
    decision = decide(view.sets, view.state, policy.failback, policy.failback_delay, command, now)
    if decision.state == view.state:
        return [], decision.again_at
    key = policy_state_key(instance.id, policy.name, view.family)
    return [Change(kinds.POLICY_STATES, key, decision.state)], decision.again_at


def _carried_out(instance: Instance, snapshot: Snapshot) -> Iterator[Change]:
    for override in snapshot.overrides_on_instance(instance.id):
        if override.effect == "failback":
            yield Change(kinds.OVERRIDES, override.id, None)


def expired_overrides(snapshot: Snapshot, now: float) -> list[Override]:
    """The overrides whose end has come."""
    return [o for o in snapshot.overrides.values() if o.until is not None and o.until.timestamp() <= now]


def carried_over(before: Snapshot, after: Snapshot, pools: Iterable[str]) -> Iterator[Change]:
    """The states that targets of edited `pools` begin with."""
    for name in pools:
        old, new = before.pools.get(name), after.pools.get(name)
        if old is None or new is None:
            continue
        for target, state in carried_states(old, new, before.target_states).items():
            if target not in after.target_states:
                yield Change(kinds.TARGET_STATES, target, state)


def obsolete_states(snapshot: Snapshot, targets: Iterable[str], instances: Iterable[str]) -> Iterator[Change]:
    """States of targets that no pool has any more, and of policies that are gone."""
    for target in targets:
        if target in snapshot.target_states and not is_probed(snapshot, target):
            yield Change(kinds.TARGET_STATES, target, None)
    gone = {name for name in instances if name not in snapshot.instances}
    if gone:
        for key in snapshot.policy_states:
            if key.partition("|")[0] in gone:
                yield Change(kinds.POLICY_STATES, key, None)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be decided at once.

    told: the serving state up to which events tell what changed. causes: verdicts that changed. pools, instances: what
    else changed. targets: to look at whether they still are. carried: states that targets of edited pools begin with.
    """

    serving: Serving
    told: Serving
    evidence: Evidence
    causes: Iterable[Cause] = ()
    pools: Collection[str] = ()
    instances: Collection[str] = ()
    targets: Collection[str] = ()
    carried: Sequence[Change] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """changes, events: one write, so that a change of an address and all the switches it causes are seen at once.

    after: the serving state with these changes. waiting, outvoted: causes that are to be decided again; see
    TargetDecision. decided: the instances whose policies were decided. again_at: when one must be decided by itself.
    """

    changes: Sequence[Change]
    events: Sequence[Event]
    after: Serving
    waiting: frozenset[Cause]
    outvoted: frozenset[Cause]
    decided: frozenset[str]
    again_at: Mapping[str, float]


def resolve(question: Question) -> Outcome:
    """Decide targets, then the policies that they or anything else changed, and what is told of it."""
    serving, snapshot, now = question.serving, question.serving.snapshot, question.evidence.now
    targets = decide_targets(snapshot, question.causes, question.evidence)
    expired = [override.id for override in expired_overrides(snapshot, now)]
    changes = _of_targets(question, targets)
    changes += [Change(kinds.OVERRIDES, identifier, None) for identifier in expired]
    changes += obsolete_states(snapshot, question.targets, question.instances)
    changed = snapshot.changed(changes)
    pools, instances = touched(snapshot, changed, changes)
    pools.update(question.pools)
    instances.update(question.instances)
    following = serving.changed(changed, changes)
    policies = decide_policies(following, instances, now)
    after = following.changed(following.snapshot.changed(policies.changes), policies.changes)
    events = [*events_between(question.told, after, pools, instances), *map(_expired_event, expired)]
    return Outcome(
        changes=[*changes, *policies.changes],
        events=events,
        after=after,
        waiting=targets.waiting,
        outvoted=targets.outvoted,
        decided=frozenset(instances),
        again_at=policies.again_at,
    )


def _of_targets(question: Question, targets: TargetDecision) -> list[Change]:
    held = question.serving.snapshot.target_states
    carried = [change for change in question.carried if change.id not in held]
    return carried + [Change(kinds.TARGET_STATES, target, state) for target, state in targets.states.items()]


@dataclass(frozen=True, slots=True)
class Hurried:
    """What became of addresses, written before it is decided what follows from that.

    changes, events: one write. told: the serving state up to which events tell what changed then. before: the states
    until then, by target. waiting, outvoted: of TargetDecision.
    """

    changes: Sequence[Change]
    events: Sequence[Event]
    told: Serving
    before: Mapping[str, TargetState | None]
    waiting: frozenset[Cause]
    outvoted: frozenset[Cause]


def hurry(question: Question) -> Hurried:
    """Decide targets alone: answers go by their states at once, and not only when the policies of very many instances
    are decided. To `resolve` the rest from there tells the same events, each once, as to resolve it all.
    """
    before, told = question.serving, question.told
    targets = decide_targets(before.snapshot, question.causes, question.evidence)
    changes = _of_targets(question, targets)
    snapshot = before.snapshot.changed(changes)
    pools = touched(before.snapshot, snapshot, changes)[0]
    after = before.with_pools(snapshot, pools)
    # That an event was written means to the next leader that all changes of pools before it are told.
    pools.update(question.pools)
    events = list(events_between(told, after, pools, ()))
    told = replace(told, pools=told.pools.update({name: after.pools[name] for name in pools if name in after.pools}))
    states = {change.id: before.snapshot.target_states.get(change.id) for change in changes}
    return Hurried(changes, events, told, states, targets.waiting, targets.outvoted)


def told_before(told: Serving, ahead: Ahead, earlier: Serving | None) -> Serving:
    """What is told where the last leader ended after it hurried: of pools and of switches `told`, else less.

    earlier: the serving state up to which everything is told, where that is known.
    """
    if earlier is None:
        base, changes = told, [Change(kinds.TARGET_STATES, target, state) for target, state in ahead.states.items()]
    else:
        base, held, states = earlier, earlier.snapshot.policy_states, told.snapshot.policy_states.items()
        changes = [Change(kinds.POLICY_STATES, key, state) for key, state in states if held.get(key) is not state]
    return replace(told, instances=base.changed(base.snapshot.changed(changes), changes).instances)


def _expired_event(override: str) -> Event:
    return {"kind": "override.expired", "override": override, "from": "set", "to": "removed", "reason": "until"}
