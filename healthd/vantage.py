"""The probing side of healthd: results become verdicts, and verdicts that change go to the store."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from healthd.book import VerdictBook
from healthd.history import History
from healthd.probes.result import Result
from healthd.references import Connectivity
from healthd.scheduler import Scheduler
from healthd.verdicts import Verdict, next_interval
from pdns_gtm_backend.domain.quorum import probes
from pdns_gtm_backend.domain.state import Heartbeat
from pdns_gtm_backend.domain.target import Target, targets_of
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.leases import RENEW_SECONDS, Lease
from pdns_gtm_backend.store.repository import unavailable_reason
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import LeaseLost, Vantages

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
COMPARE_SECONDS: Final = 60.0
"""Between two comparisons of the verdicts in the store with those in memory."""
RETRY_SECONDS: Final = 0.1
PACE_SECONDS: Final = 0.02
"""At least between two writes, so that verdicts that change together are told together."""
RETARGET_SHARE: Final = 10
"""Working out the targets may take one part in so many of the time, however fast the configuration changes."""
TARGET_KINDS: Final = frozenset({kinds.POOLS, kinds.HEALTH_CHECKS})
MAX_LISTED: Final = 1000
"""Overdue targets that a heartbeat names at the most; with more, the vantage says nothing at all."""
MAX_BATCH: Final = 1000

Observer = Callable[[Target, Result], None]


def wanted_targets(snapshot: Snapshot, vantage: str, labels: Mapping[str, str]) -> dict[str, Target]:
    """The targets that the vantage of this name and these labels probes, by key; equal ones once."""
    checks = {name: check for name, check in snapshot.health_checks.items() if probes(check, vantage, labels)}
    return {target.key: target for pool in snapshot.pools.values() for target in targets_of(pool, checks)}


class Vantage:
    """Probes while the lease of its name is ours, keeps a verdict for each target, and publishes what changes.

    probes: makes the scheduler, given what takes results. references: targets that tell of this vantage's own network.
    observe: is shown every result. A verdict that cannot be published, since Redis is away, is kept and published
    later: probing goes on.
    active: is the name ours? last_loop: when the thread came round last, monotonic. trouble: why the store takes
    nothing, "" = it does.
    """

    def __init__(
        self,
        client: Client,
        follower: Follower,
        name: str,
        probes: Callable[[Callable[[Target, Result, float], float]], Scheduler],
        *,
        labels: Mapping[str, str],
        references: Sequence[Target] = (),
        observe: Observer = lambda _target, _result: None,
    ) -> None:
        self.name = name
        self.labels = labels
        self.active = False
        self.last_loop = time.monotonic()
        self.trouble = ""
        self.overruns = 0
        self._follower = follower
        self._references = {target.key: target for target in references}
        self._connectivity = Connectivity.of(references)
        self._observe = observe
        self._store = Vantages(client)
        self._lease = Lease(client, keys.vantage_lease(name))
        self._process = secrets.token_hex(4)
        self._token = ""
        self._scheduler = probes(self._take)
        self._lock = threading.Lock()
        self._book = VerdictBook()
        self._targets: dict[str, Target] = {}
        self._history: dict[str, History] = {}
        self._late: frozenset[str] = frozenset()
        self._clock: float | None = None
        self._hold_at = self._beat_at = self._compare_at = self._retarget_at = self._publish_at = 0.0
        self._wake = threading.Event()
        self._retarget = threading.Event()
        self._compare = threading.Event()
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
        if self._thread.ident is not None:
            self._thread.join(timeout=3)
        self._scheduler.stop()
        self.active = False
        try:
            self._lease.drop()
        except RedisError as error:
            log.warning("the vantage's name could not be given back: %s", error)

    @property
    def targets(self) -> int:
        """How many targets are probed."""
        return len(self._targets)

    def lag(self) -> float:
        """Seconds that probes start late, 99th percentile of the latest."""
        return self._scheduler.lag().p99

    def now(self) -> float:
        """Seconds since the epoch: Redis's clock as the last heartbeat told it, this machine's before the first."""
        return time.time() if self._clock is None else time.monotonic() + self._clock

    def target(self, key: str) -> Target | None:
        """A target that is probed now."""
        return self._targets.get(key)

    def hasten(self, keys: Iterable[str]) -> None:
        """Probe the targets with these keys now, those of them that are probed at all."""
        self._scheduler.hasten(keys)

    def remembered(self, key: str) -> tuple[Verdict | None, History | None]:
        """The verdict on a target and a copy of what is remembered of its probes."""
        with self._lock:
            held = self._history.get(key)
            return self._book.verdict(key), held.copy() if held is not None else None

    def _notice(self, _serving: Serving, changes: Sequence[Change] | None) -> None:
        if changes is None:
            self._compare.set()
        if changes is None or any(change.kind in TARGET_KINDS for change in changes):
            self._retarget.set()
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.last_loop = time.monotonic()
            wait = RENEW_SECONDS
            try:
                if self._may_write() and self._held():
                    self._beat()
                    self._follow_targets()
                    self._compare_with_store()
                    wait = self._publish()
                    self.trouble = ""
            except RedisError as error:
                self.trouble = unavailable_reason(error)
                wait = RETRY_SECONDS
            except LeaseLost:
                self._hold_at = 0.0
                wait = 0.0
            except Exception:
                log.exception("a loop of the vantage failed", extra={"event": "vantage.failed"})
                self._stopping.wait(1)
            self._wake.wait(timeout=wait)
            self._wake.clear()

    def _may_write(self) -> bool:
        """Is what Redis holds the store that is followed, as far as it is known?"""
        return self._follower.loaded and self._follower.status.state in ("following", "disconnected")

    def _held(self) -> bool:
        """Renew the lease of the name; take the targets up when it becomes ours."""
        if self.active and self.last_loop < self._hold_at:
            return True
        if not self._lease.hold():
            self._stand_by()
            return False
        self._hold_at = self.last_loop + RENEW_SECONDS
        if self._lease.token != self._token:
            self._token = self._lease.token
            self._take_up()
        return True

    def _take_up(self) -> None:
        """The name is ours anew: go on with our own verdicts, unless another process has had the name meanwhile."""
        last = self._store.look({}).heartbeats.get(self.name)
        if self.active and last is not None and last.process == self._process:
            self._compare.set()
            return
        log.info("vantage %s: probing", self.name, extra={"event": "vantage.acquired"})
        known = self._store.verdicts(self.name)
        with self._lock:
            self._book.adopt(known)
        self.active = True
        self._beat_at = 0.0
        self._compare.clear()
        self._retarget.set()
        self._retarget_at = 0.0

    def _stand_by(self) -> None:
        """Another process has the name: probe nothing, say nothing."""
        if self.active:
            log.warning("vantage %s: another healthd has this name, standing by", self.name)
        self.active = False
        self._token = ""
        self._scheduler.update([])
        with self._lock:
            self._book.clear()
            self._targets, self._history = {}, {}

    def _follow_targets(self) -> None:
        """Probe what the configuration says now; verdicts of targets that remain are kept."""
        if not self._retarget.is_set() or self.last_loop < self._retarget_at:
            return
        self._retarget.clear()
        began = time.monotonic()
        snapshot = self._follower.serving.snapshot
        wanted = wanted_targets(snapshot, self.name, self.labels)
        with self._lock:
            self._book.follow(wanted, snapshot.target_states)
            self._targets = wanted
            self._history = {key: self._history.get(key) or History() for key in wanted}
        self._scheduler.update([*wanted.values(), *self._references.values()])
        ended = time.monotonic()
        self._retarget_at = ended + RETARGET_SHARE * (ended - began)

    def _take(self, target: Target, result: Result, started: float) -> float:
        """A result came in: seconds until the next probe of its target."""
        if target.key in self._references:
            self._take_reference(target, result, started)
            return target.check.interval
        self._observe(target, result)
        now = self.now()
        seen = target.check.protocol != "external"  # a report says nothing of this vantage's own network
        with self._lock:
            if result.ok and seen:
                self._connectivity = self._connectivity.after_success(started)
            if (history := self._history.get(target.key)) is not None:
                history.add(now, result)
            trusted = not seen or self._connectivity.trusts(started)
            verdict = self._book.take(target.key, result, target.check, now, trusted=trusted)
            if self._book.is_news(target.key):
                self._wake.set()
        return target.check.interval if verdict is None else next_interval(verdict, target.check)

    def _take_reference(self, target: Target, result: Result, started: float) -> None:
        if not result.conclusive:
            return
        with self._lock:
            before = self._connectivity
            self._connectivity = before.after_reference(target.key, result.ok, started)
        if before.isolated != self._connectivity.isolated:
            self._beat_at = 0.0
            self._wake.set()

    def _publish(self) -> float:
        """Tell the store what it does not know. Returns the seconds until there is reason to look again."""
        with self._lock:
            if not self._book.untold:
                return RENEW_SECONDS
        self._stopping.wait(max(0.0, self._publish_at - time.monotonic()))
        with self._lock:
            batch = self._book.take_untold(MAX_BATCH)
        if not batch:
            return RENEW_SECONDS
        try:
            self._store.publish(self.name, self._token, batch)
        except (RedisError, LeaseLost):
            with self._lock:
                self._book.not_told(batch)
            raise
        self._publish_at = time.monotonic() + PACE_SECONDS
        with self._lock:
            self._book.told(batch)
        return 0.0 if len(batch) == MAX_BATCH else RENEW_SECONDS

    def _compare_with_store(self) -> None:
        """Redis may have lost what it was told: restarted, failed over, restored from an older copy."""
        if not self._compare.is_set() and self.last_loop < self._compare_at:
            return
        self._compare.clear()
        held = self._store.verdicts(self.name)
        with self._lock:
            self._book.compare(held)
        self._compare_at = self.last_loop + COMPARE_SECONDS

    def _beat(self) -> None:
        """Say that we are here, and what we are silent about."""
        if self.last_loop < self._beat_at:
            return
        overdue = frozenset(target.key for target in self._scheduler.overdue()) - self._references.keys()
        self.overruns += len(overdue - self._late)
        self._late = overdue
        with self._lock:
            connectivity = self._connectivity
        heartbeat = Heartbeat(
            time=0,
            targets=self.targets,
            overdue=tuple(sorted(overdue)[:MAX_LISTED]),
            lag=self.lag(),
            labels=self.labels,
            suspended=_suspended(connectivity, len(overdue)),
            reference=connectivity.answering,
            process=self._process,
        )
        self._clock = self._store.beat(self.name, self._token, heartbeat) - time.monotonic()
        self._beat_at = self.last_loop + HEARTBEAT_SECONDS - RETRY_SECONDS


def _suspended(connectivity: Connectivity, overdue: int) -> str:
    if connectivity.isolated:
        return "no reference target answers, and nothing else does"
    return f"the probes of {overdue} targets are overdue" if overdue > MAX_LISTED else ""
