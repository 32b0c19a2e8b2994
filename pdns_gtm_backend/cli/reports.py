"""`gtmctl report` and `gtmctl check reports`: what is pushed for external checks, and what was."""

from typing import Any, Final

import click

from pdns_gtm_backend.cli.checks_and_lines import CHECK
from pdns_gtm_backend.cli.checks_and_lines import check as check_group
from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Command, Session, dry_run, in_session
from pdns_gtm_backend.cli.status_text import moment

PLACES: Final = {"/status": "STATUS", "/ttl": "--ttl", "/reason": "--reason"}

COLUMNS: Final = (
    Column("ADDRESS", lambda r: r["address"]),
    Column("REPORTED", lambda r: r["status"]),
    Column("COUNTS AS", lambda r: r["counts_as"]),
    Column("TIME", lambda r: moment(r["time"])),
    Column("AGE", lambda r: f"{r['age']:.0f} s"),
    Column("TTL", lambda r: f"{r['ttl']:g} s"),
    Column("EXPIRED", lambda r: r["expired"]),
    Column("REASON", lambda r: r["reason"]),
)


@click.command("report", cls=Command)
@CHECK.argument("check")
@click.argument("address")
@click.argument("status", type=click.Choice(["up", "down"]))
@click.option("--ttl", type=float, required=True, metavar="SECONDS", help="How long it holds: 1 to 604800.")
@click.option("--reason", help="Why, for operators.")
@dry_run
@in_session
def report(
    session: Session, check: str, address: str, status: str, ttl: float, reason: str | None, dry_run: bool
) -> None:
    """Say that an address is up or down, for an external check.

    Example: gtmctl report batch-job 192.0.2.1 down --ttl 60 --reason "disk full"
    """
    body: dict[str, Any] = {"status": status, "ttl": ttl} | ({} if reason is None else {"reason": reason})
    path = path_of("health-checks", check, "reports", address)
    with placing(lambda pointer: PLACES.get(pointer, pointer)):
        done = session.client.send("PUT", path, body, parameters={"dry_run": dry_run}).data
    said = f"would be reported {status} (dry run)" if dry_run else f"reported {status}"
    session.say(f"{done['address']}: {said} for {done['ttl']:g} s")
    if not session.for_people:
        session.show(done)


@check_group.command("reports")
@CHECK.argument("check")
@in_session
def reports(session: Session, check: str) -> None:
    """Show what was reported last of each address of an external check."""
    items = session.client.page(path_of("health-checks", check, "reports"))["items"]
    session.show_items(items, COLUMNS, f"nothing was reported for health check {check} yet")
