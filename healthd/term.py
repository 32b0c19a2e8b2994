"""One term of a leader, from taking the lease to losing it: what is new, what it decides, what it writes."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from healthd.decisions import (
    Evidence,
    Hurried,
    Outcome,
    Question,
    carried_over,
    expired_overrides,
    hurry,
    instances_probing,
    resolve,
)
from healthd.events import Event
from healthd.watch import recalled, watch
from pdns_gtm_backend.domain.event import summary
from pdns_gtm_backend.domain.quorum import is_reporting, suspensions
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.long_lived import without_collection
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository
from pdns_gtm_backend.store.serving import Serving, touched
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import AHEAD, Ahead, Cause, Leadership, News, Vantages, with_suspensions

log = logging.getLogger(__name__)

WAIT_MILLISECONDS: Final = 200
CHECKUP_SECONDS: Final = 1.0
HURRIED_CHECKUP_SECONDS: Final = 0.25
"""Between two looks at the heartbeats while something waits for a vantage."""
CATCH_UP_SECONDS: Final = 0.002
MOST_AT_ONCE: Final = 2000
"""Instances that are decided by one write, where it was no address of theirs that changed."""
MOST_WAITED_FOR: Final = 100
"""More instances than these do not hold up what became of an address: it is written alone, and they come next."""
PACE_SECONDS: Final = 0.01
"""At least between two writes, so that changes that arrive together are written together."""

Inbox = Iterable[tuple[Serving, Sequence[Change]]]


@dataclass(frozen=True, slots=True)
class Office:
    """What a leader works with. name: of its healthd. token: of the lease for this term."""

    repository: Repository
    vantages: Vantages
    follower: Follower
    name: str
    token: str
    monotonic: Callable[[], float] = time.monotonic


class Term:
    """Decides while the lease is held. It is made from what the store holds, so it goes on where the last one stopped.

    told: the serving state up to which the last leader's events tell what changed; told_revision: the revision up to
    which this one's do. ahead: what the last leader wrote ahead. Every method raises RedisError, StoreUnavailable or
    Conflict where the store does not take what it writes, or another leads.
    """

    def __init__(self, office: Office, serving: Serving, told: Serving, ahead: Ahead | None = None) -> None:
        self._office = office
        self._serving, self._told, self._ahead = serving, told, ahead
        self._position = office.vantages.decided()
        self._heartbeats: Mapping[str, Heartbeat] = office.vantages.look({}).heartbeats
        self._board: dict[str, dict[str, VantageVerdict]] = {
            name: office.vantages.verdicts(name) for name in self._heartbeats
        }
        self._watch = recalled(office.vantages.told())
        self._suspended: Mapping[str, str] = self._watch.suspended
        self._noted = self._waiting = office.vantages.waiting()
        self._before = office.vantages.leadership()
        # A leader may have decided on verdicts before it knew that Redis had lost the states that followed from them.
        another_history = self._before.replication_id not in ("", serving.snapshot.position.replication_id)
        if another_history or not office.vantages.reaches_back_to(self._position):
            log.warning("verdicts or states may be lost: what they say against each other is decided anew")
            self._waiting |= _contrary(self._board, serving.snapshot)
        self._outvoted: frozenset[Cause] = frozenset()
        self._ready = self._waiting
        self._reporting: object = None
        self._configured: tuple[object, object] = (None, None)
        self._opening: list[Event] = []
        self._written = 0
        self._head = serving.snapshot.revision
        self.told_revision = self._noted_revision = told.snapshot.revision
        self._again: dict[str, float] = {}
        self._pools: set[str] = set(serving.pools) if told is not serving else set()
        self._instances: set[str] = set(serving.instances)
        self._targets: set[str] = set(serving.snapshot.target_states)
        self._carried: list[Change] = []
        self._hurried = False
        self._checked_at = self._wrote_at = float("-inf")
        self._clock = 0.0

    def open(self) -> None:
        """Note who leads now; it is told once everything that the last leader has not told is."""
        before = self._before
        history = self._serving.snapshot.position.replication_id
        events = self._opening
        if before.name != self._office.name:
            change = {"from": before.name or None, "to": self._office.name, "reason": "the lease was free"}
            events.append({"kind": "leader.changed"} | change)
        if before.replication_id not in ("", history):
            reason = "Redis was restarted or failed over: what it had not kept is lost"
            events.append(
                {"kind": "store.history-changed", "from": before.replication_id, "to": history, "reason": reason}
            )
        self._note(())

    def decide(self, inbox: Inbox) -> None:
        """One cycle: take in what is new, decide, write."""
        for serving, changes in inbox:
            self._take_in(serving, changes)
        if self._serving.snapshot.revision < self._written:
            time.sleep(CATCH_UP_SECONDS)
            return
        time.sleep(max(0.0, self._wrote_at + PACE_SECONDS - self._office.monotonic()))
        busy = bool(self._pools or self._instances or self._targets or self._ready)
        news = self._office.vantages.news(self._position, None if busy else WAIT_MILLISECONDS)
        checkup = self._look(news)
        causes = self._causes(news)
        now = self._now()
        due = {name for name, moment in self._again.items() if moment <= now}
        changed = self._pools or self._instances or self._targets
        if causes or due or changed or expired_overrides(self._serving.snapshot, now):
            self._decide(causes, due, now)
        if news or self._noted != self._waiting or self._noted_revision != self.told_revision:
            self._note(news)
        if self._opening:
            opening, self._opening = self._opening, []
            self._write([], opening)
        if checkup:
            self._check_up(now)

    def _now(self) -> float:
        """Seconds since the epoch by Redis's clock."""
        return self._office.monotonic() + self._clock

    def _take_in(self, serving: Serving, changes: Sequence[Change]) -> None:
        before, self._serving = self._serving.snapshot, serving
        self._head = max(self._head, serving.snapshot.revision)
        pools, instances = touched(before, serving.snapshot, changes)
        self._pools |= pools
        self._instances |= instances
        self._carried += carried_over(before, serving.snapshot, pools)
        for name in pools:
            self._targets |= _targets(before, name)

    def _look(self, news: Sequence[News]) -> bool:
        """Read the verdicts that are news, and from time to time the heartbeats; both come at once.

        True where it is time to look at the vantages themselves.
        """
        monotonic = self._office.monotonic()
        every = HURRIED_CHECKUP_SECONDS if self._waiting else CHECKUP_SECONDS
        checkup = monotonic - self._checked_at >= every
        if not (news or checkup):
            return False
        asked: defaultdict[str, list[str]] = defaultdict(list)
        for vantage, target in {(item.vantage, item.target) for item in news if item.vantage}:
            asked[vantage].append(target)
        look = self._office.vantages.look(asked)
        self._clock = look.time - monotonic
        self._heartbeats = look.heartbeats
        for vantage, targets in asked.items():
            held = self._board.setdefault(vantage, {})
            for target in targets:
                held.pop(target, None)
            held.update(look.verdicts.get(vantage, {}))
        self._board = {
            name: self._board[name] if name in self._board else self._office.vantages.verdicts(name)
            for name in self._heartbeats
        }
        self._suspended = suspensions(self._suspended, self._heartbeats, self._board, look.time)
        if checkup:
            self._checked_at = monotonic
            self._ready |= self._outvoted
        return checkup

    def _check_up(self, now: float) -> None:
        """Which vantages are silent or suspended, and which checks are frozen by that?

        After everything else is told: that an event was written means that all changes before it are told.
        """
        before = self._watch
        self._watch, events = watch(before, self._serving.snapshot, self._heartbeats, self._suspended, now)
        told = self._watch.record()
        if events:
            self._write([], events, told.left())
        if told != before.record():
            self._note(())

    def _causes(self, news: Sequence[News]) -> frozenset[Cause]:
        """What is to be decided: what is new, and what has waited, where that may be decided now."""
        beats = with_suspensions(self._heartbeats, self._suspended)
        now = self._now()
        reporting = {
            (name, beat.overdue, tuple(sorted(beat.labels.items())))
            for name, beat in beats.items()
            if is_reporting(beat, now)
        }
        snapshot, held = self._serving.snapshot, self._configured
        known = (reporting, frozenset(beats))
        if known != self._reporting or snapshot.pools is not held[0] or snapshot.health_checks is not held[1]:
            self._reporting, self._configured = known, (snapshot.pools, snapshot.health_checks)
            self._ready = self._waiting
        targets = {item.target for item in news}
        told = frozenset((item.vantage, item.target) for item in news if item.vantage)
        ready, self._ready = self._ready, frozenset()
        return told | ready | frozenset(cause for cause in self._waiting if cause[1] in targets)

    def _decide(self, causes: frozenset[Cause], due: set[str], now: float) -> None:
        evidence = self._evidence(causes, now)
        self._hurried = not self._hurried and self._hurry(causes, evidence)
        if self._hurried:
            return
        with without_collection():
            self._resolve(causes, due, evidence)

    def _resolve(self, causes: frozenset[Cause], due: set[str], evidence: Evidence) -> None:
        most, rest = _parted(self._instances | due)
        outcome = resolve(
            Question(
                self._serving, self._told, evidence, sorted(causes), self._pools, most, self._targets, self._carried
            )
        )
        decided, again_at, after = set(outcome.decided), dict(outcome.again_at), outcome.after
        rest -= decided
        self._write_outcome(outcome, last=not rest)
        while rest:
            part, rest = _parted(rest)
            further = resolve(Question(after, self._told, evidence, instances=part))
            rest -= further.decided
            self._write_outcome(further, last=not rest)
            decided |= further.decided
            again_at |= further.again_at
            after = further.after
        self._told = after
        self.told_revision = max(self._serving.snapshot.revision, self._head)
        self._settle(causes, outcome)
        self._again = {name: moment for name, moment in self._again.items() if name not in decided} | again_at
        self._pools, self._instances, self._targets, self._carried = set(), set(), set(), []

    def _hurry(self, causes: frozenset[Cause], evidence: Evidence) -> bool:
        """Write what became of addresses that very many instances use, and decide about these in the next cycle.

        False where nothing was written.
        """
        if len(instances_probing({target for _, target in causes}, self._serving.snapshot)) <= MOST_WAITED_FOR:
            return False
        hurried = hurry(
            Question(self._serving, self._told, evidence, sorted(causes), self._pools, carried=self._carried)
        )
        if hurried.changes:
            ahead = Ahead(told=self.told_revision, states=hurried.before)
            if self._ahead is not None:
                ahead = replace(self._ahead, states={**ahead.states, **self._ahead.states})
            self._write(hurried.changes, hurried.events, ahead.left())
            self._told, self._ahead = hurried.told, ahead
            self._settle(causes, hurried)
        return bool(hurried.changes)

    def _settle(self, causes: frozenset[Cause], decided: Hurried | Outcome) -> None:
        self._outvoted = (self._outvoted - causes) | decided.outvoted
        self._waiting = (self._waiting - causes) | decided.waiting | decided.outvoted

    def _write_outcome(self, outcome: Outcome, *, last: bool) -> None:
        """last: is everything told then that follows from what was hurried?"""
        left = {AHEAD: ""} if last and self._ahead is not None else {}
        if outcome.changes or outcome.events or left:
            self._write(outcome.changes, outcome.events, left)
        if last:
            self._ahead = None

    def _evidence(self, causes: Iterable[Cause], now: float) -> Evidence:
        verdicts = {
            target: {vantage: held[target] for vantage, held in self._board.items() if target in held}
            for _, target in causes
        }
        return Evidence(verdicts, with_suspensions(self._heartbeats, self._suspended), now)

    def _write(self, changes: Sequence[Change], events: Sequence[Event], left: Mapping[str, str] | None = None) -> None:
        store_id = self._serving.snapshot.position.store_id
        commit = Commit(changes, events, lease=self._office.token, left=left or {})
        self._written = self._office.repository.commit(commit, store_id)
        if self._written == self._head + 1:
            self._head = self._written
        self._wrote_at = self._office.monotonic()
        for event in events:
            log.info("%s", summary(event), extra={"event": event["kind"]})
        self._office.follower.wait_for(self._written, CHECKUP_SECONDS)

    def _note(self, news: Sequence[News]) -> None:
        """Leave behind what the next leader needs to go on."""
        self._position = news[-1].position if news else self._position
        history = self._serving.snapshot.position.replication_id
        noted = self._office.vantages.set_decided(
            self._position,
            self._office.token,
            wait=self._waiting - self._noted,
            done=self._noted - self._waiting,
            suspensions=self._watch.suspended,
            leadership=Leadership(self._office.name, self.told_revision, history),
            told=self._watch.record(),
        )
        if not noted:
            raise Conflict("lease", "another healthd leads")
        self._noted, self._noted_revision = self._waiting, self.told_revision


def _parted(instances: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """As many as are decided at once, and the rest: a write of them all would hold Redis up."""
    ordered = sorted(instances)
    return frozenset(ordered[:MOST_AT_ONCE]), frozenset(ordered[MOST_AT_ONCE:])


def _contrary(board: Mapping[str, Mapping[str, VantageVerdict]], snapshot: Snapshot) -> frozenset[Cause]:
    """Every verdict that is not what the state says."""
    states = snapshot.target_states
    return frozenset(
        (vantage, target)
        for vantage, held in board.items()
        for target, verdict in held.items()
        if target not in states or states[target].health != verdict.health
    )


def _targets(snapshot: Snapshot, name: str) -> set[str]:
    pool = snapshot.pools.get(name)
    if pool is None:
        return set()
    return {
        target_key(check, address.address, pool.host, pool.sni)
        for check in pool.health_checks
        for address in pool.addresses
    }
