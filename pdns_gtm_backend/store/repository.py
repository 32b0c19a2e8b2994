"""Reading everything from Redis at one revision, and writing changes atomically."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from redis.exceptions import InvalidResponse, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.store import keys, kinds, scripts
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, build

KEPT_CHANGES: Final = 20_000
KEPT_CHANGES_OCTETS: Final = 64 * 2**20
"""A whole configuration may be one entry of the feed: of such ones fewer are kept, as many as fit in this."""
KEPT_EVENTS: Final = 50_000
KEPT_AUDIT: Final = 50_000
LOAD_ATTEMPTS: Final = 5
SCANNED: Final = 200
"""Documents, or so, that are read at a time where there is time."""
REPLICATED_MILLISECONDS: Final = 700
"""How long a write waits for replicas: shorter than a command may take (`connection`)."""


class StoreUnavailable(Exception):
    """Redis is gone, slow, full, read-only or damaged: nothing is known to be written; it may work again by itself.

    After a time-out or a lost connection Redis may have carried the write out, or may yet do so.
    """


class NotReplicated(StoreUnavailable):
    """The write is in this Redis, but fewer replicas than were asked for have said in time that they have it."""


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
    by (kind, id), 0 = it does not exist. left: fields of what the leader leaves behind for the next one, "" = no more.
    """

    changes: Sequence[Change]
    events: Sequence[Mapping[str, Any]] = ()
    audit: Mapping[str, Any] | None = None
    lease: str | None = None
    configuration_revision: int | None = None
    preconditions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything, as read at once: the raw documents by kind. newest: the id of the last entry of the feed."""

    position: Position
    configuration_revision: int
    documents: Mapping[str, dict[str, str]]
    versions: dict[str, str]
    newest: str = "0-0"


class Repository:
    """The documents in one Redis.

    write_replicas: how many replicas must say that they have a write of configuration before it counts as done.
    """

    def __init__(self, client: Client, write_replicas: int = 0) -> None:
        self.client = client
        self.write_replicas = write_replicas
        self._commit = client.register_script(scripts.COMMIT)

    def commit(self, commit: Commit, store_id: str) -> int:
        """Write all or nothing; returns the new revision. Raises Conflict, NotReplicated or StoreUnavailable."""
        texts = [(c, "" if c.value is None else kinds.encode(c.kind, c.value)) for c in commit.changes]
        change = json.dumps([(c.kind, c.id, text) for c, text in texts], ensure_ascii=False, separators=(",", ":"))
        arguments: list[str | int] = [
            store_id,
            commit.lease or "",
            "" if commit.configuration_revision is None else commit.configuration_revision,
            change,
            "" if commit.audit is None else json.dumps(commit.audit),
            min(KEPT_CHANGES, 1 + KEPT_CHANGES_OCTETS // len(change)),
            KEPT_EVENTS,
            KEPT_AUDIT,
            len(commit.preconditions),
        ]
        for (kind, identifier), expected in commit.preconditions.items():
            arguments += [keys.version_field(kind, identifier), expected]
        arguments.append(len(commit.events))
        arguments += [json.dumps(event) for event in commit.events]
        names = list(_COMMIT_KEYS)
        written = dict.fromkeys(c.kind for c in commit.changes)
        numbers = {kind: number for number, kind in enumerate(written, len(names) + 1)}
        names += [keys.documents(kind) for kind in numbers]
        for c, text in texts:
            version = keys.version_field(c.kind, c.id) if kinds.versioned(c.kind) else ""
            arguments += [numbers[c.kind], c.id, text, version]
        if commit.left:
            names.append(keys.LEADERSHIP)
            for name, text in commit.left.items():
                arguments += [len(names), name, text, ""]
        wanted = 0 if commit.configuration_revision is None else self.write_replicas
        try:
            (done, *rest), having = self._run(names, arguments, wanted)
        except RedisError as error:
            raise StoreUnavailable(unavailable_reason(error)) from error
        if not done:
            raise Conflict(rest[0], rest[1])
        if having < wanted:
            raise NotReplicated(
                f"written here, not yet on {wanted} replicas: {having} confirmed within {REPLICATED_MILLISECONDS} ms"
            ) from TimeoutError()
        return int(rest[0])

    def _run(self, names: Sequence[str], arguments: Sequence[str | int], replicas: int) -> tuple[Any, int]:
        """The commit script's reply, and how many replicas have what it wrote, where any are waited for."""
        if not replicas:
            return self._commit(keys=names, args=arguments), 0
        # WAIT speaks of what its own connection wrote: both go in one piece (https://redis.io/commands/wait).
        pipe: Any = self.client.pipeline(transaction=False)
        self._commit(keys=names, args=arguments, client=pipe)
        pipe.execute_command("WAIT", replicas, REPLICATED_MILLISECONDS)
        reply, having = pipe.execute()
        return reply, int(having)

    def load(self, rest: Callable[[], object] | None = None) -> Loaded:
        """Everything at one revision. Raises RedisError or NewerSchema.

        rest: called after each small piece, where there is time; what is written meanwhile ends that.
        """
        try:
            gently = None if rest is None else self._load_gently(rest)
        except ResponseError:
            # The error of a pipeline names the key.
            gently = None
        return self._load_at_once() if gently is None else gently

    def _load_gently(self, rest: Callable[[], object]) -> Loaded | None:
        """Everything, in pieces that keep nobody waiting; None where something was written meanwhile."""
        pipe = self.client.pipeline(transaction=False)
        self._ask_position(pipe)
        pipe.get(keys.CONFIGURATION_REVISION)
        pipe.xrevrange(keys.CHANGES, count=1)
        numbers, replication, configuration, newest = pipe.execute()
        position = _position(numbers, replication)
        documents = {}
        for kind in kinds.KINDS:
            documents[kind] = self._scanned(keys.documents(kind), rest)
            # A cursor means nothing to another server: where one took over, its history has another id.
            if self.position() != position:
                return None
        versions = self._scanned(keys.VERSIONS, rest)
        if self.position() != position:
            return None
        return _loaded(numbers, replication, configuration, documents, versions, newest)

    def _scanned(self, key: str, rest: Callable[[], object]) -> dict[str, str]:
        found: dict[str, str] = {}
        fields: Any = self.client.hscan_iter(key, count=SCANNED)
        for name, text in fields:
            rest()
            found[name] = text
        return found

    def _load_at_once(self) -> Loaded:
        for _ in range(LOAD_ATTEMPTS):
            # No MULTI: a Redis that is full refuses even to read in it. It serves what one client sent at once anyway.
            pipe = self.client.pipeline(transaction=False)
            self._ask_position(pipe)
            pipe.get(keys.CONFIGURATION_REVISION)
            pipe.xrevrange(keys.CHANGES, count=1)
            pipe.hgetall(keys.VERSIONS)
            for kind in kinds.KINDS:
                pipe.hgetall(keys.documents(kind))
            pipe.mget(_POSITION_KEYS)
            before, replication, configuration, newest, versions, *documents, after = pipe.execute()
            if before == after:
                by_kind = dict(zip(kinds.KINDS, documents, strict=True))
                return _loaded(before, replication, configuration, by_kind, versions, newest)
        raise InvalidResponse("the store changed each time while it was read")

    def position(self) -> Position:
        """Where the store is now; its id is "" where it has none. Raises RedisError or NewerSchema."""
        pipe = self.client.pipeline(transaction=False)
        self._ask_position(pipe)
        return _position(*pipe.execute())

    def _ask_position(self, pipe: Any) -> None:
        pipe.mget(_POSITION_KEYS)
        pipe.info("replication")

    def identify(self) -> str:
        """The id of this store, made where there is none yet. Raises RedisError."""
        pipe = self.client.pipeline(transaction=True)
        pipe.set(keys.STORE_ID, secrets.token_hex(8), nx=True)
        pipe.set(keys.SCHEMA, keys.SCHEMA_VERSION, nx=True)
        pipe.get(keys.STORE_ID)
        return str(pipe.execute()[-1])

    def succeeds(self, store_id: str) -> bool:
        """Was this store accepted in place of the store `store_id` (`adoption`)? Raises RedisError."""
        return bool(self.client.sismember(keys.SUCCEEDS, store_id))

    def time(self) -> float:
        """Seconds since the epoch by Redis's clock. Raises RedisError."""
        seconds, microseconds = self.client.time()
        return float(seconds) + float(microseconds) / 1e6


