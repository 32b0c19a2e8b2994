"""A thread that keeps this process's snapshot equal to the store: it reads the change feed and patches.

The snapshot is never taken away: while Redis is gone, or is another store, the last one stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from redis.exceptions import RedisError

from pdns_gtm_backend.fairness import answers_first
from pdns_gtm_backend.long_lived import long_lived, set_aside
from pdns_gtm_backend.store import disk, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.feed import Entries, Gap, as_written, entry_order, is_bulk, name_broken, patched
from pdns_gtm_backend.store.journal import Entry
from pdns_gtm_backend.store.on_demand import prepare_on_demand
from pdns_gtm_backend.store.renewal import empty_out, let_go, parts_of, renewed
from pdns_gtm_backend.store.repository import (
    Loaded,
    NewerSchema,
    Repository,
    parse,
    unavailable_reason,
)
from pdns_gtm_backend.store.serving import Prepared, Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, empty
from pdns_gtm_backend.store.stored import Stored
from pdns_gtm_backend.store.vantages import stream_entries

log = logging.getLogger(__name__)

BLOCK_MILLISECONDS: Final = 300
RETRY_SECONDS: Final = 0.2
VERIFY_SECONDS: Final = 1.0
"""How often the store is asked whether it still is the one that is followed, however much its feed brings."""
GAP_SECONDS: Final = 1.0
GAP_SHARE: Final = 5
"""After a whole reload the next gap waits so long, or so many times what the reload took: broken entries in the feed
must not keep a processor busy."""
BATCH: Final = 500
SET_ASIDE: Final = 1000
"""After so many written documents of configuration, which came one by one, they are set aside as a whole load is."""

State = Literal["starting", "following", "disconnected", "foreign", "newer"]


@dataclass(frozen=True, slots=True)
class Status:
    """How the follower stands. `foreign`: Redis holds no store or another one than the snapshot's; it is held."""

    state: State
    detail: str
    since: float
    reloads: int = 0


Listener = Callable[[Serving, Sequence[Change] | None], None]
"""Called in the follower's thread with the new serving state and the changes that led to it, None = a whole reload."""


class _Elsewhere(Exception):
    """What Redis holds is not the history that the snapshot belongs to."""


