"""Purging of PowerDNS's caches, so that what it may keep for everybody never outlives a change.

Spoken to over its control socket: https://doc.powerdns.com/authoritative/dnssec/pdns_control.html lists the commands.
An answer that was fetched before a change can enter the cache after the purge: so each purge is repeated.
"""

from __future__ import annotations

import heapq
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

CONTROL_TIMEOUT: Final = 1.0
REPEAT_SECONDS: Final = (0.2, 2.2)
"""When a purge is done again: after the queries that were under way, and after the connector's time-out of 2 s."""
TOGETHER_SECONDS: Final = 0.25
"""What is to be purged again within this time is purged together: changes may come by the hundred."""
MAX_NAMES: Final = 200
"""More names than this are purged as everything at once."""
RETRY_SECONDS: Final = 0.5
EVERYTHING: Final = ""
"""Stands for every name in a purge."""
REDISCOVER: Final = "rediscover"


class ControlError(Exception):
    """PowerDNS could not be told, or did not understand."""


class PowerDnsControl:
    """The control socket of one PowerDNS."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, command: str) -> str:
        """One command and its answer. Raises ControlError."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(CONTROL_TIMEOUT)
                connection.connect(str(self._path))
                connection.sendall(command.encode() + b"\n")
                parts = []
                while part := connection.recv(4096):
                    parts.append(part)
        except OSError as error:
            raise ControlError(f"control socket {self._path}: {error.strerror or error}") from None
        return b"".join(parts).decode(errors="replace").strip()

    def purge(self, *names: str) -> None:
        """Drop what is cached for names, `name$` for one and all below, none for everything. Raises ControlError."""
        answer = self.send(" ".join(("purge", *names)))
        if not answer.split()[:1] or not answer.split()[0].isdecimal():
            raise ControlError(f"purge {' '.join(names)[:100]}: {answer[:100]!r}")

    def rediscover(self) -> None:
        """Read the list of zones anew. Raises ControlError."""
        answer = self.send(REDISCOVER)
        if not answer.lower().startswith("ok"):
            raise ControlError(f"rediscover: {answer[:100]!r}")


class Purger:
    """A thread that purges what has changed at once, and again when late answers have come in.

    then: called with the names of each purge when it is done or has failed, for caches that are filled from PowerDNS's;
    also with names of which PowerDNS itself keeps nothing.

    working: did the last call work? Only then may an answer be kept by PowerDNS. It begins as False: before the first
    purge of everything nothing is known of what PowerDNS holds.
    """

    def __init__(self, control: PowerDnsControl, then: Callable[[Iterable[str]], None] | None = None) -> None:
        self.working = False
        self.failure = "not tried yet"
        self._control = control
        self._then = then
        self._wake = threading.Condition()
        self._due: list[tuple[float, str, bool]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="purge", daemon=True)

    def start(self) -> None:
        """Purge everything, then what is asked for."""
        self.purge([EVERYTHING])
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still to be repeated is not."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout=3)

    def purge(self, names: Iterable[str], unkept: Iterable[str] = (), *, zones: bool = False) -> None:
        """Purge `names` (as `PowerDnsControl.purge` takes them) now and again. zones: read the list of zones first.

        unkept: names whose answers PowerDNS keeps for nobody, as they are scoped; they are only passed on.
        """
        listed = _few(dict.fromkeys(unkept, False), kept=False) if self._then is not None else {}
        listed |= _few(dict.fromkeys(names, True), kept=True)
        if zones:
            listed[REDISCOVER] = True
        if not listed:
            return
        now = time.monotonic()
        again = [TOGETHER_SECONDS * math.ceil((now + delay) / TOGETHER_SECONDS) for delay in REPEAT_SECONDS]
        with self._wake:
            for due in (now, *again):
                for name, kept in listed.items():
                    heapq.heappush(self._due, (due, name, kept))
            self._wake.notify()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            names = tuple(batch)
            try:
                self._carry_out({name for name, kept in batch.items() if kept})
            except ControlError as error:
                # What else was due is forgotten: everything is due again.
                names = (EVERYTHING,)
                self._failed(str(error))
            else:
                self._worked()
            if self._then is not None:
                self._then(names)

    def _next(self) -> dict[str, bool] | None:
        """Wait for what is due, by name: may PowerDNS keep it? None = stop."""
        with self._wake:
            while not self._stopping:
                now = time.monotonic()
                batch: dict[str, bool] = {}
                while self._due and self._due[0][0] <= now:
                    _, name, kept = heapq.heappop(self._due)
                    batch[name] = kept or batch.get(name, False)
                if batch:
                    return batch
                self._wake.wait(self._due[0][0] - now if self._due else None)
        return None

    def _carry_out(self, batch: set[str]) -> None:
        if REDISCOVER in batch:
            self._control.rediscover()
            batch.discard(REDISCOVER)
        if EVERYTHING in batch or not self.working or len(batch) > MAX_NAMES:
            self._control.purge()
        elif batch:
            self._control.purge(*batch)

    def _worked(self) -> None:
        if not self.working:
            log.info("PowerDNS is purged on change: answers that are the same for all may be cached")
            self.purge([EVERYTHING])
        self.working, self.failure = True, ""

    def _failed(self, reason: str) -> None:
        if self.working or self.failure != reason:
            level = logging.WARNING if self.working else logging.INFO
            log.log(
                level, "PowerDNS cannot be purged, every answer is scoped: %s", reason, extra={"event": "purge.failed"}
            )
        self.working, self.failure = False, reason
        again = time.monotonic() + RETRY_SECONDS
        with self._wake:
            self._due = [(again, EVERYTHING, True), (again, REDISCOVER, True)]


def _few(names: dict[str, bool], *, kept: bool) -> dict[str, bool]:
    """These names, or everything in place of very many. kept: may PowerDNS keep them?"""
    return names if len(names) <= MAX_NAMES else {EVERYTHING: kept}
