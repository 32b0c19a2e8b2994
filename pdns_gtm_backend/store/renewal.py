"""Loading everything again, where nearly all of it is held already: after a failover of Redis, or a gap in its feed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from immutables import Map

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.repository import Loaded, parse_versions
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

K = TypeVar("K")

LET_GO_AT_ONCE: Final = 20
LEAST_CHANGES: Final = 100
SHARE: Final = 10
"""More changes than one for so many documents are many."""
Key = tuple[str, str]


def renewed(held: Snapshot, loaded: Loaded, rest: Callable[[], object]) -> tuple[Snapshot, list[Change]] | None:
    """The snapshot of what was loaded, as `repository.parse` gives it, and the changes that lead to it from `held`.

    held: an earlier one of the same store. rest: called after each small piece of work. A document of which only the
    version has changed is in the changes too. None where much has changed: to make everything anew costs less.
    """
    problems: dict[Key, str] = {}
    changes: list[Change] = []
    for kind, texts in loaded.documents.items():
        changes += _differences(kind, held.documents[kind], texts, problems, rest)
    if len(changes) > LEAST_CHANGES + sum(map(len, loaded.documents.values())) // SHARE:
        return None
    snapshot = held.changed(changes, loaded.position)
    versions = parse_versions(loaded.versions, rest)
    moved = [key for key in _resting(versions, rest) if snapshot.versions.get(key) != versions[key]]
    moved += [key for key in _resting(snapshot.versions, rest) if key not in versions]
    mutation = snapshot.versions.mutate()
    for key in moved:
        mutation.pop(key, None)
        if key in versions:
            mutation[key] = versions[key]
    empty_out(versions, rest)
    told = {(change.kind, change.id) for change in changes}
    changes += [
        Change(kind, identifier, snapshot.documents[kind][identifier])
        for kind, identifier in moved
        if (kind, identifier) not in told and identifier in snapshot.documents[kind]
    ]
    return replace(
        snapshot,
        configuration_revision=loaded.configuration_revision,
        versions=mutation.finish(),
        problems=held.problems if _same_problems(held, problems, moved) else Map(problems),
    ), changes


def _same_problems(held: Snapshot, problems: Mapping[Key, str], moved: Sequence[Key]) -> bool:
    """Are the same documents broken as before, in the same versions?"""
    return dict(held.problems) == problems and not any(key in problems for key in moved)


def _resting(keys: Iterable[K], rest: Callable[[], object]) -> Iterator[K]:
    for key in keys:
        rest()
        yield key


def _differences(
    kind: str, held: Mapping[str, Any], texts: Mapping[str, str], problems: dict[Key, str], rest: Callable[[], object]
) -> Iterator[Change]:
    for identifier in _resting(texts, rest):
        before, text = held.get(identifier), texts[identifier]
        if before is not None and kinds.encode(kind, before) == text:
            continue
        try:
            value = kinds.decode_stored(kind, identifier, text)
        except kinds.BrokenDocument as error:
            problems[kind, identifier] = str(error)
            continue
        if value != before:
            yield Change(kind, identifier, value)
    for identifier in _resting(held, rest):
        if identifier not in texts:
            yield Change(kind, identifier, None)


def parts_of(serving: Serving) -> list[object]:
    """What a serving state is made of, which keeps it alive but for the maps."""
    documents = serving.snapshot.documents.values()
    return [
        *serving.instances.values(),
        *serving.pools.values(),
        *(value for held in documents for value in held.values()),
    ]


def let_go(parts: list[object], rest: Callable[[], object]) -> None:
    """Free what is large step by step: all at once that would stop every thread for up to a tenth of a second."""
    while parts:
        del parts[-LET_GO_AT_ONCE:]
        rest()


def empty_out(held: dict[Any, Any], rest: Callable[[], object]) -> None:
    """The same of a large dictionary."""
    while held:
        held.popitem()
        rest()
