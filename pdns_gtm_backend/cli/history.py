"""`gtmctl events` and `gtmctl audit`: what changed by itself, and what operators changed."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from pdns_gtm_backend.cli.changes import sentence, summary
from pdns_gtm_backend.cli.client import Client, Parameters
from pdns_gtm_backend.cli.differences import differences
from pdns_gtm_backend.cli.instances import resolve
from pdns_gtm_backend.cli.printing import CONTROL_IN_JSON, Column, brief, table
from pdns_gtm_backend.cli.session import Command, Session, in_session
from pdns_gtm_backend.cli.status_text import moment
from pdns_gtm_backend.cli.yaml_text import dump
from pdns_gtm_backend.domain.event import about

POLL_SECONDS: Final = 1.0
PAGE: Final = 1000
SHOWN_DIFFERENCES: Final = 4
SHOWN_CHARACTERS: Final = 80

Entry = Mapping[str, Any]


def _change(event: Entry) -> str:
    return f"{event['from']} -> {event['to']}" if "from" in event and "to" in event else ""


EVENT_COLUMNS: Final = (
    Column("TIME", lambda e: moment(e["time"])),
    Column("EVENT", lambda e: e.get("kind")),
    Column("ABOUT", about),
    Column("CHANGE", _change),
    Column("REASON", lambda e: e.get("reason")),
)


def _who(entry: Entry) -> str:
    actor = entry.get("actor")
    return str(actor.get("name")) if isinstance(actor, dict) else ""


def _what(entry: Entry) -> str:
    before, after = entry.get("before"), entry.get("after")
    if isinstance(entry.get("changes"), list):
        return summary(entry["changes"], past=True)
    if not isinstance(before, dict) or not isinstance(after, dict):
        return brief(after, SHOWN_CHARACTERS) if isinstance(after, dict) else ""
    told = [sentence(difference) for difference in differences(before, after)]
    more = [f"and {len(told) - SHOWN_DIFFERENCES} more"] if len(told) > SHOWN_DIFFERENCES else []
    return "; ".join(told[:SHOWN_DIFFERENCES] + more)


AUDIT_COLUMNS: Final = (
    Column("TIME", lambda e: moment(e["time"])),
    Column("WHO", _who),
    Column("FROM", lambda e: e.get("origin")),
    Column("ACTION", lambda e: e.get("action")),
    Column("KIND", lambda e: e.get("kind")),
    Column("OBJECT", lambda e: e.get("object")),
    Column("CHANGE", _what),
)


def _reading(command: Any) -> Any:
    """Add the options of a stream."""
    for option in (
        click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C."),
        click.option("-n", "--limit", type=click.IntRange(0, 100_000), default=50, help="The last so many (50)."),
    ):
        command = option(command)
    return command


@click.command("events", cls=Command)
@click.option("--instance", help="Of this instance, and of the pools it uses.")
@click.option("--pool", help="Of this pool.")
@click.option("--kind", help="Of this kind, such as set.switched.")
@_reading
@in_session
def events(
    session: Session, instance: str | None, pool: str | None, kind: str | None, limit: int, follow: bool
) -> None:
    """Show changes of state and switchovers, the newest last."""
    named = None if instance is None else resolve(session.client, instance)
    _stream(session, "/events", {"instance": named, "pool": pool, "kind": kind}, EVENT_COLUMNS, limit, follow)


@click.command("audit", cls=Command)
@click.option(
    "--kind", help="Of objects of this kind: instances, pools, health-checks, lines, zones, alerts, overrides, tokens."
)
@click.option("--object", "identifier", help="Of this object, by its id.")
@click.option("--actor", help="By this token, by its name or id.")
@_reading
@in_session
def audit(
    session: Session, kind: str | None, identifier: str | None, actor: str | None, limit: int, follow: bool
) -> None:
    """Show who changed what, the newest last."""
    _stream(session, "/audit", {"kind": kind, "object": identifier, "actor": actor}, AUDIT_COLUMNS, limit, follow)


def _stream(
    session: Session, path: str, filters: Parameters, columns: Sequence[Column], limit: int, follow: bool
) -> None:
    entries = _last(session.client, path, filters, limit)
    if not follow:
        session.show_items(entries, columns, "there is nothing yet")
        return
    for batch in _batches(session.client, path, filters, entries, time.sleep):
        for line in _lines(session, batch, columns):
            click.echo(line)


def _last(client: Client, path: str, filters: Parameters, limit: int) -> list[Entry]:
    """The last entries, oldest first."""
    found: list[Entry] = []
    before: str | None = None
    while len(found) < limit:
        asked = {**filters, "order": "newest", "limit": min(PAGE, limit - len(found)), "before": before}
        page = client.page(path, asked)
        found += page["items"]
        before = page["next"]
        if before is None:
            break
    return found[::-1]


def _batches(
    client: Client, path: str, filters: Parameters, first: Sequence[Entry], sleep: Callable[[float], None]
) -> Iterator[Sequence[Entry]]:
    """`first`, and then what comes."""
    yield first
    after = first[-1]["id"] if first else _newest(client, path)
    while True:
        page = client.page(path, {**filters, "after": after, "limit": PAGE})
        if page["items"]:
            yield page["items"]
            after = page["items"][-1]["id"]
        # A page that is not the last one may hold nothing: its entries were of other objects.
        if page["next"] is not None:
            after = page["next"]
        else:
            sleep(POLL_SECONDS)


def _newest(client: Client, path: str) -> str | None:
    """The id of the newest entry of all, None where there is none."""
    items = client.page(path, {"order": "newest", "limit": 1})["items"]
    return str(items[0]["id"]) if items else None


def _lines(session: Session, entries: Sequence[Entry], columns: Sequence[Column]) -> Iterator[str]:
    """Entries one by one: lines of text, or one JSON object a line; YAML as documents."""
    if session.for_people:
        yield from table(columns, entries, colour=session.colour).splitlines()[1:]
    elif session.output == "json":
        yield from (json.dumps(entry, ensure_ascii=False).translate(CONTROL_IN_JSON) for entry in entries)
    else:
        yield from ("---\n" + dump(entry).rstrip("\n") for entry in entries)
