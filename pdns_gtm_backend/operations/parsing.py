"""From JSON to a document: every violation at once, each with its place, the value, and what is allowed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.operations.allowed import allowed, allowed_in, document_in, field_names, inside

T = TypeVar("T")
Path = tuple[str | int, ...]

SECRETS: Final = "secrets"
"""The field whose values are not repeated."""
MAX_VIOLATIONS: Final = 1000
"""More are counted, not listed."""

_adapters: Final[dict[type, TypeAdapter[Any]]] = {}


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """What was read. value: None where there is none; with violations it is what remains without the faulty fields,
    so that the rules between documents can be checked in the same go.
    """

    value: T | None
    violations: Sequence[Violation]


def adapter(document: type[T]) -> TypeAdapter[T]:
    """Reads and writes a document. Made once for each, as that takes milliseconds."""
    found: TypeAdapter[T] | None = _adapters.get(document)
    if found is None:
        found = _adapters[document] = TypeAdapter(document)
    return found


def parse(document: type[T], raw: object) -> Parsed[T]:
    """Read JSON data as a document."""
    try:
        return Parsed(_read(document, raw), ())
    except ValidationError as error:
        places = _places(raw, error.errors(include_url=False))
    violations = tuple(_violations(document, raw, places))
    return Parsed(_remaining(document, raw, [path for path, _ in places]), violations)


def to_json(value: Any) -> Any:
    """A document as JSON data, without what is never shown."""
    return adapter(type(value)).dump_python(shown_form(value), mode="json")


def shown_form(value: Any) -> Any:
    """A document as it may be shown."""
    return value.hidden() if isinstance(value, Alert) else value


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: `target` with what `patch` gives; null removes a member."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _read(document: type[T], raw: object) -> T:
    return adapter(document).validate_json(json.dumps(raw))


def _path(raw: Any, found: ErrorDetails) -> Path:
    """Where in `raw` the error is: pydantic's place without the names of union members."""
    path: list[str | int] = []
    at = raw
    for index, part in enumerate(found["loc"]):
        last = index == len(found["loc"]) - 1
        if isinstance(at, dict) and isinstance(part, str) and (part in at or (last and found["type"] == "missing")):
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _places(raw: Any, errors: Sequence[ErrorDetails]) -> Sequence[tuple[Path, ErrorDetails]]:
    """Each faulty place once."""
    places: dict[Path, ErrorDetails] = {}
    for found in errors:
        places.setdefault(_path(raw, found), found)
    above = {path[:length] for path in places for length in range(len(path))}
    # A list whose items were refused is reported as too short as well.
    return [(path, found) for path, found in places.items() if found["type"] != "too_short" or path not in above]


def _violations(document: type, raw: Any, places: Sequence[tuple[Path, ErrorDetails]]) -> Iterator[Violation]:
    for path, found in places[:MAX_VIOLATIONS]:
        yield Violation(pointer(*path), _sentence(document, raw, path, found))
    if len(places) > MAX_VIOLATIONS:
        yield Violation("", f"has {len(places)} errors, of which the first {MAX_VIOLATIONS} are listed")


def _sentence(document: type, raw: Any, path: Path, found: ErrorDetails) -> str:
    owner: Any = document
    for part in path[:-1]:
        owner = inside(owner, part)
    holder = document_in(owner)
    if not path:
        return f"{_shown(raw)} is not allowed: must be {allowed(document)}"
    if found["type"] == "unexpected_keyword_argument" and holder is not None:
        return _unknown(str(path[-1]), holder)
    said = allowed_in(holder, str(path[-1])) if holder is not None else allowed(inside(owner, path[-1]))
    if found["type"] == "missing":
        return f"is required: {said}"
    if SECRETS in path:
        return f"what was given is not allowed: must be {said}"
    if found["loc"][-1] == "[key]":
        limits = found.get("ctx", {})
        return f"the name {shown(path[-1])} has {len(str(path[-1]))} characters: {_name_limit(limits)}"
    return f"{_shown(_at(raw, path))} is not allowed: must be {said}"


def _name_limit(limits: Mapping[str, Any]) -> str:
    if "max_length" in limits:
        return f"at most {limits['max_length']} are allowed"
    return f"at least {limits.get('min_length', 1)} is needed"


def _unknown(name: str, document: type) -> str:
    names = field_names(document)
    close = get_close_matches(name, names, n=1)
    meant = f", did you mean {close[0]!r}?" if close else "."
    return f"unknown field {shown(name)}{meant} Allowed are {', '.join(names)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return shown(value)


def _at(raw: Any, path: Path) -> Any:
    for part in path:
        raw = raw[part]
    return raw


def _remaining(document: type[T], raw: Any, faulty: Sequence[Path]) -> T | None:
    """`raw` read without its faulty fields; None where an item of a list or a required field would be missing."""
    if not isinstance(raw, dict) or any(not path or isinstance(path[-1], int) for path in faulty):
        return None
    copied = json.loads(json.dumps(raw))
    for path in faulty:
        holder = _at_or_none(copied, path[:-1])
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
    try:
        return _read(document, copied)
    except ValidationError:
        return None


def _at_or_none(raw: Any, path: Path) -> Any:
    try:
        return _at(raw, path)
    except (KeyError, IndexError, TypeError):
        return None
