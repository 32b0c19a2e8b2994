"""What is the same for all nouns that are configured: finding an object, writing it, and telling what changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click

from pdns_gtm_backend.cli.changes import change_lines
from pdns_gtm_backend.cli.client import Answer, Client, path_of
from pdns_gtm_backend.cli.failures import CONFLICT, Failure
from pdns_gtm_backend.cli.fields import field_options, given, option_of
from pdns_gtm_backend.cli.printing import Column, table
from pdns_gtm_backend.cli.problems import Place, Refused, placing
from pdns_gtm_backend.cli.session import Session
from pdns_gtm_backend.cli.sources import read_document

MOST: Final = 40
"""Names that completion offers."""
COMPLETION_SECONDS: Final = 2.0

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _itself(_client: Client, name: str) -> str:
    return name


def id_by_name(kind: str) -> Callable[[Client, str], str]:
    """Finds the id of the object of a kind that has a name; a name that none has is taken for an id.

    What it returns raises Failure where several are called so.
    """

    def resolve(client: Client, name: str) -> str:
        found = [str(item["id"]) for item in client.items(path_of(kind), {"name": name}, 2)]
        if len(found) > 1:
            raise Failure(f"several {kind} are called {name!r}: give an id ({', '.join(found)}, ...)", CONFLICT)
        return found[0] if found else name

    return resolve


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of object.

    word: for people; kind: in the API's paths. document: what is written. columns: of its lists.
    filters: that its list takes, with their help; filter_ids: those that take an id, with what finds it by a name.
    identity: the member that names an object in paths; generated: the server makes it up.
    but, names: see `field_options`. resolve: the identity of what an operator calls `name`; it may ask the API.
    """

    word: str
    kind: str
    document: type
    columns: Sequence[Column]
    filters: Mapping[str, str] = field(default_factory=dict)
    filter_ids: Mapping[str, Callable[[Client, str], str]] = field(default_factory=dict)
    identity: str = "id"
    generated: bool = False
    but: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    resolve: Callable[[Client, str], str] = _itself

    @property
    def metavar(self) -> str:
        """How an argument that names one is shown."""
        return self.word.upper().replace(" ", "_")

    @property
    def path(self) -> str:
        """The path of the collection."""
        return path_of(self.kind)

    def name_of(self, value: Mapping[str, Any]) -> str:
        """What an operator calls an object."""
        return str(value.get(naming_member(self)) or value.get(self.identity))

    def called(self, value: Mapping[str, Any]) -> str:
        """An object, for people."""
        return f"{self.word} {self.name_of(value)}"

    def argument(self, parameter: str = "name", *, several: bool = False) -> Callable[[Decorated], Decorated]:
        """Add the argument that names one, or several; it completes to those that there are."""
        dots = "..." if several else ""
        return click.argument(
            parameter,
            metavar=self.metavar + dots,
            nargs=-1 if several else 1,
            required=True,
            shell_complete=self.complete,
        )

    def options(self) -> Callable[[Decorated], Decorated]:
        """Add options for the fields of the document, but for its identity."""
        return field_options(self.document, but=self.but | {self.identity}, names=self.names)

    def complete(self, context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        """The names that begin so; none where the API does not tell."""
        session = context.ensure_object(Session)
        session.quiet, session.timeout = True, COMPLETION_SECONDS
        try:
            names = [self.name_of(item) for item in session.client.items(self.path)]
        except Failure:
            return []
        return [name for name in names if name.startswith(begun)][:MOST]


def read(session: Session, noun: Noun, name: str) -> Answer:
    """An object and its version. Raises Failure."""
    client = session.client
    return client.read(path_of(noun.kind, noun.resolve(client, name)))


def create(
    session: Session, noun: Noun, identity: str | None, file: str | None, fields: Mapping[str, Any], *, dry_run: bool
) -> None:
    """Make an object of a file, of fields, or of both: fields come over what the file says.

    identity: its name or id where the command line gives one.
    """
    place: Place = option_place()
    body = dict(fields)
    if file is not None:
        document = read_document(file, noun.word)
        body = merged(document.value, fields)
        place = document.place
    if identity is not None:
        body = {naming_member(noun): identity, **{k: v for k, v in body.items() if k != naming_member(noun)}}
    with placing(place):
        made = session.client.send("POST", noun.path, body, parameters={"dry_run": dry_run}).data
    show_made(session, noun, made, dry_run=dry_run)


def show_made(session: Session, noun: Noun, made: Mapping[str, Any], *, dry_run: bool) -> None:
    """Tell that an object was made, and show it."""
    session.warn(made)
    session.say(f"{noun.called(made)}: {'would be created (dry run)' if dry_run else 'created'}")
    session.show(made, lambda: table(noun.columns, [made], colour=session.colour))


def naming_member(noun: Noun) -> str:
    """The member that an operator names an object by: ids of some kinds are generated."""
    return "name" if noun.generated else noun.identity


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the members of `above` in it."""
    made = dict(below)
    for name, value in above.items():
        held = made.get(name)
        made[name] = merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return made


def patch(session: Session, noun: Noun, name: str, fields: Mapping[str, Any], *, dry_run: bool) -> None:
    """Change fields of an object and show what changed."""
    held = read(session, noun, name)
    path = path_of(noun.kind, str(held.data[noun.identity]))
    with placing(option_place()), changed_meanwhile(noun.called(held.data)):
        answer = session.client.send("PATCH", path, fields, match=held.etag, parameters={"dry_run": dry_run})
    show_change(session, noun, held.data, answer.data, dry_run=dry_run)


def replace(session: Session, noun: Noun, held: Answer, value: Mapping[str, Any]) -> None:
    """Write an object in the place of the version that was read, and show what changed."""
    path = path_of(noun.kind, str(held.data[noun.identity]))
    with changed_meanwhile(noun.called(held.data)):
        answer = session.client.send("PUT", path, value, match=held.etag)
    show_change(session, noun, held.data, answer.data, dry_run=False)


def delete(session: Session, noun: Noun, names: Sequence[str], *, yes: bool, dry_run: bool) -> None:
    """Delete objects, after asking."""
    found = [read(session, noun, name) for name in dict.fromkeys(names)]
    if not dry_run:
        session.confirm(f"Delete {', '.join(noun.called(held.data) for held in found)}?", yes=yes)
    for held in found:
        path = path_of(noun.kind, str(held.data[noun.identity]))
        with changed_meanwhile(noun.called(held.data)):
            answer = session.client.send("DELETE", path, match=held.etag, parameters={"dry_run": dry_run})
        session.warn(answer.data)
        session.say(f"{noun.called(held.data)}: {'would be deleted (dry run)' if dry_run else 'deleted'}")


def show_change(
    session: Session, noun: Noun, before: Mapping[str, Any], answered: Mapping[str, Any], *, dry_run: bool
) -> None:
    """Tell what a change did to an object."""
    session.warn(answered)
    after = {name: value for name, value in answered.items() if name in before or name not in ("warnings", "preview")}
    if after == before:
        session.say(f"{noun.called(after)}: is so already")
    elif dry_run:
        session.say(f"{noun.called(after)}: would be changed (dry run)")
    change = {
        "action": "update",
        "kind": noun.kind,
        "id": after.get(noun.identity),
        "name": noun.name_of(after),
        "before": before,
        "after": after,
    }
    session.show(answered, lambda: "" if after == before else "\n".join(change_lines(change, session.painted)))


@contextmanager
def changed_meanwhile(called: str) -> Iterator[None]:
    """Say of a 412 within that the object is not the one that was read any more."""
    try:
        yield
    except Refused as refused:
        if refused.kind == "precondition-failed":
            refused.said = f"{called} was changed by somebody else after it was read here: nothing was written"
        raise


def option_place() -> Place:
    """Names the places of faults as options of the command that runs."""
    command = click.get_current_context().command
    return lambda pointer: option_of(command, pointer)


def only_given(context: click.Context, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given, at least one. Raises UsageError."""
    fields = given(parameters)
    if not fields:
        raise click.UsageError("give at least one field to set", context)
    return fields
