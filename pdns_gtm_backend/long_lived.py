"""Making what stays: neither while it is made nor later is it looked through for garbage."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pdns_gtm_backend.fairness import answers_first


def set_aside() -> None:
    """Never again look for garbage in what was made so far. Seldom called: a cycle that is garbage by then stays."""
    gc.freeze()


@contextmanager
def without_collection() -> Iterator[None]:
    """Keeps the cyclic garbage collector from very many new objects without a cycle, as each pass over them would stop
    every thread.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
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