class NewerSchema(Exception):
    """The store was written by a newer version of this software."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the store has schema version {version}, this software knows up to {keys.SCHEMA_VERSION}")


_POSITION_KEYS: Final = (keys.STORE_ID, keys.REVISION, keys.SCHEMA)
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


def _position(numbers: Sequence[str | None], replication: Mapping[str, Any]) -> Position:
    """From the store's id, its revision and its schema, and the id of the master's history (INFO, master_replid)."""
    store_id, revision, schema = numbers
    if _number(keys.SCHEMA, schema) > keys.SCHEMA_VERSION:
        raise NewerSchema(_number(keys.SCHEMA, schema))
    return Position(store_id or "", str(replication.get("master_replid", "")), _number(keys.REVISION, revision))


def _loaded(
    numbers: Sequence[str | None],
    replication: Mapping[str, Any],
    configuration: str | None,
    documents: Mapping[str, dict[str, str]],
    versions: dict[str, str],
    newest: Sequence[tuple[str, Any]],
) -> Loaded:
    """What was read, from the replies of Redis."""
    revision = _number(keys.CONFIGURATION_REVISION, configuration)
    return Loaded(_position(numbers, replication), revision, documents, versions, newest[0][0] if newest else "0-0")


def _number(name: str, text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidResponse(f"the store is damaged: {name} holds {shown(text)}, no number")
    return int(text)


def unavailable_reason(error: RedisError) -> str:
    """One sentence for an operator."""
    text = str(error)
    if isinstance(error, OutOfMemoryError):
        return "Redis is full (maxmemory with noeviction): nothing can be written until memory is freed"
    if isinstance(error, ReadOnlyError):
        return "this Redis is a read-only replica"
    if text.startswith("NOREPLICAS"):
        return "Redis has fewer replicas connected than min-replicas-to-write asks for: nothing can be written"
    if text.startswith("MISCONF"):
        return "Redis cannot save to its disk and takes no writes (stop-writes-on-bgsave-error)"
    return text or type(error).__name__


class Held(Protocol):
    """What is held of a store: documents by kind, then by id, at a position."""

    @property
    def position(self) -> Position: ...

    @property
    def documents(self) -> Mapping[str, Mapping[str, Any]]: ...


def parse(loaded: Loaded, held: Held | None = None) -> Snapshot:
    """The snapshot of what was loaded; documents that are none are named in `problems`.

    In their place stays what `held`, an earlier state of the same store, has; without it they are left out.
    """
    same = held if held is not None and held.position.store_id == loaded.position.store_id else None
    documents: dict[str, dict[str, Any]] = {}
    problems: dict[tuple[str, str], str] = {}
    for kind, texts in loaded.documents.items():
        values = documents.setdefault(kind, {})
        for identifier, text in texts.items():
            try:
                values[identifier] = kinds.decode_stored(kind, identifier, text)
            except kinds.BrokenDocument as error:
                problems[kind, identifier] = str(error)
                if same is not None and identifier in same.documents[kind]:
                    values[identifier] = same.documents[kind][identifier]
    return build(loaded.position, loaded.configuration_revision, documents, parse_versions(loaded.versions), problems)


def parse_versions(fields: Mapping[str, str], rest: Callable[[], object] = lambda: None) -> dict[tuple[str, str], int]:
    """Versions by (kind, id) from the hash's fields; what is no number is left out. rest: called after each."""
    found = {}
    for name, text in fields.items():
        rest()
        kind, _, identifier = name.partition("/")
        if kind in kinds.KINDS and text.isascii() and text.isdecimal() and len(text) < 20:
            found[kind, identifier] = int(text)
    return found


def parse_change(text: str) -> tuple[list[Change], dict[tuple[str, str], str]]:
    """The changes of one entry of the feed (a list of kind, id, and JSON or ""), and what of it could not be read.

    A broken document is no change: what was there before stays. Raises ValueError or TypeError where the entry itself
    is broken.
    """
    changes: list[Change] = []
    problems: dict[tuple[str, str], str] = {}
    try:
        items = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    for kind, identifier, document_text in items:
        if kind not in kinds.KINDS or not isinstance(identifier, str) or not isinstance(document_text, str):
            raise ValueError(f"is no change of a document: {shown([kind, identifier])}")
        try:
            document = kinds.decode_stored(kind, identifier, document_text) if document_text else None
        except kinds.BrokenDocument as error:
            problems[kind, identifier] = str(error)
            continue
        changes.append(Change(kind, identifier, document))
    return changes, problems
