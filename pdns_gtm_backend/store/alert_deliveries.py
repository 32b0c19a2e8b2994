"""How far each alert receiver has been told, and tests of receivers that the leader is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from annotated_types import Ge
from pydantic import StringConstraints, TypeAdapter

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.state import Moment, Text
from pdns_gtm_backend.store import keys, request_reply, scripts
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.reading import parsed_or_none
from pdns_gtm_backend.store.request_reply import RequestId

PAGE: Final = 1000
"""Events that are looked at at once to find where a new receiver begins."""
STREAM_START: Final = "0-0"
MAX_DIGITS: Final = 19
"""Of a revision; longer numbers of a store that is not trusted may be no number for Python."""

Count = Annotated[int, Ge(0)]
Position = Annotated[str, StringConstraints(pattern=r"^(?:[0-9]{1,20}-[0-9]{1,20})?$")]


@document
class Delivery:
    """How far a receiver has been told.

    position: id of the last event that is done with, "" = none yet. attempts: at the next one, that failed.
    delivered, given_up: events so far. last_success, last_failure: in seconds since the epoch by Redis's clock, with
    what the failure was. gaps: how often events were no longer kept when it was their turn. gap: id of the last event
    before the last such gap.
    """

    position: Position = ""
    attempts: Count = 0
    delivered: Count = 0
    given_up: Count = 0
    last_success: Moment | None = None
    last_failure: Moment | None = None
    failure: Text = ""
    gaps: Count = 0
    gap: Position = ""


@document
class AlertTestRequest:
    """Asks the leader to try a receiver. revision: what its snapshot must hold. until: when the asker is gone."""

    id: RequestId
    alert: Text
    revision: Count
    until: Moment


@document
class AlertTestReply:
    """What came of it. event: id of what was sent. status: what the receiver said. error: "" where it took it.

    duration: seconds.
    """

    event: str
    status: Text = ""
    error: Text = ""
    duration: float = 0.0


_DELIVERY: Final = TypeAdapter(Delivery)
_REQUEST: Final = TypeAdapter(AlertTestRequest)
_REPLY: Final = TypeAdapter(AlertTestReply)

RawEvent = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """events: with their ids. gap: events before them may have been dropped from the stream."""

    events: Sequence[RawEvent]
    gap: bool = False


class Deliveries:
    """How far receivers have been told. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._note = client.register_script(scripts.NOTE_DELIVERY)

    def get(self, alert: str) -> Delivery | None:
        """How far one is; None where nothing is known."""
        text: Any = self._client.hget(keys.ALERT_DELIVERIES, alert)
        return None if text is None else parsed_or_none(_DELIVERY, text, "a delivery")

    def known(self) -> Sequence[str]:
        """The receivers of which anything is known."""
        found: Any = self._client.hkeys(keys.ALERT_DELIVERIES)
        return list(found)

    def note(self, alert: str, delivery: Delivery | None, token: str) -> bool:
        """Write how far one is; None forgets it. False where another leads than holds `token`."""
        text = "" if delivery is None else _DELIVERY.dump_json(delivery).decode()
        return bool(self._note(keys=[keys.LEADER, keys.ALERT_DELIVERIES], args=[token, alert, text]))

    def events_after(self, position: str, count: int) -> Sequence[RawEvent]:
        """The next events, at most `count`, with their ids."""
        return self.read(position, count).events

    def read(self, position: str, count: int) -> Reading:
        """The next events, and whether there may have been more before them, which are no longer kept."""
        position = position or STREAM_START
        found: Any = self._client.xrange(keys.EVENTS, min=position, max="+", count=count + 1)
        if found and found[0][0] == position:
            return Reading(found[1:])
        gap = bool(found) and (position != STREAM_START or self._is_trimmed())
        return Reading(found[:count], gap)

    def _is_trimmed(self) -> bool:
        stream: Any = self._client.xinfo_stream(keys.EVENTS)
        return int(stream.get("entries-added", 0)) > int(stream["length"])

    def beginning(self, revision: int) -> str:
        """The id of the last event up to a revision of the store: where a receiver begins that was written then."""
        end = "+"
        while True:
            found: Any = self._client.xrevrange(keys.EVENTS, max=end, count=PAGE)
            for identifier, fields in found:
                told = fields.get("revision", "")
                # Of what is not known to have been written ever, nothing that is kept is news.
                if revision <= 0 or (told.isdecimal() and len(told) <= MAX_DIGITS and int(told) <= revision):
                    return str(identifier)
            if len(found) < PAGE:
                return STREAM_START
            end = f"({found[-1][0]}"

    def now(self) -> float:
        """Seconds since the epoch by Redis's clock."""
        seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6


class AlertTests:
    """Asks the leader to try receivers, and answers for it. Every method raises RedisError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def is_led(self) -> bool:
        """Does a healthd hold the leader's lease?"""
        return bool(self._client.exists(keys.LEADER))

    def ask(self, alert: str, revision: int, timeout: float) -> AlertTestReply | None:
        """Have the leader send a test event; None where nobody replies within `timeout` seconds."""
        identifier, until = request_reply.new_request(self._client, timeout)
        request = AlertTestRequest(id=identifier, alert=alert, revision=revision, until=until)
        request_reply.send_request(self._client, [keys.ALERT_TESTS], _REQUEST.dump_json(request))
        told = request_reply.replies(self._client, identifier, _REPLY, timeout)
        return next(told, None)

    def take(self) -> AlertTestRequest | None:
        """The next request; None where none comes for half a second, or none that can be read."""
        return request_reply.take_request(self._client, keys.ALERT_TESTS, _REQUEST)

    def reply(self, request: AlertTestRequest, reply: AlertTestReply) -> None:
        """Answer a request."""
        request_reply.send_reply(self._client, request.id, _REPLY.dump_json(reply))
