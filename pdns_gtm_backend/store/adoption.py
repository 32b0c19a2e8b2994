"""What an operator does where Redis no longer holds the store that the processes know: decide which one is right.

Either the snapshot goes back into the empty Redis under the old id (`restore`), or what Redis holds now is accepted in
place of the old store (`accept`). Every process that follows sees it by itself, also one that is started later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.exceptions import WatchError

from pdns_gtm_backend.store import disk, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.repository import KEPT_AUDIT
from pdns_gtm_backend.store.snapshot import Snapshot

REVISION_LEAP: Final = 1_000_000
"""The restored store goes on so far behind the snapshot: further than any process can have followed the lost one."""

_OF_THE_LEADER: Final = (
    *(keys.LEADER, keys.LEADERSHIP, keys.SUSPENSIONS),
    *(keys.VERDICT_FEED, keys.VERDICTS_DECIDED, keys.VERDICTS_WAITING),
)


class NotAdopted(Exception):
    """Nothing was changed; the text says why."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was done. store_id, revision: of the store that is followed from now on."""

    store_id: str
    revision: int


def newest_on_disk(folder: Path) -> Snapshot:
    """The newest whole snapshot of the files that the processes keep in `folder`. Raises NotAdopted.

    Files that are broken are passed over; files of several stores are an error, since nobody can say which is meant.
    """
    found = [snapshot for path in sorted(folder.glob("*.snapshot")) if (snapshot := _readable(path)) is not None]
    if not found:
        raise NotAdopted(f"{folder} holds no snapshot that can be read")
    stores = sorted({snapshot.position.store_id for snapshot in found})
    if len(stores) > 1:
        raise NotAdopted(f"{folder} holds snapshots of several stores: {', '.join(stores)}")
    return max(found, key=lambda snapshot: snapshot.revision)


def _readable(path: Path) -> Snapshot | None:
    try:
        snapshot = disk.load(path)
    except (disk.BrokenSnapshot, OSError):
        return None
    return snapshot if snapshot is not None and snapshot.position.store_id else None


def restore(client: Client, snapshot: Snapshot, replacing: str = "", audit: Mapping[str, Any] | None = None) -> Adopted:
    """Write the documents of `snapshot` into a Redis without a store, under the id that the snapshot has.

    replacing: the id of a store that is in Redis and is given up, with all that it holds. audit: who does it.
    Raises NotAdopted, RedisError.
    """
    held = snapshot.position.store_id
    if not held:
        raise NotAdopted("the snapshot is of no store")
    pipe: Any = client.pipeline(transaction=True)
    try:
        pipe.watch(keys.STORE_ID)
        _require(str(pipe.get(keys.STORE_ID) or ""), replacing)
        pipe.multi()
        revision = snapshot.revision + REVISION_LEAP
        _write(pipe, snapshot, revision)
        entry = {**(audit or {}), "action": "store.restore", "store": held, "replaced": replacing or None}
        pipe.xadd(
            keys.AUDIT, {"revision": str(revision), "entry": json.dumps(entry)}, maxlen=KEPT_AUDIT, approximate=True
        )
        pipe.execute()
    except WatchError:
        raise NotAdopted("another store was made in Redis at this moment: look again") from None
    finally:
        pipe.reset()
    return Adopted(held, revision)


def _require(found: str, expected: str) -> None:
    if found == expected:
        return
    if not expected:
        raise NotAdopted(f"Redis holds store {found}: name it to have it replaced, or accept it")
    raise NotAdopted(f"Redis holds {f'store {found}' if found else 'no store'}, not {expected}")


def _write(pipe: Any, snapshot: Snapshot, revision: int) -> None:
    """All keys of a store. There is no entry of the feed: whoever followed the lost store reads everything anew."""
    kept = (keys.REVISION, keys.CONFIGURATION_REVISION, keys.VERSIONS, keys.CHANGES, keys.INSTANCE_IDS, keys.SUCCEEDS)
    pipe.delete(*kept, *_OF_THE_LEADER, *map(keys.documents, kinds.KINDS))
    for kind, documents in snapshot.documents.items():
        if documents:
            pipe.hset(
                keys.documents(kind), mapping={name: kinds.encode(kind, held) for name, held in documents.items()}
            )
    if snapshot.versions:
        pipe.hset(keys.VERSIONS, mapping={keys.version_field(*key): at for key, at in snapshot.versions.items()})
    if snapshot.instances:
        pipe.sadd(keys.INSTANCE_IDS, *snapshot.instances)
    pipe.set(keys.ZONE_NUMBER, max((zone.number for zone in snapshot.zones.values()), default=0))
    pipe.set(keys.REVISION, revision)
    pipe.set(keys.CONFIGURATION_REVISION, revision)
    pipe.set(keys.SCHEMA, keys.SCHEMA_VERSION)
    pipe.set(keys.STORE_ID, snapshot.position.store_id)


def accept(client: Client, lost: str, found: str) -> Adopted:
    """Let the store `found`, which Redis holds, take the place of the store `lost`, which the processes know.

    What the snapshots held is given up. Raises NotAdopted, RedisError.
    """
    if not lost or lost == found:
        raise NotAdopted(f"store {found} is the one that is known: there is nothing to accept")
    pipe: Any = client.pipeline(transaction=True)
    try:
        pipe.watch(keys.STORE_ID)
        _require(str(pipe.get(keys.STORE_ID) or ""), found)
        pipe.multi()
        pipe.sadd(keys.SUCCEEDS, lost)
        pipe.get(keys.REVISION)
        _, revision = pipe.execute()
    except WatchError:
        raise NotAdopted("another store was made in Redis at this moment: look again") from None
    finally:
        pipe.reset()
    return Adopted(found, int(revision or 0))
