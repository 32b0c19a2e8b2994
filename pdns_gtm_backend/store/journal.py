"""What has changed since the snapshot on disk was written whole, so that saving costs in proportion to the changes.

A file beside the snapshot's: a line with the SHA-256 of the snapshot that it goes on from, then a line for each time it
was saved: the CRC-32 of the rest, the position, and the documents that changed. A line that is not whole ends it, and
what stands before holds: the snapshot of that position.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Position, Snapshot

SUFFIX: Final = ".journal"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One time that it was saved. documents: kind, id, version (0 = none) and the JSON, None = deleted."""

    position: Position
    configuration_revision: int
    documents: list[tuple[str, str, int, str | None]]


def path_of(snapshot: Path) -> Path:
    """The journal of a snapshot's file."""
    return snapshot.with_name(snapshot.name + SUFFIX)


def begin(snapshot: Path, digest: str) -> None:
    """Start an empty one that goes on from the snapshot with this SHA-256. Raises OSError."""
    path = path_of(snapshot)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(digest.encode() + b"\n")
    new.replace(path)


def append(snapshot: Path, state: Snapshot, changed: Iterable[Key]) -> int:
    """Add what `changed` is in `state`; returns how many octets that were. Raises OSError."""
    at = state.position
    text = orjson.dumps(
        [at.store_id, at.replication_id, at.revision, state.configuration_revision, list(_documents(state, changed))]
    )
    line = b"%08x %s\n" % (crc32(text), text)
    with path_of(snapshot).open("ab") as file:
        file.write(line)
        file.flush()
        os.fdatasync(file.fileno())
    return len(line)


def _documents(state: Snapshot, changed: Iterable[Key]) -> Iterator[tuple[str, str, int, str | None]]:
    for kind, identifier in changed:
        value = state.documents[kind].get(identifier)
        text = None if value is None else kinds.encode(kind, value)
        yield kind, identifier, state.version(kind, identifier), text


def entries(snapshot: Path, digest: str) -> Iterator[Entry]:
    """What was added to the journal of the snapshot with this SHA-256; nothing where it goes on from another one."""
    try:
        content = path_of(snapshot).read_bytes()
    except OSError:
        return
    first, _, rest = content.partition(b"\n")
    if first != digest.encode():
        return
    for line in rest.split(b"\n")[:-1]:
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % crc32(text):
            return
        yield _entry(orjson.loads(text))


def _entry(found: list[Any]) -> Entry:
    store_id, replication_id, revision, configuration_revision, documents = found
    return Entry(Position(store_id, replication_id, revision), configuration_revision, documents)
