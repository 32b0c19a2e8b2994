"""`gtmctl pool`: addresses of one type that serve the same application."""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.fields import given
from pdns_gtm_backend.cli.instances import resolve as resolve_instance
from pdns_gtm_backend.cli.nouns import Noun, create, patch
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Session, dry_run, in_session
from pdns_gtm_backend.cli.status_text import pool_status_text
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.pool import Pool

SHOWN_ADDRESSES: Final = 3


def _addresses(pool: Mapping[str, Any]) -> str:
    addresses = [address["address"] for address in pool.get("addresses", ())]
    more = f" +{len(addresses) - SHOWN_ADDRESSES}" if len(addresses) > SHOWN_ADDRESSES else ""
    return ",".join(addresses[:SHOWN_ADDRESSES]) + more


POOL: Final = Noun(
    word="pool",
    kind="pools",
    document=Pool,
    columns=(
        Column("ID", lambda p: p.get("id")),
        Column("TYPE", lambda p: p.get("type")),
        Column("STRATEGY", lambda p: p.get("strategy")),
        Column("ENABLED", lambda p: p.get("enabled")),
        Column("MIN", lambda p: p.get("min_available")),
        Column("CHECKS", lambda p: p.get("health_checks")),
        Column("ADDRESSES", _addresses),
    ),
    filters={
        "type": "ipv4, ipv6 or domain.",
        "enabled": "true or false.",
        "status": "normal, warning, exception or unmonitored.",
        "health_check": "That name this check.",
        "address": "That hold this address.",
        "label": "That hold an address with a label: key=value.",
        "instance": "That this instance uses.",
    },
    filter_ids={"instance": resolve_instance},
    but=frozenset({"enabled"}),
)

pool = noun_group(POOL, "pool", "Address pools, shared by any number of instances.")


@pool.command("create")
@click.argument("name", metavar="POOL", required=False)
@click.argument("addresses", metavar="[ADDRESS[=WEIGHT]]...", nargs=-1)
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@POOL.options()
@dry_run
@in_session
def create_pool(
    session: Session,
    name: str | None,
    addresses: tuple[str, ...],
    file: str | None,
    dry_run: bool,
    **parameters: Any,
) -> None:
    """Make a pool; without --type it is of the type of its first address.

    Example: gtmctl pool create pool-a 192.0.2.1 192.0.2.2=3 --health-check web --strategy weighted
    """
    if name is None and file is None:
        raise click.UsageError("give an id, or a file with --file")
    fields = given(parameters)
    if addresses:
        fields["addresses"] = [_address(text) for text in addresses]
        fields.setdefault("type", family(fields["addresses"][0]["address"]))
    create(session, POOL, name, file, fields, dry_run=dry_run)


def _address(text: str) -> Mapping[str, Any]:
    address, equals, weight = text.partition("=")
    if not equals:
        return {"address": address}
    if not (weight.isascii() and weight.isdecimal()):
        raise click.BadParameter(f"{text!r}: the weight must be a whole number", param_hint="ADDRESS")
    return {"address": address, "weight": int(weight)}


def family(address: str) -> str:
    """The type of a pool that an address fits in."""
    try:
        return f"ipv{ipaddress.ip_address(address).version}"
    except ValueError:
        return "domain"


@pool.command("enable")
@POOL.argument()
@dry_run
@in_session
def enable(session: Session, name: str, dry_run: bool) -> None:
    """Use a pool again."""
    patch(session, POOL, name, {"enabled": True}, dry_run=dry_run)


@pool.command("disable")
@POOL.argument()
@dry_run
@in_session
def disable(session: Session, name: str, dry_run: bool) -> None:
    """Treat a pool as unavailable, in its configuration; `gtmctl drain` does it at run time."""
    patch(session, POOL, name, {"enabled": False}, dry_run=dry_run)


@pool.command("status")
@POOL.argument()
@in_session
def status(session: Session, name: str) -> None:
    """Show whether a pool is available, and what each vantage sees of its addresses."""
    data = session.client.get(path_of("pools", name, "status"))
    session.show(data, lambda: pool_status_text(data, colour=session.colour))
