"""What vantages write and the leader reads: verdicts where they change, and one heartbeat for each vantage."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.names import identifier_error
from pdns_gtm_backend.domain.state import Heartbeat, TargetState, VantageVerdict
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.store import keys, scripts
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.kinds import BrokenDocument
from pdns_gtm_backend.store.reading import parsed
from pdns_gtm_backend.store.repository import KEPT_AUDIT, Conflict

log = logging.getLogger(__name__)
T = TypeVar("T")

KEPT_FEED: Final = 100_000
IN_USE: Final = -1
OTHER_STORE: Final = -2
FEED_START: Final = "0-0"
POSITION: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

TOLD: Final = "vantages-told"
"""Field of what the leader leaves behind: what events say of the vantages so far."""

AHEAD: Final = "ahead"
"""Field of the same: what it wrote ahead of what follows from it, until that is written too."""

_HEARTBEAT: Final = TypeAdapter(Heartbeat)
_VERDICT: Final = TypeAdapter(VantageVerdict)


class LeaseLost(Exception):
    """The name of this vantage belongs to another process now."""


class VantageInUse(Exception):
    """A process has the name of this vantage, so that it cannot be forgotten."""


Cause = tuple[str, str]
"""A vantage and a target on which its verdict changed."""


@dataclass(frozen=True, slots=True)
class News:
    """A verdict of `vantage` on `target` changed; "" where the entry could not be read. position: of it in the feed."""

    position: str
    vantage: str
    target: str


@dataclass(frozen=True, slots=True)
class Leadership:
    """What the leader, or the one before it, left behind.

    name: of its healthd. told: the revision up to which events tell what changed. replication_id: of the history that
    it led in.
    """

    name: str = ""
    told: int = 0
    replication_id: str = ""


@document
class VantagesTold:
    """What events say of the vantages so far, which is written together with the events themselves.

    suspended: those that the leader has suspended, with the reasons. distrusted: all that are said to be suspended,
    also by themselves. silent: those that are said to be lost. stale: the checks whose states are said to be stale.
    """

    suspended: Mapping[str, str] = field(default_factory=dict)
    distrusted: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    def left(self) -> Mapping[str, str]:
        """It as a field of what the leader leaves behind."""
        return {TOLD: _TOLD.dump_json(self).decode()}


_TOLD: Final = TypeAdapter(VantagesTold)


@document
class Ahead:
    """The states of targets that were written ahead of what follows from them.

    told: the revision up to which everything is told. states: those until then, by target.
    """

    told: int
    states: Mapping[str, TargetState | None]

    def left(self) -> Mapping[str, str]:
        """It as a field of what the leader leaves behind."""
        return {AHEAD: _AHEAD.dump_json(self).decode()}


_AHEAD: Final = TypeAdapter(Ahead)


@dataclass(frozen=True, slots=True)
class Look:
    """What vantages say now. time: Redis's, in seconds since the epoch. verdicts: by vantage, then by target."""

    time: float
    heartbeats: Mapping[str, Heartbeat]
    verdicts: Mapping[str, Mapping[str, VantageVerdict]]


