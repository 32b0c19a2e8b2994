"""What differs between two versions of an object, field by field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("address",),
    "policies": ("name",),
    "pool_sets": ("name",),
    "pools": ("pool",),
    "rrsets": ("name", "type"),
}
"""Lists of objects by the members that name one of them: such a list is compared object by object."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs. path: `addresses[192.0.2.1].weight`. before, after: ABSENT where there is none."""

    path: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """What to change in `before` to make it `after`, in the order of the fields."""
    return _of_mappings(before, after, "")


def _of_mappings(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        place = f"{path}.{name}" if path else name
        yield from _of_values(before.get(name, ABSENT), after.get(name, ABSENT), place, name)


def _of_values(before: Any, after: Any, path: str, name: str) -> Iterator[Difference]:
    if _same(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_mappings(before, after, path)
        return
    if isinstance(before, list) and isinstance(after, list):
        old, new = _by_key(before, name), _by_key(after, name)
        if old is not None and new is not None:
            yield from _of_members(old, new, path)
            return
    yield Difference(path, before, after)


def _of_members(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key in dict.fromkeys((*old, *new)):
        yield from _of_values(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}[{key}]", "")
    kept_before = [key for key in old if key in new]
    kept_after = [key for key in new if key in old]
    if kept_before != kept_after:
        yield Difference(f"{path} (order)", kept_before, kept_after)


def _by_key(items: Sequence[Any], name: str) -> Mapping[str, Any] | None:
    """The objects of a list by what names them; None where they have no names, or one has another's."""
    members = KEYS.get(name)
    if members is None or not all(isinstance(item, dict) for item in items):
        return None
    named = {" ".join(str(item.get(member)) for member in members): item for item in items}
    return named if len(named) == len(items) else None


def _same(before: Any, after: Any) -> bool:
    """Equal, and of one type where it matters: true is not 1."""
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)
