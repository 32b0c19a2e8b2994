"""Entries of the change feed, as Redis gives them: what each does to a state that is held."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.journal import Entry, Key
from pdns_gtm_backend.store.repository import parse_change
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot

log = logging.getLogger(__name__)

BULK_CHARACTERS: Final = 500_000
"""Changes of this size, a thousand documents or so, are built like a whole load."""

Entries = Sequence[tuple[str, dict[str, str]]]


class Gap(Exception):
    """The feed does not continue where the snapshot ends."""


def is_bulk(found: Entries) -> bool:
    """Do these hold many documents?"""
    return sum(len(fields.get("change", "")) for _, fields in found) > BULK_CHARACTERS


def patched(snapshot: Snapshot, identifier: str, fields: dict[str, str]) -> tuple[Snapshot, Sequence[Change]]:
    """The snapshot after one entry of the feed, and the changes in it. Raises Gap where it does not follow."""
    changes, problems = _read(snapshot.revision, identifier, fields)
    name_broken(problems)
    position = replace(snapshot.position, revision=entry_order(identifier)[0])
    after = snapshot.changed(changes, position, configuration=fields.get("configuration") == "1")
    return after.with_problems(problems), changes


def as_written(at: Position, configuration_revision: int, identifier: str, fields: dict[str, str]) -> Entry:
    """One entry of the feed as a journal has it. Raises Gap where it does not follow `at`, or is broken in part."""
    changes, problems = _read(at.revision, identifier, fields)
    if problems:
        raise Gap(f"entry {identifier} of the feed holds documents that cannot be read")
    revision = entry_order(identifier)[0]
    of_configuration = revision if fields.get("configuration") == "1" else configuration_revision
    return Entry(replace(at, revision=revision), of_configuration, [_written(change, revision) for change in changes])


def _written(change: Change, revision: int) -> tuple[str, str, int, str | None]:
    if change.value is None:
        return change.kind, change.id, 0, None
    version = revision if kinds.versioned(change.kind) else 0
    return change.kind, change.id, version, kinds.encode(change.kind, change.value)


def _read(revision: int, identifier: str, fields: dict[str, str]) -> tuple[list[Change], Mapping[Key, str]]:
    """The changes in an entry, and what of it is broken. Raises Gap where it does not follow `revision`."""
    if fields.get("previous") != str(revision):
        raise Gap(f"entry {identifier} of the feed does not follow revision {revision}")
    try:
        return parse_change(fields["change"])
    except (ValueError, KeyError, TypeError) as error:
        raise Gap(f"entry {identifier} of the feed cannot be read: {error}") from None


def name_broken(problems: Mapping[Key, str]) -> None:
    """Say in the log which documents are broken."""
    for (kind, identifier), reason in problems.items():
        log.error("%s %s in the store is broken: %s", kind, shown(identifier), reason, extra={"event": "store.broken"})


def entry_order(identifier: str) -> tuple[int, int]:
    """The two numbers of a stream entry's id."""
    first, _, second = identifier.partition("-")
    return int(first), int(second)