class Vantages:
    """Verdicts and heartbeats in one Redis. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publish = client.register_script(scripts.PUBLISH_VERDICTS)
        self._beat = client.register_script(scripts.HEARTBEAT)
        self._note_decided = client.register_script(scripts.NOTE_DECIDED)
        self._forget = client.register_script(scripts.FORGET_VANTAGE)
        self._broken: dict[tuple[str, str], str] = {}

    def publish(self, vantage: str, token: str, verdicts: Mapping[str, VantageVerdict | None]) -> None:
        """Write verdicts by target key; None removes one. Raises LeaseLost."""
        arguments: list[str | int] = [token, vantage, KEPT_FEED]
        for target, verdict in verdicts.items():
            arguments += [target, "" if verdict is None else _VERDICT.dump_json(verdict).decode()]
        names = [keys.vantage_lease(vantage), keys.verdicts(vantage), keys.VERDICT_FEED]
        if not self._publish(keys=names, args=arguments):
            raise LeaseLost(vantage)

    def beat(self, vantage: str, token: str, heartbeat: Heartbeat) -> float:
        """Write a heartbeat with Redis's time in place of its own; returns that time. Raises LeaseLost."""
        rest = _HEARTBEAT.dump_json(heartbeat, exclude={"time"}).decode().removeprefix("{")
        names = [keys.vantage_lease(vantage), keys.HEARTBEATS]
        time = self._beat(keys=names, args=[token, vantage, rest])
        if time is None:
            raise LeaseLost(vantage)
        return float(time)

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The last heartbeat of every vantage that is not forgotten, with the leader's suspensions in it."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(keys.HEARTBEATS)
        pipe.hgetall(keys.SUSPENSIONS)
        beats, suspended = pipe.execute()
        return with_suspensions(self._beats(beats), suspended)

    def _beats(self, held: Mapping[str, str]) -> dict[str, Heartbeat]:
        return {n: beat for n, beat in self._read(held, _HEARTBEAT, "heartbeat").items() if not identifier_error(n)}

    def look(self, asked: Mapping[str, Sequence[str]]) -> Look:
        """The heartbeats, the verdicts on the targets that are asked for by vantage, and the time; at once."""
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(keys.HEARTBEATS)
        wanted = {vantage: list(targets) for vantage, targets in asked.items() if targets}
        for vantage, targets in wanted.items():
            pipe.hmget(keys.verdicts(vantage), targets)
        (seconds, microseconds), beats, *found = pipe.execute()
        verdicts = {
            vantage: self._held(targets, texts) for (vantage, targets), texts in zip(wanted.items(), found, strict=True)
        }
        return Look(seconds + microseconds / 1e6, self._beats(beats), verdicts)

    def suspensions(self) -> dict[str, str]:
        """The vantages that the leader has suspended, with the reasons."""
        held: Any = self._client.hgetall(keys.SUSPENSIONS)
        return dict(held)

    def forget(self, vantage: str, store_id: str, audit: Mapping[str, Any] | None = None) -> bool:
        """Remove all that is held of a vantage that is gone for good; False: it was not known.

        audit: who did it, as in a Commit. Raises VantageInUse, and Conflict where this is another store.
        """
        held = [keys.vantage_lease(vantage), keys.HEARTBEATS, keys.verdicts(vantage), keys.SUSPENSIONS]
        names = [keys.STORE_ID, *held, keys.REVISION, keys.AUDIT]
        noted = "" if audit is None else json.dumps(audit)
        known = int(self._forget(keys=names, args=[store_id, vantage, noted, KEPT_AUDIT]))
        if known == IN_USE:
            raise VantageInUse(vantage)
        if known == OTHER_STORE:
            raise Conflict("store", "it is not the one that is followed")
        return bool(known)

    def verdicts(self, vantage: str) -> dict[str, VantageVerdict]:
        """The verdicts of a vantage by target key."""
        return self._read(self._client.hgetall(keys.verdicts(vantage)), _VERDICT, "verdict")

    def verdicts_on(self, vantage: str, targets: Sequence[str]) -> dict[str, VantageVerdict]:
        """The verdicts of a vantage on some targets, those that it has."""
        if not targets:
            return {}
        return self._held(targets, self._client.hmget(keys.verdicts(vantage), list(targets)))

    def _held(self, targets: Sequence[str], texts: Any) -> dict[str, VantageVerdict]:
        held = {target: text for target, text in zip(targets, texts, strict=True) if text is not None}
        return self._read(held, _VERDICT, "verdict")

    def _read(self, held: Any, adapter: TypeAdapter[T], what: str) -> dict[str, T]:
        """What can be read of `held`; what cannot is named in the log, once."""
        found: dict[str, T] = {}
        for name, text in held.items():
            try:
                found[name] = parsed(adapter, text)
            except BrokenDocument as error:
                if self._broken.get((what, name)) != text:
                    log.error("%s of %s in the store is broken: %s", what, shown(name), error)
                self._broken[what, name] = text
        return found

    def news(self, after: str, block: int | None, count: int = 500) -> list[News]:
        """The next entries of the feed after a position, waiting up to `block` milliseconds for one."""
        reply: Any = self._client.xread({keys.VERDICT_FEED: after}, count=count, block=block)
        found = stream_entries(reply)
        return [News(position, fields.get("vantage", ""), fields.get("target", "")) for position, fields in found]

    def reaches_back_to(self, position: str) -> bool:
        """Does the feed still hold everything after `position`?"""
        first: Any = self._client.xrange(keys.VERDICT_FEED, count=1)
        return not first or _ordered(first[0][0]) <= _ordered(position) or position == FEED_START

    def decided(self) -> str:
        """The position in the feed up to which a leader has decided."""
        held = str(self._client.get(keys.VERDICTS_DECIDED) or FEED_START)
        if POSITION.fullmatch(held):
            return held
        log.error("the position of the decided verdicts in the store is broken: %s", shown(held))
        return FEED_START

    def waiting(self) -> frozenset[Cause]:
        """The changes of verdicts before that position that could not be decided yet."""
        members: Any = self._client.smembers(keys.VERDICTS_WAITING)
        found = (member.partition("|") for member in members)
        return frozenset((vantage, target) for vantage, _, target in found)

    def leadership(self) -> Leadership:
        """What the last leader left behind."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(keys.LEADERSHIP)
        pipe.xrevrange(keys.EVENTS, count=1)
        held, newest = pipe.execute()
        # Only leaders write events: one that was killed may not have come to note how far it told.
        told = max(_number(held.get("told")), _number(newest[0][1].get("revision")) if newest else 0)
        return Leadership(held.get("name", ""), told, held.get("replication_id", ""))

    def told(self) -> VantagesTold:
        """What the last leader told of the vantages; only its suspensions where nothing else is known of it."""
        text: Any = self._client.hget(keys.LEADERSHIP, TOLD)
        known = self._read({"the leader": text}, _TOLD, "what was told of vantages") if text is not None else {}
        if known:
            return known["the leader"]
        suspended = self.suspensions()
        return VantagesTold(suspended=suspended, distrusted=tuple(sorted(suspended)))

    def ahead(self) -> Ahead | None:
        """What the last leader wrote ahead where it ended before the rest."""
        text: Any = self._client.hget(keys.LEADERSHIP, AHEAD)
        known = self._read({"the leader": text}, _AHEAD, "what was written ahead") if text is not None else {}
        return known.get("the leader")

    def set_decided(
        self,
        position: str,
        token: str,
        *,
        wait: Iterable[Cause] = (),
        done: Iterable[Cause] = (),
        suspensions: Mapping[str, str] | None = None,
        leadership: Leadership | None = None,
        told: VantagesTold | None = None,
    ) -> bool:
        """Note how far verdicts are decided; False where `token` is not the leader's.

        wait, done: what was added to those that wait, and what waits no longer. suspensions, leadership, told: None =
        as they are.
        """
        note = {
            "wait": ["|".join(cause) for cause in wait],
            "done": ["|".join(cause) for cause in done],
            "suspensions": suspensions,
            "fields": {
                **({} if leadership is None else asdict(leadership)),
                **({} if told is None else told.left()),
            },
        }
        names = [keys.LEADER, keys.VERDICTS_DECIDED, keys.VERDICTS_WAITING, keys.SUSPENSIONS, keys.LEADERSHIP]
        return bool(self._note_decided(keys=names, args=[token, position, json.dumps(note)]))


def with_suspensions(heartbeats: Mapping[str, Heartbeat], suspended: Mapping[str, str]) -> dict[str, Heartbeat]:
    """The heartbeats, with the reasons for which the leader has suspended vantages."""
    return {
        name: replace(beat, suspended=suspended[name]) if name in suspended and not beat.suspended else beat
        for name, beat in heartbeats.items()
    }


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else 0


def _ordered(position: str) -> tuple[int, int]:
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds), int(sequence or 0)


def stream_entries(reply: Any) -> Sequence[tuple[str, dict[str, str]]]:
    """The entries of the one stream that an XREAD asked for, whatever protocol version shaped the answer."""
    if not reply:
        return ()
    if isinstance(reply, dict):
        (listed,) = reply.values()
        return listed[0] if listed and isinstance(listed[0], list) else listed
    ((_, listed),) = reply
    return list(listed)
