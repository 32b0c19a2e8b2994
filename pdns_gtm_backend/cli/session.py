"""What every command has: the server, how to print, and how to ask; and the options that set them."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from pdns_gtm_backend.cli.client import Client
from pdns_gtm_backend.cli.durations import FORM
from pdns_gtm_backend.cli.failures import USAGE, Failure
from pdns_gtm_backend.cli.parameter_types import SPAN
from pdns_gtm_backend.cli.printing import FORMATS, Column, as_json, paint, printable, table, wants_colour
from pdns_gtm_backend.cli.progress import Progress
from pdns_gtm_backend.cli.target import Given, find_target
from pdns_gtm_backend.cli.yaml_text import dump

DEFAULT_SECONDS: Final = 30.0

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Result = TypeVar("Result")


@dataclass(slots=True)
class Session:
    """One run of gtmctl. The attributes are the global options; `client` connects when it is first asked for."""

    server: str | None = None
    token_file: str | None = None
    profile: str | None = None
    timeout: float = DEFAULT_SECONDS
    output: str = "table"
    quiet: bool = False
    _client: Client | None = field(default=None, init=False)

    @property
    def client(self) -> Client:
        """The API. Raises Failure where no server can be made out."""
        if self._client is None:
            target = find_target(Given(self.server, self.token_file, self.profile), os.environ, Path.cwd())
            if target.sends_in_clear:
                self.say(f"the token goes to {target.server} in clear text: use https")
            self._client = Client(target, self.timeout, quiet=self.quiet)
        return self._client

    @property
    def for_people(self) -> bool:
        """Are tables wanted?"""
        return self.output == "table"

    @property
    def colour(self) -> bool:
        """Are colours wanted on stdout?"""
        return self.for_people and wants_colour()

    def say(self, message: str) -> None:
        """A message for a person, on stderr."""
        if not self.quiet:
            click.echo(printable(message), err=True)

    def show(self, data: Any, text: Callable[[], str] | None = None) -> None:
        """Data on stdout: as JSON or YAML, or as `text`; as YAML where there is none."""
        with Progress("formatting", quiet=self.quiet):
            shown = self._formatted(data, text)
        if shown:
            click.echo(shown)

    def _formatted(self, data: Any, text: Callable[[], str] | None) -> str:
        if self.output == "json":
            return as_json(data)
        return dump(data).removesuffix("\n") if self.output == "yaml" or text is None else text()

    def show_items(self, items: Iterable[Mapping[str, Any]], columns: Sequence[Column], none: str) -> None:
        """A list on stdout; `none` is said where it is empty."""
        listed = list(items)
        self.show(listed, lambda: table(columns, listed, colour=self.colour))
        if not listed and self.for_people:
            self.say(none)

    def painted(self, text: str, colour: str) -> str:
        """`text`, in a colour where colours are wanted."""
        return paint(text, colour) if self.colour else text

    def warn(self, answered: Any) -> None:
        """Pass on the warnings of what a change answered."""
        for warning in answered.get("warnings") or () if isinstance(answered, dict) else ():
            place = f"{warning['pointer']}: " if warning.get("pointer") else ""
            self.say(f"warning: {place}{warning.get('detail', '')}")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on when the operator agrees. Raises Failure where nobody can be asked, Abort where they do not agree."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Failure(f"{question} Nobody can be asked here: --yes agrees", USAGE)
        click.confirm(printable(question), abort=True, err=True)


def _into_session(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False and parameter.name is not None:
        setattr(context.ensure_object(Session), parameter.name, value)


def _shared_options(*, hidden: bool) -> list[click.Parameter]:
    """The global options, which may stand before or behind the command; `hidden` from a command's own help."""

    def option(*names: str, **more: Any) -> click.Option:
        shown = not hidden or names[0] in ("-o", "-q")
        return click.Option(names, expose_value=False, callback=_into_session, hidden=not shown, **more)

    return [
        option("-o", "--output", type=click.Choice(FORMATS), help="How results are printed; the default is table."),
        option("-q", "--quiet", is_flag=True, help="No messages on stderr but errors."),
        option("--server", metavar="URL", help="Where the API is; GTM_API in the environment."),
        option("--token-file", metavar="FILE", help="A file that holds a token; GTM_TOKEN holds one itself."),
        option("--profile", metavar="NAME", help="A [profiles.NAME] of the profile file; GTM_PROFILE."),
        option("--timeout", type=click.FloatRange(0.1, 86_400), help="Seconds that an answer may take (30)."),
    ]


class Command(click.Command):
    """A command with the global options, but for those that it has another meaning for."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        own = {name for parameter in self.params for name in parameter.opts}
        self.params += [option for option in _shared_options(hidden=True) if own.isdisjoint(option.opts)]


class Group(click.Group):
    """The commands of one noun; its plural is the same."""

    command_class = Command


class Root(click.Group):
    """`gtmctl`: nouns are found in the singular and the plural, and listed in sections."""

    command_class = Command
    group_class = Group

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.params += _shared_options(hidden=False)
        self._sections: dict[str, list[str]] = {}

    def section(self, title: str, *commands: click.Command) -> None:
        """Add commands below a title."""
        for command in commands:
            self.add_command(command)
        self._sections[title] = [command.name or "" for command in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in PLURALS:
            found = super().get_command(ctx, PLURALS[cmd_name])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The commands in their sections."""
        for title, names in self._sections.items():
            with formatter.section(title):
                commands = [(name, self.commands[name]) for name in names]
                formatter.write_dl([(name, command.get_short_help_str(90)) for name, command in commands])


PLURALS: Final[Mapping[str, str]] = {
    "instances": "instance",
    "pools": "pool",
    "addresses": "address",
    "checks": "check",
    "health-check": "check",
    "health-checks": "check",
    "lines": "line",
    "zones": "zone",
    "records": "record",
    "rrset": "record",
    "rrsets": "record",
    "tokens": "token",
    "vantages": "vantage",
    "overrides": "override",
    "drills": "drill",
    "alerts": "alert",
}
"""Other words for nouns."""


def in_session(command: Callable[..., Result]) -> Callable[..., Result]:
    """Call a command with the session before its parameters."""

    @wraps(command)
    def run(*arguments: Any, **parameters: Any) -> Result:
        return command(click.get_current_context().ensure_object(Session), *arguments, **parameters)

    return run


def dry_run(command: Decorated) -> Decorated:
    """Add `--dry-run` to a command that writes."""
    return click.option("--dry-run", is_flag=True, help="Check it and show what it would do; write nothing.")(command)


def yes(command: Decorated) -> Decorated:
    """Add `--yes` to a command that asks."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def ending(command: Decorated) -> Decorated:
    """Add `--for` and `--until` to a command whose effect may end by itself."""
    until = click.option("--until", metavar="TIME", help="It undoes itself then: 2030-01-31T12:00:00Z.")(command)
    return click.option("--for", "span", type=SPAN, help=f"It undoes itself after that: {FORM}.")(until)


def force(command: Decorated) -> Decorated:
    """Add `--force` to a command that the brake may hold."""
    return click.option("--force", is_flag=True, help="Also where the brake would hold it.")(command)
