"""The last snapshot on disk, so that a process started while Redis is away still knows everything.

A file is a header line with the length and the SHA-256 of the rest, a line with the position, then one line for each
document. A truncated or altered file is refused. What changed since it was written is in its `journal`.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from pdns_gtm_backend.store import journal, kinds
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot
from pdns_gtm_backend.store.stored import Documents, Stored

log = logging.getLogger(__name__)

FORMAT: Final = 1
SAVE_SECONDS: Final = 5.0
SHARE: Final = 20
"""Saving takes at most one part in so many of the time."""
BREATH: Final = 64
"""Documents after which other threads get their turn: encoding holds the interpreter's lock."""
STOP_SECONDS: Final = 10.0
JOURNAL_PART: Final = 4
LEAST_ROOM: Final = 1_000_000
"""A journal may have as many octets, or a fourth of its snapshot's, before everything is written again."""


class BrokenSnapshot(ValueError):
    """The file is not a whole snapshot of this format."""


def save(snapshot: Snapshot, path: Path) -> str:
    """Write atomically: the file is the old one or the new one, whatever happens. Its SHA-256. Raises OSError."""
    lines = [_position_line(snapshot), *_lines(snapshot)]
    digest = sha256()
    for line in lines:
        digest.update(line)
    header = {"format": FORMAT, "length": sum(map(len, lines)), "sha256": digest.hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return digest.hexdigest()


def _position_line(snapshot: Snapshot) -> bytes:
    at = snapshot.position
    problems = [(*key, snapshot.version(*key), reason) for key, reason in snapshot.problems.items()]
    held = (at.store_id, at.replication_id, at.revision, snapshot.configuration_revision, problems)
    return json.dumps(held).encode() + b"\n"


def _lines(snapshot: Snapshot) -> Iterator[bytes]:
    """Kind, id and version, a tab, the document; a tab inside them is escaped by JSON."""
    written = 0
    for kind, held in snapshot.documents.items():
        for identifier, value in held.items():
            head = json.dumps([kind, identifier, snapshot.version(kind, identifier)])
            yield f"{head}\t{kinds.encode(kind, value)}\n".encode()
            written += 1
            if written % BREATH == 0:
                time.sleep(0)


def load(path: Path) -> Snapshot | None:
    """The snapshot in the file; None where there is no file. Raises BrokenSnapshot or OSError.

    A document that this software cannot read, though the file is whole, is left out and named in `problems`.
    """
    stored = read(path)
    return None if stored is None else stored.snapshot()


def read(path: Path) -> Stored | None:
    """What is in the file and in its journal, checked and not decoded yet; else as `load`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    lines = content.split(b"\n")
    digest = _check_header(lines[0], memoryview(content)[len(lines[0]) + 1 :])
    try:
        return _parse(json.loads(lines[1]), lines[2:-1]).after(journal.entries(path, digest))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise BrokenSnapshot(f"{path} cannot be read: {error}") from None


def _parse(position: Any, lines: list[bytes]) -> Stored:
    store_id, replication_id, revision, configuration_revision, listed = position
    problems = {(kind, identifier): reason for kind, identifier, _, reason in listed}
    versions = {(kind, identifier): version for kind, identifier, version, _ in listed if version}
    texts: dict[str, dict[str, bytes]] = {kind: {} for kind in kinds.KINDS}
    for line in lines:
        head, _, text = line.partition(b"\t")
        kind, identifier, version = orjson.loads(head)
        texts[kind][identifier] = text
        if version:
            versions[kind, identifier] = version
    documents = {kind: Documents(kind, held) for kind, held in texts.items()}
    return Stored(Position(store_id, replication_id, revision), configuration_revision, documents, versions, problems)


def _check_header(first: bytes, body: memoryview) -> str:
    """The SHA-256 of the body. Raises BrokenSnapshot."""
    try:
        header = json.loads(first)
        if header["format"] != FORMAT:
            raise BrokenSnapshot(f"has format {header['format']!r}, this software reads {FORMAT}")
        if header["length"] != len(body):
            raise BrokenSnapshot(f"is truncated: {len(body)} octets of {header['length']}")
        digest = sha256(body).hexdigest()
        if header["sha256"] != digest:
            raise BrokenSnapshot("was altered: its SHA-256 does not match")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, BrokenSnapshot):
            raise
        raise BrokenSnapshot("has no header of a snapshot") from None
    return digest


class Saver:
    """Keeps the files equal to the latest snapshot, in a thread of its own: nobody waits for a disk.

    It writes down what changed, and everything again when that has become much, or is not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._latest: Snapshot | None = None
        self._changed: set[journal.Key] = set()
        self._everything = True
        self._due = False
        self._problems: object = None
        self._room = 0
        self._complaint = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshot-saver", daemon=True)

    def start(self) -> None:
        """Begin to save."""
        self._thread.start()

    def offer(self, snapshot: Snapshot, changes: Iterable[Change] | None) -> None:
        """Save this snapshot, or a later one, soon. changes: since the one offered before; None = not known."""
        with self._lock:
            self._latest, self._due = snapshot, True
            if changes is None:
                self._everything = True
            else:
                self._changed.update((change.kind, change.id) for change in changes)
        self._wake.set()

    def stop(self) -> None:
        """Save what is not saved yet, and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_SECONDS)
        else:
            self._save()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            self._save()
            took = time.monotonic() - began
            self._stopping.wait(max(SAVE_SECONDS, SHARE * took))
        self._save()

    def _save(self) -> None:
        with self._lock:
            snapshot, changed, everything, due = self._latest, self._changed, self._everything, self._due
            self._changed, self._everything, self._due = set(), False, False
        if snapshot is None or not due:
            return
        try:
            if everything or snapshot.problems is not self._problems or self._room <= 0:
                self._write_whole(snapshot)
            else:
                self._room -= journal.append(self._path, snapshot, changed)
        except OSError as error:
            self._complain(str(error))
            with self._lock:
                self._everything = self._due = True
            self._wake.set()
        else:
            self._complaint = ""

    def _write_whole(self, snapshot: Snapshot) -> None:
        digest = save(snapshot, self._path)
        journal.begin(self._path, digest)
        self._problems = snapshot.problems
        self._room = max(LEAST_ROOM, self._path.stat().st_size // JOURNAL_PART)

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            log.error("the snapshot cannot be saved: %s", reason, extra={"event": "snapshot.unsaved"})
        self._complaint = reason
