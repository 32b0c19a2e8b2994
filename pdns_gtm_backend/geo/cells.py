"""What a database says of each unit of addresses, as the answers' scope counts them: a /24 or a /56."""

import time
from collections.abc import Iterable
from typing import Final, TypeVar

from pdns_gtm_backend.domain.edge import BITS
from pdns_gtm_backend.domain.line import SCOPES

T = TypeVar("T")

CHUNK: Final = 2000
"""Ranges at a time: about a millisecond, for which no other thread runs."""
PAUSE: Final = 50e-6
"""Seconds between chunks, in which waiting threads run."""


def in_units(ranges: Iterable[tuple[int, int, T]], version: int, nothing: T) -> list[tuple[int, T]]:
    """What holds from a unit on until the next one's: that of the unit's first address, as a lookup says.

    ranges: first address, last address, value; in order. nothing: what holds outside of them.
    """
    width = BITS[version] - SCOPES[version]
    before_next = (1 << width) - 1
    pieces: list[tuple[int, T]] = [(0, nothing)]
    stop = 0
    for count, (first, last, value) in enumerate(ranges):
        if count % CHUNK == CHUNK - 1:
            time.sleep(PAUSE)
        begin, end = (first + before_next) >> width, (last >> width) + 1
        if begin >= end:
            continue
        if begin > stop:
            _add(pieces, stop, nothing)
        _add(pieces, begin, value)
        stop = end
    if stop < 1 << SCOPES[version]:
        _add(pieces, stop, nothing)
    return pieces


def _add(pieces: list[tuple[int, T]], start: int, value: T) -> None:
    if pieces[-1][0] == start:
        pieces.pop()
    if not pieces or pieces[-1][1] != value:
        pieces.append((start, value))
