"""A whole configuration in files: sections of objects, merged from all of them, every fault with file and line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from pdns_gtm_backend.cli.failures import INVALID, Failure, Fault
from pdns_gtm_backend.cli.sources import Source, read_sources
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.violation import pointer, shown

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Section:
    """A kind of object in a configuration. identity: the member that names one. kind: as the API calls it."""

    noun: str
    kind: str
    identity: str = "id"


SECTIONS: Final[Mapping[str, Section]] = {
    "health_checks": Section("health check", "health-checks"),
    "lines": Section("line", "lines"),
    "zones": Section("zone", "zones", "name"),
    "pools": Section("pool", "pools"),
    "instances": Section("instance", "instances", "name"),
    "alerts": Section("alert", "alerts"),
}
"""In the order of their references: what is named comes before what names it."""
MEMBERS: Final = ("version", *SECTIONS)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object was read: the document of a source, and its place in the section there."""

    source: Source
    document: int
    pointer: str


@dataclass(frozen=True, slots=True)
class _Fault:
    origin: Origin
    detail: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """document: as `/apply` takes it. origins: of the objects of each section, in their order."""

    document: Mapping[str, Any]
    origins: Mapping[str, Sequence[Origin]] = field(default_factory=dict)

    def place(self, place: str) -> str:
        """Where a JSON pointer into the document is: file, line, and the path with the object's name."""
        return self.places([place])[place]

    def places(self, wanted: Sequence[str]) -> Mapping[str, str]:
        """The same for many pointers, with each file read once."""
        found = {place: self._origin(place) for place in wanted}
        lines = _lines([origin for origin in found.values() if origin is not None])
        return {
            place: f"{lines[origin]}: {self._named(place)}" if origin is not None else self._named(place)
            for place, origin in found.items()
        }

    def _origin(self, place: str) -> Origin | None:
        section, index, below = _split(place)
        origins = self.origins.get(section, ())
        if index is None or index >= len(origins):
            return None
        held = origins[index]
        return Origin(held.source, held.document, held.pointer + below)

    def _named(self, place: str) -> str:
        """A pointer, with the object that it is in: `/pools/3/weight (pool pool-a)`."""
        section, index, _ = _split(place)
        items = self.document.get(section)
        if index is None or not isinstance(items, list) or index >= len(items):
            return place
        known = SECTIONS[section]
        return f"{place} ({known.noun} {items[index].get(known.identity, '?')})"


def read_configuration(paths: Iterable[str]) -> Configuration:
    """The configuration that all files together are. Raises Failure with every fault that shows without the server."""
    merged: dict[str, Any] = {"version": VERSION}
    origins: dict[str, list[Origin]] = {}
    faults: list[_Fault] = []
    for source in read_sources(paths):
        for number, document in enumerate(source.documents()):
            faults += _take(Origin(source, number, ""), document, merged, origins)
    faults += _twins(merged, origins)
    if faults:
        raise Failure("the configuration is not valid", INVALID, _told(faults))
    return Configuration(merged, origins)


def _take(origin: Origin, document: Any, merged: dict[str, Any], origins: dict[str, list[Origin]]) -> Iterator[_Fault]:
    """Add what a document holds to `merged`."""
    if document is None:
        return
    if not isinstance(document, dict):
        yield _Fault(origin, f"must be an object with {', '.join(MEMBERS)}")
        return
    for name, value in document.items():
        at = Origin(origin.source, origin.document, pointer(name))
        if name == "version":
            if value != VERSION or isinstance(value, bool):
                yield _Fault(at, f"{shown(value)} is not allowed: must be {VERSION}")
        elif name not in SECTIONS:
            close = get_close_matches(name, MEMBERS, n=1)
            meant = f", did you mean {close[0]!r}?" if close else "."
            yield _Fault(at, f"unknown member {shown(name)}{meant} Allowed are {', '.join(MEMBERS)}")
        elif not isinstance(value, list):
            yield _Fault(at, "must be a list: [] is one without any object")
        else:
            merged.setdefault(name, [])
            yield from _take_items(at, SECTIONS[name], value, merged[name], origins.setdefault(name, []))


def _take_items(
    at: Origin, section: Section, items: Sequence[Any], merged: list[Any], origins: list[Origin]
) -> Iterator[_Fault]:
    for index, item in enumerate(items):
        origin = Origin(at.source, at.document, at.pointer + pointer(index))
        if not isinstance(item, dict):
            yield _Fault(origin, f"must be a {section.noun}: an object with {section.identity!r} and more")
            continue
        merged.append(item)
        origins.append(origin)


def _twins(merged: Mapping[str, Any], origins: Mapping[str, Sequence[Origin]]) -> Iterator[_Fault]:
    """Objects of one name, in one file or in two."""
    for name, section in SECTIONS.items():
        first: dict[str, Origin] = {}
        for item, origin in zip(merged.get(name, ()), origins.get(name, ()), strict=True):
            identity = item.get(section.identity)
            if not isinstance(identity, str):
                continue
            key = canonical(identity) if name == "zones" else identity
            if key in first:
                earlier = _lines([first[key]])[first[key]]
                yield _Fault(origin, f"{section.noun} {shown(identity)} is already at {earlier}")
            first.setdefault(key, origin)


def _told(faults: Sequence[_Fault]) -> Sequence[Fault]:
    lines = _lines([fault.origin for fault in faults])
    return [
        Fault(
            f"{lines[fault.origin]}: {fault.origin.pointer}" if fault.origin.pointer else lines[fault.origin],
            fault.detail,
        )
        for fault in faults
    ]


def _lines(origins: Sequence[Origin]) -> Mapping[Origin, str]:
    """`file:line` of each, every file read once."""
    found: dict[Origin, str] = {}
    for source in dict.fromkeys(origin.source for origin in origins):
        held = [origin for origin in origins if origin.source == source]
        where = source.where([(origin.document, origin.pointer) for origin in held])
        found |= {origin: where[origin.document, origin.pointer] for origin in held}
    return found


def _split(place: str) -> tuple[str, int | None, str]:
    """A pointer into a configuration: the section, the object's index, and the pointer below it."""
    _, _, rest = place.partition("/")
    section, _, rest = rest.partition("/")
    index, slash, below = rest.partition("/")
    known = section in SECTIONS and index.isascii() and index.isdecimal()
    return section, int(index) if known else None, slash + below
