"""What commands print: tables, JSON and YAML on stdout."""

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

FORMATS: Final = ("table", "json", "yaml")
GAP: Final = "  "
CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}
CONTROL_IN_JSON: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}

COLOURS: Final[Mapping[str, str]] = {
    "normal": "green",
    "up": "green",
    "available": "green",
    "warning": "yellow",
    "unknown": "yellow",
    "error": "yellow",
    "stale": "yellow",
    "offline": "yellow",
    "exception": "red",
    "down": "red",
    "unavailable": "red",
    "no": "red",
}
"""The colour of a cell by its whole text."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and what it shows of an item."""

    title: str
    text: Callable[[Mapping[str, Any]], object]


def printable(text: str) -> str:
    """`text` without characters that steer a terminal: names and reasons come from others."""
    return text.translate(CONTROL)


def cell(value: object) -> str:
    """A value in a table."""
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping):
        return ",".join(f"{key}={cell(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(cell, value))
    return str(value)


def table(columns: Sequence[Column], items: Iterable[Mapping[str, Any]], *, colour: bool = False) -> str:
    """Items as lines, one column below the other; "" where there are none."""
    rows = [[printable(cell(column.text(item))).replace("\n", " ") for column in columns] for item in items]
    if not rows:
        return ""
    titles = [column.title for column in columns]
    widths = [max(map(width, column)) for column in zip(titles, *rows, strict=True)]
    lines = [_line(titles, widths, lambda text: text)]
    paint = _painted if colour else str
    lines += [_line(row, widths, paint) for row in rows]
    return "\n".join(lines)


def _line(texts: Sequence[str], widths: Sequence[int], paint: Callable[[str], str]) -> str:
    padded = (paint(text) + " " * (wide - width(text)) for text, wide in zip(texts, widths, strict=True))
    return GAP.join(padded).rstrip()


def _painted(text: str) -> str:
    return paint(text, COLOURS[text]) if text in COLOURS else text


def paint(text: str, colour: str) -> str:
    """`text` in a colour."""
    return click.style(text, fg=colour)


def width(text: str) -> int:
    """Columns that `text` takes on a terminal: two for each wide character (Unicode TR 11)."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - marks


def wants_colour() -> bool:
    """Is stdout a terminal whose user has not refused colours (NO_COLOR)?"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_json(data: Any) -> str:
    """Data as JSON for people and programs; characters that steer a terminal are escaped."""
    return json.dumps(data, ensure_ascii=False, indent=2).translate(CONTROL_IN_JSON)


def brief(value: object, most: int = 160) -> str:
    """A value on one line, cut where it is long."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = printable(text).replace("\n", " ")
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
