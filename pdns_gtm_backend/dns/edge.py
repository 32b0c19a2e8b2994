"""Keeps dnsdist up to date: purges what has changed, and writes down regions and the names answered by them.

Two threads: one speaks with dnsdist and is quick; the other finds new regions, which takes a second or two.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from immutables import Map

from pdns_gtm_backend.dns.edge_control import DnsdistControl, EdgeError
from pdns_gtm_backend.dns.edge_file import Packed, packed, packed_regions
from pdns_gtm_backend.dns.purge import EVERYTHING, REDISCOVER
from pdns_gtm_backend.domain.edge import (
    NO_REGIONS,
    Places,
    TermKey,
    finer_terms,
    is_regional,
    plan_regions,
    terms_of,
)
from pdns_gtm_backend.fairness import answers_first
from pdns_gtm_backend.operations.edge_conf import REGIONS
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Prepared, Serving, touched
from pdns_gtm_backend.store.snapshot import Change

log = logging.getLogger(__name__)

MAX_NAMES: Final = 5
"""More names than this are purged as everything at once: for each name dnsdist looks at each answer that it keeps."""
RETRY_SECONDS: Final = 0.5
WILDCARD: Final = "*"
NOTHING_PACKED: Final = packed_regions(NO_REGIONS)
LOAD: Final = ":load"
"""Stands for nothing in a purge: new regions come with caches of their own."""

PLANNED_BY: Final = frozenset({kinds.INSTANCES, kinds.POOLS, kinds.LINES})
"""Kinds that a plan goes by: no state changes it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the edge must know of an instance. names: those that may be answered by region. terms: of all its lines."""

    names: tuple[str, ...]
    terms: frozenset[TermKey]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the edge must know of every instance, by id; kept in proportion to changes."""

    instances: Map[str, Planned] = field(default_factory=Map)

    def changed(self, before: Prepared, serving: Serving, changes: Iterable[Change] | None) -> Plan:
        """The plan of `serving`, this very one where nothing has changed. before: what this one is of.

        changes: that lead from there to `serving`; None = anything.
        """
        held, instances = self.instances, None
        if changes is not None:
            planned_by = [change for change in changes if change.kind in PLANNED_BY]
            instances = touched(before.snapshot, serving.snapshot, planned_by)[1]
        for name in {*serving.instances, *held} if instances is None else instances:
            served = serving.instances.get(name)
            if served is None:
                held = held.delete(name) if name in held else held
                continue
            names = served.instance.owned_names() if is_regional(served) else ()
            terms = terms_of(served, serving.snapshot.lines)
            # Of an instance that is not answered by region it only matters whom a line tells apart within a unit.
            terms = terms if names else finer_terms(terms)
            planned = Planned(tuple(name for name in names if not name.startswith(WILDCARD)), terms)
            if held.get(name) != planned:
                held = held.set(name, planned)
        return self if held is self.instances else Plan(held)

    def terms(self) -> frozenset[TermKey]:
        """Of all lines in use."""
        return frozenset().union(*{planned.terms for planned in self.instances.values()})

    def regional_names(self, terms: frozenset[TermKey]) -> list[str]:
        """The names whose lines regions made for `terms` do not mix."""
        known = {own: own <= terms for own in {planned.terms for planned in self.instances.values()}}
        return [name for planned in self.instances.values() if known[planned.terms] for name in planned.names]


