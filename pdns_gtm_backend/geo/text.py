"""Debian's tor-geoipdb: countries as a pair of text files, `geoip` (IPv4) and `geoip6`, of lines `first,last,CC`.

IPv4 addresses are decimal numbers, IPv6 ones are written out, `#` begins a comment line (tor, `src/lib/geoip/geoip.c`).
Ranges must be sorted and not overlap. They are kept in arrays and found by bisection.
"""

from __future__ import annotations

import operator
import re
import socket
import sys
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice, repeat
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Generic, TypeVar

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.geo.continents import place_of
from pdns_gtm_backend.geo.database import Capabilities, FileStatus, GeoDatabaseError, file_status, reading

CHUNK: Final = 1 << 16
"""Bytes that are parsed at a time: about a millisecond, for which no other thread runs."""
PAUSE: Final = 50e-6
"""Seconds between chunks, in which waiting threads run."""
LONGEST_LINE: Final = 256
LOW_BITS: Final = (1 << 64) - 1
GENERATED: Final = re.compile(rb"^# Generated:\s*(\S.*?)\s*$", re.MULTILINE)

N = TypeVar("N", int, bytes)


@dataclass(frozen=True, slots=True)
class Ranges4:
    """IPv4 ranges. `codes` gives for each the index of its place."""

    firsts: array[int]
    lasts: array[int]
    codes: array[int]
    places: tuple[Place, ...]

    def find(self, address: int) -> Place:
        """The place of the range that holds `address`."""
        index = bisect_right(self.firsts, address) - 1
        if index < 0 or self.lasts[index] < address:
            return NOWHERE
        return self.places[self.codes[index]]

    def ranges(self) -> Iterator[tuple[int, int, Place]]:
        """Every range in order."""
        return zip(self.firsts, self.lasts, map(self.places.__getitem__, self.codes), strict=True)


@dataclass(frozen=True, slots=True)
class Ranges6:
    """IPv6 ranges, whose ends are halved into 64 bits to fit arrays."""

    firsts_high: array[int]
    firsts_low: array[int]
    lasts_high: array[int]
    lasts_low: array[int]
    codes: array[int]
    places: tuple[Place, ...]

    def find(self, address: int) -> Place:
        """The place of the range that holds `address`."""
        high, low = address >> 64, address & LOW_BITS
        index = bisect_right(self.firsts_high, high)
        if index and self.firsts_high[index - 1] == high:
            # Several ranges may begin inside one /64: the low halves decide among these.
            index = bisect_right(self.firsts_low, low, bisect_left(self.firsts_high, high, 0, index), index)
        index -= 1
        if index < 0:
            return NOWHERE
        last = self.lasts_high[index]
        if last < high or (last == high and self.lasts_low[index] < low):
            return NOWHERE
        return self.places[self.codes[index]]

    def ranges(self) -> Iterator[tuple[int, int, Place]]:
        """Every range in order."""
        firsts = ((high << 64) | low for high, low in zip(self.firsts_high, self.firsts_low, strict=True))
        lasts = ((high << 64) | low for high, low in zip(self.lasts_high, self.lasts_low, strict=True))
        return zip(firsts, lasts, map(self.places.__getitem__, self.codes), strict=True)


@dataclass(frozen=True, slots=True)
class TextDatabase:
    """A loaded pair."""

    ipv4: Ranges4
    ipv6: Ranges6
    files: tuple[FileStatus, ...]
    capabilities: Capabilities
    kind: ClassVar[str] = "tor-geoipdb text"
    failures: ClassVar[int] = 0

    def find(self, network: Network) -> Place:
        """The place of the network's first address."""
        return self.ipv4.find(network.bits) if network.version == 4 else self.ipv6.find(network.bits)

    def ranges(self, version: int) -> Iterator[tuple[int, int, Place]]:
        """First address, last address and place of every range of a family, in order."""
        return self.ipv4.ranges() if version == 4 else self.ipv6.ranges()


def sibling(path: Path) -> Path:
    """The IPv6 file that belongs to the IPv4 file `path`."""
    return path.with_name(path.name + "6")


def open_text(path: Path) -> TextDatabase:
    """Load the IPv4 file `path` and its `sibling`. Raises GeoDatabaseError.

    Other threads get to run while it works, so it takes a little longer than it would alone.
    """
    builder4, builder6 = _Builder4(), _Builder6()
    path6 = sibling(path)
    with reading(path) as file4, reading(path6) as file6:
        files = (_load(path, file4, builder4), _load(path6, file6, builder6))
    places = (*builder4.places(), *builder6.places())
    capabilities = Capabilities(
        has_country=True,
        countries=frozenset(place.country for place in places if place.country),
        continents=frozenset(place.continent for place in places if place.continent),
    )
    return TextDatabase(builder4.ranges(), builder6.ranges(), files, capabilities)


def _load(path: Path, file: BinaryIO, builder: _Builder4 | _Builder6) -> FileStatus:
    number, built = 1, None
    for chunk in _chunks(file):
        if number == 1:
            built = _generated(chunk)
        try:
            builder.add(chunk)
        except ValueError:
            raise GeoDatabaseError(f"{path}: {builder.fault(chunk, number)}") from None
        number += chunk.count(b"\n")
        time.sleep(PAUSE)
    if not builder.codes:
        raise GeoDatabaseError(f"{path}: holds no ranges; allowed are lines {builder.form}")
    return file_status(path, file, built, len(builder.codes))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk if chunk.endswith(b"\n") else chunk + file.readline(LONGEST_LINE)


