"""What a field of a document may hold, as a sentence, read from the same annotations that validate it."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen

SAID: Final[Mapping[tuple[str, str], str]] = {
    ("Pool", "min_available"): "a count from 1 to 10000, or a share like '50%'",
}
"""Fields whose own sentence says more than their annotation, by document and field."""


@cache
def field_annotations(document: type) -> Mapping[str, Any]:
    """The annotations of a document's fields, with their limits."""
    return get_type_hints(document, include_extras=True)


def field_names(document: type) -> tuple[str, ...]:
    """The fields of a document, in their order."""
    return tuple(field.name for field in fields(document))


def allowed_in(document: type, field_name: str) -> str:
    """What the field of a document may hold."""
    return SAID.get((document.__name__, field_name)) or allowed(field_annotations(document)[field_name])


def allowed(annotation: Any) -> str:
    """What a value of this annotation may be."""
    plain, limits = _split(annotation)
    if get_origin(plain) in (Union, types.UnionType):
        return " or ".join(allowed(Annotated[(member, *limits)] if limits else member) for member in get_args(plain))
    if get_origin(plain) is Literal:
        return "one of " + ", ".join(repr(value) for value in get_args(plain))
    if is_dataclass(plain) and isinstance(plain, type):
        return "an object with " + ", ".join(field_names(plain))
    simple = _SIMPLE.get(plain)
    if simple is not None:
        return simple
    return _limited(plain, limits)


_SIMPLE: Final[Mapping[Any, str]] = {
    bool: "true or false",
    type(None): "null",
    datetime: "a moment like '2030-01-31T12:00:00Z'",
}


def _limited(plain: Any, limits: tuple[Any, ...]) -> str:
    low, high = _bound(limits, Ge, "ge"), _bound(limits, Le, "le")
    least, most = _bound(limits, MinLen, "min_length"), _bound(limits, MaxLen, "max_length")
    if plain is int:
        return "a whole number" + _range(low, high)
    if plain is float:
        return "a number" + _range(low, high)
    if plain is str:
        return "text" + _count(least, most, "character")
    if get_origin(plain) is tuple:
        return "a list" + _count(least, most, "item")
    return "an object of names and text" + _count(least, most, "entry")


def _split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    plain, *limits = get_args(annotation)
    return plain, tuple(limits)


def _bound(limits: tuple[Any, ...], kind: type, name: str) -> Any:
    return next((getattr(limit, name) for limit in limits if isinstance(limit, kind)), None)


def _range(low: Any, high: Any) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def _count(least: int | None, most: int | None, unit: str) -> str:
    if most is None:
        return f" of at least {least} {unit}s" if least else ""
    units = "entries" if unit == "entry" else f"{unit}s"
    return f" of {least} to {most} {units}" if least else f" of at most {most} {units}"


def inside(annotation: Any, part: str | int) -> Any | None:
    """The annotation of a member of a value: a document's field, a list's item, a mapping's value. None = no such."""
    plain, _ = _split(annotation)
    if get_origin(plain) in (Union, types.UnionType):
        found = (inside(member, part) for member in get_args(plain))
        return next((one for one in found if one is not None), None)
    if is_dataclass(plain) and isinstance(plain, type):
        return field_annotations(plain).get(str(part))
    arguments = get_args(plain)
    if get_origin(plain) is tuple and isinstance(part, int):
        return arguments[0]
    if isinstance(get_origin(plain), type) and issubclass(get_origin(plain), Mapping):
        return arguments[1]
    return None


def document_in(annotation: Any) -> type | None:
    """The document that a value of this annotation is, None where it is something else."""
    plain, _ = _split(annotation)
    if is_dataclass(plain) and isinstance(plain, type):
        return plain
    if get_origin(plain) in (Union, types.UnionType):
        return next((found for member in get_args(plain) if (found := document_in(member)) is not None), None)
    return None
