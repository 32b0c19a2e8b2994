"""`gtmctl alert`: who is told of which events, whether that works, and a test of it."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.failures import FAILURE
from pdns_gtm_backend.cli.fields import given
from pdns_gtm_backend.cli.nouns import Noun, create
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Session, dry_run, in_session
from pdns_gtm_backend.cli.status_text import moment
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.alert import Alert

TEST_SECONDS: Final = 30.0
"""The longest that a receiver may take, and what its answer takes to get here."""

ALERT: Final = Noun(
    word="alert",
    kind="alerts",
    document=Alert,
    columns=(
        Column("ID", lambda a: a.get("id")),
        Column("CHANNEL", lambda a: a.get("channel")),
        Column("ENABLED", lambda a: a.get("enabled")),
        Column("KINDS", lambda a: a.get("kinds") or "all"),
        Column("INSTANCES", lambda a: a.get("instances") or "all"),
        Column("POOLS", lambda a: a.get("pools") or "all"),
        Column("LABELS", lambda a: a.get("labels") or "all"),
    ),
    filters={"channel": "webhook, slack, dingtalk, smtp or command.", "enabled": "true or false."},
)

alert = noun_group(ALERT, "alert", "Receivers of events: webhooks, chats, mail, programs.")

STATUS_COLUMNS: Final = (
    Column("ID", lambda s: s["id"]),
    Column("STATE", lambda s: s["state"]),
    Column("BACKLOG", lambda s: s["backlog"]),
    Column("DELIVERED", lambda s: s["delivered"]),
    Column("GIVEN UP", lambda s: s["given_up"]),
    Column("GAPS", lambda s: s["gaps"]),
    Column("LAST SUCCESS", lambda s: moment(s["last_success"])),
    Column("LAST FAILURE", lambda s: moment(s["last_failure"])),
    Column("FAILURE", lambda s: s["failure"] or None),
)


@alert.command("create")
@click.argument("name", metavar="ALERT", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@ALERT.options()
@dry_run
@in_session
def create_alert(session: Session, name: str | None, file: str | None, dry_run: bool, **parameters: Any) -> None:
    """Make a receiver of events. Secrets are better read from a file: a command line is seen by others.

    Example: gtmctl alert create ops --channel webhook --webhook-url https://alerts.example/hook
    """
    if name is None and file is None:
        raise click.UsageError("give an id, or a file with --file")
    create(session, ALERT, name, file, given(parameters), dry_run=dry_run)


@alert.command("status")
@ALERT.argument("names", several=True)
@in_session
def status(session: Session, names: tuple[str, ...]) -> None:
    """Show how far receivers are told, and what failed last."""
    items = [session.client.get(path_of("alerts", name, "status")) for name in dict.fromkeys(names)]
    session.show_items(items, STATUS_COLUMNS, "")


@alert.command("test")
@ALERT.argument()
@in_session
def send_test(session: Session, name: str) -> None:
    """Have the leader send a test event now; exits with 1 where the receiver does not take it."""
    path = path_of("alerts", name, "test")
    found = session.client.send("POST", path, {}, seconds=max(session.timeout, TEST_SECONDS)).data
    session.show(found, lambda: outcome_text(found))
    if not found["delivered"]:
        raise click.exceptions.Exit(FAILURE)


def outcome_text(found: Mapping[str, Any]) -> str:
    """What came of a test, on one line."""
    outcome = f"delivered ({found['status']})" if found["delivered"] else f"not delivered: {found['error']}"
    return f"alert {found['id']}: {outcome} after {found['duration'] * 1000:.0f} ms, event {found['event']}"
