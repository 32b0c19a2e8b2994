"""Changes as people read them: what is created, changed and deleted, object by object and field by field."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pdns_gtm_backend.cli.configuration import SECTIONS
from pdns_gtm_backend.cli.differences import ABSENT, Difference, differences
from pdns_gtm_backend.cli.printing import brief, printable
from pdns_gtm_backend.cli.yaml_text import dump

Paint = Callable[[str, str], str]

SIGNS: Final[Mapping[str, tuple[str, str]]] = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "delete": ("-", "red"),
}
NOUNS: Final[Mapping[str, str]] = {section.kind: section.noun for section in SECTIONS.values()} | {
    "rrsets": "record set"
}
ORDER: Final[Mapping[str, int]] = {
    kind: index
    for index, kind in enumerate(("health-checks", "lines", "zones", "rrsets", "pools", "instances", "alerts"))
}
"""What is named comes before what names it; deletions go the other way."""
INDENT: Final = "    "
MOST: Final = 1000
"""Characters of one value that are shown."""


def in_order(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Changes in an order that their references allow: new and changed ones first, then deletions."""

    def rank(change: Mapping[str, Any]) -> tuple[bool, int]:
        place = ORDER.get(str(change.get("kind")), len(ORDER))
        return (True, -place) if change.get("action") == "delete" else (False, place)

    return sorted(changes, key=rank)


def change_lines(change: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """One change."""
    action = str(change.get("action"))
    sign, colour = SIGNS.get(action, ("?", "yellow"))
    before, after = change.get("before"), change.get("after")
    noun = NOUNS.get(str(change.get("kind")), str(change.get("kind")))
    yield paint(printable(f"{sign} {noun} {_name(change, before or after)}"), colour)
    if action == "create" and isinstance(after, dict):
        yield from (INDENT + paint(line, colour) for line in dump(_told(after), compact=True).splitlines())
    elif isinstance(before, dict) and isinstance(after, dict):
        for difference in differences(before, after):
            yield INDENT + sentence(difference)


def _told(value: Any) -> Any:
    """A new object without what it does not have, as most fields of most objects are empty."""
    if isinstance(value, dict):
        return {name: _told(inner) for name, inner in value.items() if inner not in (None, "", [], {})}
    return [_told(item) for item in value] if isinstance(value, list) else value


def _name(change: Mapping[str, Any], value: object) -> str:
    """What an operator calls the object of a change."""
    if change.get("kind") == "rrsets" and isinstance(value, dict):
        return f"{value.get('name')} {value.get('type')}"
    name, identifier = change.get("name"), change.get("id")
    return f"{name} ({identifier})" if name and identifier and name != identifier else str(name or identifier)


def sentence(difference: Difference) -> str:
    """A field that differs, on one line."""
    path, before, after = printable(difference.path), difference.before, difference.after
    if before is ABSENT:
        return f"{path}: added {brief(after, MOST)}"
    if after is ABSENT:
        return f"{path}: removed {brief(before, MOST)}"
    if isinstance(before, list) and isinstance(after, list):
        return f"{path}: {_of_lists(before, after)}"
    return f"{path}: {brief(before, MOST)} -> {brief(after, MOST)}"


def _of_lists(before: Sequence[Any], after: Sequence[Any]) -> str:
    """Long lists by what comes and goes, others whole."""
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    if len(before) + len(after) <= 8 or not (gone or new):
        return f"{brief(before, MOST)} -> {brief(after, MOST)}"
    said = [f"{word} {brief(items, MOST)}" for word, items in (("added", new), ("removed", gone)) if items]
    return ", ".join(said)


def summary(changes: Sequence[Mapping[str, Any]], unchanged: int | None = None, *, past: bool = False) -> str:
    """How many of each. unchanged: objects that stay as they are."""
    counts = [sum(change.get("action") == action for change in changes) for action in SIGNS]
    told = "{} created, {} changed, {} deleted" if past else "{} to create, {} to change, {} to delete"
    return told.format(*counts) + ("" if unchanged is None else f"; {unchanged} stay as they are")
