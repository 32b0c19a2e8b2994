"""How often one client may fail to authenticate: a bucket of tries for each, which fills up again with time."""

import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TRIES: Final = 20
SECONDS_PER_TRY: Final = 3.0
MAX_CLIENTS: Final = 10_000
PREFIX6: Final = 64
"""What one client has of IPv6 at the least."""


@dataclass(slots=True)
class _Bucket:
    tries: float
    at: float


class FailureLimit:
    """Counts failures by client. A valid token is never refused for them, since others may share the address.

    clock: seconds that only move on. Remembers the `MAX_CLIENTS` that failed last.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def fail(self, address: str) -> int:
        """Note that a client failed. 0 = it may try again at once, else after so many seconds."""
        name, now = _client(address), self._clock()
        with self._lock:
            bucket = self._buckets.setdefault(name, _Bucket(TRIES, now))
            self._buckets.move_to_end(name)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
            bucket.tries = min(TRIES, bucket.tries + (now - bucket.at) / SECONDS_PER_TRY)
            bucket.at = now
            if bucket.tries >= 1:
                bucket.tries -= 1
                return 0
            return math.ceil((1 - bucket.tries) * SECONDS_PER_TRY)

    def __len__(self) -> int:
        return len(self._buckets)


def _client(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), PREFIX6), strict=False))
    return str(parsed)
