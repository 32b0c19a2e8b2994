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

from pdns_gtm_backend.store import disk, keys
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.repository import (
    NewerSchema,
    Repository,
    parse,
    parse_change,
    unavailable_reason,
)
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, empty
from pdns_gtm_backend.store.vantages import stream_entries

log = logging.getLogger(__name__)

BLOCK_MILLISECONDS: Final = 300
RETRY_SECONDS: Final = 0.2
SAVE_SECONDS: Final = 5.0
BATCH: Final = 500

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


class _Gap(Exception):
    """The feed does not continue where the snapshot ends."""


class Follower:
    """Holds the serving state of this process.

    listeners are called after the new state is visible. path: where the snapshot is kept on disk; None = nowhere.
    """

    def __init__(self, client: Client, path: Path | None = None, listeners: Sequence[Listener] = ()) -> None:
        self.repository = Repository(client)
        self.listeners = list(listeners)
        self._path = path
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._saved_revision = -1
        self._save_after = 0.0
        self.status = Status("starting", "", time.time())
        self.serving = self._from_disk()

    def _from_disk(self) -> Serving:
        if self._path is None:
            return prepare(empty())
        try:
            snapshot = disk.load(self._path)
        except (disk.BrokenSnapshot, OSError) as error:
            log.error("snapshot on disk refused: %s", error, extra={"event": "snapshot.refused"})
            return prepare(empty())
        if snapshot is None:
            return prepare(empty())
        self._saved_revision = snapshot.revision
        return prepare(snapshot)

    @property
    def loaded(self) -> bool:
        """Is there a snapshot of a store at all?"""
        return bool(self.serving.snapshot.position.store_id)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following and save the snapshot."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3)
        self._save(force=True)

    def wait_for(self, revision: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the snapshot holds `revision`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.serving.snapshot.revision >= revision, timeout)

    def wait_until_following(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the store is followed."""
        with self._changed:
            return self._changed.wait_for(lambda: self.status.state == "following", timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._resume():
                    self._follow()
            except NewerSchema as error:
                self._say("newer", str(error))
            except RedisError as error:
                self._say("disconnected", unavailable_reason(error))
            except Exception as error:
                log.exception("following the store failed", extra={"event": "store.failed"})
                self._say("disconnected", repr(error))
            self._save()
            self._stopping.wait(RETRY_SECONDS)

    def _resume(self) -> bool:
        """Make sure that the feed can be followed from the snapshot; False where the store is not ours."""
        repository = self.repository
        held = self.serving.snapshot.position
        store_id = repository.client.get(keys.STORE_ID)
        if store_id is None and not held.store_id:
            store_id = repository.identify()
        if held.store_id and store_id != held.store_id:
            found = f"store {store_id!s}" if store_id else "no store"
            self._say("foreign", f"Redis holds {found}, the snapshot is of store {held.store_id}: it is held")
            return False
        if not held.store_id or repository.replication_id() != held.replication_id or self._revision() < held.revision:
            self._reload()
        self._say("following", "")
        return True

    def _reload(self) -> None:
        loaded = self.repository.load()
        snapshot = parse(loaded)
        for (kind, identifier), reason in snapshot.problems.items():
            log.error("%s %s in the store is broken: %s", kind, identifier, reason, extra={"event": "store.broken"})
        self._publish(prepare(snapshot), None)
        self.status = replace(self.status, reloads=self.status.reloads + 1)

    def _revision(self) -> int:
        return int(str(self.repository.client.get(keys.REVISION) or 0))

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                found = self._read(BLOCK_MILLISECONDS) or self._missed()
                if found:
                    self._apply(found)
            except _Gap:
                self._reload()
            self._save()

    def _read(self, block: int | None) -> Sequence[tuple[str, dict[str, str]]]:
        position = f"{self.serving.snapshot.revision}-0"
        reply: Any = self.repository.client.xread({keys.CHANGES: position}, count=BATCH, block=block)
        return stream_entries(reply)

    def _missed(self) -> Sequence[tuple[str, dict[str, str]]]:
        """Nothing came for a while: has the store lost its identity, or a revision that its feed no longer holds?"""
        store_id, revision = self.repository.client.mget(keys.STORE_ID, keys.REVISION)
        if store_id != self.serving.snapshot.position.store_id:
            raise RedisError("the store has lost its id")
        if int(revision or 0) == self.serving.snapshot.revision:
            return ()
        found = self._read(None)
        if not found:
            raise _Gap
        return found

    def _apply(self, found: Sequence[tuple[str, dict[str, str]]]) -> None:
        serving = self.serving
        snapshot, changes = serving.snapshot, list[Change]()
        for identifier, fields in found:
            revision = int(identifier.partition("-")[0])
            if fields.get("previous") != str(snapshot.revision):
                raise _Gap
            try:
                listed, problems = parse_change(fields["change"])
            except (ValueError, KeyError, TypeError):
                raise _Gap from None
            position = replace(snapshot.position, revision=revision)
            snapshot = snapshot.changed(listed, position, configuration=fields.get("configuration") == "1")
            snapshot = snapshot.with_problems(problems)
            for (kind, name), reason in problems.items():
                log.error("%s %s in the feed is broken: %s", kind, name, reason, extra={"event": "store.broken"})
            changes += listed
        self._publish(serving.changed(snapshot, changes), changes)

    def _publish(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        with self._changed:
            self.serving = serving
            self._changed.notify_all()
        for listener in self.listeners:
            listener(serving, changes)

    def _say(self, state: State, detail: str) -> None:
        if (state, detail) == (self.status.state, self.status.detail):
            return
        level = logging.INFO if state == "following" else logging.WARNING
        log.log(level, "store: %s %s", state, detail, extra={"event": f"store.{state}"})
        with self._changed:
            self.status = replace(self.status, state=state, detail=detail, since=time.time())
            self._changed.notify_all()

    def _save(self, *, force: bool = False) -> None:
        """Save the snapshot where it has changed; not more often than its own cost allows."""
        snapshot = self.serving.snapshot
        if self._path is None or not snapshot.position.store_id or snapshot.revision == self._saved_revision:
            return
        began = time.monotonic()
        if began < self._save_after and not force:
            return
        try:
            disk.save(snapshot, self._path)
        except OSError as error:
            log.error("the snapshot cannot be saved: %s", error, extra={"event": "snapshot.unsaved"})
        else:
            self._saved_revision = snapshot.revision
        took = time.monotonic() - began
        self._save_after = began + max(SAVE_SECONDS, 20 * took)
