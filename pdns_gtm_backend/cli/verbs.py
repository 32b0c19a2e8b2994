"""The verbs that every noun has which is configured: list, show, set, edit, delete."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from pdns_gtm_backend.cli import nouns
from pdns_gtm_backend.cli.failures import INVALID, Failure
from pdns_gtm_backend.cli.nouns import Noun, only_given, patch, read, replace
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Group, Session, dry_run, in_session, yes
from pdns_gtm_backend.cli.sources import Source, one_document
from pdns_gtm_backend.cli.yaml_text import dump


def noun_group(
    noun: Noun, name: str, told: str, verbs: Sequence[str] = ("list", "show", "set", "edit", "delete")
) -> Group:
    """A group with the common verbs that `verbs` names. told: its help."""
    group = Group(name, help=told)
    for verb in verbs:
        VERBS[verb](group, noun)
    return group


def _list(group: Group, noun: Noun) -> None:
    def run(session: Session, limit: int | None, **filters: Any) -> None:
        for name, resolve in noun.filter_ids.items():
            if filters[name] is not None:
                filters[name] = resolve(session.client, filters[name])
        items = session.client.items(noun.path, filters, limit)
        like = " like that" if any(filters.values()) else ""
        session.show_items(items, noun.columns, f"there is no {noun.word}{like}")

    command: Any = click.option("--limit", type=click.IntRange(1), help="At the most so many.")(in_session(run))
    for name, told in reversed(list(noun.filters.items())):
        command = click.option(f"--{name.replace('_', '-')}", name, help=told)(command)
    group.command("list", help=f"List every {noun.word}, or those that match.")(command)


def _show(group: Group, noun: Noun) -> None:
    @group.command("show", help=f"Show one {noun.word} as it is configured.")
    @noun.argument()
    @in_session
    def run(session: Session, name: str) -> None:
        session.show(read(session, noun, name).data)


def _set(group: Group, noun: Noun) -> None:
    @group.command("set", help=f"Set fields of one {noun.word}; the others stay as they are.")
    @noun.argument()
    @noun.options()
    @dry_run
    @in_session
    def run(session: Session, name: str, dry_run: bool, **parameters: Any) -> None:
        patch(session, noun, name, only_given(click.get_current_context(), parameters), dry_run=dry_run)


def _edit(group: Group, noun: Noun) -> None:
    @group.command("edit", help=f"Edit one {noun.word} as YAML in $EDITOR.")
    @noun.argument()
    @in_session
    def run(session: Session, name: str) -> None:
        held = read(session, noun, name)
        text = f"# {noun.called(held.data)}: save to write it; without a change nothing is written\n{dump(held.data)}"
        while True:
            edited = click.edit(text, extension=".yaml")
            if edited is None or edited == text:
                session.say("nothing was changed")
                return
            text = edited
            try:
                document = one_document(Source("line", edited), noun.word)
                with placing(document.place):
                    replace(session, noun, held, document.value)
                return
            except Failure as failure:
                if failure.exit_code == INVALID:
                    failure.show()
                    if click.confirm("Edit it again?", default=True, err=True):
                        continue
                session.say(f"what you wrote is kept in {_kept(text)}")
                raise


def _kept(text: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="gtmctl-", suffix=".yaml", encoding="utf-8", delete=False) as file:
        file.write(text)
    return file.name


def _delete(group: Group, noun: Noun) -> None:
    @group.command("delete", help=f"Delete every {noun.word} that is named.")
    @noun.argument("names", several=True)
    @yes
    @dry_run
    @in_session
    def run(session: Session, names: tuple[str, ...], yes: bool, dry_run: bool) -> None:
        nouns.delete(session, noun, names, yes=yes, dry_run=dry_run)


VERBS: Final[Mapping[str, Callable[[Group, Noun], None]]] = {
    "list": _list,
    "show": _show,
    "set": _set,
    "edit": _edit,
    "delete": _delete,
}
