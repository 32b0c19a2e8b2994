"""The leader: one healthd at a time turns verdicts into states, and states into switchover, fenced by its lease."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import RedisError

from healthd.decisions import told_before
from healthd.term import Office, Term
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.leases import RENEW_SECONDS, Lease
from pdns_gtm_backend.store.repository import Conflict, Repository, StoreUnavailable, unavailable_reason
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change
from pdns_gtm_backend.store.vantages import Vantages

log = logging.getLogger(__name__)

STANDBY_SECONDS: Final = 0.2
LONGEST_CYCLE_SECONDS: Final = 12.0
"""One cycle decides for every instance at the most; a leader that takes longer is replaced."""
KEPT_SECONDS: Final = 30.0
KEPT_SERVING: Final = 500
"""A healthd keeps its latest serving states, to know what changed since the last leader's last word."""


class Leader:
    """Stands for leader and, while it is, decides. One thread; nothing else writes states.

    name: of this healthd, for events and logs. leading: does it decide now? terms: how often it became leader.
    """

    def __init__(self, client: Client, follower: Follower, name: str, monotonic: Callable[[], float] = time.monotonic):
        self.leading = False
        self.terms = 0
        self.last_cycle = monotonic()
        self._follower = follower
        self._name = name
        self._monotonic = monotonic
        self._repository = Repository(client)
        self._vantages = Vantages(client)
        self._lease = Lease(client, keys.LEADER)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="leader's lease", daemon=True)
        self._lock = threading.Lock()
        self._inbox: list[tuple[Serving, Sequence[Change] | None]] = []
        self._first = self._latest = follower.serving
        self._recent = deque([(monotonic(), follower.serving)], maxlen=KEPT_SERVING)
        self._collecting = False
        self._told_revision = 0
        self._term: Term | None = None
        self._token = ""
        self._anew = False
        self._trouble = ""
        follower.listeners.append(self._notice)

    def start(self) -> None:
        """Stand for leader."""
        self._thread.start()
        self._keeper.start()

    def stop(self) -> None:
        """Stop deciding and give the lease back."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=3)
            self._keeper.join(timeout=3)
        self.leading = False
        try:
            self._lease.drop()
        except RedisError as error:
            log.warning("the lease could not be given back: %s", error)

    @property
    def token(self) -> str:
        """Of the lease while this healthd decides, "" otherwise."""
        return self._token if self.leading else ""

    def _notice(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        now = self._monotonic()
        with self._lock:
            self._latest = serving
            self._recent.append((now, serving))
            while self._recent[0][0] < now - KEPT_SECONDS:
                self._recent.popleft()
            if self._collecting:
                self._inbox.append((serving, changes))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.last_cycle = self._monotonic()
            try:
                self._cycle()
            except RedisError as error:
                self._step_down(f"Redis: {unavailable_reason(error)}")
            except StoreUnavailable as error:
                self._step_down(f"Redis: {error}")
            except Conflict as error:
                self._step_down(str(error))
            except Exception:
                log.exception("a cycle of the leader failed", extra={"event": "leader.failed"})
                self._step_down("an error in it")

    def _keep(self) -> None:
        """Renew the lease while a decision takes long, but not for a thread that is stuck."""
        while not self._stopping.wait(RENEW_SECONDS):
            if self._term is None or self._monotonic() - self.last_cycle > LONGEST_CYCLE_SECONDS:
                continue
            try:
                self._lease.keep(self._token)
            except RedisError as error:
                log.debug("the lease was not renewed: %s", error)

    def _cycle(self) -> None:
        if self._follower.status.state != "following":
            self._step_down(f"the store is not followed: {self._follower.status.state}")
            return
        if not self._lease.hold(anew=self._anew):
            self._step_down("another healthd leads")
            return
        self._anew = False
        if self._term is None or self._lease.token != self._token:
            self._take_office()
        renewed = self._monotonic()
        while self._monotonic() - renewed < RENEW_SECONDS and not self._stopping.is_set():
            self._work()

    def _take_office(self) -> None:
        self._token = self._lease.token
        office = Office(self._repository, self._vantages, self._follower, self._name, self._token, self._monotonic)
        last = max(self._vantages.leadership().told, self._told_revision)
        ahead = self._vantages.ahead()
        with self._lock:
            self._collecting = True
            self._inbox.clear()
            serving, told = self._latest, self._told_at(last)
            earlier = None if ahead is None else self._told_at(ahead.told)
        if ahead is not None and earlier is not None:
            known = earlier.snapshot.revision <= ahead.told
            told = told_before(told, ahead, earlier if known else None)
        self._term = Term(office, serving, told, ahead)
        self._term.open()
        self.leading, self._trouble = True, ""
        self.terms += 1
        log.info("leader: %s", self._name, extra={"event": "leader.acquired"})

    def _told_at(self, revision: int) -> Serving:
        """The serving state up to which the last leader has told; the latest where that is not known here."""
        known = (serving for _, serving in self._recent if serving.snapshot.revision <= revision)
        found = max(known, key=lambda serving: serving.snapshot.revision, default=self._latest)
        # What was on disk at the start may be older than what was told: events would come twice.
        return self._latest if found is self._first and found.snapshot.revision != revision else found

    def _work(self) -> None:
        self.last_cycle = self._monotonic()
        with self._lock:
            found, self._inbox = self._inbox, []
        if self._term is None or any(changes is None for _, changes in found):
            raise Conflict("store", "everything was read anew")
        self._term.decide([(serving, changes) for serving, changes in found if changes is not None])

    def _step_down(self, reason: str) -> None:
        """Decide no more. A Redis that was frozen may yet carry out what was sent: another token fences it."""
        with self._lock:
            self._collecting = False
        term, self._term = self._term, None
        self.leading = False
        if term is not None:
            self._anew, self._told_revision = True, term.told_revision
        if reason != self._trouble:
            log.log(logging.WARNING if term else logging.INFO, "not leader: %s", reason, extra={"event": "leader.lost"})
            self._trouble = reason
        self._stopping.wait(STANDBY_SECONDS)
