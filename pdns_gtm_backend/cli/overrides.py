"""What operators do at run time: overrides, drain and undrain, and the switch of a policy."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, get_args

import click

from pdns_gtm_backend.cli.client import ANY_VERSION, path_of
from pdns_gtm_backend.cli.durations import end
from pdns_gtm_backend.cli.failures import NOT_FOUND, Failure
from pdns_gtm_backend.cli.instances import INSTANCE, resolve
from pdns_gtm_backend.cli.nouns import Noun, option_place
from pdns_gtm_backend.cli.pools import POOL
from pdns_gtm_backend.cli.printing import table
from pdns_gtm_backend.cli.problems import placing
from pdns_gtm_backend.cli.session import Command, Session, dry_run, ending, force, in_session
from pdns_gtm_backend.cli.status_text import OVERRIDE_COLUMNS, PREVIEW_COLUMNS, selected
from pdns_gtm_backend.cli.verbs import noun_group
from pdns_gtm_backend.domain.override import Effect, Override

OF_POLICY: Final = ("pin", "failback")
EFFECTS: Final = [effect for effect in get_args(Effect) if effect not in OF_POLICY]
PLACES: Final[Mapping[str, str]] = {
    "/until": "--for or --until",
    "/selector/pool": "POOL",
    "/selector/address": "ADDRESS",
    "/selector/label": "--label",
    "/set": "--set",
}

OVERRIDE: Final = Noun(
    word="override",
    kind="overrides",
    document=Override,
    columns=OVERRIDE_COLUMNS,
    filters={
        "effect": "offline, online, failed, pin or failback.",
        "owner": "Set by this token.",
        "pool": "On this pool.",
        "address": "On this address.",
        "label": "On addresses with this label: key=value.",
        "instance": "On a policy of this instance.",
    },
    filter_ids={"instance": resolve},
)

override = noun_group(
    OVERRIDE, "override", "What operators set at run time, over the configuration.", ("list", "show", "delete")
)


def _selecting(command: Any) -> Any:
    """Add what selects addresses."""
    for option in (
        click.option("--label", metavar="KEY=VALUE", help="Every address with this label."),
        click.option("--address", "anywhere", metavar="ADDRESS", help="An address in whatever pool it is."),
        click.argument("address", required=False),
        click.argument("pool", required=False, metavar="[POOL]", shell_complete=POOL.complete),
    ):
        command = option(command)
    return command


def selector(pool: str | None, address: str | None, anywhere: str | None, label: str | None) -> dict[str, str]:
    """What these arguments select. Raises UsageError where it is nothing, or an address is given twice."""
    if address is not None and anywhere is not None:
        raise click.UsageError("give an address behind its pool, or with --address, not both")
    given = {"pool": pool, "address": address or anywhere, "label": label}
    found = {name: value for name, value in given.items() if value is not None}
    if not found:
        raise click.UsageError("give a pool, a pool and an address, --address or --label")
    return found


@override.command("create")
@click.argument("effect", type=click.Choice(EFFECTS))
@_selecting
@click.option("--reason", default="", help="Why; shown wherever it acts.")
@click.option("--owner", default="", help="Who answers for it; the name of the token where it is not given.")
@ending
@force
@dry_run
@in_session
def create_override(
    session: Session,
    effect: str,
    pool: str | None,
    address: str | None,
    anywhere: str | None,
    label: str | None,
    reason: str,
    owner: str,
    span: timedelta | None,
    until: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Set an override on an address, a pool, or everything with a label.

    offline: never answered; online: always; failed: treated as down.
    """
    document = {
        "selector": selector(pool, address, anywhere, label),
        "effect": effect,
        "reason": reason,
        "owner": owner,
        "until": end(span, until),
    }
    _set(session, document, force=force, dry_run=dry_run)


