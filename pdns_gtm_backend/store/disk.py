"""The last snapshot on disk, so that a process started while Redis is away still knows everything.

A file is a header line with the length and the SHA-256 of the rest, a line with the position, then one line for each
document. A truncated or altered file is refused.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Position, Snapshot, build

log = logging.getLogger(__name__)

FORMAT: Final = 1
SAVE_SECONDS: Final = 5.0
SHARE: Final = 20
"""Saving takes at most one part in so many of the time."""
BREATH: Final = 64
"""Documents after which other threads get their turn: encoding holds the interpreter's lock."""
STOP_SECONDS: Final = 10.0


class BrokenSnapshot(ValueError):
    """The file is not a whole snapshot of this format."""


def save(snapshot: Snapshot, path: Path) -> None:
    """Write atomically: the file is the old one or the new one, whatever happens. Raises OSError."""
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
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    first, _, body = content.partition(b"\n")
    _check_header(first, body)
    position, _, lines = body.partition(b"\n")
    try:
        return _parse(json.loads(position), lines.splitlines())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenSnapshot(f"{path} cannot be read: {error}") from None


def _parse(position: Any, lines: list[bytes]) -> Snapshot:
    store_id, replication_id, revision, configuration_revision, listed = position
    problems = {(kind, identifier): reason for kind, identifier, _, reason in listed}
    versions = {(kind, identifier): version for kind, identifier, version, _ in listed if version}
    documents: dict[str, dict[str, Any]] = {}
    for line in lines:
        head, _, text = line.partition(b"\t")
        kind, identifier, version = orjson.loads(head)
        if version:
            versions[kind, identifier] = version
        try:
            documents.setdefault(kind, {})[identifier] = kinds.decode_stored(kind, identifier, text)
        except kinds.BrokenDocument as error:
            problems[kind, identifier] = str(error)
    return build(Position(store_id, replication_id, revision), configuration_revision, documents, versions, problems)


def _check_header(first: bytes, body: bytes) -> None:
    try:
        header = json.loads(first)
        if header["format"] != FORMAT:
            raise BrokenSnapshot(f"has format {header['format']!r}, this software reads {FORMAT}")
        if header["length"] != len(body):
            raise BrokenSnapshot(f"is truncated: {len(body)} octets of {header['length']}")
        if header["sha256"] != sha256(body).hexdigest():
            raise BrokenSnapshot("was altered: its SHA-256 does not match")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, BrokenSnapshot):
            raise
        raise BrokenSnapshot("has no header of a snapshot") from None


class Saver:
    """Keeps a file equal to the latest snapshot, in a thread of its own: nobody waits for a disk.

    saved: the snapshot that the file holds already.
    """

    def __init__(self, path: Path, saved: Snapshot | None) -> None:
        self._path = path
        self._latest = self._saved = saved
        self._complaint = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshot-saver", daemon=True)

    def start(self) -> None:
        """Begin to save."""
        self._thread.start()

    def offer(self, snapshot: Snapshot) -> None:
        """Save this snapshot, or a later one, soon."""
        self._latest = snapshot
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
        snapshot = self._latest
        if snapshot is None or snapshot is self._saved:
            return
        try:
            save(snapshot, self._path)
        except OSError as error:
            self._complain(str(error))
            self._wake.set()
        else:
            self._saved = snapshot
            self._complaint = ""

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            log.error("the snapshot cannot be saved: %s", reason, extra={"event": "snapshot.unsaved"})
        self._complaint = reason
