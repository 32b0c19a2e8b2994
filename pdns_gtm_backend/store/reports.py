"""What was reported of the addresses of `external` checks: the last report of each, and a feed of what comes in.

Reports are no part of the configuration: they have no revision, and nothing exports them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from pdns_gtm_backend.domain.health_check import Report
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.store import keys, scripts
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.reading import parsed_or_none
from pdns_gtm_backend.store.repository import Conflict
from pdns_gtm_backend.store.vantages import FEED_START, stream_entries

KEPT_FEED: Final = 10_000
MAX_PURGED: Final = 1000
"""Reports that one script removes."""

Subject = tuple[str, str]
"""What a report is of: a check's id, and an address in its one form."""

_REPORT: Final = TypeAdapter(Report)


@dataclass(frozen=True, slots=True)
class ReportNews:
    """A report came in. position: of it in the feed. report: None where it could not be read."""

    position: str
    subject: Subject
    report: Report | None


class Reports:
    """The reports in one Redis. Every method raises RedisError where Redis does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._push = client.register_script(scripts.PUSH_REPORTS)
        self._purge = client.register_script(scripts.PURGE_REPORTS)

    def push(self, store_id: str, reports: Mapping[Subject, Report]) -> float:
        """Write reports with Redis's time in place of their own; returns that time. Raises Conflict."""
        arguments: list[str | int] = [store_id, KEPT_FEED]
        for subject, report in reports.items():
            rest = _REPORT.dump_json(report, exclude={"at"}).decode().removeprefix("{")
            arguments += [_field(subject), rest]
        time = self._push(keys=[keys.STORE_ID, keys.REPORTS, keys.REPORT_FEED], args=arguments)
        if time is None:
            raise Conflict("store", "it is not the one that is followed")
        return float(time)

    def read(self, subjects: Sequence[Subject]) -> dict[Subject, Report]:
        """The last reports of these, those that there are."""
        if not subjects:
            return {}
        texts: Any = self._client.hmget(keys.REPORTS, [_field(subject) for subject in subjects])
        found = ((subject, _parsed(subject, text)) for subject, text in zip(subjects, texts, strict=True) if text)
        return {subject: report for subject, report in found if report is not None}

    def look(self) -> tuple[str, dict[Subject, Report | None]]:
        """The position of the feed's end, and every report behind it; None for one that cannot be read."""
        pipe = self._client.pipeline(transaction=False)
        pipe.xrevrange(keys.REPORT_FEED, count=1)
        pipe.hgetall(keys.REPORTS)
        newest, held = pipe.execute()
        reports = {subject: _parsed(subject, text) for name, text in held.items() if (subject := _subject(name))}
        return newest[0][0] if newest else FEED_START, reports

    def news(self, after: str, block: int, count: int = 500) -> list[ReportNews]:
        """The next entries of the feed after a position, waiting up to `block` milliseconds for one."""
        reply: Any = self._client.xread({keys.REPORT_FEED: after}, count=count, block=block)
        return list(_news(stream_entries(reply)))

    def purge(self, configuration_revision: int, subjects: Collection[Subject]) -> bool:
        """Remove what the configuration of this revision has no check or address for.

        False: the configuration is another one by now, and some were not removed.
        """
        fields = [_field(subject) for subject in subjects]
        for start in range(0, len(fields), MAX_PURGED):
            arguments: list[str | int] = [configuration_revision, *fields[start : start + MAX_PURGED]]
            if int(self._purge(keys=[keys.CONFIGURATION_REVISION, keys.REPORTS], args=arguments)) < 0:
                return False
        return True


def _field(subject: Subject) -> str:
    return "|".join(subject)


def _subject(field: str) -> Subject:
    check, _, address = field.partition("|")
    return check, address


def _news(entries: Sequence[tuple[str, Mapping[str, str]]]) -> Iterator[ReportNews]:
    for position, fields in entries:
        subject = _subject(fields.get("subject", ""))
        yield ReportNews(position, subject, _parsed(subject, fields.get("report", "")))


def _parsed(subject: Subject, text: str) -> Report | None:
    return parsed_or_none(_REPORT, text, f"the report of {shown(_field(subject))}")
