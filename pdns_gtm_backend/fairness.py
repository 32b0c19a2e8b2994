"""Long work beside threads that answer queries."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

SWITCH_SECONDS: Final = 0.00005
WORK_SECONDS: Final = 0.0003
REST_SECONDS: Final = 0.0003

_lock = threading.Lock()
_at_work = 0
_usual = sys.getswitchinterval()


@contextmanager
def answers_first() -> Iterator[Callable[[], None]]:
    """Whatever waits for the interpreter's lock meanwhile waits a moment, not its usual 5 ms each time.

    Gives what the work may call often: it then sleeps as long as it works, in pieces shorter than an answer may wait.
    """
    global _at_work, _usual
    with _lock:
        if not _at_work:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_SECONDS)
        _at_work += 1
    try:
        yield _rests()
    finally:
        with _lock:
            _at_work -= 1
            if not _at_work:
                sys.setswitchinterval(_usual)


def _rests() -> Callable[[], None]:
    until = time.perf_counter() + WORK_SECONDS

    def rest() -> None:
        nonlocal until
        if time.perf_counter() >= until:
            time.sleep(REST_SECONDS)
            until = time.perf_counter() + WORK_SECONDS

    return rest
