"""Files, folders and stdin that configuration is read from, and where in them something is."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdns_gtm_backend.cli.failures import INVALID, USAGE, Failure, Fault
from pdns_gtm_backend.cli.yaml_text import Malformed, load, places

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
MAX_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A text. name: the file as it was given, or `stdin`."""

    name: str
    text: str

    def documents(self) -> list[Any]:
        """Its documents, None for an empty one; JSON is read as such, which is quicker. Raises Failure."""
        if self.text.lstrip()[:1] in ("{", "["):
            try:
                return [json.loads(self.text, object_pairs_hook=_without_twins, parse_constant=_refused)]
            except (ValueError, RecursionError):
                pass
        try:
            return load(self.text)
        except Malformed as error:
            raise Failure("the configuration cannot be read", INVALID, [Fault(self._at(error), error.detail)]) from None

    def _at(self, error: Malformed) -> str:
        return f"{self.name}:{error.line}:{error.column}" if error.line else self.name

    def where(self, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str]:
        """`file:line` of JSON pointers into its documents (by index); the file alone where no line is known."""
        found = places(self.text, wanted)
        return {one: f"{self.name}:{found[one][0]}" if one in found else self.name for one in wanted}


def read_sources(paths: Iterable[str]) -> list[Source]:
    """Every file of `paths`: `-` is stdin, a folder stands for the YAML and JSON files below it. Raises Failure."""
    given = list(paths)
    if given.count(STDIN) > 1:
        raise Failure("'-' (stdin) can be read once only", USAGE)
    return [_read(name) for path in given for name in _files(path)]


def _files(path: str) -> Iterator[str]:
    folder = Path(path)
    if path == STDIN or not folder.is_dir():
        yield path
        return
    below = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not below:
        raise Failure(f"folder {path} holds no file *.yaml, *.yml or *.json", USAGE)
    yield from map(str, below)


def read_text(name: str) -> str:
    """The text of a file, or of stdin (`-`). Raises Failure."""
    return _read(name).text


def _read(name: str) -> Source:
    shown = "stdin" if name == STDIN else name
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise Failure(f"{shown} has more than {MAX_BYTES} octets", INVALID)
        return Source(shown, data.decode("utf-8-sig"))
    except OSError as error:
        raise Failure(f"{shown} cannot be read: {error.strerror or error}", USAGE) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(f"{shown}:{line} is not UTF-8", INVALID) from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is given twice")
    return made


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


@dataclass(frozen=True, slots=True)
class Document:
    """One object from a file, and where its parts are. index: of the document in its source."""

    value: dict[str, Any]
    source: Source
    index: int

    def place(self, pointer: str) -> str:
        """Where a JSON pointer into it is: file, line and path."""
        where = self.source.where([(self.index, pointer)])[self.index, pointer]
        return f"{where}: {pointer}" if pointer else where


def read_document(path: str, noun: str) -> Document:
    """The one object in a file, or in stdin (`-`). Raises Failure."""
    return one_document(_read(path), noun)


def one_document(source: Source, noun: str) -> Document:
    """The one object in a text. Raises Failure."""
    held = [(index, value) for index, value in enumerate(source.documents()) if value is not None]
    if len(held) != 1 or not isinstance(held[0][1], dict):
        raise Failure(f"{source.name} must hold one {noun}: an object with members like `id: web`", INVALID)
    index, value = held[0]
    return Document(value, source, index)
