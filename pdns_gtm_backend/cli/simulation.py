"""`gtmctl simulate`: what a client gets now, and why."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from pdns_gtm_backend.cli.printing import Column, paint, printable, table
from pdns_gtm_backend.cli.session import Command, Session, in_session

TYPES: Final = ("A", "AAAA", "CNAME")

LEFT_OUT_COLUMNS: Final = (
    Column("LEFT OUT", lambda a: a["address"]),
    Column("POOL", lambda a: a["pool"]),
    Column("SET", lambda a: a["set"]),
    Column("BECAUSE", lambda a: a["reason"]),
)
DRAWN_COLUMNS: Final = (
    Column("DRAWN FROM", lambda a: a["address"]),
    Column("POOL", lambda a: a["pool"]),
    Column("SHARE", lambda a: "drawn without return" if a["probability"] is None else f"{a['probability']:.1%}"),
)


@click.command("simulate", cls=Command)
@click.argument("name")
@click.argument("client")
@click.option(
    "-t", "--type", "rrtype", type=click.Choice(TYPES, case_sensitive=False), default="A", help="Asked for (A)."
)
@in_session
def simulate(session: Session, name: str, client: str, rrtype: str) -> None:
    """Show what a client gets for a name now, and why, without asking DNS.

    NAME is a CNAME domain name or any other name of an instance; CLIENT is an address or a network.
    """
    found = session.client.get("/simulate", {"name": name, "type": rrtype, "client": client})
    session.show(found, lambda: simulation_text(found, colour=session.colour))


def simulation_text(found: Mapping[str, Any], *, colour: bool) -> str:
    """The whole of a simulation."""
    parts = (
        "\n".join(_answer(found, colour)),
        "\n".join(f"- {printable(sentence)}" for sentence in found["why"]),
        table(DRAWN_COLUMNS, found["drawn_from"]),
        table(LEFT_OUT_COLUMNS, found["left_out"]),
    )
    return "\n\n".join(part for part in parts if part)


def _answer(found: Mapping[str, Any], colour: bool) -> Iterator[str]:
    answer = found["answer"]
    yield from (
        paint(line, "green") if colour else line
        for line in (f"{found['name']} {answer['ttl']} {answer['type']} {record}" for record in answer["records"])
    )
    if not answer["records"]:
        yield f"{found['name']} has no {answer['type']} records for {found['client']}"
