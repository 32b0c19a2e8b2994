"""What vantages write and the leader reads: verdicts where they change, and one heartbeat for each vantage."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.store import keys, scripts
from pdns_gtm_backend.store.connection import Client

log = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_FEED: Final = 100_000
FEED_START: Final = "0-0"

_HEARTBEAT: Final = TypeAdapter(Heartbeat)
_VERDICT: Final = TypeAdapter(VantageVerdict)


class LeaseLost(Exception):
    """The name of this vantage belongs to another process now."""


@dataclass(frozen=True, slots=True)
class News:
    """A verdict of `vantage` on `target` changed. position: of this entry in the feed."""

    position: str
    vantage: str
    target: str


class Vantages:
    """Verdicts and heartbeats in one Redis. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publish = client.register_script(scripts.PUBLISH_VERDICTS)
        self._beat = client.register_script(scripts.HEARTBEAT)
        self._set_while_leader = client.register_script(scripts.SET_WHILE_LEADER)

    def publish(self, vantage: str, token: str, verdicts: Mapping[str, VantageVerdict | None]) -> None:
        """Write verdicts by target key; None removes one. Raises LeaseLost."""
        arguments: list[str | int] = [token, vantage, KEPT_FEED]
        for target, verdict in verdicts.items():
            arguments += [target, "" if verdict is None else _VERDICT.dump_json(verdict).decode()]
        names = [keys.vantage_lease(vantage), keys.verdicts(vantage), keys.VERDICT_FEED]
        if not self._publish(keys=names, args=arguments):
            raise LeaseLost(vantage)

    def beat(self, vantage: str, token: str, heartbeat: Heartbeat) -> None:
        """Write a heartbeat with Redis's time in place of its own. Raises LeaseLost."""
        rest = _HEARTBEAT.dump_json(heartbeat, exclude={"time"}).decode().removeprefix("{")
        names = [keys.vantage_lease(vantage), keys.HEARTBEATS]
        if not self._beat(keys=names, args=[token, vantage, rest]):
            raise LeaseLost(vantage)

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The last heartbeat of every vantage that there ever was."""
        return _read(self._client.hgetall(keys.HEARTBEATS), _HEARTBEAT, "heartbeat")

    def verdicts(self, vantage: str) -> dict[str, VantageVerdict]:
        """The verdicts of a vantage by target key."""
        return _read(self._client.hgetall(keys.verdicts(vantage)), _VERDICT, "verdict")

    def verdicts_on(self, vantage: str, targets: Sequence[str]) -> dict[str, VantageVerdict]:
        """The verdicts of a vantage on some targets, those that it has."""
        if not targets:
            return {}
        found = self._client.hmget(keys.verdicts(vantage), list(targets))
        held = {target: text for target, text in zip(targets, found, strict=True) if text is not None}
        return _read(held, _VERDICT, "verdict")

    def news(self, after: str, block: int | None, count: int = 500) -> list[News]:
        """The next entries of the feed after a position, waiting up to `block` milliseconds for one."""
        reply: Any = self._client.xread({keys.VERDICT_FEED: after}, count=count, block=block)
        found = stream_entries(reply)
        return [
            News(position, fields["vantage"], fields["target"])
            for position, fields in found
            if "vantage" in fields and "target" in fields
        ]

    def decided(self) -> str:
        """The position in the feed up to which a leader has decided."""
        return str(self._client.get(keys.VERDICTS_DECIDED) or FEED_START)

    def set_decided(self, position: str, token: str) -> bool:
        """Note that position; False where `token` is not the leader's."""
        return bool(self._set_while_leader(keys=[keys.LEADER, keys.VERDICTS_DECIDED], args=[token, position]))


def stream_entries(reply: Any) -> Sequence[tuple[str, dict[str, str]]]:
    """The entries of the one stream that an XREAD asked for, whatever protocol version shaped the answer."""
    if not reply:
        return ()
    if isinstance(reply, dict):
        (listed,) = reply.values()
        return listed[0] if listed and isinstance(listed[0], list) else listed
    ((_, listed),) = reply
    return list(listed)


def _read(held: Any, adapter: TypeAdapter[T], what: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, text in held.items():
        try:
            found[name] = adapter.validate_json(text)
        except ValidationError as error:
            log.error("%s of %s in the store is broken: %s", what, name, error.errors()[0]["msg"])
    return found