class Follower:
    """Holds the serving state of this process.

    listeners are called after the new state is visible, each change once and in order. path: where the snapshot is kept
    on disk; None = nowhere. write_replicas: of its repository.

    on_demand: where it is given, what is on disk is not loaded at once, but by the thread; until then `early` is what
    answers can be made from. Called, in the thread, with a newer one: that of what was written since it was saved.
    The first that listeners hear is then the whole.
    """

    def __init__(
        self,
        client: Client,
        path: Path | None = None,
        listeners: Sequence[Listener] = (),
        *,
        write_replicas: int = 0,
        on_demand: Callable[[Prepared], None] | None = None,
    ) -> None:
        self.repository = Repository(client, write_replicas)
        self.listeners = list(listeners)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._cursor = ""
        self._since_set_aside = 0
        self._verify_at = self._gap_allowed_at = 0.0
        self.status = Status("starting", "", time.time())
        self.early: Prepared | None = None
        self._stored: Stored | None = None
        self._current = self._behind = self._unsaved = False
        self._on_demand = on_demand
        with long_lived():
            stored = None if path is None else _from_disk(path)
            if stored is not None and on_demand is not None:
                self._stored, self.early = stored, prepare_on_demand(stored)
                self.status = replace(self.status, detail="what is on disk is being loaded")
                stored = None
            self.serving = self._told = prepare(empty() if stored is None else stored.snapshot())
        self._saver = None if path is None else disk.Saver(path)

    @property
    def loaded(self) -> bool:
        """Is there a whole snapshot of a store?"""
        return bool(self.serving.snapshot.position.store_id)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()
        if self._saver is not None:
            self._saver.start()

    def stop(self) -> None:
        """Stop following and save the snapshot."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
        if self._saver is not None:
            self._saver.stop()

    def wait_for(self, revision: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the snapshot holds `revision` and every listener was told.

        Not for listeners: they would wait for themselves.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._told.snapshot.revision >= revision, timeout)

    def wait_until_following(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the store is followed."""
        with self._changed:
            return self._changed.wait_for(lambda: self.status.state == "following", timeout)

    def wait_until_known(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until the store is followed, or is known not to be while a snapshot is held."""
        with self._changed:
            self._changed.wait_for(lambda: self._known(whole=True), timeout)

    def wait_until_answering(self, timeout: float) -> bool:
        """The same, where `early` is enough to answer from: known to be the store's present, or all that can be had.

        False = much was missed: only the whole is soon the store's present.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._behind or self._known(whole=False), timeout)
            return not self._behind

    def wait_until_whole(self, timeout: float) -> None:
        """Wait up to `timeout` seconds while there is only `early`, and the thread is at work on the whole."""
        if self.early is not None and self._thread.is_alive():
            with self._changed:
                self._changed.wait_for(lambda: self.early is None or self._stopping.is_set(), timeout)

    def _known(self, *, whole: bool) -> bool:
        if self.status.state == "following" or (self._current and not whole):
            return True
        held = self.loaded or (self.early is not None and not whole)
        return held and self.status.state != "starting"

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._attempt(self._resume_and_follow)
            if self._stored is not None:
                self._attempt(self._load_stored)
            self._stopping.wait(RETRY_SECONDS)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except _Elsewhere as error:
            log.warning("store: %s", error, extra={"event": "store.elsewhere"})
        except NewerSchema as error:
            self._say("newer", str(error))
        except RedisError as error:
            self._say("disconnected", unavailable_reason(error))
        except Exception as error:
            if self._say("disconnected", repr(error)):
                log.exception("following the store failed", extra={"event": "store.failed"})

    def _resume_and_follow(self) -> None:
        if self._resume():
            self._follow()

    @property
    def _held(self) -> Stored | Snapshot:
        """What a change of the store is a change to."""
        return self.serving.snapshot if self._stored is None else self._stored

    def _resume(self) -> bool:
        """Make sure that the feed can be followed from the snapshot; False where the store is not ours."""
        held, found = self._held.position, self.repository.position()
        if not found.store_id and not held.store_id:
            found = replace(found, store_id=self.repository.identify())
        if held.store_id and found.store_id != held.store_id and not self._accepted(found.store_id):
            other = f"store {found.store_id}" if found.store_id else "no store"
            self._say("foreign", f"Redis holds {other}, the snapshot is of store {held.store_id}: it is held")
            return False
        if reason := _departure(held, found):
            self._reload(reason)
        else:
            self._cursor = f"{held.revision}-0"
            if self._stored is not None:
                self._answer_early(self._stored, found.revision)
                self._load_stored()
                return self._stored is None and self._resume()
            self._catch_up(found.revision)
        self._say("following", "")
        return True

    def _answer_early(self, stored: Stored, revision: int) -> None:
        """Make `early` the state of `revision`, unless much was missed: then the whole is loaded first, and patched."""
        try:
            missed = self._missed(stored, revision)
        except Gap as gap:
            log.info("store: everything is loaded first: %s", gap, extra={"event": "store.missed"})
            self._note(behind=True)
            return
        if missed:
            self._stored, self._unsaved = stored.after(missed), True
            self.early = prepare_on_demand(self._stored)
            if self._on_demand is not None:
                self._on_demand(self.early)
        self._note(behind=False)

    def _note(self, *, behind: bool) -> None:
        with self._changed:
            self._behind, self._current = behind, not behind
            self._changed.notify_all()

    def _missed(self, stored: Stored, revision: int) -> list[Entry]:
        """What was written up to `revision`. Raises Gap where that is much, or cannot be read from the feed."""
        found = self._read(None) if stored.position.revision < revision else ()
        at, configuration_revision, entries = stored.position, stored.configuration_revision, list[Entry]()
        if is_bulk(found):
            raise Gap("much was written since")
        for identifier, fields in found:
            entry = as_written(at, configuration_revision, identifier, fields)
            at, configuration_revision = entry.position, entry.configuration_revision
            entries.append(entry)
        if at.revision < revision:
            raise Gap(f"the feed leads to revision {at.revision}, the store is at {revision}")
        return entries

    def _load_stored(self) -> None:
        """Hold all of what is on disk, instead of what is asked for."""
        stored = self._stored
        if stored is None or self._stopping.is_set():
            return
        with long_lived():
            serving = prepare(stored.snapshot())
            self.serving = serving
            if self._saver is not None and self._unsaved:
                self._saver.offer(serving.snapshot, None)
            self._tell(serving, None)

    def _catch_up(self, revision: int) -> None:
        """Apply what was written up to `revision`: a snapshot from disk must not be taken for the present."""
        try:
            while self.serving.snapshot.revision < revision and not self._stopping.is_set():
                missed = self._read(None)
                if not missed:
                    raise Gap(f"the feed has nothing after {self._cursor}, the store is at {revision}")
                self._apply(missed)
        except Gap as gap:
            self._mend(gap)

    def _mend(self, gap: Gap) -> None:
        """Load everything, as the feed does not hold what is missing."""
        self._stopping.wait(max(0.0, self._gap_allowed_at - time.monotonic()))
        self._reload(str(gap))

    def _accepted(self, found: str) -> bool:
        """Has an operator said that the store `found` takes the place of the one that is followed?"""
        held = self._held.position.store_id
        if not found or not self.repository.succeeds(held):
            return False
        log.warning("store %s takes the place of %s", found, held, extra={"event": "store.adopted"})
        return True

    def _reload(self, reason: str) -> None:
        began = time.thread_time()
        with long_lived() as rest:
            held, loaded = self._held, self.repository.load(rest if self.loaded else None)
            known = ("", loaded.position.store_id)
            if not loaded.position.store_id or not (
                held.position.store_id in known or self.repository.succeeds(held.position.store_id)
            ):
                raise _Elsewhere("another store took its place while it was loaded")
            serving, changes = self._renewed(loaded, rest) or (prepare(parse(loaded, held)), None)
            revision = serving.snapshot.revision
            log.info("store: loaded revision %d: %s", revision, reason, extra={"event": "store.loaded"})
            name_broken(serving.snapshot.problems)
            self._cursor = max(f"{revision}-0", loaded.newest, key=entry_order)
            parts = parts_of(self.serving) if changes is None else []
            del held
            self.status = replace(self.status, reloads=self.status.reloads + 1)
            self._publish(serving, changes, told=None)
            let_go(parts, rest)
            for texts in (loaded.versions, *loaded.documents.values()):
                empty_out(texts, rest)
        worked = time.thread_time() - began
        self._gap_allowed_at = time.monotonic() + max(GAP_SECONDS, GAP_SHARE * worked)

    def _renewed(self, loaded: Loaded, rest: Callable[[], None]) -> tuple[Serving, Sequence[Change]] | None:
        """What was loaded as a state that shares what has not changed, and what has; None where that does not pay."""
        if not self.loaded or self.serving.snapshot.position.store_id != loaded.position.store_id:
            return None
        renewal = renewed(self.serving.snapshot, loaded, rest)
        return renewal and (self.serving.changed(*renewal), renewal[1])

    def _follow(self) -> None:
        while not self._stopping.is_set():
            found = self._read(BLOCK_MILLISECONDS)
            try:
                if not found or time.monotonic() >= self._verify_at:
                    found = self._verified(found)
                if found:
                    self._apply(found)
            except Gap as gap:
                self._mend(gap)

    def _read(self, block: int | None) -> Entries:
        reply: Any = self.repository.client.xread({keys.CHANGES: self._cursor}, count=BATCH, block=block)
        return stream_entries(reply)

    def _verified(self, found: Entries) -> Entries:
        """`found`, or what came since, if the store is still what is followed and its feed holds what is missing."""
        held, at = self.serving.snapshot.position, self.repository.position()
        if reason := _departure(held, at):
            raise _Elsewhere(reason)
        self._verify_at = time.monotonic() + VERIFY_SECONDS
        if found or at.revision == held.revision:
            return found
        found = self._read(None)
        if not found:
            raise Gap(f"the feed has nothing after revision {held.revision}, the store is at {at.revision}")
        return found

    def _apply(self, found: Entries) -> None:
        snapshot, changes = self.serving.snapshot, list[Change]()
        with long_lived() if is_bulk(found) else answers_first():
            for identifier, fields in found:
                snapshot, listed = patched(snapshot, identifier, fields)
                changes += listed
            serving = self.serving.changed(snapshot, changes)
            self._cursor = found[-1][0]
            self._publish(serving, changes, told=changes)
        self._since_set_aside += sum(kinds.KINDS[change.kind].configuration for change in changes)
        if self._since_set_aside > SET_ASIDE:
            set_aside()
            self._since_set_aside = 0

    def _publish(self, serving: Serving, changes: Sequence[Change] | None, told: Sequence[Change] | None) -> None:
        """Make a state visible. changes: that led to it, None = very many; told: what listeners hear of them."""
        self.serving = serving
        if self._saver is not None:
            self._saver.offer(serving.snapshot, changes)
        self._tell(serving, told)

    def _tell(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        for listener in self.listeners:
            try:
                listener(serving, changes)
            except Exception:
                log.exception("a listener of the store failed", extra={"event": "store.listener-failed"})
        with self._changed:
            self._told, self._stored, self.early = serving, None, None
            self._changed.notify_all()

    def _say(self, state: State, detail: str) -> bool:
        """Note how the follower stands; was that news?"""
        if (state, detail) == (self.status.state, self.status.detail):
            return False
        level = logging.INFO if state == "following" else logging.WARNING
        log.log(level, "store: %s %s", state, detail, extra={"event": f"store.{state}"})
        with self._changed:
            self.status = replace(self.status, state=state, detail=detail, since=time.time())
            self._changed.notify_all()
        return True


def _from_disk(path: Path) -> Stored | None:
    try:
        return disk.read(path)
    except (disk.BrokenSnapshot, OSError) as error:
        log.error("snapshot on disk refused: %s", error, extra={"event": "snapshot.refused"})
        return None


def _departure(held: Position, found: Position) -> str | None:
    """Why what a store has now does not continue a snapshot's history; None where it does."""
    if found.store_id != held.store_id:
        return "nothing was loaded yet" if not held.store_id else f"Redis holds store {found.store_id or 'without id'}"
    if found.replication_id != held.replication_id:
        return "the master began another history (restart or failover)"
    if found.revision < held.revision:
        return f"the store went back from revision {held.revision} to {found.revision}"
    return None
