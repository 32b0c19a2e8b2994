"""Leases: one holder at a time, named by a random value that scripts check, so that a holder that slept is fenced."""

import secrets
from typing import Final

from pdns_gtm_backend.store import scripts
from pdns_gtm_backend.store.connection import Client

LEASE_MILLISECONDS: Final = 2500
RENEW_SECONDS: Final = 0.6


class Lease:
    """A key that holds this process's token while the lease is ours."""

    def __init__(self, client: Client, key: str) -> None:
        self.token: Final = secrets.token_hex(16)
        self._key = key
        self._renew = client.register_script(scripts.RENEW_LEASE)
        self._drop = client.register_script(scripts.DROP_LEASE)

    def hold(self) -> bool:
        """Take or renew it; False where another holds it. Raises RedisError."""
        return bool(self._renew(keys=[self._key], args=[self.token, LEASE_MILLISECONDS]))

    def drop(self) -> None:
        """Give it back, so that another can have it at once. Raises RedisError."""
        self._drop(keys=[self._key], args=[self.token])
