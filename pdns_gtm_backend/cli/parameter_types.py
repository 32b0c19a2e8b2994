"""Types of parameters beside those of click."""

from typing import TYPE_CHECKING, Any, Final

import click

from pdns_gtm_backend.cli.durations import parse_span

if TYPE_CHECKING:
    ParamType = click.ParamType[Any, Any]
else:
    ParamType = click.ParamType

NONE: Final = "none"
"""The word for null, and for an empty list."""


class _Null:
    """Stands for JSON's null among parameters, where None is one that was not given."""


NULL: Final = _Null()


class OrNone(ParamType):
    """A value of another type, or the word `none` for null."""

    def __init__(self, held: ParamType) -> None:
        self.name = held.name
        self._held = held

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NULL if value == NONE or value is NULL else self._held.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"{self._held.get_metavar(param, ctx) or self.name.upper()}|{NONE}"


class NumberOrText(ParamType):
    """A whole number where it is one, else text."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


class Pair(ParamType):
    """`key=value`; `key-` takes the key out."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if equals and key:
            return key, text
        if equals or len(value) < 2 or not value.endswith("-"):
            self.fail(f"{value!r} is not of the form key=value (or key- to take it out)", param, ctx)
        return value[:-1], None


class Span(ParamType):
    """A span of time."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_span(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PAIR: Final = Pair()
SPAN: Final = Span()