class Edge:
    """The dnsdist on this machine, and the two threads that keep it up to date.

    working: did the last call work? failure: why it did not. folder: where dnsdist reads its regions.
    """

    def __init__(self, control: DnsdistControl, folder: Path, places: Callable[[], Places]) -> None:
        self.working = False
        self.failure = "not tried yet"
        self._control, self._folder, self._find_places = control, folder, places
        self._plan = Plan()
        self._terms: frozenset[TermKey] | None = None
        self._packed = NOTHING_PACKED
        self._written: tuple[Plan, Packed] | None = None
        self._due: set[str] = set()
        self._wake = threading.Condition()
        self._replan = threading.Event()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name="edge", daemon=True),
            threading.Thread(target=self._run_plans, name="edge-plan", daemon=True),
        ]

    def start(self) -> None:
        """Purge everything, then what is asked for."""
        self.purge([EVERYTHING])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._replan.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=3)

    def changed(self, before: Prepared, serving: Serving, changes: Iterable[Change] | None) -> None:
        """Take note of a new state. changes: that led to it from `before`; None = anything."""
        held = self._plan
        try:
            self._plan = held.changed(before, serving, changes)
        except Exception:
            log.exception("nothing is answered by region", extra={"event": "edge.plan_failed"})
            self._plan = Plan()
        if self._plan is not held and (self._terms is None or not self._plan.terms() <= self._terms):
            self._replan.set()

    def moved(self) -> None:
        """Take note that the geo databases have changed, which may change any answer."""
        with self._wake:
            self._terms, self._packed = None, NOTHING_PACKED
        self.purge([EVERYTHING])
        self._replan.set()

    def purge(self, names: Iterable[str]) -> None:
        """Have dnsdist forget `names`, as PowerDnsControl.purge takes them."""
        with self._wake:
            self._due.update(name for name in names if name != REDISCOVER)
            self._wake.notify()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._load()
                self._carry_out(batch)
            except (EdgeError, OSError) as error:
                self._failed(str(error))
            except Exception:
                log.exception("dnsdist could not be told of a change", extra={"event": "edge.failed"})
                self._failed("an error that the log shows")
            else:
                self._worked()

    def _next(self) -> set[str] | None:
        with self._wake:
            while not self._stopping and not self._due:
                self._wake.wait()
            if self._stopping:
                return None
            batch, self._due = self._due, set()
            return batch

    def _load(self) -> None:
        """Write the regions and names where they have changed, and have dnsdist read them."""
        with self._wake:
            plan, terms, parts = self._plan, self._terms, self._packed
        if self._written is not None and self._written[0] is plan and self._written[1] is parts:
            return
        names = [] if terms is None else plan.regional_names(terms)
        path = self._folder / REGIONS
        temporary = path.with_name(f".{REGIONS}.new")
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(packed(parts, names))
        temporary.replace(path)
        self._control.send("load")
        self._written = plan, parts

    def _carry_out(self, batch: set[str]) -> None:
        if EVERYTHING in batch or not self.working or len(batch) > MAX_NAMES:
            self._control.send("all")
            return
        for name in batch - {LOAD}:
            if name.endswith("$"):
                self._control.send("tree", name[:-1])
            else:
                self._control.send("name", name)

    def _worked(self) -> None:
        if not self.working:
            log.info("dnsdist is purged on change")
        self.working, self.failure = True, ""

    def _failed(self, reason: str) -> None:
        if self.working or self.failure != reason:
            log.log(
                logging.WARNING if self.working else logging.INFO,
                "dnsdist cannot be told of changes, it keeps answers for their TTL: %s",
                reason,
                extra={"event": "edge.failed"},
            )
        self.working, self.failure, self._written = False, reason, None
        time.sleep(RETRY_SECONDS)
        self.purge([EVERYTHING])

    def _run_plans(self) -> None:
        while True:
            self._replan.wait()
            self._replan.clear()
            if self._stopping:
                return
            try:
                with answers_first():
                    self._find_regions()
            except Exception:
                log.exception("regions could not be found", extra={"event": "edge.plan_failed"})

    def _find_regions(self) -> None:
        # Places and regions are tens of megabytes, and seldom needed: only what is written down is kept.
        regions = plan_regions(self._plan.terms(), self._find_places())
        parts = packed_regions(regions)
        with self._wake:
            self._terms, self._packed = regions.terms, parts
        self.purge([LOAD])