def _generated(head: bytes) -> float | None:
    match = GENERATED.search(head)
    if match is None:
        return None
    try:
        return parsedate_to_datetime(match[1].decode("ascii", "replace")).timestamp()
    except (ValueError, OverflowError):
        return None


class _Builder(Generic[N]):
    """Collects the ranges of one file. A chunk is worked on as a whole, which is several times faster than by lines."""

    form: ClassVar[str]
    address: ClassVar[bytes]

    def __init__(self, largest: N) -> None:
        self.codes = array("H")
        self._indices: dict[bytes, int] = {}
        self._largest: N = largest
        self._last: N | None = None
        self._line = re.compile(rb"%b,%b,[A-Z0-9?]{1,2}\n" % (self.address, self.address))
        self._lines = re.compile(rb"(?:%b)*+" % self._line.pattern)

    def numbers(self, texts: Sequence[bytes]) -> list[N]:
        """Addresses as values that compare. Raises ValueError."""
        raise NotImplementedError

    def append(self, firsts: list[N], lasts: list[N]) -> None:
        """Take over checked ranges."""
        raise NotImplementedError

    def places(self) -> tuple[Place, ...]:
        """The places of the codes met, by index."""
        return tuple(place_of(code.decode("ascii")) for code in self._indices)

    def add(self, chunk: bytes) -> None:
        """Add whole lines. Raises ValueError where one is wrong; `fault` then says which."""
        if b"#" in chunk:
            chunk = b"".join(line for line in chunk.splitlines(keepends=True) if not line.startswith(b"#"))
        if not chunk:
            return
        if not self._lines.fullmatch(chunk):
            raise ValueError
        fields = chunk[:-1].replace(b"\n", b",").split(b",")
        firsts, lasts, codes = self.numbers(fields[0::3]), self.numbers(fields[1::3]), fields[2::3]
        if not self._in_order(firsts, lasts):
            raise ValueError
        for code in set(codes).difference(self._indices):
            self._indices[code] = len(self._indices)
        self.codes.extend(map(self._indices.__getitem__, codes))
        self.append(firsts, lasts)
        self._last = lasts[-1]

    def _in_order(self, firsts: list[N], lasts: list[N]) -> bool:
        return (
            (self._last is None or self._last < firsts[0])
            and lasts[-1] <= self._largest
            and all(map(operator.le, firsts, lasts))
            and all(map(operator.lt, lasts, islice(firsts, 1, None)))
        )

    def fault(self, chunk: bytes, number: int) -> str:
        """What is wrong with the first line of `chunk` that is; `number` is that of the chunk's first line."""
        previous = self._last
        for count, line in enumerate(chunk.splitlines(keepends=True), number):
            if line.startswith(b"#"):
                continue
            found = f"line {count}: {shown(line.decode('ascii', 'backslashreplace'))}"
            if not self._line.fullmatch(line):
                return f"{found} is not of the form {self.form} (a MaxMind database must be named *.mmdb)"
            try:
                first, last = self.numbers(line.split(b",")[:2])
            except ValueError:
                return f"{found} holds no address; allowed are lines {self.form}"
            if first > last or last > self._largest:
                return f"{found} is no range; allowed are lines {self.form}"
            if previous is not None and first <= previous:
                return f"{found} begins before the end of the range above it; ranges must be sorted and not overlap"
            previous = last
        raise AssertionError("a chunk was refused though each of its lines is right")


class _Builder4(_Builder[int]):
    form = "'first,last,CC' with IPv4 addresses as decimal numbers"
    address = rb"[0-9]{1,10}"

    def __init__(self) -> None:
        super().__init__(0xFFFF_FFFF)
        self._firsts, self._lasts = array("I"), array("I")

    def numbers(self, texts: Sequence[bytes]) -> list[int]:
        return list(map(int, texts))

    def append(self, firsts: list[int], lasts: list[int]) -> None:
        self._firsts.extend(firsts)
        self._lasts.extend(lasts)

    def ranges(self) -> Ranges4:
        return Ranges4(self._firsts, self._lasts, self.codes, self.places())


class _Builder6(_Builder[bytes]):
    form = "'first,last,CC' with IPv6 addresses"
    address = rb"[0-9a-fA-F:.]{2,45}"

    def __init__(self) -> None:
        super().__init__(b"\xff" * 16)
        self._firsts, self._lasts = _Halves(), _Halves()

    def numbers(self, texts: Sequence[bytes]) -> list[bytes]:
        try:
            return list(map(socket.inet_pton, repeat(socket.AF_INET6), map(bytes.decode, texts)))
        except OSError as error:
            raise ValueError from error

    def append(self, firsts: list[bytes], lasts: list[bytes]) -> None:
        self._firsts.extend(firsts)
        self._lasts.extend(lasts)

    def ranges(self) -> Ranges6:
        firsts, lasts = self._firsts, self._lasts
        return Ranges6(firsts.high, firsts.low, lasts.high, lasts.low, self.codes, self.places())


class _Halves:
    """IPv6 addresses as two columns of 64 bits."""

    def __init__(self) -> None:
        self.high, self.low = array("Q"), array("Q")

    def extend(self, addresses: list[bytes]) -> None:
        both = array("Q", b"".join(addresses))
        if sys.byteorder == "little":
            both.byteswap()
        self.high.extend(both[0::2])
        self.low.extend(both[1::2])
