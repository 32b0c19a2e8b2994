"""Making what stays: neither while it is made nor later is it looked through for garbage."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pdns_gtm_backend.fairness import answers_first

_lock = threading.Lock()
_at_work = 0
_usual = True


def set_aside() -> None:
    """Never again look for garbage in what was made so far. Seldom called: a cycle that is garbage by then stays."""
    gc.freeze()


@contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the cyclic garbage collector from very many new objects without a cycle, as each pass over them would stop
    every thread. Several threads may do so at once: it goes on after the last one.
    """
    global _at_work, _usual
    with _lock:
        if not _at_work:
            _usual = gc.isenabled()
            gc.disable()
        _at_work += 1
    try:
        yield
    finally:
        with _lock:
            _at_work -= 1
            if not _at_work and _usual:
                gc.enable()


@contextmanager
def long_lived() -> Iterator[Callable[[], None]]:
    """Keeps the cyclic garbage collector from what is built inside, now and later: a whole snapshot holds a million
    objects and no cycles, and each pass over them would stop every thread for most of a second. Gives what
    `answers_first` gives.
    """
    with without_collection():
        try:
            with answers_first() as rest:
                yield rest
        finally:
            set_aside()
