"""MaxMind DB files: countries by MaxMind, DB-IP or ip-location-db, and autonomous systems.

The format says nothing of the records inside, so a file is probed when it is loaded.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, NamedTuple, TypeVar

import maxminddb

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place
from pdns_gtm_backend.domain.line import MAX_ASN
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.geo.continents import place_of
from pdns_gtm_backend.geo.database import Capabilities, FileStatus, GeoDatabaseError, file_status, reading

SUBDIVISION: Final = re.compile(r"[A-Z0-9]{1,3}")
SAMPLED_RECORDS: Final = 1000
REMEMBERED_ADDRESSES: Final = 32_768
"""Results kept per address family: decoding a record and its names takes ten times as long as finding one again."""
COPIED_BYTES: Final = 1 << 20

Record = Mapping[str, Any]
Found = TypeVar("Found")


class Schema(NamedTuple):
    """How one family of files writes its records. `read` gives NOWHERE for those of another family."""

    name: str
    form: str
    read: Callable[[Record], Place]


def _code(value: object, key: str) -> str:
    """The text at `key`; "" where a record, which anybody may have written, holds something else."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _maxmind_place(record: Record) -> Place:
    subdivisions = record.get("subdivisions")
    largest = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None
    subdivision = _code(largest, "iso_code")
    return place_of(
        _code(record.get("country"), "iso_code"),
        _code(record.get("continent"), "code"),
        subdivision if SUBDIVISION.fullmatch(subdivision) else "",
    )


def _flat_place(record: Record) -> Place:
    return place_of(_code(record, "country_code"))


COUNTRY_SCHEMAS: Final = (
    Schema("maxmind", '{"country": {"iso_code": ...}} (MaxMind, DB-IP)', _maxmind_place),
    Schema("ip-location-db", '{"country_code": ...} (ip-location-db)', _flat_place),
)
ASN_FORM: Final = '{"autonomous_system_number": ...} (MaxMind, DB-IP, ip-location-db)'


def _number(record: Record) -> int:
    value = record.get("autonomous_system_number")
    return value if isinstance(value, int) and 0 < value <= MAX_ASN else 0


class MmdbFile:
    """An open file. Its data is a copy in memory: a mapped file that somebody truncates would kill the process."""

    def __init__(self, path: Path) -> None:
        with reading(path) as file:
            self._reader = _open_copy(path, file)
            metadata = self._reader.metadata()
            self.status: FileStatus = file_status(path, file, float(metadata.build_epoch), None)
        self.type = str(metadata.database_type)
        self.failures = 0
        self._versions = (4,) if metadata.ip_version == 4 else (4, 6)

    def record(self, version: int, bits: int) -> Record | None:
        """The record of an address, None where there is none. One that cannot be read is counted in `failures`."""
        if version not in self._versions:
            return None
        try:
            found = self._reader.get(IPv4Address(bits) if version == 4 else IPv6Address(bits))
        except (maxminddb.InvalidDatabaseError, ValueError):
            self.failures += 1
            return None
        return found if isinstance(found, dict) else None

    def ranges(self, version: int) -> Iterator[tuple[int, int, Record]]:
        """First address, last address and record of every network of a family, in order, up to one that is damaged."""
        if version not in self._versions:
            return
        try:
            for network, record in self._reader:
                if network.version == version and isinstance(record, dict):
                    first = int(network.network_address)
                    yield first, first + network.num_addresses - 1, record
        except (maxminddb.InvalidDatabaseError, ValueError):
            self.failures += 1

    def sample(self) -> list[Record]:
        """Some records: the first of the file, and those of an address in each IPv4 /8.

        Raises GeoDatabaseError where one of them cannot be read.
        """
        try:
            records = [record for _, record in islice(self._reader, SAMPLED_RECORDS)]
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise self._damaged() from error
        spread = [self.record(4, (octet << 24) + 0x08_0808) for octet in range(1, 224)]
        if self.failures:
            raise self._damaged()
        return [record for record in (*records, *spread) if isinstance(record, dict)]

    def unknown_schema(self, records: list[Record], allowed: str) -> GeoDatabaseError:
        """The error that says what the records hold in place of what is `allowed`."""
        fields = sorted({shown(field) for record in records for field in record})
        found = f"records hold {', '.join(fields[:12])}" if fields else "no records"
        return GeoDatabaseError(
            f"{self.status.path}: unknown schema (database type {shown(self.type)}, {found}); allowed is {allowed}"
        )

    def _damaged(self) -> GeoDatabaseError:
        return GeoDatabaseError(f"{self.status.path}: is damaged: a record in it cannot be read")


def _open_copy(path: Path, file: BinaryIO) -> maxminddb.Reader:
    with os.fdopen(os.memfd_create("geo-database"), "wb") as copy:
        shutil.copyfileobj(file, copy, COPIED_BYTES)
        copy.flush()
        try:
            return maxminddb.open_database(f"/proc/self/fd/{copy.fileno()}")
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise GeoDatabaseError(f"{path}: is no MaxMind database, or only a part of one") from error


class MmdbDatabase(Generic[Found]):
    """A loaded file, whose records `read` understands."""

    def __init__(
        self, file: MmdbFile, kind: str, capabilities: Capabilities, read: Callable[[Record], Found], nothing: Found
    ) -> None:
        self._file = file
        self._read = read
        self._find4 = _remembering(file, 4, read, nothing)
        self._find6 = _remembering(file, 6, read, nothing)
        self.kind = f"{kind} ({file.type})"
        self.files = (file.status,)
        self.capabilities = capabilities

    @property
    def failures(self) -> int:
        """Lookups that failed because the file is damaged."""
        return self._file.failures

    def find(self, network: Network) -> Found:
        """What the database says of the network's first address; NOWHERE or 0 where it says nothing."""
        return self._find4(network.bits) if network.version == 4 else self._find6(network.bits)

    def ranges(self, version: int) -> Iterator[tuple[int, int, Found]]:
        """First address, last address and value of every network of a family, in order."""
        return ((first, last, self._read(record)) for first, last, record in self._file.ranges(version))


def _remembering(
    file: MmdbFile, version: int, read: Callable[[Record], Found], nothing: Found
) -> Callable[[int], Found]:
    @lru_cache(maxsize=REMEMBERED_ADDRESSES)
    def find(bits: int) -> Found:
        record = file.record(version, bits)
        return nothing if record is None else read(record)

    return find


def open_countries(path: Path) -> MmdbDatabase[Place]:
    """Load a country or city database. Raises GeoDatabaseError."""
    file = MmdbFile(path)
    records = file.sample()
    for schema in COUNTRY_SCHEMAS:
        places = [schema.read(record) for record in records]
        if any(place.country for place in places):
            capabilities = Capabilities(
                has_country=True,
                has_subdivision=any(place.subdivision for place in places),
                countries=None,
                continents=None,
            )
            return MmdbDatabase(file, f"mmdb, {schema.name} schema", capabilities, schema.read, NOWHERE)
    raise file.unknown_schema(records, " or ".join(schema.form for schema in COUNTRY_SCHEMAS))


def open_systems(path: Path) -> MmdbDatabase[int]:
    """Load a database of autonomous systems. Raises GeoDatabaseError."""
    file = MmdbFile(path)
    records = file.sample()
    if not any(map(_number, records)):
        raise file.unknown_schema(records, ASN_FORM)
    return MmdbDatabase(file, "mmdb", Capabilities(has_asn=True), _number, 0)
