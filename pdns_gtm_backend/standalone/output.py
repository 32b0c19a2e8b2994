"""What the parts write: kept in a file each, and shown on the console with the part's name in front."""

import os
import select
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Final

LONGEST_LINE: Final = 16_384
LOG_BYTES: Final = 10 * 1024 * 1024
CONSOLE_CHUNK: Final = 2048
"""A terminal or pipe that poll(2) calls writable takes at least so much without blocking."""
CONSOLE_PATIENCE_SECONDS: Final = 0.1


class Lines:
    """Cuts a stream of bytes into lines; a longer one than LONGEST_LINE is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        return lines

    def end(self) -> list[bytes]:
        """What is left when the stream ends."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class LogFile:
    """A log that is kept at `path`, and what came before it at `path`.1, each of LOG_BYTES at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def write(self, lines: Iterable[bytes]) -> None:
        """Append `lines`; a full disk or a missing folder loses them, not the system."""
        data = b"".join(line + b"\n" for line in lines)
        try:
            if self._file is None:
                self._file = FileIO(self._path, "a")
            if self._file.tell() + len(data) > LOG_BYTES:
                self._rotate()
            self._file.write(data)
        except OSError:
            return

    def _rotate(self) -> None:
        self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
        self.close()
        self._file = FileIO(self._path, "a")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Console:
    """The terminal. One that is stopped or gone holds nothing up: what it cannot take is dropped and counted."""

    def __init__(self, descriptor: int, width: int) -> None:
        self._descriptor = descriptor
        self._width = width
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._dropped = 0
        self._gone = False

    def show(self, name: str, lines: Iterable[bytes]) -> None:
        """Write `lines`, each with `name` in front; control characters but the tab are shown as `?`."""
        for line in lines:
            text = "".join(c if c.isprintable() or c == "\t" else "?" for c in line.decode(errors="replace"))
            self.write(f"{name:<{self._width}} | {text}\n")

    def write(self, text: str) -> None:
        """Write `text` as it is."""
        data = text.encode(errors="replace")
        for start in range(0, len(data), CONSOLE_CHUNK):
            if self._gone:
                return
            self._write(data[start : start + CONSOLE_CHUNK])

    def _write(self, data: bytes) -> None:
        patience = 0.0 if self._dropped else CONSOLE_PATIENCE_SECONDS
        if not self._poll.poll(patience * 1000):
            self._dropped += 1
            return
        if self._dropped:
            data = f"\n({self._dropped} pieces of output did not reach this terminal: see the logs)\n".encode() + data
            self._dropped = 0
        try:
            os.write(self._descriptor, data)
        except OSError:
            self._gone = True
