"""What is generated for new objects: ids of instances and numbers of zones, of which none is ever given twice."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import RedisError

from pdns_gtm_backend.operations.errors import Unavailable
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.repository import unavailable_reason

ID_ATTEMPTS: Final = 100


class Allocation:
    """What is generated for a new object, once, however often the change is decided again."""

    def __init__(self, operator: Operator, kind: str) -> None:
        self._operator, self._kind = operator, kind
        self._values: Mapping[str, Any] | None = None

    def complete(self, value: Any) -> Any:
        """`value` with what is generated. Raises Unavailable."""
        if self._kind not in (kinds.INSTANCES, kinds.ZONES):
            return value
        if self._values is None:
            self._values = self._instance() if self._kind == kinds.INSTANCES else self._zone()
        return replace(value, **self._values)

    def _instance(self) -> Mapping[str, Any]:
        (identifier,) = instance_ids(self._operator, 1)
        return {"id": identifier, "cname": cname_of(self._operator, identifier)}

    def _zone(self) -> Mapping[str, Any]:
        return {"number": zone_numbers(self._operator, 1)[0]}


def cname_of(operator: Operator, identifier: str) -> str:
    """The CNAME domain name that a new instance gets."""
    return f"{identifier}.{operator.rules.access_zone}"


def instance_ids(operator: Operator, count: int) -> Sequence[str]:
    """Ids that were never given before: the store remembers those of deleted instances too. Raises Unavailable."""
    found: list[str] = []
    for _ in range(ID_ATTEMPTS):
        tried = [f"gtm{secrets.randbelow(10**8):08d}" for _ in range(count - len(found))]
        found += [identifier for identifier, new in zip(tried, _remember(operator, tried), strict=True) if new]
        if len(found) == count:
            return found
    raise Unavailable("found no instance id that was not used before")


def note_instance_ids(operator: Operator, identifiers: Iterable[str]) -> None:
    """Never give these ids, which an operator chose, to another instance. Raises Unavailable."""
    _remember(operator, list(identifiers))


def zone_numbers(operator: Operator, count: int) -> Sequence[int]:
    """Numbers that no zone had before. Raises Unavailable."""
    if not count:
        return []
    try:
        last = int(operator.writer.follower.repository.client.incrby(keys.ZONE_NUMBER, count))
    except RedisError as error:
        raise _unwritten(error) from error
    return range(last - count + 1, last + 1)


def _remember(operator: Operator, identifiers: Sequence[str]) -> Sequence[bool]:
    """Of each id, whether it is new."""
    pipe = operator.writer.follower.repository.client.pipeline(transaction=False)
    for identifier in identifiers:
        pipe.sadd(keys.INSTANCE_IDS, identifier)
    try:
        return [bool(added) for added in pipe.execute()]
    except RedisError as error:
        raise _unwritten(error) from error


def _unwritten(error: RedisError) -> Unavailable:
    return Unavailable(f"the store cannot be written: {unavailable_reason(error)}")
