"""What every geo database offers, whatever its format, and how its files are read and recognised."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar

from pdns_gtm_backend.domain.client import Network

Found = TypeVar("Found", covariant=True)


class GeoDatabaseError(ValueError):
    """A geo database cannot be used. The message names the file, what was found and what is allowed."""


class GeoFileUnreadable(GeoDatabaseError):
    """The system refused to give the file; it may give the same file later."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file that answers come from.

    size: bytes. modified: seconds since the epoch. built: the same, as the data itself says; None where it does not.
    entries: ranges in the file; None where that is not known.
    """

    path: str
    size: int
    modified: float
    built: float | None
    entries: int | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What lookups can find at all, so that a line which can never match is noticed.

    countries, continents: those that the data holds; None where that is not known.
    """

    has_country: bool = False
    has_subdivision: bool = False
    has_asn: bool = False
    countries: frozenset[str] | None = frozenset()
    continents: frozenset[str] | None = frozenset()


NO_CAPABILITIES: Final = Capabilities()


class Database(Protocol[Found]):
    """Loaded files that give a `Place` or an AS number.

    kind: format and schema, for people. failures: lookups that failed because the file is damaged.
    """

    @property
    def kind(self) -> str: ...

    @property
    def files(self) -> tuple[FileStatus, ...]: ...

    @property
    def failures(self) -> int: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def find(self, network: Network) -> Found:
        """What the data says of the network's first address; NOWHERE or 0 where it says nothing."""
        ...

    def ranges(self, version: int) -> Iterator[tuple[int, int, Found]]:
        """First address, last address and value of everything that the data holds on a family, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """Changes whenever a file is replaced or written."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stamp(path: Path) -> Stamp | None:
    """The stamp of the file that `path` names now; None where there is none to see."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open `path` to read all of it. Raises GeoDatabaseError where that fails, or when the file changed meanwhile."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise GeoDatabaseError(f"{path}: is no regular file; name the database file itself")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            yield file
            if _stamp(os.fstat(file.fileno())) != _stamp(before):
                raise GeoDatabaseError(f"{path}: was written to while it was read")
    except OSError as error:
        raise GeoFileUnreadable(f"{path}: cannot be read: {error.strerror or error}") from error


def file_status(path: Path, file: BinaryIO, built: float | None, entries: int | None) -> FileStatus:
    """The status of `file`, which was opened from `path`."""
    status = os.fstat(file.fileno())
    return FileStatus(str(path), status.st_size, status.st_mtime, built, entries)
