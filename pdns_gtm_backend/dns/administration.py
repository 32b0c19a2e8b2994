"""How PowerDNS's tools, its API and DNS UPDATE write: by the operations of the admin API, as an actor of their own."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from pdns_gtm_backend.dns.denial import Orders
from pdns_gtm_backend.dns.transactions import Transactions
from pdns_gtm_backend.geo.locator import Locator
from pdns_gtm_backend.operations.operator import Actor, Operator, Rules, Writer
from pdns_gtm_backend.operations.sealing import sealer_of
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.follower import Follower

log = logging.getLogger(__name__)

KEPT_REFUSALS: Final = 20
ACTOR: Final = Actor("pdns", "pdns", "admin", origin="powerdns")


class Administration:
    """The write side of one backend. Raises ValueError where GTM_KEY_SECRET is unusable.

    refusals: what was refused last, newest last; PowerDNS's tools show no reason.
    """

    def __init__(self, settings: Settings, follower: Follower, locator: Locator) -> None:
        rules = Rules(settings.access_zone, settings.allow_private_targets)
        self.operator = Operator(Writer(follower), rules, ACTOR)
        self.locator = locator
        self.transactions = Transactions()
        self.orders = Orders()
        self.refusals: deque[str] = deque(maxlen=KEPT_REFUSALS)
        self.sealer = sealer_of(settings.key_secret, settings.var)

    def refused(self, sentence: str) -> None:
        """Note why something was refused, for the log and for `backend-cmd remote refusals`."""
        self.refusals.append(sentence)
        log.warning("refused: %s", sentence, extra={"event": "pdns.refused"})
