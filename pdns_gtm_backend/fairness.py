"""Long work beside threads that answer queries."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

SWITCH_SECONDS: Final = 0.00005
WORK_SECONDS: Final = 0.0003
REST_SECONDS: Final = 0.0003


class Together:
    """Begun by the first thread that enters, ended by the last that leaves. begin: begins it, gives what ends it."""

    def __init__(self, begin: Callable[[], Callable[[], object]]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._end = self._begin()
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end()


def _switch_often() -> Callable[[], object]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    return partial(sys.setswitchinterval, usual)


_switching: Final = Together(_switch_often)


@contextmanager
def answers_first() -> Iterator[Callable[[], None]]:
    """Whatever waits for the interpreter's lock meanwhile waits a moment, not its usual 5 ms each time.

    Gives what the work may call often: it then sleeps as long as it works, in pieces shorter than an answer may wait.
    """
    with _switching:
        yield _rests()


def _rests() -> Callable[[], None]:
    until = time.perf_counter() + WORK_SECONDS

    def rest() -> None:
        nonlocal until
        if time.perf_counter() >= until:
            time.sleep(REST_SECONDS)
            until = time.perf_counter() + WORK_SECONDS

    return rest
