"""`gtmctl drill`: what would happen if addresses, pools or sites failed: preview it, let it happen, take it back."""

from collections.abc import Mapping, Sequence
from typing import Final

import click

from pdns_gtm_backend.cli.client import ANY_VERSION, Client, path_of
from pdns_gtm_backend.cli.failures import CONFLICT, NOT_FOUND, Failure
from pdns_gtm_backend.cli.overrides import preview_text
from pdns_gtm_backend.cli.pools import POOL
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Group, Session, dry_run, force, in_session, yes
from pdns_gtm_backend.cli.sources import read_document
from pdns_gtm_backend.cli.status_text import moment, selected

COLUMNS: Final = (
    Column("NAME", lambda d: d.get("name")),
    Column("ID", lambda d: d.get("id")),
    Column("STATE", lambda d: d.get("state")),
    Column("EXECUTED", lambda d: moment(d.get("executed"))),
    Column("ROLLED BACK", lambda d: moment(d.get("rolled_back"))),
    Column("FAILS", lambda d: [selected(selector) for selector in d.get("selectors", ())]),
)

drill = Group("drill", help="Drills: treat addresses, pools or sites as failed, and take it back.")


def resolve(client: Client, name: str) -> str:
    """The id of the drill with this id or name. Raises Failure."""
    found = [str(one["id"]) for one in client.items("/drills") if name in (one.get("id"), one.get("name"))]
    if not found:
        raise Failure(f"there is no drill {name!r}", NOT_FOUND, hint="gtmctl drill list shows all of them")
    if len(found) > 1:
        raise Failure(f"several drills are called {name!r}: give an id ({', '.join(found)})", CONFLICT)
    return found[0]


@drill.command("list")
@in_session
def list_drills(session: Session) -> None:
    """List the drills."""
    session.show_items(session.client.items("/drills"), COLUMNS, "there is no drill")


@drill.command("show")
@click.argument("name")
@in_session
def show_drill(session: Session, name: str) -> None:
    """Show one drill."""
    session.show(session.client.get(path_of("drills", resolve(session.client, name))))


@drill.command("create")
@click.argument("name", required=False)
@click.option("--pool", "pools", multiple=True, shell_complete=POOL.complete, help="This pool fails.")
@click.option("--address", "addresses", multiple=True, metavar="[POOL/]ADDRESS", help="This address fails.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Every address with this label fails.")
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@dry_run
@in_session
def create_drill(
    session: Session,
    name: str | None,
    pools: Sequence[str],
    addresses: Sequence[str],
    labels: Sequence[str],
    file: str | None,
    dry_run: bool,
) -> None:
    """Make a drill; nothing fails before it is executed.

    Example: gtmctl drill create site-hz-lost --label site=hz
    """
    document = {} if file is None else dict(read_document(file, "drill").value)
    selectors = [
        *({"pool": pool} for pool in pools),
        *map(_address, addresses),
        *({"label": label} for label in labels),
    ]
    if name is not None:
        document["name"] = name
    if selectors:
        document["selectors"] = selectors
    if "name" not in document or "selectors" not in document:
        raise click.UsageError("give a name and what fails: --pool, --address or --label")
    made = session.client.send("POST", "/drills", document, parameters={"dry_run": dry_run}).data
    session.warn(made)
    session.say(f"drill {made.get('name')}: {'would be created (dry run)' if dry_run else 'created'}")
    session.show_items([made], COLUMNS, "")


def _address(text: str) -> Mapping[str, str]:
    pool, slash, address = text.rpartition("/")
    return {"pool": pool, "address": address} if slash else {"address": address}


@drill.command("preview")
@click.argument("name")
@in_session
def preview(session: Session, name: str) -> None:
    """Show every policy that would switch, from which set to which."""
    found = session.client.get(path_of("drills", resolve(session.client, name), "preview"))
    session.show(found, lambda: preview_text(session, found))


@drill.command("execute")
@click.argument("name")
@force
@yes
@in_session
def execute(session: Session, name: str, force: bool, yes: bool) -> None:
    """Treat what the drill names as failed, until it is rolled back."""
    identifier = resolve(session.client, name)
    found = session.client.get(path_of("drills", identifier, "preview"))
    if session.for_people:
        session.show(found, lambda: preview_text(session, found))
    session.confirm(f"Execute drill {name}?", yes=yes)
    done = session.client.send("POST", path_of("drills", identifier, "execute"), {}, parameters={"force": force}).data
    session.say(f"drill {name} runs; gtmctl drill rollback {name} takes it back")
    if not session.for_people:
        session.show(done)


@drill.command("rollback")
@click.argument("name")
@in_session
def rollback(session: Session, name: str) -> None:
    """Take back what a drill does."""
    path = path_of("drills", resolve(session.client, name), "rollback")
    done = session.client.send("POST", path, {}).data
    session.say(f"drill {name} is rolled back")
    if not session.for_people:
        session.show(done)


@drill.command("delete")
@click.argument("name")
@yes
@in_session
def delete_drill(session: Session, name: str, yes: bool) -> None:
    """Delete a drill that does not run."""
    path = path_of("drills", resolve(session.client, name))
    session.confirm(f"Delete drill {name}?", yes=yes)
    session.client.send("DELETE", path, match=ANY_VERSION)
    session.say(f"drill {name}: deleted")
