"""`gtmctl address`: the addresses of a pool, one by one."""

from typing import Any, Final

import click

from pdns_gtm_backend.cli.changes import change_lines
from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.fields import field_options, given
from pdns_gtm_backend.cli.nouns import changed_meanwhile, only_given, option_place
from pdns_gtm_backend.cli.pools import POOL
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Group, Session, dry_run, in_session, yes
from pdns_gtm_backend.cli.status_text import ADDRESS_COLUMNS
from pdns_gtm_backend.domain.pool import Address

fields_of_address: Final = field_options(Address, but=frozenset({"address"}))

address = Group("address", help="Addresses of a pool.")


@address.command("list")
@POOL.argument("pool")
@in_session
def list_addresses(session: Session, pool: str) -> None:
    """List the addresses of a pool with their health."""
    items = session.client.get(path_of("pools", pool, "status"))["addresses"]
    session.show_items(items, ADDRESS_COLUMNS, f"pool {pool} has no address")


@address.command("show")
@POOL.argument("pool")
@click.argument("address")
@in_session
def show_address(session: Session, pool: str, address: str) -> None:
    """Show one address as it is configured."""
    session.show(session.client.get(path_of("pools", pool, "addresses", address)))


@address.command("add")
@POOL.argument("pool")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@fields_of_address
@dry_run
@in_session
def add(session: Session, pool: str, addresses: tuple[str, ...], dry_run: bool, **parameters: Any) -> None:
    """Add addresses to a pool."""
    fields = given(parameters)
    for text in addresses:
        path = path_of("pools", pool, "addresses", text)
        with placing(option_place()):
            made = session.client.send("PUT", path, fields, new=True, parameters={"dry_run": dry_run}).data
        session.warn(made)
        session.say(f"address {made['address']} of pool {pool}: {'would be added (dry run)' if dry_run else 'added'}")


@address.command("set")
@POOL.argument("pool")
@click.argument("address")
@fields_of_address
@dry_run
@in_session
def set_address(session: Session, pool: str, address: str, dry_run: bool, **parameters: Any) -> None:
    """Set the weight, mode or labels of an address in its configuration."""
    fields = only_given(click.get_current_context(), parameters)
    path = path_of("pools", pool, "addresses", address)
    held = session.client.read(path)
    called = f"address {held.data['address']} of pool {pool}"
    with placing(option_place()), changed_meanwhile(called):
        answer = session.client.send("PATCH", path, fields, match=held.etag, parameters={"dry_run": dry_run}).data
    session.warn(answer)
    after = {name: value for name, value in answer.items() if name in held.data}
    session.say(
        f"{called}: "
        + ("is so already" if after == held.data else "would be changed (dry run)" if dry_run else "changed")
    )
    change = {"action": "update", "kind": "address", "id": after["address"], "before": held.data, "after": after}
    session.show(answer, lambda: "" if after == held.data else "\n".join(change_lines(change, session.painted)))


@address.command("delete")
@POOL.argument("pool")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@yes
@dry_run
@in_session
def delete(session: Session, pool: str, addresses: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Take addresses out of a pool."""
    paths = [path_of("pools", pool, "addresses", text) for text in addresses]
    found = [(path, session.client.read(path)) for path in paths]
    named = ", ".join(held.data["address"] for _, held in found)
    if not dry_run:
        session.confirm(f"Take {named} out of pool {pool}?", yes=yes)
    for path, held in found:
        called = f"address {held.data['address']} of pool {pool}"
        with changed_meanwhile(called):
            session.client.send("DELETE", path, match=held.etag, parameters={"dry_run": dry_run})
        session.say(f"{called}: {'would be taken out (dry run)' if dry_run else 'taken out'}")
