"""`gtmctl token` and `gtmctl vantage`: who may use the API, and where probes come from."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, get_args

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.durations import FORM, end
from pdns_gtm_backend.cli.nouns import Noun, id_by_name
from pdns_gtm_backend.cli.parameter_types import SPAN
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Group, Session, dry_run, in_session, yes
from pdns_gtm_backend.cli.status_text import moment
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.token import Role, Token

PLACES: Final = {"/name": "NAME", "/role": "--role", "/label": "--label", "/expires": "--for or --until"}


TOKEN: Final = Noun(
    word="token",
    kind="tokens",
    document=Token,
    columns=(
        Column("ID", lambda t: t.get("id")),
        Column("NAME", lambda t: t.get("name")),
        Column("ROLE", lambda t: t.get("role")),
        Column("LABEL", lambda t: t.get("label")),
        Column("CREATED", lambda t: moment(t.get("created"))),
        Column("EXPIRES", lambda t: moment(t.get("expires"))),
        Column("LAST USED", lambda t: moment(t.get("last_used"))),
    ),
    filters={"role": "viewer, operator or admin.", "name": "With this name."},
    generated=True,
    resolve=id_by_name("tokens"),
)

token = noun_group(TOKEN, "token", "Who may use the API, and for what.", ("list", "show", "delete"))


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(get_args(Role)), required=True, help="What it may do.")
@click.option("--label", metavar="KEY=VALUE", help="Only for instances with this label.")
@click.option("--for", "span", type=SPAN, help=f"It expires after that: {FORM}.")
@click.option("--until", metavar="TIME", help="It expires then: 2030-01-31T12:00:00Z.")
@dry_run
@in_session
def create_token(
    session: Session,
    name: str,
    role: str,
    label: str | None,
    span: timedelta | None,
    until: str | None,
    dry_run: bool,
) -> None:
    """Make a token. It is printed on stdout, this once only.

    viewer: reads; operator: also overrides, switches and drills; admin: everything.
    """
    document = {"name": name, "role": role, "label": label, "expires": end(span, until)}
    with placing(lambda pointer: PLACES.get(pointer, pointer)):
        made = session.client.send("POST", TOKEN.path, document, parameters={"dry_run": dry_run}).data
    if dry_run:
        session.say(f"token {name}: would be created (dry run)")
    else:
        session.say(f"token {made['name']} ({made['id']}) created; keep what follows, it is not told again")
    session.show(made, lambda: str(made.get("token", "")))


VANTAGE_COLUMNS: Final = (
    Column("NAME", lambda v: v["name"]),
    Column("REPORTS", lambda v: v["reporting"]),
    Column("HEARTBEAT", lambda v: f"{v['age']:.1f} s ago"),
    Column("TARGETS", lambda v: v["targets"]),
    Column("OVERDUE", lambda v: v["overdue"]),
    Column("LAG", lambda v: f"{v['lag']:.2f} s"),
    Column("REFERENCE", lambda v: v["reference"]),
    Column("LABELS", lambda v: v["labels"]),
    Column("SUSPENDED", lambda v: v["suspended"]),
)

vantage = Group("vantage", help="Places that probe.")


@vantage.command("list")
@in_session
def list_vantages(session: Session) -> None:
    """List the vantages and whether they report."""
    items = session.client.page("/vantages")["items"]
    session.show_items(items, VANTAGE_COLUMNS, "no vantage has reported yet")


@vantage.command("delete")
@click.argument("names", metavar="VANTAGE...", nargs=-1, required=True)
@yes
@dry_run
@in_session
def delete_vantages(session: Session, names: Sequence[str], yes: bool, dry_run: bool) -> None:
    """Forget vantages whose healthd has ended for good; no state changes by that."""
    if not dry_run:
        session.confirm(f"Forget vantage {', '.join(names)}?", yes=yes)
    for name in names:
        session.client.send("DELETE", path_of("vantages", name), parameters={"dry_run": dry_run})
        session.say(f"vantage {name}: {'would be deleted (dry run)' if dry_run else 'deleted'}")
