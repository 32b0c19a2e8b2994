"""Changes as people read them: what is created, changed and deleted, object by object and field by field."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pdns_gtm_backend.cli.configuration import SECTIONS
from pdns_gtm_backend.cli.differences import ABSENT, Difference, differences
from pdns_gtm_backend.cli.printing import brief, printable

Paint = Callable[[str, str], str]

SIGNS: Final[Mapping[str, tuple[str, str]]] = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
NOUNS: Final[Mapping[str, str]] = {section.kind: section.noun for section in SECTIONS.values()} | {"rrsets": "record set"}
ORDER: Final[Mapping[str, int]] = {
    kind: index for index, kind in enumerate(("health-checks", "lines", "zones", "rrsets", "pools", "instances"))
}
"""What is named comes before what names it; deletions go the other way."""
INDENT: Final = "    "


def in_order(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Changes in an order that their references allow: new and changed ones first, then deletions."""

    def rank(change: Mapping[str, Any]) -> tuple[bool, int]:
        place = ORDER.get(kind_of(change), len(ORDER))
        return (True, -place) if change.get("action") == "delete" else (False, place)

    return sorted(changes, key=rank)


def kind_of(change: Mapping[str, Any]) -> str:
    """The kind of a change as the API's paths have it, however it is written in a configuration."""
    return str(change.get("kind", "")).replace("_", "-")


def change_lines(change: Mapping[str, Any], paint: Paint) -> Iterator[str]:
    """One change."""
    action = str(change.get("action"))
    sign, colour = SIGNS.get(action, ("?", "yellow"))
    noun = NOUNS.get(kind_of(change), kind_of(change))
    name = change.get("name")
    also = f" ({change.get('id')})" if name and name != change.get("id") else ""
    yield paint(printable(f"{sign} {noun} {name or change.get('id')}{also}"), colour)
    before, after = change.get("before"), change.get("after")
    if action == "create" and isinstance(after, dict):
        for field, value in after.items():
            if value not in (None, [], {}):
                yield INDENT + paint(f"{field}: {brief(value)}", colour)
    elif isinstance(before, dict) and isinstance(after, dict):
        for difference in differences(before, after):
            yield INDENT + sentence(difference)


def sentence(difference: Difference) -> str:
    """A field that differs, on one line."""
    path, before, after = printable(difference.path), difference.before, difference.after
    if before is ABSENT:
        return f"{path}: added {brief(after)}"
    if after is ABSENT:
        return f"{path}: removed {brief(before)}"
    if isinstance(before, list) and isinstance(after, list):
        return f"{path}: {_of_lists(before, after)}"
    return f"{path}: {brief(before)} -> {brief(after)}"


def _of_lists(before: Sequence[Any], after: Sequence[Any]) -> str:
    """Long lists by what comes and goes, others whole."""
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    if len(before) + len(after) <= 8 or not (gone or new):
        return f"{brief(before)} -> {brief(after)}"
    said = [f"{word} {brief(items)}" for word, items in (("added", new), ("removed", gone)) if items]
    return ", ".join(said)


def summary(changes: Sequence[Mapping[str, Any]], unchanged: object, *, past: bool = False) -> str:
    """How many of each."""
    counts = [sum(change.get("action") == action for change in changes) for action in SIGNS]
    told = "{} created, {} changed, {} deleted" if past else "{} to create, {} to change, {} to delete"
    return told.format(*counts) + (f"; {unchanged} stay as they are" if isinstance(unchanged, int) else "")
