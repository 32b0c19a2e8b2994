"""`gtmctl probe` and `gtmctl address history`: what vantages find at an address."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from pdns_gtm_backend.cli.addresses import address as address_group
from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.failures import FAILURE
from pdns_gtm_backend.cli.pools import POOL
from pdns_gtm_backend.cli.printing import Column, printable, table
from pdns_gtm_backend.cli.session import Command, Session, in_session
from pdns_gtm_backend.cli.status_text import moment

PROBE_SECONDS: Final = 90.0
"""The longest timeout of a check, and what its result takes to get here."""

Data = Mapping[str, Any]


def _seconds(value: object) -> str:
    return f"{value * 1000:.1f} ms" if isinstance(value, int | float) else "-"


def _outcome(row: Data) -> str:
    if row["result"] is None:
        return "-"
    return "passed" if row["result"]["ok"] else f"failed: {row['result']['reason']}"


RESULT_COLUMNS: Final = (
    Column("CHECK", lambda row: row["report"]["check"]),
    Column("VANTAGE", lambda row: row["report"]["vantage"]),
    Column("TIME", lambda row: moment(row["result"]["time"] if row["result"] else None)),
    Column("RESULT", _outcome),
    Column("TOOK", lambda row: _seconds(row["result"]["duration"] if row["result"] else None)),
    Column("DETAIL", lambda row: row["report"]["error"] or (row["result"]["detail"] if row["result"] else None)),
)

VANTAGE_COLUMNS: Final = (
    Column("CHECK", lambda report: report["check"]),
    Column("VANTAGE", lambda report: report["vantage"]),
    Column("VERDICT", lambda report: report["verdict"]),
    Column("SINCE", lambda report: moment(report["since"])),
    Column("PROBES", lambda report: report["probes"]),
    Column("FAILED", lambda report: report["failed"]),
    Column("LATENCY", lambda report: _seconds(report["latency"])),
)


@click.command("probe", cls=Command)
@POOL.argument("pool")
@click.argument("address")
@in_session
def probe(session: Session, pool: str, address: str) -> None:
    """Have every vantage probe an address now; exits with 1 where a probe fails. It counts for no verdict."""
    path = path_of("pools", pool, "addresses", address, "probe")
    found = session.client.send("POST", path, {}, seconds=max(session.timeout, PROBE_SECONDS)).data
    session.show(found, lambda: probe_text(found, colour=session.colour))
    _say_silent(session, found)
    passed = [result["ok"] for report in found["items"] for result in report["results"]]
    if not passed or not all(passed):
        raise click.exceptions.Exit(FAILURE)


@address_group.command("history")
@POOL.argument("pool")
@click.argument("address")
@in_session
def history(session: Session, pool: str, address: str) -> None:
    """Show what each vantage remembers of an address: loss, latency, and its latest probes."""
    found = session.client.get(path_of("pools", pool, "addresses", address, "history"))
    session.show(found, lambda: history_text(found, colour=session.colour))
    _say_silent(session, found)


def probe_text(found: Data, *, colour: bool) -> str:
    """The result of each vantage, and what happened on the way."""
    happened = (_happened(report) for report in found["items"] if report["lines"])
    return "\n\n".join(part for part in (table(RESULT_COLUMNS, _rows(found), colour=colour), *happened) if part)


def _happened(report: Data) -> str:
    head = f"{report['check']} from {report['vantage']}"
    return "\n".join(map(printable, [head, *(f"  {line}" for line in report["lines"])]))


def history_text(found: Data, *, colour: bool) -> str:
    """What each vantage remembers, and its probes, newest first."""
    tables = (
        table(VANTAGE_COLUMNS, found["items"], colour=colour),
        table(RESULT_COLUMNS, _rows(found), colour=colour),
    )
    return "\n\n".join(part for part in tables if part)


def _rows(found: Data) -> Iterator[Data]:
    """Each probe with the report that it is of; a report without probes has one row."""
    for report in found["items"]:
        for result in report["results"] or [None]:
            yield {"report": report, "result": result}


def _say_silent(session: Session, found: Data) -> None:
    if found["silent"]:
        session.say(f"no reply in time from {', '.join(found['silent'])}")
    elif not found["items"]:
        session.say("no vantage reports now")
