"""`gtmctl check` and `gtmctl line`: health checks, and custom lines."""

from typing import Any, Final

import click

from pdns_gtm_backend.cli.fields import given
from pdns_gtm_backend.cli.nouns import Noun, create
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.session import Session, dry_run, in_session
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.line import Line

SHOWN_MEMBERS: Final = 5

CHECK: Final = Noun(
    word="health check",
    kind="health-checks",
    document=HealthCheck,
    columns=(
        Column("ID", lambda c: c.get("id")),
        Column("PROTOCOL", lambda c: c.get("protocol")),
        Column("PORT", lambda c: c.get("port")),
        Column("INTERVAL", lambda c: c.get("interval")),
        Column("TIMEOUT", lambda c: c.get("timeout")),
        Column("FALL", lambda c: c.get("fall")),
        Column("RISE", lambda c: c.get("rise")),
        Column("QUORUM", lambda c: c.get("quorum")),
        Column("VANTAGES", lambda c: c.get("vantages") or "all"),
        Column("PATH", lambda c: (c.get("http") or {}).get("path")),
    ),
    filters={"protocol": "ping, tcp, http, https, dns or external."},
)

check = noun_group(CHECK, "check", "Health checks: templates of probes that pools name.")


@check.command("create")
@click.argument("name", metavar="CHECK", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@CHECK.options()
@dry_run
@in_session
def create_check(session: Session, name: str | None, file: str | None, dry_run: bool, **parameters: Any) -> None:
    """Make a health check.

    Example: gtmctl check create web --protocol http --interval 5 --http-path /healthz
    """
    if name is None and file is None:
        raise click.UsageError("give an id, or a file with --file")
    create(session, CHECK, name, file, given(parameters), dry_run=dry_run)


LINE: Final = Noun(
    word="line",
    kind="lines",
    document=Line,
    columns=(
        Column("ID", lambda line: line.get("id")),
        Column("NAME", lambda line: line.get("name")),
        Column(
            "MEMBERS",
            lambda line: (
                ",".join(line["members"][:SHOWN_MEMBERS])
                + (f" +{len(line['members']) - SHOWN_MEMBERS}" if len(line["members"]) > SHOWN_MEMBERS else "")
            ),
        ),
    ),
)

line = noun_group(LINE, "line", "Custom lines: named lists of lines, written line:ID in policies.")


@line.command("create")
@click.argument("name", metavar="LINE", required=False)
@click.argument("members", metavar="[MEMBER]...", nargs=-1)
@click.option("-f", "--file", metavar="FILE", help="Read it from a YAML or JSON file; - is stdin.")
@LINE.options()
@dry_run
@in_session
def create_line(
    session: Session, name: str | None, members: tuple[str, ...], file: str | None, dry_run: bool, **parameters: Any
) -> None:
    """Make a custom line of its members.

    Example: gtmctl line create telecom 'AS-CN&asn:4134' cidr:203.0.113.0/24
    """
    if name is None and file is None:
        raise click.UsageError("give an id, or a file with --file")
    fields = given(parameters)
    if members:
        fields["members"] = list(members)
    create(session, LINE, name, file, fields, dry_run=dry_run)
