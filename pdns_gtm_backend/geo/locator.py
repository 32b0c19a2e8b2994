"""The geo databases in use: which files they are, the place of a network, and reloading when a file changes."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Generic, TypeVar

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place
from pdns_gtm_backend.domain.edge import Places, overlaid
from pdns_gtm_backend.geo.cells import in_units
from pdns_gtm_backend.geo.continents import interned
from pdns_gtm_backend.geo.database import (
    NO_CAPABILITIES,
    Capabilities,
    Database,
    FileStatus,
    GeoDatabaseError,
    GeoFileUnreadable,
    Stamp,
    stamp,
)
from pdns_gtm_backend.geo.mmdb import open_countries, open_systems
from pdns_gtm_backend.geo.text import open_text, sibling

log = logging.getLogger(__name__)

MMDB_SUFFIX: Final = ".mmdb"
DEFAULT_PATHS: Final = ("/var/lib/GeoIP/GeoLite2-Country.mmdb", "/usr/share/GeoIP/*.mmdb", "/usr/share/tor/geoip")
"""Where a country database is looked for, first to last. Of the `*` ones only country and city databases count."""

Found = TypeVar("Found")
Stamps = tuple[Stamp | None, ...]


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """A database that is in use, or none.

    kind: format and schema; "" where there is none.
    error: why there is none, or why another file is not used; "" = all is well.
    failures: lookups that failed because the file is damaged.
    """

    kind: str = ""
    files: tuple[FileStatus, ...] = ()
    error: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True)
class GeoStatus:
    """The country database, and the database of autonomous systems; None where none is configured."""

    country: DatabaseStatus
    asn: DatabaseStatus | None


@dataclass(frozen=True, slots=True)
class _Databases:
    country: Database[Place] | None = None
    asn: Database[int] | None = None

    def locate(self, network: Network) -> Place:
        place = self.country.find(network) if self.country is not None else NOWHERE
        if self.asn is None:
            return place
        number = self.asn.find(network)
        return interned(place.continent, place.country, place.subdivision, number) if number else place

    def places(self) -> Places:
        found = {}
        for version in (4, 6):
            country = (
                [(0, NOWHERE)] if self.country is None else in_units(self.country.ranges(version), version, NOWHERE)
            )
            if self.asn is None:
                found[version] = country
                continue
            both = overlaid(country, in_units(self.asn.ranges(version), version, 0))
            found[version] = [
                (start, interned(p.continent, p.country, p.subdivision, number) if number else p)
                for start, (p, number) in both
            ]
        return Places(found[4], found[6])


class Locator:
    """Gives the place of a network from the databases at hand; where there are none, every network is NOWHERE.

    country_path: an .mmdb file, or the IPv4 file of a tor-geoipdb text pair; None = the first found in `default_paths`.
    asn_path: an .mmdb file; None = no network has a number.
    A file that cannot be used is no exception but an error in `status`, as DNS goes on without it.
    """

    def __init__(
        self,
        country_path: Path | None = None,
        asn_path: Path | None = None,
        *,
        default_paths: Sequence[str] = DEFAULT_PATHS,
    ) -> None:
        if country_path is not None:
            self._country = _Source(lambda: (country_path,), open_country)
        else:
            self._country = _Source(lambda: _default_files(default_paths), open_country, default_paths)
        self._asn = _Source(lambda: (asn_path,), open_systems) if asn_path is not None else None
        self._lock = threading.Lock()
        self._databases = _Databases()
        self.refresh()

    def locate(self, network: Network) -> Place:
        """The place of the network's first address. Takes no lock and reads no file."""
        return self._databases.locate(network)

    def places(self) -> Places:
        """The place of every unit of addresses that the edge counts in; takes seconds with a large database."""
        return self._databases.places()

    @property
    def capabilities(self) -> Capabilities:
        """What `locate` can find with the databases in use."""
        databases = self._databases
        country = NO_CAPABILITIES if databases.country is None else databases.country.capabilities
        return replace(country, has_asn=databases.asn is not None)

    def status(self) -> GeoStatus:
        """What is in use, and what is wrong."""
        return GeoStatus(self._country.status(), None if self._asn is None else self._asn.status())

    def refresh(self) -> bool:
        """Load what has changed since the last call; what cannot be loaded leaves the data in use as it is.

        Costs a few stat calls where nothing has. True = `locate` answers from other data now.
        """
        with self._lock:
            changed = self._country.refresh()
            if self._asn is not None:
                changed = self._asn.refresh() or changed
            if changed:
                self._databases = _Databases(self._country.database, None if self._asn is None else self._asn.database)
            return changed


def open_country(path: Path) -> Database[Place]:
    """Load the country database at `path`: an .mmdb file, else a text pair. Raises GeoDatabaseError."""
    return open_countries(path) if path.suffix == MMDB_SUFFIX else open_text(path)


def _default_files(patterns: Sequence[str]) -> tuple[Path, ...]:
    found: list[Path] = []
    for pattern in map(Path, patterns):
        if "*" not in pattern.name:
            found.extend([pattern] if stamp(pattern) is not None else [])
            continue
        matches = sorted(pattern.parent.glob(pattern.name))
        found.extend(path for path in matches if "country" in path.name.lower() or "city" in path.name.lower())
    return tuple(found)


def _stamps(path: Path) -> Stamps:
    return (stamp(path),) if path.suffix == MMDB_SUFFIX else (stamp(path), stamp(sibling(path)))


class _Source(Generic[Found]):
    """One database out of the files that may hold it, the first usable one of which is used."""

    def __init__(
        self,
        candidates: Callable[[], Sequence[Path]],
        load: Callable[[Path], Database[Found]],
        searched: Sequence[str] = (),
    ) -> None:
        self._candidates = candidates
        self._load = load
        self._searched = searched
        self._in_use: tuple[Path, Stamps] | None = None
        self._refused: dict[Path, tuple[Stamps, str]] = {}
        self._error = ""
        self.database: Database[Found] | None = None

    def status(self) -> DatabaseStatus:
        database, error = self.database, self._error
        if database is None:
            return DatabaseStatus(error=error)
        return DatabaseStatus(database.kind, database.files, error, database.failures)

    def refresh(self) -> bool:
        """Use the first usable file. True = the data changed."""
        before = self.database
        error = self._search()
        if error and error != self._error:
            log.warning("geo database: %s", error)
        self._error = error
        return self.database is not before

    def _search(self) -> str:
        errors: list[str] = []
        used = None if self._in_use is None else self._in_use[0]
        for path in self._candidates():
            error = self._try(path, _stamps(path))
            if not error:
                return "; ".join(errors)
            errors.append(error)
            if path == used:
                break
        if self.database is not None:
            return f"{'; '.join(errors) or f'{used}: is gone'}; the data loaded before stays in use"
        return "; ".join(errors) or f"no file at {' or '.join(self._searched)}: no client has a place"

    def _try(self, path: Path, stamps: Stamps) -> str:
        if self._in_use == (path, stamps):
            return ""
        refused = self._refused.get(path)
        if refused is not None and refused[0] == stamps:
            return refused[1]
        try:
            self.database = self._load(path)
        except GeoFileUnreadable as error:
            return str(error)
        except GeoDatabaseError as error:
            self._refused[path] = stamps, str(error)
            return str(error)
        self._in_use = path, stamps
        log.info("geo database: %s, %s", path, self.database.kind)
        return ""
