"""Options of commands, made from the fields of the documents that they write: what can be configured has an option."""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from pdns_gtm_backend.cli.parameter_types import NONE, NULL, PAIR, NumberOrText, OrNone, ParamType

PREFIX: Final = "field__"
JOINT: Final = "__"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Shape:
    """What an option takes for a field. many: it may be given several times."""

    type: ParamType
    many: bool = False
    flag: bool = False


def field_options(
    document: type, *, but: frozenset[str] = frozenset(), names: Mapping[str, str] | None = None
) -> Callable[[Decorated], Decorated]:
    """Add an option for each field of a document that words can be given for, and of the documents in it.

    but: fields without one. names: options that are not called as their field.
    """

    def add(command: Decorated) -> Decorated:
        for option in reversed(list(_options(document, (), but, names or {}))):
            command = option(command)
        return command

    return add


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given, as a document: what `field_options` made of a command's parameters."""
    made: dict[str, Any] = {}
    for name, value in parameters.items():
        if not name.startswith(PREFIX) or value is None or value == ():
            continue
        *parents, last = name.removeprefix(PREFIX).split(JOINT)
        holder = made
        for parent in parents:
            holder = holder.setdefault(parent, {})
        holder[last] = _value(value)
    return made


def option_of(command: click.Command | None, pointer: str) -> str:
    """The option that a JSON pointer's field has; the pointer itself where there is none."""
    parts = tuple(pointer.split("/")[1:])
    named = {tuple((p.name or "").removeprefix(PREFIX).split(JOINT)): p for p in command.params} if command else {}
    for length in range(len(parts), 0, -1):
        option = named.get(parts[:length])
        if isinstance(option, click.Option):
            return option.opts[0] + (f" ({pointer})" if length < len(parts) else "")
    return pointer


def _value(value: Any) -> Any:
    if value is NULL:
        return None
    if not isinstance(value, tuple):
        return value
    if value == (NONE,):
        return []
    return dict(value) if isinstance(value[0], tuple) else list(value)


def _options(
    document: type, above: tuple[str, ...], but: frozenset[str], names: Mapping[str, str]
) -> Iterator[Callable[[Any], Any]]:
    annotations = get_type_hints(document, include_extras=True)
    told = field_help(document)
    for field in fields(document):
        path = (*above, field.name)
        if ".".join(path) in but:
            continue
        plain, nullable = _plain(annotations[field.name])
        if is_dataclass(plain) and isinstance(plain, type):
            yield from _options(plain, path, but, names)
            continue
        shape = _shape(plain, nullable)
        if shape is not None:
            yield _option(path, shape, names.get(".".join(path)), told.get(field.name))


def _option(path: tuple[str, ...], shape: _Shape, name: str | None, told: str | None) -> Callable[[Any], Any]:
    last = path[-1].removesuffix("s") if shape.many else path[-1]
    called = name or "-".join((*path[:-1], last)).replace("_", "-")
    flags = f"--{called}/--no-{called}" if shape.flag else f"--{called}"
    parameter = PREFIX + JOINT.join(path)
    repeated = " May be given several times." if shape.many else ""
    help_text = (told[0].upper() + told[1:] if told else "") + repeated
    if shape.flag:
        return click.option(flags, parameter, default=None, help=help_text.strip() or None)
    return click.option(flags, parameter, type=shape.type, multiple=shape.many, help=help_text.strip() or None)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """An annotation without its limits and without None; and whether it had None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [_plain(member)[0] for member in get_args(annotation) if member is not type(None)]
    nullable = len(members) < len(get_args(annotation))
    return (members[0] if len(members) == 1 else frozenset(members)), nullable


def _shape(plain: Any, nullable: bool) -> _Shape | None:
    if plain is bool:
        return _Shape(click.BOOL, flag=True)
    if get_origin(plain) is tuple:
        item, _ = _plain(get_args(plain)[0])
        return _Shape(click.STRING, many=True) if item is str or get_origin(item) is Literal else None
    if isinstance(get_origin(plain), type) and issubclass(get_origin(plain), Mapping):
        return _Shape(PAIR, many=True)
    held = _scalar(plain)
    if held is None:
        return None
    return _Shape(OrNone(held) if nullable else held)


def _scalar(plain: Any) -> ParamType | None:
    if get_origin(plain) is Literal:
        return click.Choice([str(value) for value in get_args(plain)])
    if plain == frozenset({int, str}):
        return NumberOrText()
    simple: Mapping[Any, ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    return simple.get(plain) if isinstance(plain, type) else None


TOLD: Final = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): ", re.MULTILINE)


@cache
def field_help(document: type) -> Mapping[str, str]:
    """What a document's docstring says of its fields."""
    text = inspect.cleandoc(document.__doc__ or "")
    parts = TOLD.split(text)[1:]
    return {
        name: " ".join(sentence.split()).replace("`", "")
        for names, sentence in zip(parts[::2], parts[1::2], strict=True)
        for name in names.split(", ")
    }
