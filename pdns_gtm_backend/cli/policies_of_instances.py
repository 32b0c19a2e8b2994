"""`gtmctl policy`: the access policies of an instance, one by one."""

from collections.abc import Mapping
from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import path_of
from pdns_gtm_backend.cli.failures import NOT_FOUND, Failure
from pdns_gtm_backend.cli.fields import field_options, given
from pdns_gtm_backend.cli.instances import INSTANCE
from pdns_gtm_backend.cli.nouns import changed_meanwhile, read, show_change
from pdns_gtm_backend.cli.policies import FORM, parse_lines, parse_sets, sets_text
from pdns_gtm_backend.cli.printing import Column
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Group, Session, dry_run, in_session, yes
from pdns_gtm_backend.domain.instance import AccessPolicy

COLUMNS: Final = (
    Column("NAME", lambda p: p["name"]),
    Column("LINES", lambda p: p["lines"]),
    Column("SETS", lambda p: sets_text(p["pool_sets"])),
    Column("FAILBACK", lambda p: p.get("failback")),
    Column("DELAY", lambda p: p.get("failback_delay")),
)

policy = Group("policy", help="Access policies of an instance: lines, and pool sets in the order of failover.")


@policy.command("list")
@INSTANCE.argument()
@in_session
def list_policies(session: Session, name: str) -> None:
    """List the policies of an instance."""
    session.show_items(read(session, INSTANCE, name).data["policies"], COLUMNS, "there is no policy")


@policy.command("set")
@INSTANCE.argument()
@click.argument("policy_name", metavar="POLICY")
@click.option("--lines", help="Lines, parted by commas.")
@click.option("--sets", help=f"Pool sets: {FORM}.")
@field_options(AccessPolicy, but=frozenset({"name", "lines"}))
@dry_run
@in_session
def set_policy(
    session: Session,
    name: str,
    policy_name: str,
    lines: str | None,
    sets: str | None,
    dry_run: bool,
    **parameters: Any,
) -> None:
    """Change a policy of an instance, or add one.

    Example: gtmctl policy set shop mainland --lines AS-CN,line:telecom --sets pool-a=3,pool-d/pool-c
    """
    fields = given(parameters)
    try:
        if lines is not None:
            fields["lines"] = parse_lines(lines)
        if sets is not None:
            fields["pool_sets"] = parse_sets(sets)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not fields:
        raise click.UsageError("give at least one field to set")
    _write(session, name, lambda held: _with(held, policy_name, fields), dry_run=dry_run)


@policy.command("delete")
@INSTANCE.argument()
@click.argument("policy_name", metavar="POLICY")
@yes
@dry_run
@in_session
def delete_policy(session: Session, name: str, policy_name: str, yes: bool, dry_run: bool) -> None:
    """Take a policy out of an instance: its clients go to the policies of less specific lines."""
    if not dry_run:
        session.confirm(f"Delete policy {policy_name} of instance {name}?", yes=yes)
    _write(session, name, lambda held: _without(held, policy_name), dry_run=dry_run)


def _with(held: list[Any], name: str, fields: Mapping[str, Any]) -> list[Any]:
    """The policies with one changed, or added at their end."""
    if name in [policy["name"] for policy in held]:
        return [{**policy, **fields} if policy["name"] == name else policy for policy in held]
    return [*held, {"name": name, **fields}]


def _without(held: list[Any], name: str) -> list[Any]:
    left = [policy for policy in held if policy["name"] != name]
    if len(left) == len(held):
        named = ", ".join(policy["name"] for policy in held)
        raise Failure(f"there is no policy {name!r}; there are: {named}", NOT_FOUND)
    return left


def _write(session: Session, name: str, change: Any, *, dry_run: bool) -> None:
    held = read(session, INSTANCE, name)
    policies = change(held.data["policies"])
    path = path_of("instances", held.data["id"])
    with placing(lambda pointer: _named(pointer, policies)), changed_meanwhile(INSTANCE.called(held.data)):
        answer = session.client.send(
            "PATCH", path, {"policies": policies}, match=held.etag, parameters={"dry_run": dry_run}
        )
    show_change(session, INSTANCE, held.data, answer.data, dry_run=dry_run)


def _named(pointer: str, policies: list[Any]) -> str:
    """A pointer with the name of the policy that it is in."""
    _, _, rest = pointer.partition("/policies/")
    index = rest.partition("/")[0]
    if index.isascii() and index.isdecimal() and int(index) < len(policies):
        return f"{pointer} (policy {policies[int(index)].get('name')})"
    return pointer
