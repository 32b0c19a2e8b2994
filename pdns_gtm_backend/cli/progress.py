"""A sign of life on stderr for what takes longer than a second."""

import sys
import threading
import time
from types import TracebackType
from typing import Final

FIRST_SECONDS: Final = 1.0
ON_TERMINAL_SECONDS: Final = 0.2
IN_LOG_SECONDS: Final = 10.0


class Progress:
    """Tells what is waited for, after a second and then again; one line that is written over on a terminal.

    with Progress("importing", quiet=False) as progress:
        progress.done, progress.total = 3, 10
    """

    def __init__(self, what: str, *, quiet: bool, total: int = 0) -> None:
        self.what, self.total, self.done = what, total, 0
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        self._began = time.monotonic()
        self._shown = 0

    def __enter__(self) -> "Progress":
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()

    def _tell(self) -> None:
        wait = FIRST_SECONDS
        while not self._ended.wait(wait):
            line = self._line()
            if self._terminal:
                sys.stderr.write("\r" + line.ljust(self._shown))
                self._shown = max(self._shown, len(line))
                wait = ON_TERMINAL_SECONDS
            else:
                sys.stderr.write(line + "\n")
                wait = IN_LOG_SECONDS
            sys.stderr.flush()

    def _line(self) -> str:
        counted = f" {self.done}/{self.total}" if self.total else ""
        return f"{self.what}{counted} ({time.monotonic() - self._began:.0f} s)"
