"""Open transactions: what PowerDNS has begun to write and has not committed yet.

Its transaction id is a second of the clock (startTransaction of the remote backend), so two of the same second
differ by their connection only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pdns_gtm_backend.dns.answers import View
from pdns_gtm_backend.dns.request import BadRequest
from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.zone import RRset

IDLE_SECONDS: Final = 120.0
"""A transaction that nothing was said to for so long is dropped: whoever began it has gone."""
MAX_OPEN: Final = 64
MAX_SETS: Final = 1_000_000
"""Sets of records in all open transactions."""

Named = tuple[str, str]
"""Name and type of a set of records."""


@dataclass(slots=True)
class Transaction:
    """Changes of one zone. replaces: is all else in the zone deleted at the commit?

    failed: why it cannot be committed any more, "" while it can.
    """

    zone: str
    connection: str
    replaces: bool
    used: float
    sets: dict[Named, RRset | None] = field(default_factory=dict)
    failed: str = ""
    _touched: set[str] = field(default_factory=set)
    _base: View | None = None
    _seen: View | None = None

    def held(self, zone: ServedZone, name: str, rrtype: str) -> RRset | None:
        """The records of a name and type as this transaction leaves them."""
        if (name, rrtype) in self.sets:
            return self.sets[name, rrtype]
        if self.replaces:
            return None
        return next((rrset for rrset in zone.static.get(name, ()) if rrset.type == rrtype), None)

    def put(self, name: str, rrtype: str, rrset: RRset | None) -> None:
        """Write or delete (None) the records of a name and type."""
        self.sets[name, rrtype] = rrset
        self._touched.add(name)

    def over(self, view: View) -> View:
        """`view` with the changes of this transaction in it. Costs in proportion to what is new since the last call."""
        zone = view.zones.by_name.get(self.zone)
        if zone is None:
            return view
        if self._base is not view or self._seen is None:
            self._base, self._touched = view, {name for name, _ in self.sets}
            if self.replaces:
                self._touched.update(zone.static)
            self._seen = view
        if self._touched:
            held = self._seen.zones.by_name[self.zone]
            by_type = self._by_type(self._touched)
            for name in self._touched:
                kept = () if self.replaces else zone.static.get(name, ())
                others = [rrset for rrset in kept if (name, rrset.type) not in self.sets]
                held = held.with_static(name, (*others, *by_type.get(name, ())))
            self._touched = set()
            zones = replace(self._seen.zones, by_name=self._seen.zones.by_name.set(self.zone, held))
            self._seen = replace(self._seen, zones=zones)
        return self._seen

    def _by_type(self, names: set[str]) -> Mapping[str, list[RRset]]:
        found: dict[str, list[RRset]] = {}
        for (name, _), rrset in self.sets.items():
            if rrset is not None and name in names:
                found.setdefault(name, []).append(rrset)
        return found


class Transactions:
    """The transactions of one backend, by connection and PowerDNS's id. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[tuple[str, int], Transaction] = {}
        self._of_connection: dict[str, Transaction] = {}
        self._lock = threading.Lock()

    def start(self, connection: str, number: int, zone: str, *, replaces: bool) -> None:
        """Begin. One that the same connection left open is dropped: PowerDNS has one at a time.

        Raises BadRequest where too many are open, or where two could not be told apart.
        """
        now = self._clock()
        with self._lock:
            self._drop(self._idle(now))
            if connection:
                self._drop(lambda held: held.connection == connection)
            if (connection, number) in self._open:
                raise BadRequest(f"transaction {number} is open already: try again in a second")
            if len(self._open) >= MAX_OPEN:
                raise BadRequest(f"{MAX_OPEN} transactions are open already")
            started = self._open[connection, number] = Transaction(zone, connection, replaces, now)
            if connection:
                self._of_connection[connection] = started

    def get(self, connection: str, number: int) -> Transaction:
        """An open transaction. Raises BadRequest where there is none, also after the time-out."""
        now = self._clock()
        with self._lock:
            found = self._open.get((connection, number))
            if found is None or now - found.used > IDLE_SECONDS:
                self._take((connection, number))
                raise BadRequest(
                    f"there is no open transaction {number} on this connection: "
                    f"it ends after {IDLE_SECONDS:.0f} s of silence"
                )
            if sum(len(held.sets) for held in self._open.values()) > MAX_SETS:
                self._take((connection, number))
                raise BadRequest(f"open transactions hold more than {MAX_SETS} sets of records")
            found.used = now
            return found

    def fail(self, connection: str, number: object, error: Exception) -> None:
        """Note that something in a transaction was refused: it cannot be committed. Nothing where none is open."""
        with self._lock:
            found = self._open.get((connection, number)) if isinstance(number, int) else None
            if found is not None and not found.failed:
                found.failed = str(error)

    def end(self, connection: str, number: int) -> Transaction | None:
        """Take a transaction out, None where there is none."""
        with self._lock:
            return self._take((connection, number))

    def seen(self, view: View, connection: str) -> View:
        """What a connection sees: its own transaction reads what it wrote."""
        mine = self._of_connection.get(connection)
        return view if mine is None else mine.over(view)

    def leave(self, connection: str) -> None:
        """Forget what a connection that has ended left open."""
        with self._lock:
            self._drop(lambda held: held.connection == connection)

    def __len__(self) -> int:
        """How many are open."""
        with self._lock:
            self._drop(self._idle(self._clock()))
            return len(self._open)

    def _idle(self, now: float) -> Callable[[Transaction], bool]:
        return lambda held: now - held.used > IDLE_SECONDS

    def _drop(self, gone: Callable[[Transaction], bool]) -> None:
        for key, held in tuple(self._open.items()):
            if gone(held):
                self._take(key)

    def _take(self, key: tuple[str, int]) -> Transaction | None:
        self._of_connection.pop(key[0], None)
        return self._open.pop(key, None)
