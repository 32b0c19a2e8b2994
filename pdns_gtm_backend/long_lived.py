"""Making what stays: neither while it is made nor later is it looked through for garbage."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from pdns_gtm_backend.fairness import Together, answers_first


def set_aside() -> None:
    """Never again look for garbage in what was made so far. Seldom called: a cycle that is garbage by then stays."""
    gc.freeze()


def _stop_collecting() -> Callable[[], object]:
    usual = gc.isenabled()
    gc.disable()
    return gc.enable if usual else gc.disable


_not_collecting: Final = Together(_stop_collecting)


def without_collection() -> AbstractContextManager[None]:
    """Keeps the cyclic garbage collector from very many new objects without a cycle, as each pass over them would stop
    every thread. Several threads may do so at once: it goes on after the last one.
    """
    return _not_collecting


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
