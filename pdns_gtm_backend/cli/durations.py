"""Spans of time as they are typed, and the moments that they end at."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from pdns_gtm_backend.domain.moment import rfc3339

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
PARTS: Final = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
FORM: Final = "like 90s, 30m, 2h, 1h30m, 7d or 2w"
LONGEST: Final = timedelta(days=36_500)


def parse_span(text: str) -> timedelta:
    """`1h30m` as a span. Raises ValueError with a sentence."""
    parts = PARTS.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise ValueError(f"{text!r} is no span of time: write it {FORM}")
    span = timedelta(seconds=min(sum(int(number) * SECONDS[unit] for number, unit in parts), 10**10))
    if not timedelta() < span <= LONGEST:
        raise ValueError(f"{text!r} is not allowed: must be from 1s to 100 years")
    return span


def end(span: timedelta | None, until: str | None, now: datetime | None = None) -> str | None:
    """The moment that these two options mean, None for neither. Raises UsageError."""
    if span is None:
        return until
    if until is not None:
        raise click.UsageError("give --for or --until, not both")
    return rfc3339(((now or datetime.now(UTC)) + span).timestamp())
