"""`gtmctl instance`: one service each."""

import re
from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import Client, path_of
from pdns_gtm_backend.cli.failures import CONFLICT, NOT_FOUND, Failure
from pdns_gtm_backend.cli.fields import given
from pdns_gtm_backend.cli.nouns import Noun, create, patch, show_made
from pdns_gtm_backend.cli.policies import FORM, parse_policy
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Session, dry_run, in_session
from pdns_gtm_backend.cli.status_text import instance_status_text
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.instance import Instance

GENERATED_ID: Final = re.compile(r"gtm[0-9]{8}", re.ASCII)


def resolve(client: Client, name: str) -> str:
    """The id of the instance with this id, this name, or an answer at this domain name. Raises Failure."""
    if GENERATED_ID.fullmatch(name):
        return name
    found = list(client.items("/instances", {"name": name}, 2))
    if not found and "." in name:
        found = list(client.items("/instances", {"domain": name}, 2))
    if not found:
        raise Failure(f"there is no instance {name!r}", NOT_FOUND, hint="gtmctl instance list shows all of them")
    if len(found) > 1:
        named = ", ".join(f"{one['name']} ({one['id']})" for one in found)
        raise Failure(f"{name!r} leads to several instances: {named}", CONFLICT)
    return str(found[0]["id"])


INSTANCE: Final = Noun(
    word="instance",
    kind="instances",
    document=Instance,
    columns=(
        Column("NAME", lambda i: i.get("name")),
        Column("CNAME", lambda i: i.get("cname")),
        Column("TTL", lambda i: i.get("ttl")),
        Column("ENABLED", lambda i: i.get("enabled")),
        Column("POLICIES", lambda i: [policy["name"] for policy in i.get("policies", ())]),
        Column(
            "POOLS", lambda i: sorted({m["pool"] for p in i["policies"] for s in p["pool_sets"] for m in s["pools"]})
        ),
    ),
    filters={
        "name": "With this name.",
        "kind": "address or domain.",
        "enabled": "true or false.",
        "label": "With a label: key=value.",
        "zone": "With a name in this zone.",
        "domain": "That answers at this domain name, or serves it.",
        "pool": "That uses this pool.",
        "health_check_status": "normal, warning, exception or unmonitored.",
        "request_status": "normal, error or unavailable.",
    },
    generated=True,
    but=frozenset({"cname", "enabled", "name"}),
    names={"names": "extra-name"},
    resolve=resolve,
)

instance = noun_group(INSTANCE, "instance", "Services: an id, a CNAME domain name, and access policies.")


@instance.command("create")
@click.argument("name", required=False)
@click.option(
    "--policy",
    "policies",
    nargs=3,
    multiple=True,
    metavar="NAME LINES SETS",
    help=f"An access policy: lines parted by commas, and sets, {FORM}. May be given several times.",
)
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@INSTANCE.options()
@dry_run
@in_session
def create_instance(
    session: Session,
    name: str | None,
    policies: tuple[tuple[str, str, str], ...],
    file: str | None,
    dry_run: bool,
    **parameters: Any,
) -> None:
    """Make an instance; its CNAME domain name is generated.

    Example: gtmctl instance create shop --policy mainland AS-CN pool-a/pool-c --policy world default pool-b/pool-c
    """
    fields = given(parameters)
    if policies:
        fields["policies"] = [_policy(*policy) for policy in policies]
    if name is None and file is None:
        raise click.UsageError("give a name, or a file with --file")
    create(session, INSTANCE, name, file, fields, dry_run=dry_run)


def _policy(name: str, lines: str, sets: str) -> Any:
    try:
        return parse_policy(name, lines, sets)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--policy {name}") from None


@instance.command("rename")
@INSTANCE.argument()
@click.argument("new_name")
@dry_run
@in_session
def rename(session: Session, name: str, new_name: str, dry_run: bool) -> None:
    """Give an instance another name; its id and its CNAME domain name stay."""
    patch(session, INSTANCE, name, {"name": new_name}, dry_run=dry_run)


@instance.command("enable")
@INSTANCE.argument()
@dry_run
@in_session
def enable(session: Session, name: str, dry_run: bool) -> None:
    """Answer for an instance again."""
    patch(session, INSTANCE, name, {"enabled": True}, dry_run=dry_run)


@instance.command("disable")
@INSTANCE.argument()
@dry_run
@in_session
def disable(session: Session, name: str, dry_run: bool) -> None:
    """Answer no data for an instance; its health checks go on."""
    patch(session, INSTANCE, name, {"enabled": False}, dry_run=dry_run)


@instance.command("copy")
@INSTANCE.argument()
@click.argument("new_name")
@dry_run
@in_session
def copy(session: Session, name: str, new_name: str, dry_run: bool) -> None:
    """Make an instance like another one, with a CNAME domain name of its own and none of the other's names."""
    path = path_of("instances", resolve(session.client, name), "copy")
    made = session.client.send("POST", path, {"name": new_name}, parameters={"dry_run": dry_run}).data
    show_made(session, INSTANCE, made, dry_run=dry_run)


@instance.command("status")
@INSTANCE.argument()
@in_session
def status(session: Session, name: str) -> None:
    """Show what an instance answers from now, and the health of its addresses."""
    show_status(session, name)


def show_status(session: Session, name: str) -> None:
    """The status of an instance on stdout."""
    client = session.client
    data = client.get(path_of("instances", resolve(client, name), "status"))
    session.show(data, lambda: instance_status_text(data, colour=session.colour))
