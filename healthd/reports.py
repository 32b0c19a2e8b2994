"""The reports that are pushed for `external` checks, as this healthd knows them: each is acted on as it comes in."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.health_check import Report
from pdns_gtm_backend.domain.target import Target, targets_of
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.reports import Reports, Subject
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.vantages import FEED_START

log = logging.getLogger(__name__)

BLOCK_SECONDS: Final = 0.5
"""How long one look at the feed waits; below the time-out of a command."""
RETRY_SECONDS: Final = 0.5
RELOAD_SECONDS: Final = 60.0
"""Between two readings of all reports, in case Redis has lost some of the feed."""
EXPIRY_MARGIN: Final = 0.05
"""Redis's clock is known to about this; a report is looked at again when it surely is expired."""
AWAY_SECONDS: Final = 2.0
"""Without a look at the store for so long, nobody could report: what was reported does not expire meanwhile."""
KEPT_ABSENCES: Final = 16
"""Of the store, the last ones: it may come and go before anything is renewed."""
SUBJECT_KINDS: Final = frozenset({kinds.POOLS, kinds.HEALTH_CHECKS})


def subjects(snapshot: Snapshot) -> dict[Subject, list[str]]:
    """What may be reported: the keys of the targets of `external` checks, by check and address."""
    checks = {name: check for name, check in snapshot.health_checks.items() if check.protocol == "external"}
    found: dict[Subject, list[str]] = {}
    if not checks:
        return found
    for pool in snapshot.pools.values():
        for target in targets_of(pool, checks):
            found.setdefault((target.check.id, target.address), []).append(target.key)
    return found


class ReportFollower:
    """A thread that keeps the reports of this store in memory while there are `external` checks.

    hasten: has targets looked at again, by key. clock: Redis's, in seconds since the epoch. What is reported of
    something that the configuration has no more is removed, from the store too. Time in which the store is away
    does not count: nobody can report then.
    """

    def __init__(
        self,
        client: Client,
        follower: Follower,
        hasten: Callable[[Iterable[str]], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = Reports(client)
        self._follower = follower
        self._hasten = hasten
        self._clock = clock
        self._reports: dict[Subject, Report | None] = {}
        self._snapshot = follower.serving.snapshot
        self._subjects: Mapping[Subject, Sequence[str]] = {}
        self._expiring: list[tuple[float, Subject]] = []
        self._position = FEED_START
        self._load_at = 0.0
        self._seen = math.inf
        self._absences: tuple[tuple[float, float], ...] = ()
        self._configured = threading.Event()
        self._configured.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        follower.listeners.append(self._notice)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        self._configured.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=3)

    def last(self, target: Target) -> Report | None:
        """The last report on a target; None where nothing was reported yet."""
        report = self._reports.get((target.check.id, target.address))
        return None if report is None else self._held(report)

    def _held(self, report: Report) -> Report:
        """A report with the time added in which nobody could renew it, as the store was away."""
        now, seen = self._clock(), self._seen
        for gone, back in (*self._absences, (seen, now)):
            if back - gone > AWAY_SECONDS and report.at < back and not report.expired(gone):
                report = replace(report, ttl=report.ttl + math.ceil(back - max(gone, report.at)))
        return report

    def _see(self, began: float) -> None:
        """The store answered what was asked then. After a while without, what was lost is made up for."""
        if began - self._seen > AWAY_SECONDS:
            self._absences = (*self._absences, (self._seen, began))[-KEPT_ABSENCES:]
            self._load_at = 0.0
        self._seen = began

    def _notice(self, _serving: Serving, changes: Sequence[Change] | None) -> None:
        if changes is None:
            self._load_at = 0.0
        if changes is None or any(change.kind in SUBJECT_KINDS for change in changes):
            self._configured.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._follower.status.state == "following":
                    began = self._clock()
                    self._turn()
                    self._see(began)
                    self._look_at_expired()
                    continue
            except RedisError as error:
                log.debug("no reports: %s", error)
                self._load_at = 0.0
            except Exception:
                log.exception("a loop of the reports failed", extra={"event": "reports.failed"})
                self._load_at = 0.0
            self._stopping.wait(RETRY_SECONDS)

    def _turn(self) -> None:
        if configured := self._configured.is_set():
            self._configured.clear()
            if not self._subjects:
                self._load_at = 0.0  # the feed was not followed
            self._snapshot = self._follower.serving.snapshot
            self._subjects = subjects(self._snapshot)
        if time.monotonic() >= self._load_at:
            self._load()
            configured = True
        elif self._subjects:
            self._take_news(0 if configured else self._patience())
        else:
            self._configured.wait(BLOCK_SECONDS)
        if configured:
            self._purge()

    def _load(self) -> None:
        self._load_at = time.monotonic() + RELOAD_SECONDS
        before = self._reports
        self._position, self._reports = self._store.look()
        held = ((self._held(report), subject) for subject, report in self._reports.items() if report)
        self._expiring = [(report.at + report.ttl, subject) for report, subject in held]
        heapq.heapify(self._expiring)
        self._hasten_all(subject for subject, report in self._reports.items() if before.get(subject) != report)

    def _take_news(self, milliseconds: int) -> None:
        came = []
        # BLOCK 0 would wait for ever (https://redis.io/commands/xread).
        for news in self._store.news(self._position, max(1, milliseconds)):
            self._position = news.position
            if news.report is not None:
                self._reports[news.subject] = news.report
                heapq.heappush(self._expiring, (news.report.at + news.report.ttl, news.subject))
                came.append(news.subject)
        self._hasten_all(came)

    def _patience(self) -> int:
        """Milliseconds until a report expires, as long as a look may wait at the most."""
        left = self._expiring[0][0] + EXPIRY_MARGIN - self._clock() if self._expiring else BLOCK_SECONDS
        return round(1000 * min(max(left, 0.0), BLOCK_SECONDS))

    def _look_at_expired(self) -> None:
        now, over = self._clock() - EXPIRY_MARGIN, []
        while self._expiring and self._expiring[0][0] <= now:
            over.append(heapq.heappop(self._expiring)[1])
        held = ((s, self._held(report)) for s in over if (report := self._reports.get(s)) is not None)
        self._hasten_all(subject for subject, report in held if report.expired(now))

    def _hasten_all(self, found: Iterable[Subject]) -> None:
        keys = [key for subject in found for key in self._subjects.get(subject, ())]
        if keys:
            self._hasten(keys)

    def _purge(self) -> None:
        """Forget what is reported of checks and addresses that are gone."""
        gone = self._reports.keys() - self._subjects.keys()
        if gone and self._store.purge(self._snapshot.configuration_revision, gone):
            for subject in gone:
                del self._reports[subject]
