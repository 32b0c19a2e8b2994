"""`gtmctl drill`: what would happen if addresses, pools or sites failed: preview it, let it happen, take it back."""

from collections.abc import Mapping, Sequence
from typing import Final

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.nouns import Noun, create, id_by_name
from pdns_gtm_backend.cli.overrides import preview_text
from pdns_gtm_backend.cli.pools import POOL
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Session, dry_run, force, in_session, yes
from pdns_gtm_backend.cli.status_text import moment, selected
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.drill import Drill

DRILL: Final = Noun(
    word="drill",
    kind="drills",
    document=Drill,
    columns=(
        Column("NAME", lambda d: d.get("name")),
        Column("ID", lambda d: d.get("id")),
        Column("STATE", lambda d: str(d.get("state")).replace("_", " ")),
        Column("EXECUTED", lambda d: moment(d.get("executed"))),
        Column("ROLLED BACK", lambda d: moment(d.get("rolled_back"))),
        Column("FAILS", lambda d: [selected(selector) for selector in d.get("selectors", ())]),
        Column("REASON", lambda d: d.get("reason")),
    ),
    filters={"name": "With this name.", "state": "unexecuted, executed or rolled_back."},
    generated=True,
    resolve=id_by_name("drills"),
)

drill = noun_group(
    DRILL, "drill", "Drills: treat addresses, pools or sites as failed, and take it back.", ("list", "show", "delete")
)


@drill.command("create")
@click.argument("name", required=False)
@click.option("--pool", "pools", multiple=True, shell_complete=POOL.complete, help="This pool fails.")
@click.option("--address", "addresses", multiple=True, metavar="[POOL/]ADDRESS", help="This address fails.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Every address with this label fails.")
@click.option("--reason", help="Why; shown wherever it acts.")
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@dry_run
@in_session
def create_drill(
    session: Session,
    name: str | None,
    pools: Sequence[str],
    addresses: Sequence[str],
    labels: Sequence[str],
    reason: str | None,
    file: str | None,
    dry_run: bool,
) -> None:
    """Make a drill; nothing fails before it is executed.

    Example: gtmctl drill create site-hz-lost --label site=hz
    """
    selectors = [
        *({"pool": pool} for pool in pools),
        *map(_address, addresses),
        *({"label": label} for label in labels),
    ]
    fields = {"selectors": selectors} if selectors else {}
    if not selectors and file is None:
        raise click.UsageError("give what fails: --pool, --address, --label, or a file")
    create(session, DRILL, name, file, fields | ({} if reason is None else {"reason": reason}), dry_run=dry_run)


def _address(text: str) -> Mapping[str, str]:
    pool, slash, address = text.rpartition("/")
    return {"pool": pool, "address": address} if slash else {"address": address}


@drill.command("preview")
@DRILL.argument()
@in_session
def preview(session: Session, name: str) -> None:
    """Show every policy that would switch, from which set to which."""
    found = session.client.get(path_of("drills", DRILL.resolve(session.client, name), "preview"))
    session.show(found, lambda: preview_text(session, found))


@drill.command("execute")
@DRILL.argument()
@force
@yes
@dry_run
@in_session
def execute(session: Session, name: str, force: bool, yes: bool, dry_run: bool) -> None:
    """Treat what the drill names as failed, until it is rolled back."""
    path = path_of("drills", DRILL.resolve(session.client, name), "execute")
    found = session.client.send("POST", path, {}, parameters={"force": force, "dry_run": True}).data
    if dry_run or session.for_people:
        session.show(found, lambda: preview_text(session, found))
    if dry_run:
        session.say(f"drill {name}: would be executed (dry run)")
        return
    session.confirm(f"Execute drill {name}?", yes=yes)
    done = session.client.send("POST", path, {}, parameters={"force": force}).data
    session.say(f"drill {name}: executed; gtmctl drill rollback {name} takes it back")
    if not session.for_people:
        session.show(done)


@drill.command("rollback")
@DRILL.argument()
@dry_run
@in_session
def rollback(session: Session, name: str, dry_run: bool) -> None:
    """Take back what a drill does."""
    path = path_of("drills", DRILL.resolve(session.client, name), "rollback")
    done = session.client.send("POST", path, {}, parameters={"dry_run": dry_run}).data
    session.say(f"drill {name}: {'would be rolled back (dry run)' if dry_run else 'rolled back'}")
    session.show(done, lambda: preview_text(session, done))
