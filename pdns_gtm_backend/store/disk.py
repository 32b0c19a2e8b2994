"""The last snapshot on disk, so that a process started while Redis is away still knows everything.

A file is one header line, then one line for each document. The header holds the length and the SHA-256 of the rest: a
truncated or altered file is refused.
"""

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Position, Snapshot, build

FORMAT: Final = 1


class BrokenSnapshot(ValueError):
    """The file is not a whole snapshot of this format."""


def save(snapshot: Snapshot, path: Path) -> None:
    """Write atomically: the file is the old one or the new one, whatever happens. Raises OSError."""
    body = b"".join(_lines(snapshot))
    header = {
        "format": FORMAT,
        "store_id": snapshot.position.store_id,
        "replication_id": snapshot.position.replication_id,
        "revision": snapshot.revision,
        "configuration_revision": snapshot.configuration_revision,
        "length": len(body),
        "sha256": sha256(body).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(header).encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _lines(snapshot: Snapshot) -> Iterator[bytes]:
    for kind, held in snapshot.documents.items():
        for identifier, value in held.items():
            version = snapshot.version(kind, identifier)
            head = json.dumps([kind, identifier, version])[:-1]
            yield f"{head},{kinds.encode(kind, value)}]\n".encode()


def load(path: Path) -> Snapshot | None:
    """The snapshot in the file; None where there is no file. Raises BrokenSnapshot or OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    first, _, body = content.partition(b"\n")
    header = _header(first, body)
    documents: dict[str, dict[str, Any]] = {}
    versions: dict[tuple[str, str], int] = {}
    for line in body.splitlines():
        kind, identifier, version, value = json.loads(line)
        try:
            documents.setdefault(kind, {})[identifier] = kinds.decode(kind, json.dumps(value))
        except (kinds.BrokenDocument, KeyError) as error:
            raise BrokenSnapshot(f"{kind} {identifier}: {error}") from None
        if version:
            versions[kind, identifier] = version
    position = Position(header["store_id"], header["replication_id"], header["revision"])
    return build(position, header["configuration_revision"], documents, versions, {})


def _header(first: bytes, body: bytes) -> dict[str, Any]:
    try:
        header = json.loads(first)
        if header["format"] != FORMAT:
            raise BrokenSnapshot(f"has format {header['format']}, this software reads {FORMAT}")
        if header["length"] != len(body):
            raise BrokenSnapshot(f"is truncated: {len(body)} octets of {header['length']}")
        if header["sha256"] != sha256(body).hexdigest():
            raise BrokenSnapshot("was altered: its SHA-256 does not match")
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, BrokenSnapshot):
            raise
        raise BrokenSnapshot("has no header of a snapshot") from None
    return dict(header)
