"""What vantages are asked while they run: what they remember of a target, or to probe it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Final, Literal

from annotated_types import MaxLen, MinLen
from pydantic import TypeAdapter

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.state import Moment, ProbeRecord, Text
from pdns_gtm_backend.store import keys, request_reply
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.request_reply import RequestId

MAX_TARGETS: Final = 1000

Kind = Literal["latest", "history", "probe"]


@document
class Request:
    """What a vantage is asked.

    kind: `latest` result of targets, whole `history`, or `probe` them now. until: when the asker no longer waits, in
    seconds since the epoch by Redis's clock.
    """

    id: RequestId
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
        identifier, until = request_reply.new_request(self._client, timeout)
        request = Request(id=identifier, kind=kind, until=until, targets=tuple(dict.fromkeys(targets)))
        request_reply.send_request(self._client, map(keys.vantage_requests, waited), _REQUEST.dump_json(request))
        found: dict[str, Reports] = {}
        for reply in request_reply.replies(self._client, identifier, _REPLY, timeout):
            if reply is not None and reply.vantage in waited:
                found[reply.vantage] = {report.target: report for report in reply.reports}
            if len(found) == len(waited):
                break
        return found


class RequestInbox:
    """What one vantage is asked. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client, vantage: str) -> None:
        self._client = client
        self._vantage = vantage

    def take(self) -> Request | None:
        """The next request; None where none comes for half a second, or none that can be read."""
        return request_reply.take_request(self._client, keys.vantage_requests(self._vantage), _REQUEST)

    def reply(self, request: Request, reports: Sequence[TargetReport]) -> None:
        """Answer a request."""
        reply = Reply(vantage=self._vantage, reports=tuple(reports))
        request_reply.send_reply(self._client, request.id, _REPLY.dump_json(reply))
