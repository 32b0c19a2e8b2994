"""What is on disk, read and checked but not decoded: a large snapshot is decoded while its first answers are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.journal import Entry, Key
from pdns_gtm_backend.store.snapshot import Position, Snapshot, build

Text = str | bytes


class Documents(Mapping[str, Any]):
    """Documents of one kind, each decoded when it is asked for first. One that is broken is absent. Safe for threads.

    problems: why a document is broken, as far as it was asked for.
    """

    def __init__(self, kind: str, texts: Mapping[str, Text], values: Mapping[str, Any] | None = None) -> None:
        self.problems: dict[str, str] = {}
        self._kind, self._texts = kind, texts
        self._values = dict(values or {})

    def __getitem__(self, identifier: str) -> Any:
        value = self._found(identifier)
        if value is None:
            raise KeyError(identifier)
        return value

    def __iter__(self) -> Iterator[str]:
        return (identifier for identifier in self._texts if self._found(identifier) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _found(self, identifier: str) -> Any | None:
        value = self._values.get(identifier)
        if value is not None or identifier in self.problems or identifier not in self._texts:
            return value
        try:
            decoded = kinds.decode_stored(self._kind, identifier, self._texts[identifier])
        except kinds.BrokenDocument as error:
            self.problems[identifier] = str(error)
            return None
        return self._values.setdefault(identifier, decoded)

    def every(self) -> dict[str, Any]:
        """All that can be decoded."""
        return {identifier: value for identifier in self._texts if (value := self._found(identifier)) is not None}

    def changed(self, texts: Mapping[str, Text | None]) -> Documents:
        """These, with `texts` in place of what they had; None = deleted."""
        if not texts:
            return self
        kept = {identifier: text for identifier, text in {**self._texts, **texts}.items() if text is not None}
        known = {identifier: value for identifier, value in self._values.copy().items() if identifier not in texts}
        return Documents(self._kind, kept, known)


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot whose documents, by kind, are decoded on demand. problems: known to those who saved it."""

    position: Position
    configuration_revision: int
    documents: Mapping[str, Documents]
    versions: Mapping[Key, int]
    problems: Mapping[Key, str]

    def after(self, entries: Iterable[Entry]) -> Stored:
        """What this is after what was written later. Raises KeyError where that names a kind which is none."""
        entries = tuple(entries)
        if not entries:
            return self
        at, configuration_revision = self.position, self.configuration_revision
        versions, problems = dict(self.versions), dict(self.problems)
        texts: dict[str, dict[str, Text | None]] = {kind: {} for kind in self.documents}
        for entry in entries:
            at, configuration_revision = entry.position, entry.configuration_revision
            for kind, identifier, version, text in entry.documents:
                texts[kind][identifier] = text
                problems.pop((kind, identifier), None)
                versions.pop((kind, identifier), None)
                if version:
                    versions[kind, identifier] = version
        documents = {kind: held.changed(texts[kind]) for kind, held in self.documents.items()}
        return Stored(at, configuration_revision, documents, versions, problems)

    def snapshot(self) -> Snapshot:
        """All of it. A document that this software cannot read is left out and named in `problems`."""
        documents = {kind: held.every() for kind, held in self.documents.items()}
        return build(self.position, self.configuration_revision, documents, self.versions, self.known_problems())

    def known_problems(self) -> Mapping[Key, str]:
        """The documents that are known to be broken so far, with the reason."""
        found = {
            (kind, name): why for kind, held in self.documents.items() for name, why in held.problems.copy().items()
        }
        return {**self.problems, **found}
