"""This process's state: the store that it follows, the geo databases, and the view that answers are made from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pdns_gtm_backend.dns import zones
from pdns_gtm_backend.dns.administration import Administration
from pdns_gtm_backend.dns.answers import View
from pdns_gtm_backend.dns.authority import authority
from pdns_gtm_backend.dns.purge import PowerDnsControl, Purger
from pdns_gtm_backend.dns.staleness import stale_names
from pdns_gtm_backend.geo.locator import Locator
from pdns_gtm_backend.operations.edge_conf import edge_address, edge_folder
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.connection import connect
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.serving import Prepared, Serving
from pdns_gtm_backend.store.snapshot import Change

if TYPE_CHECKING:
    from pdns_gtm_backend.dns.edge import Edge

log = logging.getLogger(__name__)

GEO_SECONDS: Final = 10.0
"""How often the geo databases' files are looked at."""
FIRST_SNAPSHOT_SECONDS: Final = 2.0
"""How long a new process waits for Redis before it serves the snapshot on disk."""
WHOLE_SECONDS: Final = 30.0
"""How long what needs the whole snapshot waits for it, soon after the start."""


class NotReady(Exception):
    """No snapshot of any store has been seen yet, neither on disk nor in Redis."""


class Backend:
    """Answers from the last state of the store that it saw.

    Raises ValueError where a setting is wrong; the message names it.
    """

    def __init__(self, settings: Settings) -> None:
        self.authority = authority(settings)
        try:
            client = connect(settings.store_url)
        except ValueError as error:
            raise ValueError(f"GTM_REDIS_URL: {error}") from None
        self.locator = Locator(settings.geo_database, settings.geo_asn_database)
        self.edge = _edge(settings, self.locator) if settings.edge else None
        then = None if self.edge is None else self.edge.purge
        self.purger = None if settings.pdns_control is None else Purger(PowerDnsControl(settings.pdns_control), then)
        path = settings.var / "snapshot" / "backend.snapshot"
        self.follower = Follower(
            client, path, [self._changed], write_replicas=settings.write_replicas, on_demand=self._early
        )
        self.administration = Administration(settings, self.follower, self.locator)
        self._stopping = threading.Event()
        self._geo = threading.Thread(target=self._watch_geo, name="geo", daemon=True)
        self._view = self._whole(self.follower.early or self.follower.serving)

    def start(self) -> None:
        """Begin to follow the store."""
        self.follower.start()
        self._geo.start()
        if self.edge is not None:
            self.edge.start()
        if self.purger is not None:
            self.purger.start()

    def wait_until_known(self, *, replacing: bool) -> None:
        """Wait until answers are of the store's present, or until that cannot be had.

        replacing: a process that answers, and follows every change while this one loads everything. Else an answer
        now is better than one later, though changes reach it only when everything is loaded.
        """
        log.info("starting: %s", "everything first" if replacing else "answers first")
        if replacing or not self.follower.wait_until_answering(FIRST_SNAPSHOT_SECONDS):
            self.wait_until_whole()
            self.follower.wait_until_known(FIRST_SNAPSHOT_SECONDS)

    def stop(self) -> None:
        """Stop following, and save the snapshot."""
        self._stopping.set()
        self.follower.stop()
        if self.purger is not None:
            self.purger.stop()
        if self.edge is not None:
            self.edge.stop()

    @property
    def view(self) -> View:
        """What to answer from now. Raises NotReady."""
        view = self._view
        if not view.serving.snapshot.position.store_id:
            raise NotReady("there is no snapshot yet: Redis was not reached, and none is on disk")
        return view

    @property
    def serving(self) -> Prepared:
        """The state of the store that answers are made from, empty before the first snapshot."""
        return self._view.serving

    def wait_until_whole(self) -> None:
        """Wait for what answers alone do not need; not at all but soon after the start."""
        self.follower.wait_until_whole(WHOLE_SECONDS)

    def _early(self, serving: Prepared) -> None:
        self._view = self._whole(serving)

    def _whole(self, serving: Prepared) -> View:
        return View(serving, zones.build(serving, self.authority), self.locator.locate, self._purged)

    def _purged(self) -> bool:
        return self.purger is not None and self.purger.working

    def _changed(self, serving: Serving, changes: Sequence[Change] | None) -> None:
        before = self._view
        self._view = self._whole(serving) if changes is None else self._patched(before, serving, changes)
        if self.edge is not None:
            self.edge.changed(before.serving, serving, changes)
        if self.purger is not None:
            stale = stale_names(before.serving, serving, changes)
            self.purger.purge(stale.names, stale.unkept, zones=stale.zones)

    def _patched(self, before: View, serving: Serving, changes: Sequence[Change]) -> View:
        try:
            held = before.zones.changed(before.serving, serving, changes)
        except Exception:
            log.exception("zones could not be patched: made anew", extra={"event": "zones.rebuilt"})
            return self._whole(serving)
        return replace(before, serving=serving, zones=held)

    def _watch_geo(self) -> None:
        while not self._stopping.wait(GEO_SECONDS):
            try:
                if self.locator.refresh() and self.edge is not None:
                    self.edge.moved()
            except Exception:
                log.exception("looking at the geo databases failed", extra={"event": "geo.failed"})


def _edge(settings: Settings, locator: Locator) -> Edge:
    """Raises ValueError where a setting is missing or wrong."""
    if settings.pdns_control is None:
        raise ValueError("GTM_EDGE: needs GTM_PDNS_CONTROL, as dnsdist is purged after PowerDNS")
    from pdns_gtm_backend.dns.edge import Edge
    from pdns_gtm_backend.dns.edge_control import DnsdistControl

    folder = edge_folder(settings)
    return Edge(DnsdistControl(edge_address(settings), settings.dns_port, folder), folder, locator.places)
