"""What the leader decides, over random histories of vantages and random configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.decisions import (
    Evidence,
    Outcome,
    Question,
    carried_over,
    decide_targets,
    expired_overrides,
    hurry,
    instances_probing,
    obsolete_states,
    resolve,
    told_before,
)
from pdns_gtm_backend.domain.availability import Availability
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.quorum import (
    HEARTBEAT_LIMIT,
    configured_vantages,
    is_reporting,
    needed_vantages,
    reporting_vantages,
    suspensions,
)
from pdns_gtm_backend.domain.state import Health, Heartbeat, PolicyState, TargetState, VantageVerdict, policy_state_key
from pdns_gtm_backend.domain.statuses import request_status
from pdns_gtm_backend.domain.target import target_key, targets_of
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Snapshot, empty
from pdns_gtm_backend.store.vantages import Ahead, Cause, with_suspensions
from tests.support.strategies import (
    NOW,
    Configuration,
    bounded,
    bounded_few,
    configurations,
    examples,
    overrides,
    policy_states,
    target_states,
)

ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
TARGETS = tuple(target_key("web", address, None, None) for address in ADDRESSES)
NAMES = ("ber", "hkg", "hz")


def snapshot_of(*documents: Change) -> Snapshot:
    return empty().changed(documents)


def monitored(check: HealthCheck, addresses: Sequence[str] = ADDRESSES) -> Snapshot:
    pool = Pool(
        id="a", type="ipv4", health_checks=(check.id,), addresses=tuple(Address(address=text) for text in addresses)
    )
    return snapshot_of(Change(kinds.HEALTH_CHECKS, check.id, check), Change(kinds.POOLS, pool.id, pool))


@dataclass
class World:
    """Vantages that come and go, and a leader that does what `healthd.term` does, without Redis."""

    snapshot: Snapshot
    now: float = NOW
    heartbeats: dict[str, Heartbeat] = field(default_factory=dict)
    board: dict[str, dict[str, VantageVerdict]] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    waiting: frozenset[Cause] = frozenset()
    dead: set[str] = field(default_factory=set)

    def beat(self, name: str, **said: Any) -> None:
        before = self.heartbeats.get(name, Heartbeat(time=self.now))
        self.heartbeats[name] = replace(before, time=self.now, **said)

    def alive(self) -> list[str]:
        return [name for name in self.heartbeats if name not in self.dead]

    def beats(self, seconds: float = 1) -> None:
        """Let time pass, and then every vantage that lives say so."""
        self.now += seconds
        for name in self.alive():
            self.beat(name)

    def verdict(self, name: str, target: str, up: bool) -> frozenset[Cause]:
        verdict = VantageVerdict(up=up, since=self.now, detail="" if up else "refused")
        self.board.setdefault(name, {})[target] = verdict
        return frozenset({(name, target)})

    def effective(self) -> dict[str, Heartbeat]:
        return with_suspensions(self.heartbeats, self.suspended)

    def step(self, news: frozenset[Cause] = frozenset()) -> Mapping[str, TargetState]:
        """Decide; returns the states that changed."""
        self.suspended = suspensions(self.suspended, self.heartbeats, self.board, self.now)
        causes = news | self.waiting
        verdicts = {t: {v: held[t] for v, held in self.board.items() if t in held} for t in TARGETS}
        decision = decide_targets(self.snapshot, sorted(causes), Evidence(verdicts, self.effective(), self.now))
        self.waiting = decision.waiting | decision.outvoted
        self.snapshot = self.snapshot.changed(
            Change(kinds.TARGET_STATES, key, state) for key, state in decision.states.items()
        )
        return decision.states

    def health(self, target: str) -> Health:
        state = self.snapshot.target_states.get(target)
        return state.health if state is not None else "unknown"


CHECKS = st.builds(
    HealthCheck,
    id=st.just("web"),
    protocol=st.just("tcp"),
    port=st.just(80),
    quorum=st.sampled_from([0.0, 1 / 3, 0.5, 0.66]),
    min_vantages=st.none() | st.integers(1, 3),
    vantages=st.sampled_from([None, None, ("ber", "hkg"), ("hz",), ("isp=x",), ("ber", "isp=x")]),
)
OPERATIONS = st.one_of(
    st.tuples(st.just("pass"), st.just(""), st.sampled_from([0.5, 1.0, 2.0, HEARTBEAT_LIMIT])),
    st.tuples(st.just("pass"), st.just(""), st.sampled_from([0.5, 1.0, 2.0, HEARTBEAT_LIMIT])),
    st.tuples(st.just("join"), st.sampled_from(NAMES), st.sampled_from([{}, {"isp": "x"}])),
    st.tuples(st.just("leave"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("forget"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("overdue"), st.sampled_from(NAMES), st.sets(st.sampled_from(TARGETS)).map(tuple)),
    st.tuples(st.just("isolated"), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("reference"), st.sampled_from(NAMES), st.none() | st.booleans()),
    st.tuples(st.just("verdict"), st.sampled_from(NAMES), st.tuples(st.sampled_from(TARGETS), st.booleans())),
    st.tuples(st.just("verdict"), st.sampled_from(NAMES), st.tuples(st.sampled_from(TARGETS), st.booleans())),
    st.tuples(st.just("verdict"), st.sampled_from(NAMES), st.tuples(st.sampled_from(TARGETS), st.booleans())),
)


def carry_out(world: World, operation: tuple[str, str, object]) -> frozenset[Cause]:
    """Do one thing to the vantages; returns the verdicts that changed by it."""
    what, name, detail = operation
    world.now += 0.5
    if what == "pass":
        assert isinstance(detail, float)
        world.beats(detail)
    elif what == "join":
        world.dead.discard(name)
        world.beat(name, overdue=(), suspended="", labels=detail)
    elif what == "leave":
        world.dead.add(name)
    elif what == "forget":
        world.heartbeats.pop(name, None)
        world.board.pop(name, None)
    elif name in world.alive() and what in ("overdue", "reference"):
        world.beat(name, **{what: detail})
    elif name in world.alive() and what == "isolated":
        world.beat(name, suspended="isolated" if detail else "")
    elif name in world.alive() and what == "verdict":
        assert isinstance(detail, tuple)
        target, up = detail
        seen = world.board.get(name, {}).get(target)
        if seen is None or seen.up != up:
            return world.verdict(name, target, up)
    return frozenset()


@examples(400)
@given(CHECKS, st.lists(OPERATIONS, min_size=8, max_size=60))
def test_a_state_changes_only_by_a_verdict_that_changed(
    check: HealthCheck, history: list[tuple[str, str, object]]
) -> None:
    """Joining, leaving, falling silent, being suspended: none of it changes a state that no verdict waits for."""
    world = World(monitored(check))
    counting: set[str] = set()
    for operation in history:
        before = {target: world.health(target) for target in TARGETS}
        news = carry_out(world, operation)
        causes = news | world.waiting
        beaten = {name: beat.time for name, beat in world.heartbeats.items()}
        counted_before = frozenset(counting)
        changed = world.step(news)
        counting = {name for name, beat in world.effective().items() if is_reporting(beat, world.now)}
        for target, state in changed.items():
            assert state.health != before[target]
            by = [v for v, t in causes if t == target and v in world.board and target in world.board[v]]
            assert by, "a state changed without a verdict that changed"
            if before[target] != "unknown":
                by = [v for v in by if world.board[v][target].health == state.health]
                assert by
            if operation[0] in ("pass", "leave") and counting < counted_before:
                silent = [v for v in counted_before - counting if target in world.board.get(v, {})]
                assert all(any(beaten[w] <= world.board[v][target].since for w in silent) for v in by), (
                    "one that was alive after the verdict changed left, and a state changed by that"
                )
            beats = world.effective()
            reporting = reporting_vantages(check, target, beats, world.now)
            counted = [world.board[v][target].up for v in reporting if target in world.board.get(v, {})]
            assert len(counted) >= needed_vantages(check, len(configured_vantages(check, beats)))
            share = counted.count(False) / len(counted)
            assert state.health == ("down" if share > check.quorum + 1e-9 else "up")
            assert state.since == world.now
            assert set(state.vantages) <= set(reporting)
        for vantage, target in world.waiting:
            assert world.board[vantage][target].health != world.health(target)


@bounded
@given(CHECKS.map(lambda c: replace(c, vantages=None, min_vantages=None)), st.lists(OPERATIONS, max_size=40))
def test_while_all_report_the_state_is_what_the_quorum_says(
    check: HealthCheck, history: list[tuple[str, str, object]]
) -> None:
    world = World(monitored(check))
    for name in NAMES:
        world.beat(name, reference=True)
    for operation in (item for item in history if item[0] == "verdict"):
        world.beats(0)
        world.step(carry_out(world, operation))
        assert not world.suspended
        for target in TARGETS:
            counted = [held[target].up for held in world.board.values() if target in held]
            if len(counted) < 2:
                assert world.health(target) == "unknown"
            else:
                down = counted.count(False) / len(counted) > check.quorum + 1e-9
                assert world.health(target) == ("down" if down else "up")


def two_vantages(**check: Any) -> World:
    template = HealthCheck(id="web", protocol="tcp", port=80)
    world = World(monitored(replace(template, **check)))
    for name in ("ber", "hz"):
        world.beat(name)
    for target in TARGETS:
        for name in ("ber", "hz"):
            world.step(world.verdict(name, target, True))
    assert [world.health(target) for target in TARGETS] == ["up"] * 3
    return world


def test_a_verdict_while_states_are_frozen_is_decided_when_they_are_no_longer() -> None:
    world = two_vantages()
    world.now += HEARTBEAT_LIMIT + 1
    world.beat("ber")
    assert not world.step(world.verdict("ber", TARGETS[0], False))
    assert world.waiting == {("ber", TARGETS[0])}
    world.now += 1
    world.beat("hz")
    assert not world.step(), "hz sees it up: one of two is no majority"
    assert world.waiting == frozenset(), "and has been heard of since"
    world.now += HEARTBEAT_LIMIT + 1
    world.beat("ber")
    assert not world.step(world.verdict("ber", TARGETS[1], False))
    world.beat("hz")
    assert world.step(world.verdict("hz", TARGETS[1], False))[TARGETS[1]].health == "down"


def test_one_that_was_dead_already_does_not_outvote_a_verdict_for_ever() -> None:
    world = two_vantages(min_vantages=1)
    world.dead.add("hz")
    world.beats(1)
    assert not world.step(world.verdict("ber", TARGETS[0], False)), "hz still counts, and saw it up"
    assert world.waiting == {("ber", TARGETS[0])}
    world.beats(HEARTBEAT_LIMIT)
    assert world.step()[TARGETS[0]].health == "down"


def test_one_that_lives_on_and_leaves_then_has_outvoted_it() -> None:
    world = two_vantages(min_vantages=1)
    world.step(world.verdict("ber", TARGETS[0], False))
    world.beats(1)
    assert not world.step()
    assert world.waiting == frozenset()
    world.dead.add("hz")
    world.beats(HEARTBEAT_LIMIT + 1)
    assert not world.step()
    assert world.health(TARGETS[0]) == "up"


def test_what_waits_is_dropped_when_the_verdict_turns_back() -> None:
    world = two_vantages()
    world.now += HEARTBEAT_LIMIT + 1
    world.beat("ber")
    world.step(world.verdict("ber", TARGETS[0], False))
    world.step(world.verdict("ber", TARGETS[0], True))
    assert world.waiting == frozenset()


def test_a_verdict_of_one_that_is_silent_itself_waits_for_it() -> None:
    world = two_vantages(min_vantages=1, quorum=0.0)
    world.beat("ber", overdue=(TARGETS[0],))
    assert not world.step(world.verdict("ber", TARGETS[0], False))
    assert world.waiting == {("ber", TARGETS[0])}
    world.beat("ber", overdue=())
    assert world.step()[TARGETS[0]].health == "down"


def test_a_second_vantage_that_joins_is_needed_from_then_on() -> None:
    world = World(monitored(HealthCheck(id="web", protocol="tcp", port=80, quorum=0.0)))
    world.beat("ber")
    assert world.step(world.verdict("ber", TARGETS[0], True))[TARGETS[0]].health == "up"
    world.beat("hz")
    assert not world.step(world.verdict("ber", TARGETS[0], False)), "hz has no verdict yet: one of two needed"
    assert world.waiting == {("ber", TARGETS[0])}
    assert world.step(world.verdict("hz", TARGETS[0], True))[TARGETS[0]].health == "down"


def test_one_that_sees_everything_down_does_not_count_while_another_sees_it_up() -> None:
    world = two_vantages(quorum=0.0, min_vantages=1)
    for target in TARGETS[:2]:
        world.step(world.verdict("ber", target, False))
    assert [world.health(target) for target in TARGETS] == ["down", "down", "up"]
    assert not world.step(world.verdict("ber", TARGETS[2], False)), "ber sees nothing up any more"
    assert set(world.suspended) == {"ber"}
    assert "hz sees 3 up" in world.suspended["ber"]
    assert world.step(world.verdict("hz", TARGETS[2], False))[TARGETS[2]].health == "down"


def test_that_the_others_leave_does_not_bring_a_suspended_one_back() -> None:
    world = two_vantages(quorum=0.0, min_vantages=1)
    for target in TARGETS:
        world.step(world.verdict("ber", target, False))
    before = [world.health(target) for target in TARGETS]
    world.now += HEARTBEAT_LIMIT + 1
    world.beat("ber")
    assert not world.step()
    assert set(world.suspended) == {"ber"}
    assert [world.health(target) for target in TARGETS] == before
    world.step(world.verdict("ber", TARGETS[0], True))
    assert not world.suspended


def test_a_lone_vantage_and_one_whose_reference_answers_are_never_suspended() -> None:
    alone = World(monitored(HealthCheck(id="web", protocol="tcp", port=80)))
    alone.beat("ber")
    for target in TARGETS:
        assert alone.step(alone.verdict("ber", target, False))[target].health == "down"
    assert not alone.suspended
    world = two_vantages(quorum=0.0, min_vantages=1)
    world.beat("ber", reference=True)
    for target in TARGETS:
        assert world.step(world.verdict("ber", target, False))[target].health == "down"
    assert not world.suspended


def test_verdicts_that_are_gone_are_no_cause_and_those_on_unknown_targets_wait() -> None:
    """A vantage may know a newer configuration than the leader, or an older one: then it withdraws its verdict."""
    world = two_vantages(min_vantages=1, quorum=0.0)
    new = target_key("web", "192.0.2.99", None, None)
    causes = [("ber", new), ("ber", "no-check|192.0.2.1||"), ("nobody", TARGETS[0]), ("ber", TARGETS[0]), ("", "")]
    evidence = Evidence({new: {"ber": VantageVerdict(up=False, since=NOW)}}, world.heartbeats, world.now)
    decision = decide_targets(world.snapshot, causes, evidence)
    assert (decision.states, decision.waiting) == ({}, {("ber", new)})
    pool = world.snapshot.pools["a"]
    edited = replace(pool, addresses=(*pool.addresses, Address(address="192.0.2.99")))
    later = world.snapshot.changed([Change(kinds.POOLS, "a", edited)])
    assert decide_targets(later, decision.waiting, evidence).states[new].health == "down"
    withdrawn = decide_targets(world.snapshot, decision.waiting, Evidence({}, world.heartbeats, world.now))
    assert (withdrawn.states, withdrawn.waiting) == ({}, frozenset())


def test_a_verdict_of_a_vantage_that_is_not_configured_waits_until_it_is() -> None:
    world = two_vantages(min_vantages=1)
    world.beat("hkg")
    check = replace(world.snapshot.health_checks["web"], vantages=("ber", "hz"))
    world.snapshot = world.snapshot.changed([Change(kinds.HEALTH_CHECKS, "web", check)])
    assert not world.step(world.verdict("hkg", TARGETS[0], False))
    assert world.waiting == {("hkg", TARGETS[0])}
    check = replace(check, vantages=("hkg",))
    world.snapshot = world.snapshot.changed([Change(kinds.HEALTH_CHECKS, "web", check)])
    assert world.step()[TARGETS[0]].health == "down"


def seeded(configuration: Configuration) -> Serving:
    held = configuration.catalog
    documents = [
        *(Change(kinds.HEALTH_CHECKS, c.id, c) for c in held.health_checks.values()),
        *(Change(kinds.POOLS, p.id, p) for p in held.pools.values()),
        *(Change(kinds.LINES, line.id, line) for line in held.lines.values()),
        *(Change(kinds.INSTANCES, i.id, i) for i in held.instances.values()),
        *(Change(kinds.OVERRIDES, o.id, o) for o in held.overrides),
        *(Change(kinds.TARGET_STATES, key, state) for key, state in configuration.target_states.items()),
        *(Change(kinds.POLICY_STATES, key, state) for key, state in configuration.policy_states.items()),
    ]
    return prepare(empty().changed(documents))


def asked(serving: Serving, told: Serving, now: float = NOW, **more: Any) -> Outcome:
    """Decide everything that there is."""
    question = Question(
        serving,
        told,
        Evidence({}, {}, now),
        pools=set(serving.pools),
        instances=set(serving.instances),
        targets=set(serving.snapshot.target_states),
    )
    return resolve(replace(question, **more))


@bounded_few
@given(configurations(), st.data())
def test_events_tell_every_change_and_nothing_else(configuration: Configuration, data: st.DataObject) -> None:
    told = seeded(configuration)
    keys = [t.key for p in configuration.catalog.pools.values() for t in targets_of(p, told.snapshot.health_checks)]
    changes = [Change(kinds.TARGET_STATES, key, data.draw(st.none() | target_states())) for key in sorted(set(keys))]
    for number in range(data.draw(st.integers(0, 2))):
        override = data.draw(overrides(configuration.catalog.pools, configuration.instance))
        changes.append(Change(kinds.OVERRIDES, f"new-{number}", replace(override, id=f"new-{number}", until=None)))
    serving = told.changed(told.snapshot.changed(changes), changes)
    outcome = asked(serving, told)
    after = outcome.after

    availability = {
        (name, view.address.address): view.availability for name, pool in told.pools.items() for view in pool.addresses
    }
    available = {name: pool.available for name, pool in told.pools.items()}
    for event in outcome.events:
        kind, _, what = event["kind"].partition(".")
        if kind == "address":
            place = (event["pool"], event["address"])
            assert event["from"] == availability[place].name.lower() != event["to"] == what
            availability[place] = Availability[what.upper()]
        elif kind == "pool":
            assert available[event["pool"]] == (event["from"] == "available")
            available[event["pool"]] = what == "available"
            assert event["to"] == what
    assert availability == {
        (name, view.address.address): view.availability for name, pool in after.pools.items() for view in pool.addresses
    }
    assert available == {name: pool.available for name, pool in after.pools.items()}

    effective = {key: state.set for key, state in told.snapshot.policy_states.items()}
    for event in (e for e in outcome.events if e["kind"] == "set.switched"):
        key = policy_state_key(event["instance"], event["policy"], event["family"])
        assert event["from"] == effective.get(key) != event["to"]
        effective[key] = event["to"]
    for family, views in after.instances[configuration.instance.id].answers.views.items():
        for view in views:
            key = policy_state_key(configuration.instance.id, view.policy.name, family)
            state = after.snapshot.policy_states.get(key)
            if view.sets and state is not None:
                assert effective.get(key, view.sets[0].name) == state.set
    all_down = [e["to"] for e in outcome.events if e["kind"] in ("instance.all_down", "instance.recovered")]
    was, now = (request_status(s.instances[configuration.instance.id]) for s in (told, after))
    changed_over = (was == "unavailable") != (now == "unavailable")
    assert all_down == ([now] if changed_over else [])
    assert all(event["reason"] and {"from", "to"} <= event.keys() for event in outcome.events)


@bounded_few
@given(configurations(), st.data())
def test_to_hurry_and_then_decide_the_rest_tells_and_writes_what_deciding_at_once_does(
    configuration: Configuration, data: st.DataObject
) -> None:
    told = seeded(configuration)
    before = asked(told, told).after
    keys = {t.key for p in before.snapshot.pools.values() for t in targets_of(p, before.snapshot.health_checks)}
    verdicts = {key: {"hz": VantageVerdict(up=data.draw(st.booleans()), since=NOW)} for key in sorted(keys)}
    evidence = Evidence(verdicts, {"hz": Heartbeat(time=NOW)}, NOW)
    causes = [("hz", key) for key in sorted(keys) if data.draw(st.booleans())]
    carried = data.draw(carried_to(sorted(keys - set(before.snapshot.target_states))))
    question = Question(before, told, evidence, causes, set(before.pools), set(before.instances), carried=carried)
    at_once = resolve(question)

    first = hurry(question)
    assert {change.kind for change in first.changes} <= {kinds.TARGET_STATES}
    assert (first.waiting, first.outvoted) == (at_once.waiting, at_once.outvoted)
    serving = before.changed(before.snapshot.changed(first.changes), first.changes)
    rest = asked(serving, first.told, evidence=evidence, targets=())
    assert rest.after.snapshot.documents == at_once.after.snapshot.documents
    assert sorted([*first.events, *rest.events], key=repr) == sorted(at_once.events, key=repr)
    assert instances_probing({change.id for change in first.changes}, before.snapshot) >= {
        change.id.partition("|")[0] for change in rest.changes if change.kind == kinds.POLICY_STATES
    }

    # The next leader knows the state of things then, and what was left behind.
    at_once, first = resolve(replace(question, told=before)), hurry(replace(question, told=before))
    rest = asked(serving, told_before(serving, Ahead(told=0, states=first.before), None), evidence=evidence, targets=())
    assert sorted([*first.events, *rest.events], key=repr) == sorted(at_once.events, key=repr)


def test_what_the_last_leader_had_not_told_of_an_instance_is_told() -> None:
    """It was drained and then not, while its pool went down: it was down before and is down now."""
    drain = Override(id="drain", selector=Selector(pool="a"), effect="failed")
    two = asked(with_health(shop(), "b", "down", NOW), shop()).after
    snapshot = two.snapshot.changed([Change(kinds.OVERRIDES, "drain", drain)])
    told_up_to = asked(prepare(snapshot), two).after
    assert request_status(told_up_to.instances["gtm1"]) == "unavailable"
    undrained = [Change(kinds.OVERRIDES, "drain", None)]
    serving = told_up_to.changed(told_up_to.snapshot.changed(undrained), undrained)
    hurried = with_health(serving, "a", "down", NOW)
    ahead = Ahead(told=0, states=dict.fromkeys(hurried.snapshot.target_states))
    assert not asked(hurried, told_before(hurried, ahead, told_up_to)).events
    assert [event["kind"] for event in asked(hurried, told_before(hurried, ahead, None)).events] == [
        "instance.all_down"
    ]


@st.composite
def carried_to(draw: st.DrawFn, targets: Sequence[str]) -> list[Change]:
    """States that some targets without one begin with."""
    return [
        Change(kinds.TARGET_STATES, target, TargetState(health=draw(st.sampled_from(["up", "down"])), since=NOW))
        for target in targets
        if draw(st.booleans())
    ]


@bounded_few
@given(configurations())
def test_deciding_again_changes_nothing_and_tells_nothing(configuration: Configuration) -> None:
    serving = seeded(configuration)
    first = asked(serving, serving)
    again = asked(first.after, first.after)
    assert [change for change in again.changes if change.kind != kinds.POLICY_STATES] == []
    assert again.events == []
    assert again.changes == []


@bounded_few
@given(configurations())
def test_the_serving_state_after_a_decision_is_that_of_the_whole_snapshot(configuration: Configuration) -> None:
    serving = seeded(configuration)
    outcome = asked(serving, serving)
    whole = prepare(outcome.after.snapshot)
    assert dict(outcome.after.pools) == dict(whole.pools)
    for name, served in whole.instances.items():
        patched = outcome.after.instances[name]
        assert patched.answers == served.answers


INSTANCE = Instance(
    id="gtm1",
    name="shop",
    cname="gtm1.gtm.example",
    policies=(
        AccessPolicy(
            name="world",
            lines=("default",),
            pool_sets=(
                PoolSet(name="default", pools=(SetMember(pool="a"),)),
                PoolSet(name="failover", pools=(SetMember(pool="b"),)),
            ),
            failback_delay=30,
        ),
    ),
)
KEY = policy_state_key("gtm1", "world", "ipv4")


def shop(failback_delay: float = 30, **health: Health) -> Serving:
    """Pool a (192.0.2.1) before pool b (192.0.2.2), in the health given."""
    check = HealthCheck(id="web", protocol="tcp", port=80)
    policy = replace(INSTANCE.policies[0], failback_delay=failback_delay)
    documents = [
        Change(kinds.HEALTH_CHECKS, "web", check),
        Change(kinds.INSTANCES, "gtm1", replace(INSTANCE, policies=(policy,))),
    ]
    for number, name in enumerate(("a", "b"), 1):
        address = f"192.0.2.{number}"
        pool = Pool(id=name, type="ipv4", health_checks=("web",), addresses=(Address(address=address),))
        documents.append(Change(kinds.POOLS, name, pool))
        state = TargetState(health=health.get(name, "up"), since=NOW - 60, reason="refused (hz)")
        documents.append(Change(kinds.TARGET_STATES, target_key("web", address, None, None), state))
    return prepare(empty().changed(documents))


def with_health(serving: Serving, name: str, health: Health, now: float) -> Serving:
    address = serving.snapshot.pools[name].addresses[0].address
    state = TargetState(health=health, since=now, reason="" if health == "up" else "refused (hz)")
    changes = [Change(kinds.TARGET_STATES, target_key("web", address, None, None), state)]
    return serving.changed(serving.snapshot.changed(changes), changes)


def without_instance(serving: Serving) -> Serving:
    return prepare(serving.snapshot.changed([Change(kinds.INSTANCES, "gtm1", None)]))


def state_of(outcome: Outcome) -> PolicyState:
    return outcome.after.snapshot.policy_states[KEY]


def test_a_change_of_an_address_and_the_switch_it_causes_are_one_write() -> None:
    before = asked(shop(), shop()).after
    target = target_key("web", "192.0.2.1", None, None)
    verdicts = {target: {"hz": VantageVerdict(up=False, since=NOW, detail="refused")}}
    evidence = Evidence(verdicts, {"hz": Heartbeat(time=NOW)}, NOW)
    outcome = resolve(Question(before, before, evidence, [("hz", target)]))
    assert {(change.kind, change.id) for change in outcome.changes} == {
        (kinds.TARGET_STATES, target),
        (kinds.POLICY_STATES, KEY),
    }
    assert [event["kind"] for event in outcome.events] == ["address.down", "pool.unavailable", "set.switched"]
    switched = outcome.events[-1]
    assert (switched["instance"], switched["from"], switched["to"]) == ("gtm1", "default", "failover")
    assert "pool a" in switched["reason"]


def test_an_instance_that_begins_with_another_set_than_its_first_says_why() -> None:
    down = with_health(shop(), "a", "down", NOW)
    outcome = asked(down, without_instance(down))
    assert state_of(outcome).set == "failover"
    (switched,) = (event for event in outcome.events if "instance" in event)
    assert (switched["kind"], switched["from"], switched["to"]) == ("set.switched", None, "failover")
    assert "pool a" in switched["reason"]


def test_an_instance_that_begins_with_its_first_set_tells_nothing() -> None:
    serving = shop()
    assert not asked(serving, without_instance(serving)).events


def test_failback_waits_for_its_delay_and_asks_to_be_decided_then() -> None:
    down = asked(with_health(asked(shop(), shop()).after, "a", "down", NOW), shop()).after
    back = with_health(down, "a", "up", NOW + 10)
    outcome = asked(back, down, NOW + 10)
    assert (state_of(outcome).set, outcome.again_at) == ("failover", {"gtm1": NOW + 40})
    early = asked(outcome.after, outcome.after, NOW + 39.9)
    assert (state_of(early).set, early.again_at) == ("failover", {"gtm1": NOW + 40})
    late = asked(early.after, early.after, NOW + 40)
    assert (state_of(late).set, late.again_at) == ("default", {})
    assert [event["kind"] for event in late.events] == ["set.switched"]


def test_a_set_that_fails_again_within_the_delay_begins_it_anew() -> None:
    down = asked(with_health(asked(shop(), shop()).after, "a", "down", NOW), shop()).after
    outcome = asked(with_health(down, "a", "up", NOW + 10), down, NOW + 10)
    again = asked(with_health(outcome.after, "a", "down", NOW + 20), outcome.after, NOW + 20)
    assert again.again_at == {}
    third = asked(with_health(again.after, "a", "up", NOW + 25), again.after, NOW + 25)
    assert third.again_at == {"gtm1": NOW + 55}


def test_when_everything_is_down_the_instance_says_so_and_when_it_is_no_longer() -> None:
    start = asked(shop(), shop()).after
    first = asked(with_health(start, "a", "down", NOW), start)
    both = asked(with_health(first.after, "b", "down", NOW + 1), first.after, NOW + 1)
    assert [event["kind"] for event in both.events] == ["address.down", "pool.unavailable", "instance.all_down"]
    assert both.events[-1]["reason"] == "when_all_down: fail_open"
    recovered = asked(with_health(both.after, "b", "up", NOW + 2), both.after, NOW + 2)
    assert [event["kind"] for event in recovered.events] == ["address.up", "pool.available", "instance.recovered"]


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_an_override_that_expires_is_removed_with_everything_that_follows() -> None:
    override = Override(id="o1", selector=Selector(pool="a"), effect="offline", until=moment(NOW + 5))
    changes = [Change(kinds.OVERRIDES, "o1", override)]
    start = asked(shop(failback_delay=0), shop()).after
    drained = asked(start.changed(start.snapshot.changed(changes), changes), start)
    assert state_of(drained).set == "failover"
    assert expired_overrides(drained.after.snapshot, NOW + 4.9) == []
    assert expired_overrides(drained.after.snapshot, NOW + 5) == [override]
    after = asked(drained.after, drained.after, NOW + 5)
    assert Change(kinds.OVERRIDES, "o1", None) in after.changes
    assert state_of(after).set == "default"
    assert [event["kind"] for event in after.events] == [
        "address.up",
        "pool.available",
        "set.switched",
        "override.expired",
    ]


def test_failback_is_carried_out_once_and_a_pin_holds() -> None:
    pin = Override(id="p", selector=Selector(instance="gtm1", policy="world"), effect="pin", set="failover")
    changes = [Change(kinds.OVERRIDES, "p", pin)]
    start = asked(shop(), shop()).after
    pinned = asked(start.changed(start.snapshot.changed(changes), changes), start)
    assert (state_of(pinned).set, state_of(pinned).reason) == ("failover", "pinned to failover")
    failback = Override(id="f", selector=Selector(instance="gtm1", policy="world"), effect="failback")
    changes = [Change(kinds.OVERRIDES, "p", None), Change(kinds.OVERRIDES, "f", failback)]
    back = asked(pinned.after.changed(pinned.after.snapshot.changed(changes), changes), pinned.after)
    assert state_of(back).set == "default"
    assert "f" not in back.after.snapshot.overrides


def test_states_of_what_is_gone_are_removed() -> None:
    serving = asked(shop(), shop()).after
    target = target_key("web", "192.0.2.2", None, None)
    changes = [Change(kinds.POOLS, "b", None), Change(kinds.INSTANCES, "gtm1", None)]
    after = serving.snapshot.changed(changes)
    found = list(obsolete_states(after, serving.snapshot.target_states, ["gtm1"]))
    assert found == [Change(kinds.TARGET_STATES, target, None), Change(kinds.POLICY_STATES, KEY, None)]
    assert list(obsolete_states(serving.snapshot, serving.snapshot.target_states, ["gtm1"])) == []


@pytest.mark.parametrize("field", ["host", "sni"])
def test_an_address_keeps_its_state_when_its_pool_is_renamed(field: str) -> None:
    serving = asked(shop(b="down"), shop()).after
    pool = replace(serving.snapshot.pools["b"], **{field: "www.shop.example"})
    changes = [Change(kinds.POOLS, "b", pool)]
    edited = serving.changed(serving.snapshot.changed(changes), changes)
    old = target_key("web", "192.0.2.2", None, None)
    new = target_key("web", "192.0.2.2", pool.host, pool.sni)
    carried = list(carried_over(serving.snapshot, edited.snapshot, ["a", "b", "gone"]))
    assert carried == [Change(kinds.TARGET_STATES, new, serving.snapshot.target_states[old])]
    outcome = asked(edited, serving, carried=carried, targets=[old])
    assert old not in outcome.after.snapshot.target_states
    assert outcome.after.pools["b"].addresses[0].availability == Availability.DOWN
    assert outcome.events == []


@bounded_few
@given(configurations(), st.data())
def test_a_state_of_a_set_that_is_gone_is_decided_anew(configuration: Configuration, data: st.DataObject) -> None:
    serving = seeded(configuration)
    policy = configuration.instance.policies[0]
    key = policy_state_key(configuration.instance.id, policy.name, "ipv4")
    changes = [Change(kinds.POLICY_STATES, key, data.draw(policy_states(["gone"])))]
    outcome = asked(serving.changed(serving.snapshot.changed(changes), changes), serving)
    served = outcome.after.instances[configuration.instance.id]
    for view in served.answers.views.get("ipv4", ())[:1]:
        if view.sets:
            assert outcome.after.snapshot.policy_states[key].set in [s.name for s in view.sets]
