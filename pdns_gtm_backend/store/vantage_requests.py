"""What vantages are asked while they run: what they remember of a target, or to probe it now.

A request is a document in a list of the vantage, a reply one in a list of the request; both go away by themselves, so
that nothing is left of a vantage or of an asker that died.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Final, Literal

from annotated_types import MaxLen, MinLen
from pydantic import StringConstraints, TypeAdapter, ValidationError

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.state import Moment, ProbeRecord, Text
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import Client

log = logging.getLogger(__name__)

MAX_TARGETS: Final = 1000
MAX_PENDING: Final = 100
REQUEST_SECONDS: Final = 30
REPLY_SECONDS: Final = 60
BLOCK_SECONDS: Final = 0.5
"""Below the time-out of a command, which would end a longer wait with an error."""

Kind = Literal["latest", "history", "probe"]


@document
class Request:
    """What a vantage is asked.

    kind: `latest` result of targets, whole `history`, or `probe` them now. until: when the asker no longer waits, in
    seconds since the epoch by Redis's clock.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    kind: Kind
    until: Moment
    targets: Annotated[tuple[str, ...], MinLen(1), MaxLen(MAX_TARGETS)]


@document
class TargetReport:
    """What a vantage tells of a target.

    error: why it tells nothing, "" otherwise. up, since: its verdict; None where it has none yet. probes, failed: how
    many it remembers, at most 50, and how many of these failed. latency: seconds of those that passed, on average.
    results, failures: newest first; the latest one each, or up to 50 for a history. lines: what happened in a probe
    that was asked for, for reading.
    """

    target: str
    error: Text = ""
    up: bool | None = None
    since: Moment | None = None
    probes: int = 0
    failed: int = 0
    latency: float | None = None
    results: tuple[ProbeRecord, ...] = ()
    failures: tuple[ProbeRecord, ...] = ()
    lines: tuple[Text, ...] = ()

    @property
    def loss(self) -> float | None:
        """Share of the remembered probes that failed, 0 to 1; None where there was none yet."""
        return self.failed / self.probes if self.probes else None


@document
class Reply:
    """What one vantage replies."""

    vantage: str
    reports: tuple[TargetReport, ...] = field(default_factory=tuple)


Reports = Mapping[str, TargetReport]
"""By target key."""

_REQUEST: Final = TypeAdapter(Request)
_REPLY: Final = TypeAdapter(Reply)


class VantageRequests:
    """Asks vantages. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def latest(self, vantages: Sequence[str], targets: Sequence[str], timeout: float = 1.0) -> Mapping[str, Reports]:
        """The latest result of each target by vantage; a vantage that does not reply in time is left out.

        Raises ValueError where there are more than 1,000 targets.
        """
        return self._ask("latest", vantages, targets, timeout)

    def history(self, vantage: str, target: str, timeout: float = 2.0) -> TargetReport | None:
        """What a vantage remembers of a target; None where it does not reply within `timeout` seconds."""
        return self._ask("history", [vantage], [target], timeout).get(vantage, {}).get(target)

    def probe_now(self, vantages: Sequence[str], targets: Sequence[str], timeout: float) -> Mapping[str, Reports]:
        """Have targets probed now; the results by vantage, without those that do not reply within `timeout` seconds.

        timeout: longer than the longest of the checks, or slow targets look like silent vantages. These probes count
        for no verdict. Raises ValueError where there are more than 1,000 targets.
        """
        return self._ask("probe", vantages, targets, timeout)

    def _ask(
        self, kind: Kind, vantages: Sequence[str], targets: Sequence[str], timeout: float
    ) -> Mapping[str, Reports]:
        if len(targets) > MAX_TARGETS:
            raise ValueError(f"{len(targets)} targets are asked for at once, at most {MAX_TARGETS} may be")
        waited = frozenset(vantages)
        if not waited or not targets:
            return {}
        identifier = secrets.token_hex(16)
        seconds, microseconds = self._client.time()
        until = seconds + microseconds / 1e6 + timeout
        request = Request(id=identifier, kind=kind, until=until, targets=tuple(dict.fromkeys(targets)))
        pipe = self._client.pipeline(transaction=False)
        for vantage in waited:
            pipe.rpush(keys.vantage_requests(vantage), _REQUEST.dump_json(request).decode())
            pipe.ltrim(keys.vantage_requests(vantage), -MAX_PENDING, -1)
            pipe.expire(keys.vantage_requests(vantage), REQUEST_SECONDS)
        pipe.execute()
        return self._collect(identifier, waited, timeout)

    def _collect(self, identifier: str, waited: frozenset[str], timeout: float) -> Mapping[str, Reports]:
        deadline = time.monotonic() + timeout
        found: dict[str, Reports] = {}
        while len(found) < len(waited) and (left := deadline - time.monotonic()) > 0:
            popped: Any = self._client.blpop([keys.vantage_reply(identifier)], timeout=min(BLOCK_SECONDS, left))
            reply = None if popped is None else _parsed(_REPLY, popped[1], "reply")
            if reply is not None and reply.vantage in waited:
                found[reply.vantage] = {report.target: report for report in reply.reports}
        return found


class RequestInbox:
    """What one vantage is asked. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client, vantage: str) -> None:
        self._client = client
        self._vantage = vantage

    def take(self) -> Request | None:
        """The next request; None where none comes for half a second, or none that can be read."""
        popped: Any = self._client.blpop([keys.vantage_requests(self._vantage)], timeout=BLOCK_SECONDS)
        return None if popped is None else _parsed(_REQUEST, popped[1], "request")

    def reply(self, request: Request, reports: Sequence[TargetReport]) -> None:
        """Answer a request."""
        key = keys.vantage_reply(request.id)
        pipe = self._client.pipeline(transaction=True)
        pipe.rpush(key, _REPLY.dump_json(Reply(vantage=self._vantage, reports=tuple(reports))).decode())
        pipe.expire(key, REPLY_SECONDS)
        pipe.execute()


def _parsed(adapter: TypeAdapter[Any], text: str, what: str) -> Any | None:
    try:
        return adapter.validate_json(text)
    except (ValidationError, UnicodeError, RecursionError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        log.error("a %s in the store is broken: %s", what, json.dumps(said))
        return None
