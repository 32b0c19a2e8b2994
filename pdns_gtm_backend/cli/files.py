"""`gtmctl plan`, `apply` and `export`: the whole configuration as files."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from pdns_gtm_backend.cli.changes import change_lines, in_order, summary
from pdns_gtm_backend.cli.configuration import SECTIONS, Configuration, read_configuration
from pdns_gtm_backend.cli.failures import CONFLICT, PENDING, Failure, Fault
from pdns_gtm_backend.cli.printing import table
from pdns_gtm_backend.cli.problems import Refused
from pdns_gtm_backend.cli.progress import Progress
from pdns_gtm_backend.cli.session import Command, Session, dry_run, force, in_session, yes
from pdns_gtm_backend.cli.status_text import OVERRIDE_COLUMNS

SECONDS: Final = 600.0
"""That a whole configuration may take."""

NOTHING: Final = "nothing to do: it is so already"
FORCE: Final = "--force does it all the same"

Plan = Mapping[str, Any]


def _files(command: Any) -> Any:
    return click.option(
        "-f",
        "--file",
        "paths",
        metavar="FILE",
        multiple=True,
        required=True,
        help="A YAML or JSON file, a folder of them, or - for stdin; several are read as one.",
    )(command)


@click.command("plan", cls=Command)
@_files
@in_session
def plan(session: Session, paths: Sequence[str]) -> None:
    """Show what `apply` would change; exits with 6 where it would change something."""
    found = _send(session, _read(session, paths), dry_run=True)
    session.show(found, lambda: plan_text(session, found))
    if found["changes"]:
        raise click.exceptions.Exit(PENDING)
    session.say(NOTHING)


@click.command("apply", cls=Command)
@_files
@force
@yes
@dry_run
@in_session
def apply(session: Session, paths: Sequence[str], force: bool, yes: bool, dry_run: bool) -> None:
    """Make the configuration what the files say, all of it or nothing.

    Sections that no file has stay as they are; of those that a file has, what the files do not name is deleted.
    """
    configuration = _read(session, paths)
    found = _send(session, configuration, dry_run=True)
    if session.for_people:
        session.show(found, lambda: plan_text(session, found))
    if dry_run or not found["changes"]:
        if not session.for_people:
            session.show(found)
        session.say("nothing was written (dry run)" if found["changes"] else NOTHING)
        return
    if found["brake"] and not force:
        raise Failure("held by the brake: nothing was written", CONFLICT, _counts(found["brake"]), FORCE)
    session.confirm(f"Apply: {summary(found['changes'])}?", yes=yes)
    done = _send(session, configuration, dry_run=False, force=force)
    if not session.for_people:
        session.show(done)
    session.say(f"applied: {summary(done['changes'], past=True)}")


@click.command("export", cls=Command)
@click.option("--section", "sections", multiple=True, type=click.Choice(list(SECTIONS)), help="This section only.")
@in_session
def export(session: Session, sections: Sequence[str]) -> None:
    """Print the whole configuration as a file that `plan` and `apply` take; as YAML but with -o json."""
    document = session.client.send("GET", "/export", seconds=max(session.timeout, SECONDS)).data
    if sections:
        document = {name: value for name, value in document.items() if name in ("version", *sections)}
    session.show(document)


def _read(session: Session, paths: Sequence[str]) -> Configuration:
    with Progress("reading the files", quiet=session.quiet):
        return read_configuration(paths)


def plan_text(session: Session, found: Plan) -> str:
    """A plan as people read it."""
    lines = [line for change in in_order(found["changes"]) for line in change_lines(change, session.painted)]
    lines += ["", summary(found["changes"], found.get("unchanged"))] if lines else []
    lines += [f"held by the brake: {fault.place} {fault.detail}" for fault in _counts(found.get("brake") or ())]
    overrides = table(OVERRIDE_COLUMNS, found.get("overrides") or ())
    lines += ["", "overrides in force, which stay as they are", overrides] if overrides else []
    return "\n".join(lines).lstrip("\n")


def _counts(counts: Sequence[Mapping[str, Any]]) -> Sequence[Fault]:
    """What the brake counted, kind by kind."""
    return [
        Fault(count["kind"], f"{count['updated']} changed and {count['deleted']} deleted of {count['existing']}")
        for count in counts
    ]


def _send(session: Session, configuration: Configuration, *, dry_run: bool, force: bool = False) -> Plan:
    parameters = {"dry_run": dry_run, "force": force}
    seconds = max(session.timeout, SECONDS)
    try:
        found = session.client.send("POST", "/apply", configuration.document, parameters=parameters, seconds=seconds)
    except Refused as refused:
        raise refused.placed(_places(configuration, refused.body.get("errors")).__getitem__) from None
    if dry_run:
        warnings = found.data.get("warnings") or ()
        where = _places(configuration, warnings)
        session.warn({"warnings": [{**warning, "pointer": where[warning["pointer"]]} for warning in warnings]})
    return dict(found.data)


def _places(configuration: Configuration, told: Any) -> Mapping[str, str]:
    """File, line and path of all pointers in a list of errors or warnings; every file is read once for all of them."""
    return configuration.places([one["pointer"] for one in told or () if isinstance(one.get("pointer"), str)])
