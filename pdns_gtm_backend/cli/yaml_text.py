"""YAML as configuration is written in: plain data only, no key twice, and every place known.

Scalars are read by the core schema of YAML 1.2 (section 10.3), which JSON is a part of: `no`, `on`, `22:30`
and dates are text. Tags, merge keys and anchors that hold themselves are refused.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pdns_gtm_backend.domain.violation import pointer

MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000_000
"""Values in one document, each alias counted as what it stands for: few lines can stand for billions."""

Scalar = str | int | float | bool | None
Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER: Final = re.compile(r"[-+]?[0-9]{1,4000}", re.ASCII)
BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
STRING_TAG: Final = "tag:yaml.org,2002:str"


class Malformed(Exception):
    """A text is not YAML as it is accepted here. line, column: where, from 1; 0 = not known."""

    def __init__(self, detail: str, line: int = 0, column: int = 0) -> None:
        super().__init__(detail)
        self.detail, self.line, self.column = detail, line, column


@dataclass(slots=True)
class _Frame:
    """A mapping or a list that is being read. nodes: that had been read when it began."""

    value: dict[str, Any] | list[Any]
    nodes: int
    anchor: str | None
    pointer: str
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)


def load(text: str) -> list[Any]:
    """The documents of a text. Raises Malformed."""
    return list(_Reader().documents(text))


def places(text: str, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], tuple[int, int]]:
    """Line and column, from 1, of JSON pointers into documents (by index) of a text that `load` accepts.

    Of a member of a mapping it is the place of its key. Where there is nothing at a pointer, it is what would hold it.
    """
    reader = _Reader({(index, prefix) for index, place in wanted for prefix in _prefixes(place)})
    try:
        for _ in reader.documents(text):
            pass
    except Malformed:
        pass
    found = {}
    for index, place in wanted:
        known = [reader.found[index, prefix] for prefix in _prefixes(place) if (index, prefix) in reader.found]
        if known:
            found[index, place] = known[-1]
    return found


def _prefixes(place: str) -> list[str]:
    """The pointers to all that holds what a pointer points to, and itself, outermost first."""
    parts = place.split("/")
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


class _Reader:
    """Builds values of the parser's events, without its trees of nodes, which take ten times the memory."""

    def __init__(self, wanted: set[tuple[int, str]] | None = None) -> None:
        self.found: dict[tuple[int, str], tuple[int, int]] = {}
        self._wanted = wanted
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open: set[str] = set()
        self._nodes = 0
        self._document = -1
        self._root: Any = None
        self._key_mark: Any = None

    def documents(self, text: str) -> Iterator[Any]:
        try:
            for event in yaml.parse(text, Loader=Loader):
                self._take(event)
                if isinstance(event, yaml.DocumentEndEvent):
                    yield self._root
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            detail = " ".join(part for part in (error.context, error.problem) if part)
            raise Malformed(detail, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise Malformed(f"the character U+{_code(error.character):04X} is not allowed", line) from None

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._document += 1
            self._root = None
            self._anchors.clear()

    def _scalar(self, event: Any) -> None:
        if event.tag not in (None, "!", STRING_TAG):
            raise _malformed(f"the tag {event.tag} is not allowed: plain data only", event)
        plain = event.tag is None and event.implicit[0]
        if self._expects_key():
            self._take_key(event, plain)
            return
        value = _resolved(event) if plain else event.value
        self._count(1, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._add(value, event)

    def _take_key(self, event: Any, plain: bool) -> None:
        frame = self._frames[-1]
        key: str = event.value
        if plain and key == "<<":
            raise _malformed("merge keys (<<) are not part of YAML 1.2: write the members out", event)
        if plain and not isinstance(_resolved(event), str):
            raise _malformed(f"the key {key!r} is not text: write it in quotes", event)
        if key in frame.lines:
            raise _malformed(f"the key {key!r} is given twice, first in line {frame.lines[key]}", event)
        frame.key = key
        frame.lines[key] = event.start_mark.line + 1
        self._key_mark = event.start_mark

    def _begin(self, event: Any) -> None:
        if event.tag not in (None, "!"):
            raise _malformed(f"the tag {event.tag} is not allowed: plain data only", event)
        if self._expects_key():
            raise _malformed("a key must be text", event)
        if len(self._frames) == MAX_DEPTH:
            raise _malformed(f"it is nested more than {MAX_DEPTH} levels deep", event)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        place = self._add(value, event)
        if event.anchor is not None:
            self._open.add(event.anchor)
        self._frames.append(_Frame(value, self._nodes, event.anchor, place))
        self._count(1, event)

    def _end(self) -> None:
        frame = self._frames.pop()
        if frame.anchor is not None:
            self._open.discard(frame.anchor)
            self._anchors[frame.anchor] = (frame.value, self._nodes - frame.nodes)

    def _alias(self, event: Any) -> None:
        if self._expects_key():
            raise _malformed("a key must be text, not an alias", event)
        if event.anchor in self._open:
            raise _malformed(f"*{event.anchor} holds itself", event)
        if event.anchor not in self._anchors:
            raise _malformed(f"there is no &{event.anchor} before this", event)
        value, nodes = self._anchors[event.anchor]
        self._count(nodes, event)
        self._add(value, event)

    def _expects_key(self) -> bool:
        return bool(self._frames) and isinstance(self._frames[-1].value, dict) and self._frames[-1].key is None

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _malformed(f"it holds more than {MAX_NODES} values", event)

    def _add(self, value: Any, event: Any) -> str:
        """Put a value where it belongs; returns its pointer where places are wanted."""
        if not self._frames:
            self._root = value
            self._note("", event.start_mark)
            return ""
        frame = self._frames[-1]
        if isinstance(frame.value, list):
            part: str | int = len(frame.value)
            mark = event.start_mark
            frame.value.append(value)
        else:
            part, mark = frame.key or "", self._key_mark
            frame.value[part] = value
            frame.key = None
        if self._wanted is None:
            return ""
        place = frame.pointer + pointer(part)
        self._note(place, mark)
        return place

    def _note(self, place: str, mark: Any) -> None:
        if self._wanted is not None and (self._document, place) in self._wanted:
            self.found[self._document, place] = (mark.line + 1, mark.column + 1)


def _code(character: str | int) -> int:
    return ord(character) if isinstance(character, str) else character


def _malformed(detail: str, event: Any) -> Malformed:
    return Malformed(detail, event.start_mark.line + 1, event.start_mark.column + 1)


def _resolved(event: Any) -> Scalar:
    """A plain scalar by the core schema."""
    text: str = event.value
    if text in NULL:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if BASED.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text):
        value = float(text)
        if abs(value) == float("inf"):
            raise _malformed(f"the number {text[:40]} is too large", event)
        return value
    if NOT_FINITE.fullmatch(text):
        raise _malformed(f"{text} is no number that JSON can hold: write it in quotes if it is text", event)
    return text


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes what any reader of YAML 1.1 or 1.2 could take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the same value twice is written twice
        return True


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{FLOAT.pattern})$"), list("+-.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"(?:{BASED.pattern})$"), list("0"))


def _represent_float(dumper: Any, value: float) -> Any:
    text = json.dumps(value)
    return dumper.represent_scalar(
        "tag:yaml.org,2002:float", text if "." in text or "e" not in text else text.replace("e", ".0e")
    )


_Dumper.add_representer(float, _represent_float)


def dump(data: Any, *, compact: bool = False) -> str:
    """Data as YAML that `load` reads back as it was, with members in their order.

    compact: objects and lists that hold no others are on one line each.
    """
    flow = None if compact else False
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=110))
