"""Leases: one holder at a time, named by a random value that scripts check, so that a holder that slept is fenced."""

import secrets
from typing import Final

from pdns_gtm_backend.store import scripts
from pdns_gtm_backend.store.connection import Client

LEASE_MILLISECONDS: Final = 2000
RENEW_SECONDS: Final = 0.5
TAKEN: Final = 2


class Lease:
    """A key that holds this process's token while the lease is ours.

    token: another one each time that the lease is taken, so that a write of an earlier holding that is still under way
    (a Redis that was frozen carries it out later) is refused.
    """

    def __init__(self, client: Client, key: str) -> None:
        self.token = self._next = secrets.token_hex(16)
        self._key = key
        self._renew = client.register_script(scripts.RENEW_LEASE)
        self._keep = client.register_script(scripts.KEEP_LEASE)
        self._drop = client.register_script(scripts.DROP_LEASE)

    def hold(self, *, anew: bool = False) -> bool:
        """Take or renew it; False where another holds it. Raises RedisError.

        anew: take it with another token even where it is ours: nothing that was sent before counts any more.
        """
        # Kept until it is known to be taken: an attempt without an answer may have taken the lease with it.
        outcome = self._renew(keys=[self._key], args=[self.token, self._next, LEASE_MILLISECONDS, int(anew)])
        if outcome == TAKEN:
            self.token, self._next = self._next, secrets.token_hex(16)
        return bool(outcome)

    def keep(self, token: str) -> bool:
        """Renew it where it is still held with this token; may be called in another thread. Raises RedisError."""
        return bool(self._keep(keys=[self._key], args=[token, LEASE_MILLISECONDS]))

    def drop(self) -> None:
        """Give it back, so that another can have it at once. Raises RedisError."""
        self._drop(keys=[self._key], args=[self.token])
