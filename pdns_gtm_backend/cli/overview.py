"""`gtmctl status`: one screen, what is wrong now first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from pdns_gtm_backend.cli.client import Client, path_of
from pdns_gtm_backend.cli.failures import UNAVAILABLE, Failure
from pdns_gtm_backend.cli.instances import INSTANCE, show_status
from pdns_gtm_backend.cli.printing import Column, paint, printable, table
from pdns_gtm_backend.cli.session import Command, Session, in_session
from pdns_gtm_backend.cli.status_text import OVERRIDE_COLUMNS, family_answers, moment

MOST: Final = 20
"""Objects of a kind that are looked at closely; more are counted."""
NOT_DEFAULT: Final = ("unavailable", "error")
FAULTY: Final = ("exception", "warning")

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong. level: `down` = clients are hurt or may be, `warning` = it was made up for so far."""

    level: str
    what: str
    about: str
    since: str
    why: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What is wrong, and how it stands otherwise."""

    server: str
    store: Data
    revision: int
    instances: int
    troubles: Sequence[Trouble]
    overrides: Sequence[Data]
    vantages: Sequence[Data]


COLUMNS: Final = (
    Column("WRONG NOW", lambda t: t["what"]),
    Column("ABOUT", lambda t: t["about"]),
    Column("SINCE", lambda t: t["since"]),
    Column("WHY", lambda t: t["why"]),
)


@click.command("status", cls=Command)
@click.argument("name", metavar="[INSTANCE]", required=False, shell_complete=INSTANCE.complete)
@in_session
def status(session: Session, name: str | None) -> None:
    """Show what is wrong now, first; with an instance, everything about it."""
    if name is not None:
        show_status(session, name)
        return
    found = look(session.client)
    session.show(asdict(found), lambda: overview_text(found, colour=session.colour))


def look(client: Client) -> Overview:
    """What is wrong now. Raises Failure."""
    ready = client.readiness()
    vantages = known_vantages(client)
    troubles = [
        *_store_troubles(ready),
        *_vantage_troubles(vantages),
        *_instance_troubles(client),
        *_pool_troubles(client),
    ]
    return Overview(
        server=client.target.server,
        store=ready.get("store") or {},
        revision=int(ready.get("revision") or 0),
        instances=int(ready.get("instances") or 0),
        troubles=sorted(troubles, key=lambda trouble: trouble.level != "down"),
        overrides=list(client.items("/overrides")),
        vantages=vantages or (),
    )


def overview_text(found: Overview, *, colour: bool) -> str:
    """The screen."""
    parts = []
    if found.troubles:
        lines = table(COLUMNS, map(asdict, found.troubles)).splitlines()
        colours = ["red" if trouble.level == "down" else "yellow" for trouble in found.troubles]
        painted = (paint(line, shade) if colour else line for line, shade in zip(lines[1:], colours, strict=True))
        parts.append("\n".join([lines[0], *painted]))
    else:
        parts.append(paint("nothing is wrong", "green") if colour else "nothing is wrong")
    overrides = table(OVERRIDE_COLUMNS, found.overrides)
    if overrides:
        parts.append("overrides in force\n" + overrides)
    reporting = sum(bool(vantage.get("reporting")) for vantage in found.vantages)
    parts.append(
        f"{found.server}: {found.instances} instances, revision {found.revision}, "
        f"store {printable(str(found.store.get('state')))}, {reporting} of {len(found.vantages)} vantages report"
    )
    return "\n\n".join(parts)


def _store_troubles(ready: Data) -> Iterator[Trouble]:
    store = ready.get("store") or {}
    if store.get("state") != "following":
        why = str(store.get("detail") or "answers go on from snapshots; nothing can be changed")
        yield Trouble("down", "store " + str(store.get("state")), "Redis", moment(store.get("since")), why)
    for broken in ready.get("broken_documents") or ():
        yield Trouble("warning", "broken document", "Redis", "-", str(broken))
    if ready.get("preparing"):
        yield Trouble("warning", "first start not done", "admin", "-", str(ready["preparing"]))
    for name, database in (ready.get("geo") or {}).items():
        if database and database.get("error"):
            yield Trouble("warning", "geo database", name, "-", str(database["error"]))


def known_vantages(client: Client) -> Sequence[Data] | None:
    """The vantages; None where the store is away, which is told otherwise. Raises Failure."""
    try:
        return list(client.page("/vantages")["items"])
    except Failure as failure:
        if failure.exit_code != UNAVAILABLE:
            raise
        return None


def _vantage_troubles(vantages: Sequence[Data] | None) -> Iterator[Trouble]:
    if vantages is None:
        return
    if not vantages:
        yield Trouble("warning", "no vantage", "healthd", "-", "no healthd has reported: health is not known")
    for vantage in vantages:
        if not vantage["reporting"]:
            yield Trouble(
                "warning", "vantage silent", vantage["name"], moment(vantage["heartbeat"]), "no heartbeat since"
            )
        elif vantage["suspended"]:
            yield Trouble("warning", "vantage suspended", vantage["name"], "-", vantage["suspended"])
        elif vantage["overdue"]:
            why = f"{vantage['overdue']} of {vantage['targets']} targets are probed late"
            yield Trouble("warning", "vantage late", vantage["name"], "-", why)


def _instance_troubles(client: Client) -> Iterator[Trouble]:
    for word in NOT_DEFAULT:
        found = list(client.items("/instances", {"request_status": word}))
        for instance in found[:MOST]:
            yield from _policy_troubles(client.get(path_of("instances", instance["id"], "status")))
        yield from _more(found, f"request status {word}", "instances")


def _policy_troubles(status: Data) -> Iterator[Trouble]:
    for policy in status["policies"]:
        for name, family in policy["families"].items():
            rule, first = family["rule"], family["sets"][0]["name"] if family["sets"] else None
            about = f"{status['name']} {policy['name']} {name}"
            since, why = moment(family["since"]), family["reason"]
            if rule == "disabled" or first is None:
                continue
            if rule not in ("set", "other_policy"):
                yield Trouble(
                    "down", "nothing available", about, since, f"answers {family_answers(policy, family)}; {why}"
                )
            elif rule == "other_policy" or family["effective_set"] != first:
                yield Trouble(
                    "warning", "switched", about, since, f"answers from {family_answers(policy, family)}: {why}"
                )


def _pool_troubles(client: Client) -> Iterator[Trouble]:
    for word in FAULTY:
        found = list(client.items("/pools", {"status": word}))
        for pool in found[:MOST]:
            yield from _address_troubles(client.get(path_of("pools", pool["id"], "status")))
        yield from _more(found, f"status {word}", "pools")


def _address_troubles(status: Data) -> Iterator[Trouble]:
    if not status["available"]:
        yield Trouble("down", "pool unavailable", status["id"], "-", status["reason"])
    if status["stale"]:
        yield Trouble("warning", "stale", f"pool {status['id']}", "-", str(status["stale_reason"]))
    for address in status["addresses"]:
        if address["availability"] == "down":
            about = f"{status['id']} {address['address']}"
            yield Trouble("warning", "address down", about, moment(address["since"]), address["reason"])


def _more(found: Sequence[Data], what: str, kind: str) -> Iterator[Trouble]:
    if len(found) > MOST:
        why = f"{len(found) - MOST} more {kind} are not shown: gtmctl {kind} list"
        yield Trouble("warning", what, f"{len(found)} {kind}", "-", why)
