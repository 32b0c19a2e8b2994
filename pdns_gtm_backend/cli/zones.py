"""`gtmctl zone` and `gtmctl record`: zones, and their static records."""

from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.failures import NOT_FOUND
from pdns_gtm_backend.cli.nouns import Noun, changed_meanwhile, create, option_place
from pdns_gtm_backend.cli.printing import Column, table
from pdns_gtm_backend.cli.problems import Refused, placing
from pdns_gtm_backend.cli.session import Group, Session, dry_run, in_session, yes
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.cli.zone_import import import_zone
from pdns_gtm_backend.domain.names import canonical, is_below
from pdns_gtm_backend.domain.zone import Zone

DEFAULT_TTL: Final = 3600

ZONE: Final = Noun(
    word="zone",
    kind="zones",
    document=Zone,
    columns=(
        Column("NAME", lambda z: z.get("name")),
        Column("KIND", lambda z: z.get("kind")),
        Column("NUMBER", lambda z: z.get("number") or None),
        Column("SERIAL", lambda z: z.get("serial")),
    ),
    filters={"kind": "access or hosted."},
    identity="name",
)

RECORD_COLUMNS: Final = (
    Column("NAME", lambda r: r["name"]),
    Column("TYPE", lambda r: r["type"]),
    Column("TTL", lambda r: r["ttl"]),
    Column("RECORD", lambda r: r["record"]),
)

zone = noun_group(ZONE, "zone", "Zones that this server hosts.", ("list", "show", "delete"))


@zone.command("create")
@click.argument("name", metavar="ZONE")
@dry_run
@in_session
def create_zone(session: Session, name: str, dry_run: bool) -> None:
    """Host a zone."""
    create(session, ZONE, name, None, {}, dry_run=dry_run)


@zone.command("import")
@ZONE.argument()
@click.argument("file")
@click.option("--replace", is_flag=True, help="Delete records of the zone that the file does not hold.")
@yes
@dry_run
@in_session
def import_(session: Session, name: str, file: str, replace: bool, yes: bool, dry_run: bool) -> None:
    """Take the records of a zone file (RFC 1035 section 5) into a zone, which is made where it is not there yet.

    FILE may be - for stdin. Records that the zone has already stay as they are.
    """
    import_zone(session, name, file, whole=replace, yes=yes, dry_run=dry_run)


record = Group("record", help="Static records of zones; all of one name and type are written together.")


@record.command("list")
@ZONE.argument()
@in_session
def list_records(session: Session, name: str) -> None:
    """List the records of a zone."""
    items = list(session.client.items(path_of("zones", name, "rrsets")))
    rows = [{**rrset, "record": text} for rrset in items for text in rrset["records"]]
    if session.for_people:
        session.show_items(rows, RECORD_COLUMNS, f"zone {name} has no records")
    else:
        session.show(items)


@record.command("show")
@ZONE.argument()
@click.argument("record_name", metavar="NAME")
@click.argument("rrtype", metavar="TYPE")
@in_session
def show_records(session: Session, name: str, record_name: str, rrtype: str) -> None:
    """Show the records of a name and type; NAME is relative to the zone, @ is the zone itself."""
    session.show(session.client.get(_path(name, record_name, rrtype)))


@record.command("set")
@ZONE.argument()
@click.argument("record_name", metavar="NAME")
@click.argument("rrtype", metavar="TYPE")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.option("--ttl", type=click.INT, help=f"Seconds; {DEFAULT_TTL} for new ones.")
@dry_run
@in_session
def set_records(
    session: Session,
    name: str,
    record_name: str,
    rrtype: str,
    records: tuple[str, ...],
    ttl: int | None,
    dry_run: bool,
) -> None:
    """Write all records of a name and type.

    \b
    gtmctl record set shop.example www CNAME gtm12345678.gtm.example
    gtmctl record set shop.example @ MX '10 mail.shop.example'
    """
    path = _path(name, record_name, rrtype)
    held = _held(session, path)
    fields: dict[str, Any] = {"records": list(records)}
    if ttl is not None:
        fields["ttl"] = ttl
    elif held is not None:
        fields["ttl"] = held.data["ttl"]
    called = f"{rrtype.upper()} records at {full_name(name, record_name)}"
    with placing(option_place()), changed_meanwhile(called):
        etag = held.etag if held is not None else ""
        made = session.client.send("PUT", path, fields, match=etag, new=held is None, parameters={"dry_run": dry_run})
    session.say(f"{called}: {'would be written (dry run)' if dry_run else 'written'}")
    rows = [{**made.data, "record": text} for text in made.data["records"]]
    session.show(made.data, lambda: table(RECORD_COLUMNS, rows))


@record.command("delete")
@ZONE.argument()
@click.argument("record_name", metavar="NAME")
@click.argument("rrtype", metavar="TYPE")
@yes
@dry_run
@in_session
def delete_records(session: Session, name: str, record_name: str, rrtype: str, yes: bool, dry_run: bool) -> None:
    """Delete all records of a name and type."""
    path = _path(name, record_name, rrtype)
    held = session.client.read(path)
    called = f"{held.data['type']} records at {held.data['name']}"
    if not dry_run:
        session.confirm(f"Delete the {called}?", yes=yes)
    with changed_meanwhile(called):
        session.client.send("DELETE", path, match=held.etag, parameters={"dry_run": dry_run})
    session.say(f"{called}: {'would be deleted (dry run)' if dry_run else 'deleted'}")


def full_name(zone_name: str, name: str) -> str:
    """A name as it was typed beside a zone: `@` is the zone, others are relative to it unless they end in it."""
    zone_name = canonical(zone_name)
    if name == "@":
        return zone_name
    if name.endswith(".") or is_below(canonical(name), zone_name):
        return canonical(name)
    return f"{canonical(name)}.{zone_name}"


def _path(zone_name: str, name: str, rrtype: str) -> str:
    return path_of("zones", zone_name, "rrsets", full_name(zone_name, name), rrtype.upper())


def _held(session: Session, path: str) -> Any:
    """What there is at a path, None where there is nothing."""
    try:
        return session.client.read(path)
    except Refused as refused:
        if refused.exit_code != NOT_FOUND:
            raise
        return None
