"""What an admin process runs on: the store that it follows, the geo databases, and the rules of the settings."""

import logging
import threading
import time
from typing import Final

from pdns_gtm_backend.admin.failure_limit import FailureLimit
from pdns_gtm_backend.geo.database import Capabilities
from pdns_gtm_backend.geo.locator import Locator
from pdns_gtm_backend.operations.errors import OperationError
from pdns_gtm_backend.operations.operator import SYSTEM, Actor, Operator, Quotas, Rules, Writer
from pdns_gtm_backend.operations.sealing import sealer_of
from pdns_gtm_backend.operations.startup import ensure_access_zone, ensure_token
from pdns_gtm_backend.operations.token_uses import TokenUses
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.connection import connect
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Repository

log = logging.getLogger(__name__)

SNAPSHOT: Final = ("snapshot", "admin.snapshot")
RETRY_SECONDS: Final = 0.5
REFRESH_SECONDS: Final = 5.0
BULK_SECONDS: Final = 30.0


class Services:
    """Everything that the application needs; `start` before use, `stop` at the end. Raises ValueError where
    GTM_KEY_SECRET is unusable.

    locator: None = made from the settings, which reads a file for most of a second.
    preparing: what is still to be done for the first start, and why; "" = nothing.
    """

    def __init__(self, settings: Settings, locator: Locator | None = None) -> None:
        self.settings = settings
        path, replicas = settings.var.joinpath(*SNAPSHOT), settings.write_replicas
        self.follower = Follower(connect(settings.store_url), path, write_replicas=replicas)
        self.locator = locator or Locator(settings.geo_database, settings.geo_asn_database)
        self.preparing = "not started"
        self.writer = Writer(self.follower, Repository(connect(settings.store_url, timeout=BULK_SECONDS), replicas))
        quotas = Quotas(
            settings.quota_instances,
            settings.quota_pools_per_instance,
            settings.quota_addresses_per_pool,
            settings.shortest_interval,
            settings.quota_alerts,
        )
        commands = settings.alert_commands is not None
        self.rules = Rules(settings.access_zone, settings.allow_private_targets, quotas, commands)
        self.sealer = sealer_of(settings.key_secret, settings.var)
        self.failures = FailureLimit(time.monotonic)
        self.token_uses = TokenUses(self.writer, time.time)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._prepare, name="prepare", daemon=True)
        self._refreshed = time.monotonic()

    def operator(self, actor: Actor) -> Operator:
        """An actor at this store."""
        return Operator(self.writer, self.rules, actor, self._capabilities, self.sealer)

    def start(self) -> None:
        """Follow the store, and make sure of the access zone and the first token as soon as it can be written."""
        self.follower.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop following and save the snapshot."""
        self._stopping.set()
        self._thread.join(timeout=3)
        self.token_uses.write()
        self.follower.stop()

    def wait_until_prepared(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the first start to be done."""
        self._thread.join(timeout)
        return not self.preparing

    def _capabilities(self) -> Capabilities:
        now = time.monotonic()
        if now - self._refreshed > REFRESH_SECONDS:
            self._refreshed = now
            self.locator.refresh()
        return self.locator.capabilities

    def _prepare(self) -> None:
        operator = self.operator(SYSTEM)
        while not self._stopping.is_set():
            try:
                ensure_access_zone(operator)
                ensure_token(operator, self.settings.var)
            except (OperationError, OSError, ValueError) as error:
                self._say(str(error))
            else:
                self._say("")
                return
            self._stopping.wait(RETRY_SECONDS)

    def _say(self, problem: str) -> None:
        if problem and problem != self.preparing:
            log.warning("not prepared yet: %s", problem, extra={"event": "admin.preparing"})
        self.preparing = problem
