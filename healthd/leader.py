"""The leader: one healthd at a time turns verdicts into states, and states into switchover, fenced by its lease."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from healthd.decisions import (
    Event,
    Evidence,
    decide_policies,
    decide_targets,
    events_between,
    expired_overrides,
    obsolete_states,
    stale_checks,
)
from pdns_gtm_backend.domain.quorum import HEARTBEAT_LIMIT
from pdns_gtm_backend.domain.state import Heartbeat
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.leases import RENEW_SECONDS, Lease
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository, StoreUnavailable
from pdns_gtm_backend.store.serving import Serving, touched
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import Vantages

log = logging.getLogger(__name__)

WAIT_MILLISECONDS: Final = 200
STANDBY_SECONDS: Final = 0.4
CHECKUP_SECONDS: Final = 1.0
CATCH_UP_SECONDS: Final = 0.002


class Leader:
    """Stands for leader and, while it is, decides. One thread; nothing else writes states.

    name: of this healthd, for events and logs.
    """

    def __init__(self, client: Client, follower: Follower, name: str, monotonic: Callable[[], float] = time.monotonic):
        self.leading = False
        self._follower = follower
        self._name = name
        self._monotonic = monotonic
        self._repository = Repository(client)
        self._vantages = Vantages(client)
        self._lease = Lease(client, keys.LEADER)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._inbox: list[tuple[Serving, Sequence[Change] | None]] = []
        self._lock = threading.Lock()
        self._term: _Term | None = None
        self.last_cycle = monotonic()
        follower.listeners.append(self._notice)

    def start(self) -> None:
        """Stand for leader."""
        self._thread.start()

    def stop(self) -> None:
        """Stop deciding and give the lease back."""
        self._stopping.set()
        self._thread.join(timeout=3)
        try:
            self._lease.drop()
        except RedisError as error:
            log.warning("the lease could not be given back: %s", error)

    def _notice(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        with self._lock:
            if self.leading:
                self._inbox.append((serving, changes))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.last_cycle = self._monotonic()
            try:
                self._cycle()
            except (RedisError, StoreUnavailable) as error:
                self._step_down(f"Redis: {error}")
                self._stopping.wait(STANDBY_SECONDS)
            except Conflict as error:
                self._step_down(str(error))
                self._stopping.wait(STANDBY_SECONDS)
            except Exception:
                log.exception("a cycle of the leader failed", extra={"event": "leader.failed"})
                self._step_down("an error")
                self._stopping.wait(STANDBY_SECONDS)

    def _cycle(self) -> None:
        if self._follower.status.state != "following" or not self._lease.hold():
            self._step_down("another healthd leads, or the store is not followed")
            self._stopping.wait(STANDBY_SECONDS)
            return
        if self._term is None:
            self._term = self._take_office()
        renewed = self._monotonic()
        while self._monotonic() - renewed < RENEW_SECONDS and not self._stopping.is_set():
            self._term.decide(self._drain(), self._monotonic())

    def _take_office(self) -> _Term:
        with self._lock:
            self._inbox.clear()
            self.leading = True
        term = _Term(self._repository, self._vantages, self._follower, self._lease.token)
        term.tell([{"kind": "leader.changed", "to": self._name, "reason": "the lease was free"}])
        log.info("leader: %s", self._name, extra={"event": "leader.acquired"})
        return term

    def _step_down(self, reason: str) -> None:
        with self._lock:
            was, self.leading = self.leading, False
            self._inbox.clear()
        self._term = None
        if was:
            log.warning("no longer leader: %s", reason, extra={"event": "leader.lost"})

    def _drain(self) -> list[tuple[Serving, Sequence[Change] | None]]:
        with self._lock:
            found, self._inbox = self._inbox, []
        return found


class _Term:
    """The memory of one leader from taking the lease to losing it."""

    def __init__(self, repository: Repository, vantages: Vantages, follower: Follower, token: str) -> None:
        self._repository = repository
        self._vantages = vantages
        self._follower = follower
        self._token = token
        self._position = vantages.decided()
        self._serving = self._told = follower.serving
        self._written = 0
        self._waiting: frozenset[tuple[str, str]] = frozenset()
        self._again: dict[str, float] = {}
        self._pools: set[str] = set()
        self._instances: set[str] = set(self._told.instances)
        self._targets: set[str] = set(self._told.snapshot.target_states)
        self._stale: dict[str, str] | None = None
        self._lost: set[str] | None = None
        self._heartbeats: dict[str, Heartbeat] = {}
        self._checked_at = float("-inf")
        self._clock = 0.0

    def decide(self, inbox: Iterable[tuple[Serving, Sequence[Change] | None]], monotonic: float) -> None:
        """One cycle: take in what is new, decide, write. Raises RedisError, StoreUnavailable or Conflict."""
        for serving, changes in inbox:
            self._take_in(serving, changes)
        if self._serving.snapshot.revision < self._written:
            time.sleep(CATCH_UP_SECONDS)
            return
        busy = bool(self._instances or self._targets)
        news = self._vantages.news(self._position, None if busy else WAIT_MILLISECONDS)
        if monotonic - self._checked_at >= CHECKUP_SECONDS or news:
            self._heartbeats = self._vantages.heartbeats()
            self._clock = self._repository.time() - time.monotonic()
        if monotonic - self._checked_at >= CHECKUP_SECONDS:
            self._checked_at = monotonic
            self._check_up()
        now = time.monotonic() + self._clock
        pending = {(item.vantage, item.target) for item in news} | self._waiting
        due = {name for name, moment in self._again.items() if moment <= now}
        expired = expired_overrides(self._serving.snapshot, now)
        if pending or due or expired or self._instances or self._targets or self._pools:
            self._decide(pending, due, [override.id for override in expired], now)
        if news:
            self._position = news[-1].position
            if not self._vantages.set_decided(self._position, self._token):
                raise Conflict("lease", "lost")

    def tell(self, events: Sequence[Event]) -> None:
        """Write events alone."""
        self._write([], events)

    def _take_in(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        before, self._serving = self._serving.snapshot, serving
        if changes is None:
            self._pools |= set(serving.pools)
            self._instances |= set(serving.instances)
            self._targets |= set(serving.snapshot.target_states)
            return
        pools, instances = touched(before, serving.snapshot, changes)
        self._pools |= pools
        self._instances |= instances
        for name in pools:
            self._targets |= _targets(before, name)

    def _check_up(self) -> None:
        """Once a second: which vantages are silent, and which checks are frozen by that?"""
        now = self._repository.time()
        stale = stale_checks(self._serving.snapshot, self._heartbeats, now)
        lost = {name for name, beat in self._heartbeats.items() if now - beat.time > HEARTBEAT_LIMIT}
        events: list[Event] = []
        if self._lost is not None:
            events += [_vantage_event("vantage.lost", name) for name in sorted(lost - self._lost)]
            events += [_vantage_event("vantage.back", name) for name in sorted(self._lost - lost)]
        if self._stale is not None:
            events += [
                {"kind": "state.stale", "check": name, "from": "fresh", "to": "stale", "reason": reason}
                for name, reason in sorted(stale.items())
                if name not in self._stale
            ]
            events += [
                {
                    "kind": "state.fresh",
                    "check": name,
                    "from": "stale",
                    "to": "fresh",
                    "reason": "enough vantages report",
                }
                for name in sorted(self._stale.keys() - stale.keys())
            ]
        self._stale, self._lost = stale, lost
        if events:
            self.tell(events)

    def _decide(self, pending: set[tuple[str, str]], due: set[str], expired: Sequence[str], now: float) -> None:
        serving = self._serving
        decision = decide_targets(serving.snapshot, sorted(pending), self._evidence(pending, now))
        changes = [Change(kinds.TARGET_STATES, target, state) for target, state in decision.states.items()]
        changes += [Change(kinds.OVERRIDES, identifier, None) for identifier in expired]
        changes += obsolete_states(serving.snapshot, self._targets, self._instances)
        pools, instances = touched(serving.snapshot, serving.snapshot.changed(changes), changes)
        pools |= self._pools
        instances |= self._instances | due
        following = serving.changed(serving.snapshot.changed(changes), changes)
        policies = decide_policies(following, instances, now)
        after = following.changed(following.snapshot.changed(policies.changes), policies.changes)
        events = list(events_between(self._told, after, pools, instances))
        events += [
            {"kind": "override.expired", "override": name, "to": "removed", "reason": "until"} for name in expired
        ]
        changes += policies.changes
        if changes or events:
            self._write(changes, events)
        self._told = after
        self._waiting = decision.waiting
        self._again = {k: v for k, v in self._again.items() if k not in instances} | dict(policies.again_at)
        self._pools, self._instances, self._targets = set(), set(), set()

    def _evidence(self, pending: Iterable[tuple[str, str]], now: float) -> Evidence:
        targets = sorted({target for _, target in pending})
        verdicts: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for vantage in self._heartbeats if targets else ():
            for target, verdict in self._vantages.verdicts_on(vantage, targets).items():
                verdicts[target][vantage] = verdict
        return Evidence(verdicts, self._heartbeats, now)

    def _write(self, changes: Sequence[Change], events: Sequence[Event]) -> None:
        store_id = self._serving.snapshot.position.store_id
        self._written = self._repository.commit(Commit(changes, events, lease=self._token), store_id)
        for event in events:
            log.info(_sentence(event), extra={"event": event["kind"]})
        self._follower.wait_for(self._written, CHECKUP_SECONDS)


def _targets(snapshot: Snapshot, name: str) -> set[str]:
    pool = snapshot.pools.get(name)
    if pool is None:
        return set()
    return {
        target_key(check, address.address, pool.host, pool.sni)
        for check in pool.health_checks
        for address in pool.addresses
    }


def _vantage_event(kind: str, name: str) -> Event:
    lost = kind == "vantage.lost"
    reason = f"no heartbeat for {HEARTBEAT_LIMIT:g} s" if lost else "heartbeats again"
    return {
        "kind": kind,
        "vantage": name,
        "from": "reporting" if lost else "silent",
        "to": "silent" if lost else "reporting",
        "reason": reason,
    }


def _sentence(event: Event) -> str:
    about = [str(event[key]) for key in ("instance_name", "policy", "family", "pool", "address") if event.get(key)]
    return f"{event['kind']}: {' '.join(about)} {event.get('from', '')} -> {event.get('to', '')}: {event['reason']}"
