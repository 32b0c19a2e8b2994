"""HTTP/1 answers, as much of them as a health check reads (RFC 9112): the head, and the start of the body."""

import re
from dataclasses import dataclass
from typing import Final

from healthd.probes.connection import Connection
from pdns_gtm_backend.domain.violation import shown

MAX_HEAD_OCTETS: Final = 65_536
MAX_FIELDS: Final = 100
MAX_CHUNK_LINE: Final = 4_096
SWITCHING_PROTOCOLS: Final = 101
BODILESS: Final = frozenset({204, 304})

_PREFIX: Final = b"HTTP/1."
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.\d (\d{3})[ \r\n]")
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_FRAMING: Final = re.compile(rb"\n(content-length|transfer-encoding):([^\n]*)", re.IGNORECASE)
_CHUNK_LINE: Final = re.compile(rb"[ \t]*([0-9a-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n", re.IGNORECASE)
_LINE_END: Final = re.compile(rb"\r?\n")


class BadAnswer(Exception):
    """What came is no HTTP/1 answer. Its text says why, and quotes nothing that is not printable."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the fields, as they came, of the final answer. rest: what came of the body with them."""

    status: int
    octets: bytes
    rest: bytes


class HeadParser:
    """Puts the head of an answer together from pieces of any size; informational answers before it are skipped
    (RFC 9110 section 15.2)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._lines = 0
        self._skipped = 0

    @property
    def empty(self) -> bool:
        """Has nothing come yet?"""
        return not self._data and not self._skipped

    def feed(self, part: bytes) -> Head | None:
        """The head, once it is complete. Raises BadAnswer as soon as it cannot become one."""
        data, searched = self._data, len(self._data)
        data += part
        while True:
            found = _END_OF_HEAD.search(data, max(0, searched - 2))
            end = len(data) if found is None else found.end()
            self._check(searched, end)
            if found is None:
                return None
            head = Head(_status(data), bytes(data[:end]), bytes(data[end:]))
            if not 100 <= head.status < 200 or head.status == SWITCHING_PROTOCOLS:
                return head
            del data[:end]
            self._skipped, self._lines, searched = self._skipped + end, 0, 0

    def _check(self, searched: int, end: int) -> None:
        if self._skipped + end > MAX_HEAD_OCTETS:
            raise BadAnswer(f"more than {MAX_HEAD_OCTETS} octets of headers")
        if not self._lines:
            line_ended = self._data.find(b"\n", searched) >= 0
            if line_ended or not self._data.startswith(_PREFIX[: len(self._data)]):
                _status(self._data)
        self._lines += self._data.count(b"\n", searched, end)
        if self._lines > MAX_FIELDS + 2:
            raise BadAnswer(f"more than {MAX_FIELDS} headers")


def _status(data: bytearray) -> int:
    line = _STATUS_LINE.match(data)
    if line is None:
        raise BadAnswer(shown(data.partition(b"\n")[0].decode("latin-1")))
    return int(line[1])


async def read_head(connection: Connection) -> Head:
    """Read up to the end of the head. Raises BadAnswer, and OSError; a ConnectionError without an errno where the
    connection ends without any answer."""
    parser = HeadParser()
    while part := await connection.receive():
        head = parser.feed(part)
        if head is not None:
            return head
    raise ConnectionError if parser.empty else BadAnswer("the connection ended within the headers")


class Body:
    """The body after `head`, piece by piece, with chunks put together. has_one: an answer to HEAD has none.

    octets: how many were received, with what frames them. Raises BadAnswer where its length is not clear.
    """

    def __init__(self, connection: Connection, head: Head, *, has_one: bool) -> None:
        self._connection = connection
        self._rest = head.rest
        self._chunks: Chunks | None = None
        self._left: int | None = None
        self.octets = 0
        coding, length = _framing(head.octets)
        if not has_one or head.status in BODILESS or head.status == SWITCHING_PROTOCOLS:
            self._left = 0
        elif coding:
            # Another final coding ends with the connection (RFC 9112 section 6.3).
            self._chunks = Chunks() if coding.rpartition(",")[2].strip() == "chunked" else None
        else:
            self._left = length

    @property
    def ended(self) -> bool:
        return self._left == 0 or (self._chunks is not None and self._chunks.ended)

    async def part(self) -> bytes:
        """Some more of the body; none at its end. Raises BadAnswer where it is cut short or not framed as it says."""
        while not self.ended:
            received = self._rest or await self._connection.receive()
            self._rest = b""
            self.octets += len(received)
            if not received:
                if self._left is None and self._chunks is None:
                    return b""
                raise BadAnswer("the connection ended within the body")
            part = self._decoded(received)
            if part:
                return part
        return b""

    def _decoded(self, received: bytes) -> bytes:
        if self._chunks is not None:
            return self._chunks.feed(received)
        if self._left is None:
            return received
        part = received[: self._left]
        self._left -= len(part)
        return part


def _framing(head: bytes) -> tuple[str, int | None]:
    """The transfer codings and the content length that `head` gives."""
    codings: list[str] = []
    lengths: set[str] = set()
    for name, value in _FRAMING.findall(head):
        text = value.decode("latin-1").strip().lower()
        if name.lower() == b"transfer-encoding":
            codings.append(text)
        else:
            lengths.update(length.strip() for length in text.split(","))
    if len(lengths) > 1:
        raise BadAnswer("more than one Content-Length")
    length = lengths.pop() if lengths else None
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
        raise BadAnswer(f"Content-Length {shown(length)}")
    return ",".join(codings), None if length is None else int(length)


class Chunks:
    """Takes chunks apart that arrive in pieces of any size (RFC 9112 section 7.1). Trailers are not read."""

    def __init__(self) -> None:
        self.ended = False
        self._pending = b""
        self._left = 0
        self._after_data = False

    def feed(self, data: bytes) -> bytes:
        """The octets of the body in what was fed so far, without those given before. Raises BadAnswer."""
        data = self._pending + data
        decoded = bytearray()
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                taken = data[at : at + self._left]
                decoded += taken
                at += len(taken)
                self._left -= len(taken)
                continue
            line = (_LINE_END if self._after_data else _CHUNK_LINE).match(data, at)
            if line is None:
                break
            at = line.end()
            self._after_data = not self._after_data
            if self._after_data:
                self._left = int(line[1], 16)
                self.ended = self._left == 0
        self._pending = b"" if self.ended else data[at:]
        if self._pending and self._hopeless():
            raise BadAnswer(f"chunk {shown(self._pending[:100].decode('latin-1'))}")
        return bytes(decoded)

    def _hopeless(self) -> bool:
        """Can what is pending not become the line that is expected?"""
        if self._after_data:
            return self._pending != b"\r"
        return b"\n" in self._pending or len(self._pending) > MAX_CHUNK_LINE
