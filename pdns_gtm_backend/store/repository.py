"""Reading everything from Redis at one revision, and writing changes atomically."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from pdns_gtm_backend.store import keys, kinds, scripts
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, build

KEPT_CHANGES: Final = 20_000
KEPT_EVENTS: Final = 50_000
KEPT_AUDIT: Final = 50_000


class StoreUnavailable(Exception):
    """Redis is gone, slow, full or read-only: nothing was written; it may work again by itself."""


class Conflict(Exception):
    """The write was refused, since something else was written first.

    reason: `configuration` (read again and validate again), `version` (the document is another one by now), `lease`
    (another leader), `store` (this is another store).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic write.

    changes: documents to write or delete. events: state changes, as JSON objects. audit: who changed what, as a JSON
    object. lease: token that the leader's lease must hold. configuration_revision: what the configuration's revision
    must be (of the snapshot that the change was validated against). preconditions: version that a document must have,
    by (kind, id), 0 = it does not exist.
    """

    changes: Sequence[Change]
    events: Sequence[Mapping[str, Any]] = ()
    audit: Mapping[str, Any] | None = None
    lease: str | None = None
    configuration_revision: int | None = None
    preconditions: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything, as read at once: the raw documents by kind."""

    position: Position
    configuration_revision: int
    documents: Mapping[str, Mapping[str, str]]
    versions: Mapping[str, str]


class Repository:
    """The documents in one Redis."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._commit = client.register_script(scripts.COMMIT)

    def commit(self, commit: Commit, store_id: str) -> int:
        """Write all or nothing; returns the new revision. Raises Conflict or StoreUnavailable."""
        texts = [(c, "" if c.value is None else kinds.encode(c.kind, c.value)) for c in commit.changes]
        change = (
            "[" + ",".join(f"[{json.dumps(c.kind)},{json.dumps(c.id)},{text or 'null'}]" for c, text in texts) + "]"
        )
        arguments: list[str | int] = [
            store_id,
            commit.lease or "",
            "" if commit.configuration_revision is None else commit.configuration_revision,
            change,
            "" if commit.audit is None else json.dumps(commit.audit),
            KEPT_CHANGES,
            KEPT_EVENTS,
            KEPT_AUDIT,
            len(commit.preconditions),
        ]
        for (kind, identifier), version in commit.preconditions.items():
            arguments += [keys.version_field(kind, identifier), version]
        arguments.append(len(commit.events))
        arguments += [json.dumps(event) for event in commit.events]
        for c, text in texts:
            arguments += [c.id, text, keys.version_field(c.kind, c.id) if versioned(c.kind) else ""]
        names = [*_COMMIT_KEYS, *(keys.documents(c.kind) for c in commit.changes)]
        try:
            done, *rest = self._commit(keys=names, args=arguments)
        except RedisError as error:
            raise StoreUnavailable(unavailable_reason(error)) from error
        if not done:
            raise Conflict(rest[0], rest[1])
        return int(rest[0])

    def load(self) -> Loaded:
        """Everything at one revision. Raises RedisError."""
        pipe = self.client.pipeline(transaction=True)
        pipe.mget(keys.STORE_ID, keys.REVISION, keys.CONFIGURATION_REVISION, keys.SCHEMA)
        pipe.hgetall(keys.VERSIONS)
        for kind in kinds.KINDS:
            pipe.hgetall(keys.documents(kind))
        (store_id, revision, configuration, schema), versions, *documents = pipe.execute()
        if schema is not None and int(schema) > keys.SCHEMA_VERSION:
            raise NewerSchema(int(schema))
        position = Position(store_id or "", self.replication_id(), int(revision or 0))
        return Loaded(position, int(configuration or 0), dict(zip(kinds.KINDS, documents, strict=True)), versions)

    def replication_id(self) -> str:
        """The id of the master's history (INFO replication, master_replid)."""
        return str(self.client.info("replication").get("master_replid", ""))

    def identify(self) -> str:
        """The id of this store, made where there is none yet. Raises RedisError."""
        pipe = self.client.pipeline(transaction=True)
        pipe.set(keys.STORE_ID, secrets.token_hex(8), nx=True)
        pipe.set(keys.SCHEMA, keys.SCHEMA_VERSION, nx=True)
        pipe.get(keys.STORE_ID)
        return str(pipe.execute()[-1])

    def time(self) -> float:
        """Seconds since the epoch by Redis's clock. Raises RedisError."""
        seconds, microseconds = self.client.time()
        return float(seconds) + float(microseconds) / 1e6


class NewerSchema(Exception):
    """The store was written by a newer version of this software."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the store has schema version {version}, this software knows up to {keys.SCHEMA_VERSION}")


_COMMIT_KEYS: Final = (
    keys.REVISION,
    keys.CONFIGURATION_REVISION,
    keys.VERSIONS,
    keys.CHANGES,
    keys.EVENTS,
    keys.AUDIT,
    keys.STORE_ID,
    keys.LEADER,
)


def versioned(kind: str) -> bool:
    """Does a document of this kind have a version (and so an ETag)?"""
    return kinds.KINDS[kind].configuration or kind == kinds.OVERRIDES


def unavailable_reason(error: RedisError) -> str:
    """One sentence for an operator."""
    text = str(error)
    if isinstance(error, ResponseError) and text.startswith("OOM"):
        return "Redis is full (maxmemory with noeviction): nothing can be written until memory is freed"
    if isinstance(error, ResponseError) and text.startswith("READONLY"):
        return "this Redis is a read-only replica"
    return text or type(error).__name__


def parse(loaded: Loaded) -> Snapshot:
    """The snapshot of what was loaded; documents that are none are left out and named in `problems`."""
    documents: dict[str, dict[str, Any]] = {}
    problems: dict[tuple[str, str], str] = {}
    for kind, held in loaded.documents.items():
        values = documents.setdefault(kind, {})
        for identifier, text in held.items():
            try:
                values[identifier] = kinds.decode(kind, text)
            except kinds.BrokenDocument as error:
                problems[kind, identifier] = str(error)
    return build(loaded.position, loaded.configuration_revision, documents, parse_versions(loaded.versions), problems)


def parse_versions(fields: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """Versions by (kind, id) from the hash's fields; what is no number is left out."""
    found = {}
    for name, text in fields.items():
        kind, _, identifier = name.partition("/")
        if kind in kinds.KINDS and text.isdecimal():
            found[kind, identifier] = int(text)
    return found


def parse_change(text: str) -> tuple[list[Change], dict[tuple[str, str], str]]:
    """The changes of one entry of the feed, and what of it could not be read.

    A broken document is no change: what was there before stays. Raises ValueError where the entry itself is broken.
    """
    changes: list[Change] = []
    problems: dict[tuple[str, str], str] = {}
    for item in json.loads(text):
        kind, identifier, value = item
        if kind not in kinds.KINDS or not isinstance(identifier, str):
            raise ValueError(f"unknown kind of document {kind!r}")
        try:
            document = None if value is None else kinds.decode(kind, json.dumps(value))
        except kinds.BrokenDocument as error:
            problems[kind, identifier] = str(error)
            continue
        changes.append(Change(kind, identifier, document))
    return changes, problems