@click.command("drain", cls=Command)
@_selecting
@click.option("--reason", default="", help="Why; shown wherever it acts.")
@ending
@force
@dry_run
@in_session
def drain(
    session: Session,
    pool: str | None,
    address: str | None,
    anywhere: str | None,
    label: str | None,
    reason: str,
    span: timedelta | None,
    until: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Take an address, a pool, or everything with a label out of answers.

    \b
    gtmctl drain pool-a                      the whole pool
    gtmctl drain pool-a 192.0.2.1 --for 2h   one address of it, for two hours
    gtmctl drain --label site=hz             everything with the label
    """
    chosen = selector(pool, address, anywhere, label)
    document = {"selector": chosen, "effect": "offline", "reason": reason, "until": end(span, until)}
    _set(session, document, force=force, dry_run=dry_run)


def _set(session: Session, document: Mapping[str, Any], *, force: bool, dry_run: bool) -> None:
    parameters = {"force": force, "dry_run": dry_run}
    with placing(_place):
        made = session.client.send("POST", OVERRIDE.path, document, parameters=parameters).data
    session.warn(made)
    done = "would be set (dry run)" if dry_run else f"set, as override {made['id']}"
    session.say(f"{made['effect']} on {selected(made['selector'])}: {done}")
    session.show(made, lambda: preview_text(session, made))


def _place(pointer: str) -> str:
    return PLACES.get(pointer) or option_place()(pointer)


def preview_text(session: Session, answered: Mapping[str, Any]) -> str:
    """What a change does to answers, as a table; that it does nothing is said."""
    preview = answered.get("preview") or []
    if not preview:
        session.say("no policy answers from another set by this")
    return table(PREVIEW_COLUMNS, preview)


@click.command("undrain", cls=Command)
@_selecting
@dry_run
@in_session
def undrain(
    session: Session,
    pool: str | None,
    address: str | None,
    anywhere: str | None,
    label: str | None,
    dry_run: bool,
) -> None:
    """Take a drain back: the same words as it was set with."""
    wanted = selector(pool, address, anywhere, label)
    items = session.client.items(OVERRIDE.path, {"effect": "offline", **wanted})
    found = [item for item in items if _given(item["selector"]) == wanted]
    if not found:
        hint = "gtmctl override list --effect offline shows what is drained"
        raise Failure(f"{selected(wanted)} is not drained", NOT_FOUND, hint=hint)
    for item in found:
        path = path_of("overrides", item["id"])
        # Any version: an override never changes, it is there or not.
        session.client.send("DELETE", path, match=ANY_VERSION, parameters={"dry_run": dry_run})
        session.say(f"{selected(wanted)}: {'would no longer be drained (dry run)' if dry_run else 'no longer drained'}")


def _given(selector: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in selector.items() if value is not None}


@click.command("switch", cls=Command)
@INSTANCE.argument()
@click.argument("policy")
@click.option("--set", "set_name", metavar="SET", help="Answer from this set, whatever its health.")
@click.option("--auto", is_flag=True, help="Let health decide again.")
@click.option("--failback", is_flag=True, help="Go back to the first available set now.")
@click.option("--reason", default="", help="Why; shown wherever it acts.")
@ending
@force
@dry_run
@in_session
def switch(
    session: Session,
    name: str,
    policy: str,
    set_name: str | None,
    auto: bool,
    failback: bool,
    reason: str,
    span: timedelta | None,
    until: str | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Pin a policy of an instance to a set, let it decide by itself, or send it back.

    \b
    gtmctl switch shop mainland --set failover --for 1h --reason maintenance
    gtmctl switch shop mainland --auto
    """
    if (set_name is not None) + auto + failback != 1:
        raise click.UsageError("give one of --set SET, --auto and --failback")
    mode = "pinned" if set_name is not None else "auto" if auto else "failback"
    document = {"mode": mode, "set": set_name, "reason": reason, "until": end(span, until)}
    path = path_of("instances", resolve(session.client, name), "policies", policy, "switch")
    with placing(_place):
        answered = session.client.send("POST", path, document, parameters={"force": force, "dry_run": dry_run}).data
    what = f"pinned to set {set_name}" if set_name is not None else "decides by itself" if auto else "goes back now"
    session.say(f"policy {policy} of instance {name} {'would be: ' if dry_run else ''}{what}")
    session.show(answered, lambda: preview_text(session, answered))
