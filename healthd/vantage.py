"""The probing side of healthd: results become verdicts, and verdicts that change go to the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from healthd.probes.result import Result
from healthd.scheduler import Scheduler
from healthd.verdicts import Verdict, advance, changed, next_interval
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.domain.target import Target, targets_of
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.leases import RENEW_SECONDS, Lease
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import LeaseLost, Vantages

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
TARGET_KINDS: Final = frozenset({kinds.POOLS, kinds.HEALTH_CHECKS})
MAX_LISTED: Final = 1000
"""Overdue targets that a heartbeat names at the most."""


def wanted_targets(snapshot: Snapshot, vantage: str) -> dict[str, Target]:
    """The targets that `vantage` probes, by key; equal ones once."""
    checks = {
        name: check
        for name, check in snapshot.health_checks.items()
        if check.vantages is None or vantage in check.vantages
    }
    return {target.key: target for pool in snapshot.pools.values() for target in targets_of(pool, checks)}


class Vantage:
    """Probes while the lease of its name is ours, keeps a verdict for each target, and publishes what changes.

    probes: makes the scheduler, given what takes results. A verdict that cannot be published, since Redis is away, is
    kept and published later: probing goes on.
    """

    def __init__(
        self,
        client: Client,
        follower: Follower,
        name: str,
        probes: Callable[[Callable[[Target, Result, float], float]], Scheduler],
        *,
        labels: Mapping[str, str],
    ) -> None:
        self.name = name
        self.active = False
        self.last_loop = time.monotonic()
        self._follower = follower
        self._labels = labels
        self._store = Vantages(client)
        self._lease = Lease(client, keys.vantage_lease(name))
        self._scheduler = probes(self._take)
        self._lock = threading.Lock()
        self._verdicts: dict[str, Verdict] = {}
        self._published: dict[str, bool] = {}
        self._unpublished: dict[str, VantageVerdict | None] = {}
        self._wake = threading.Event()
        self._retarget = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vantage", daemon=True)
        follower.listeners.append(self._notice)

    def start(self) -> None:
        """Begin to probe as soon as the store is known and the name is ours."""
        self._scheduler.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop probing and give the name back."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=3)
        self._scheduler.stop()
        try:
            self._lease.drop()
        except RedisError as error:
            log.warning("the vantage's name could not be given back: %s", error)

    @property
    def targets(self) -> int:
        """How many targets are probed."""
        return len(self._verdicts)

    def lag(self) -> float:
        """Seconds that probes start late, 99th percentile of the latest."""
        return self._scheduler.lag().p99

    def _notice(self, _serving: Serving, changes: Sequence[Change] | None) -> None:
        if changes is None or any(change.kind in TARGET_KINDS for change in changes):
            self._retarget.set()
            self._wake.set()

    def _run(self) -> None:
        beat_at = 0.0
        while not self._stopping.is_set():
            self.last_loop = time.monotonic()
            try:
                self._hold(self.last_loop >= beat_at)
                if self.active:
                    self._publish()
                    if self.last_loop >= beat_at:
                        self._beat()
                        beat_at = self.last_loop + HEARTBEAT_SECONDS
            except RedisError as error:
                log.debug("the store does not take verdicts: %s", error)
                self._stopping.wait(0.1)
            except LeaseLost:
                self._stand_by()
            except Exception:
                log.exception("a loop of the vantage failed", extra={"event": "vantage.failed"})
                self._stopping.wait(1)
            self._wake.wait(timeout=RENEW_SECONDS if not self._unpublished else 0.05)
            self._wake.clear()

    def _hold(self, due: bool) -> None:
        """Renew the lease of the name; take the targets up when it becomes ours."""
        if not self._follower.loaded:
            return
        if due or not self.active:
            if not self._lease.hold():
                self._stand_by()
                return
            if not self.active:
                self._take_up()
        if self._retarget.is_set():
            self._retarget.clear()
            self._follow_targets()

    def _take_up(self) -> None:
        log.info("vantage %s: probing", self.name, extra={"event": "vantage.acquired"})
        known = self._store.verdicts(self.name)
        with self._lock:
            self._verdicts = {key: Verdict(up=seen.up, since=seen.since) for key, seen in known.items()}
            self._published = {key: seen.up for key, seen in known.items()}
            self._unpublished = {}
        self.active = True
        self._retarget.set()

    def _stand_by(self) -> None:
        """Another process has the name: probe nothing, say nothing."""
        if self.active:
            log.warning("vantage %s: another healthd has this name, standing by", self.name)
        self.active = False
        self._scheduler.update([])
        with self._lock:
            self._verdicts, self._published, self._unpublished = {}, {}, {}

    def _follow_targets(self) -> None:
        """Probe what the configuration says now; verdicts of targets that remain are kept."""
        snapshot = self._follower.serving.snapshot
        wanted = wanted_targets(snapshot, self.name)
        with self._lock:
            gone = (self._verdicts.keys() | self._published.keys()) - wanted.keys()
            for key in gone:
                self._verdicts.pop(key, None)
                if self._published.pop(key, None) is not None:
                    self._unpublished[key] = None
            for key in wanted.keys() - self._verdicts.keys():
                self._verdicts[key] = first_verdict(snapshot, key)
        self._scheduler.update(list(wanted.values()))

    def _take(self, target: Target, result: Result, _started: float) -> float:
        """A result came in: seconds until the next probe of its target."""
        now = time.time()
        with self._lock:
            before = self._verdicts.get(target.key)
            if before is None:
                return target.check.interval
            after = self._verdicts[target.key] = advance(before, result, target.check, now)
            if after.up is not None and self._is_news(target.key, before, after, result):
                self._published[target.key] = after.up
                self._unpublished[target.key] = _told(after)
                self._wake.set()
        return next_interval(after, target.check)

    def _is_news(self, key: str, before: Verdict, after: Verdict, result: Result) -> bool:
        """A verdict is told when it changes; one that was taken over from the state, when a result confirms it."""
        if changed(before, after):
            return True
        return key not in self._published and result.conclusive and result.ok == after.up

    def _publish(self) -> None:
        with self._lock:
            batch, self._unpublished = self._unpublished, {}
        if not batch:
            return
        try:
            self._store.publish(self.name, self._lease.token, batch)
        except (RedisError, LeaseLost):
            with self._lock:
                self._unpublished = batch | self._unpublished
            raise

    def _beat(self) -> None:
        overdue = tuple(target.key for target in self._scheduler.overdue()[:MAX_LISTED])
        heartbeat = Heartbeat(
            time=0,
            targets=self.targets,
            overdue=overdue,
            lag=self.lag(),
            labels=self._labels,
            process=self._lease.token[:8],
        )
        self._store.beat(self.name, self._lease.token, heartbeat)


def first_verdict(snapshot: Snapshot, key: str) -> Verdict:
    """What a vantage that joins begins with: the state that is known, so that joining changes nothing by itself."""
    state = snapshot.target_states.get(key)
    if state is None or state.health == "unknown":
        return Verdict()
    return Verdict(up=state.health == "up", since=state.since)


def _told(verdict: Verdict) -> VantageVerdict:
    failure = verdict.last_failure
    return VantageVerdict(
        up=bool(verdict.up),
        since=verdict.since,
        reason=failure.reason if failure else "",
        detail=failure.detail[:500] if failure else "",
    )
