"""How one process asks another: a request in a list of whoever is asked, the replies in a list of the request.

Both lists go away by themselves, so that nothing is left of a process that died while it asked or was asked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, TypeVar

from pydantic import StringConstraints, TypeAdapter

from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.reading import parsed_or_none

T = TypeVar("T")

MAX_PENDING: Final = 100
"""Requests in a list; the oldest ones are dropped."""
REQUEST_SECONDS: Final = 30
REPLY_SECONDS: Final = 60
BLOCK_SECONDS: Final = 0.5
"""Below the time-out of a command, which would end a longer wait with an error."""

RequestId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def new_request(client: Client, timeout: float) -> tuple[RequestId, float]:
    """An id, and when the asker no longer waits, in seconds since the epoch by Redis's clock."""
    seconds, microseconds = client.time()
    return secrets.token_hex(16), seconds + microseconds / 1e6 + timeout


def send_request(client: Client, inboxes: Iterable[str], document: bytes) -> None:
    """Put a request into the lists of all that are asked."""
    pipe = client.pipeline(transaction=True)
    for inbox in inboxes:
        pipe.rpush(inbox, document.decode())
        pipe.ltrim(inbox, -MAX_PENDING, -1)
        pipe.expire(inbox, REQUEST_SECONDS)
    pipe.execute()


def take_request(client: Client, inbox: str, adapter: TypeAdapter[T]) -> T | None:
    """The next request; None where none comes for half a second, or none that can be read."""
    popped: Any = client.blpop([inbox], timeout=BLOCK_SECONDS)
    return None if popped is None else parsed_or_none(adapter, popped[1], "a request")


def send_reply(client: Client, request: RequestId, document: bytes) -> None:
    """Reply to a request."""
    pipe = client.pipeline(transaction=True)
    pipe.rpush(keys.vantage_reply(request), document.decode())
    pipe.expire(keys.vantage_reply(request), REPLY_SECONDS)
    pipe.execute()


def replies(client: Client, request: RequestId, adapter: TypeAdapter[T], timeout: float) -> Iterator[T | None]:
    """The replies to a request as they come within `timeout` seconds; None for one that cannot be read."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        popped: Any = client.blpop([keys.vantage_reply(request)], timeout=min(BLOCK_SECONDS, left))
        if popped is not None:
            yield parsed_or_none(adapter, popped[1], "a reply")
