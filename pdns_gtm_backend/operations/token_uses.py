"""When each token was used last: kept in memory, written now and then beside the configuration and its revision."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from pdns_gtm_backend.operations.operator import Writer
from pdns_gtm_backend.operations.tokens import tokens_of
from pdns_gtm_backend.store import keys

WRITE_SECONDS: Final = 60.0


class TokenUses:
    """Last uses of tokens. clock: seconds since the epoch."""

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer, self._clock = writer, clock
        self._lock = threading.Lock()
        self._uses: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._written_at = clock()

    def note(self, token: str) -> None:
        """A token was used now. Writes what is new once a minute, while the store is there."""
        now = self._clock()
        with self._lock:
            self._uses[token] = int(now)
            self._unwritten.add(token)
            if now - self._written_at < WRITE_SECONDS:
                return
            self._written_at = now
        self.write()

    def write(self) -> None:
        """Write what is not written yet, and forget the tokens that are no more; later where the store is away."""
        follower = self._writer.follower
        if follower.status.state != "following":
            return
        known = tokens_of(follower.serving.snapshot)
        with self._lock:
            written = {name: self._uses[name] for name in self._unwritten if name in known}
            self._uses = {name: at for name, at in self._uses.items() if name in known}
            self._unwritten.clear()
        client: Any = follower.repository.client
        try:
            gone = [name for name in client.hkeys(keys.TOKEN_USES) if name not in known]
            if gone:
                client.hdel(keys.TOKEN_USES, *gone)
            if written:
                client.hset(keys.TOKEN_USES, mapping=written)
        except RedisError:
            with self._lock:
                self._unwritten |= written.keys()

    def all(self) -> Mapping[str, datetime]:
        """The last use of each token, at this server or at another one; without those never used."""
        with self._lock:
            found = dict(self._uses)
        if self._writer.follower.status.state == "following":
            for name, at in self._stored().items():
                found[name] = max(at, found.get(name, 0))
        return {name: datetime.fromtimestamp(at, UTC) for name, at in found.items()}

    def _stored(self) -> Mapping[str, int]:
        client: Any = self._writer.follower.repository.client
        try:
            fields = client.hgetall(keys.TOKEN_USES)
        except RedisError:
            return {}
        # Years have four digits: anything above is no moment.
        return {n: int(t) for n, t in fields.items() if t.isascii() and t.isdecimal() and len(t) <= 11}
