"""Tables for people and for Markdown pages: the same text."""

import math
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.bench.processes import said


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; columns are padded, numbers to the right."""
    texts = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(heads, *texts, strict=True)]
    numeric = [
        all(isinstance(row[index], int | float) or row[index] is None for row in rows) for index in range(len(heads))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    return "\n".join([line(heads), line(rule), *map(line, texts)])


def shown(cell: object) -> str:
    """Three figures of a number, thousands parted; a dash for what was not measured."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    if not isinstance(cell, float):
        return str(cell)
    if cell >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.{1 if cell >= 10 else 2 if cell >= 0.1 else 3}f}"


def conditions() -> str:
    """When and where, for the head of a table."""
    cpu = said("sh", "-c", "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2").strip()
    cores = said("nproc")
    today = datetime.now(UTC).date()
    return f"{today}, {cores} cores of {cpu}, Linux {platform.release()}, Python {platform.python_version()}"
