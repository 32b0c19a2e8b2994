"""What happened: the streams of events (changes of state) and of audit (changes by operators)."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.errors import InvalidParameters, Unavailable
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.alert_deliveries import MAX_DIGITS
from pdns_gtm_backend.store.repository import unavailable_reason

POSITION: Final = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?", re.ASCII)
BATCH: Final = 1000
MAX_SCANNED: Final = 20_000
"""Entries that one request reads at the most, however few of them its filters let through."""


@dataclass(frozen=True, slots=True)
class Entries:
    """A page. next: position to go on from, None where there is nothing more."""

    items: Sequence[Mapping[str, Any]]
    next: str | None


Wanted = Callable[[Mapping[str, Any]], bool]


def events(
    operator: Operator,
    *,
    position: str = "",
    newest_first: bool = False,
    limit: int = 100,
    instance: str | None = None,
    pool: str | None = None,
    kind: str | None = None,
) -> Entries:
    """Events behind `position` (an id, exclusive), of an instance, a pool or a kind where given.

    Events of a pool belong to the instances that use it as well. Raises InvalidParameters, Unavailable.
    """

    def wanted(event: Mapping[str, Any]) -> bool:
        if instance is not None and instance not in (event.get("instance"), *_names(event.get("instances"))):
            return False
        return pool in (None, event.get("pool")) and kind in (None, event.get("kind"))

    _require_visible(operator, instance)
    return _read(operator, keys.EVENTS, "event", position, newest_first, limit, wanted)


def audit(
    operator: Operator,
    *,
    position: str = "",
    newest_first: bool = False,
    limit: int = 100,
    kind: str | None = None,
    identifier: str | None = None,
    actor: str | None = None,
) -> Entries:
    """Changes by operators behind `position`, of a kind of object, an object, or an actor (name or id) where given.

    Raises InvalidParameters, NotPermitted, Unavailable.
    """

    def wanted(entry: Mapping[str, Any]) -> bool:
        who = entry.get("actor")
        names = (who.get("id"), who.get("name")) if isinstance(who, dict) else ()
        if actor is not None and actor not in names:
            return False
        return any(
            kind in (None, one.get("kind")) and identifier in (None, one.get("object"))
            for one in (entry, *_parts(entry))
        )

    operator.require_unrestricted("audit")
    return _read(operator, keys.AUDIT, "entry", position, newest_first, limit, wanted)


def _require_visible(operator: Operator, instance: str | None) -> None:
    found = operator.writer.reading().snapshot.instances.get(instance or "")
    if found is None or not operator.sees(found.labels):
        operator.require_unrestricted("the events of everything: name an instance")


def _parts(entry: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The changes of single objects in an entry of many."""
    changes = entry.get("changes")
    return [one for one in changes if isinstance(one, dict)] if isinstance(changes, list) else ()


def _names(value: Any) -> Sequence[str]:
    return value if isinstance(value, list) else ()


def _read(
    operator: Operator, stream: str, field: str, position: str, newest_first: bool, limit: int, wanted: Wanted
) -> Entries:
    if position and not POSITION.fullmatch(position):
        raise InvalidParameters([("before" if newest_first else "after", f"{shown(position)} is no id of an entry")])
    found: list[Mapping[str, Any]] = []
    scanned, last = 0, position
    try:
        for last, fields in _entries(operator, stream, position, newest_first):
            scanned += 1
            entry = entry_of(last, fields, field)
            if wanted(entry):
                found.append(entry)
            if len(found) == limit or scanned == MAX_SCANNED:
                return Entries(found, last)
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return Entries(found, None)


def _entries(
    operator: Operator, stream: str, position: str, newest_first: bool
) -> Iterator[tuple[str, Mapping[str, str]]]:
    client: Any = operator.writer.follower.repository.client
    while True:
        edge = f"({position}" if position else ("+" if newest_first else "-")
        if newest_first:
            batch = client.xrevrange(stream, max=edge, min="-", count=BATCH)
        else:
            batch = client.xrange(stream, min=edge, max="+", count=BATCH)
        yield from batch
        if len(batch) < BATCH:
            return
        position = batch[-1][0]


def entry_of(identifier: str, fields: Mapping[str, str], field: str) -> Mapping[str, Any]:
    """An entry with its id, time and revision; one that cannot be read says so."""
    milliseconds = int(identifier.partition("-")[0])
    head: dict[str, Any] = {"id": identifier, "time": rfc3339(milliseconds / 1000)}
    revision = fields.get("revision", "")
    if revision.isdecimal() and len(revision) <= MAX_DIGITS:
        head["revision"] = int(revision)
    try:
        body = json.loads(fields[field])
    except (KeyError, ValueError, RecursionError):
        body = None
    return {**body, **head} if isinstance(body, dict) else {**head, "kind": "unreadable"}
