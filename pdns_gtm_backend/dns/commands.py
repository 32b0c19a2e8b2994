"""`pdnsutil backend-cmd remote "..."`: the operator's door where pdnsutil is what is at hand. Text in, text out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.statuses import health_check_status, pool_status, request_status
from pdns_gtm_backend.domain.violation import InvalidConfiguration, shown
from pdns_gtm_backend.operations import documents, overrides
from pdns_gtm_backend.operations.errors import Braked, NotFound, OperationError
from pdns_gtm_backend.operations.instance_status import pools_of, status_of_instance
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.operations.pool_status import status_of_pool
from pdns_gtm_backend.operations.simulation import simulate
from pdns_gtm_backend.operations.switching import switch
from pdns_gtm_backend.store import kinds

if TYPE_CHECKING:
    from pdns_gtm_backend.dns.backend import Backend

REASON: Final = "pdnsutil backend-cmd"
FORCE: Final = "force"
EFFECTS: Final[Mapping[str, str]] = {"up": "online", "down": "offline"}
MAX_COMMAND: Final = 10_000


class Misused(Exception):
    """A command's words are wrong; the text says how it is written."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command. words: how its arguments are written. least, most: how many of them there may be."""

    words: str
    purpose: str
    run: Callable[[Backend, Sequence[str]], str]
    least: int = 0
    most: int = 0


def run_command(backend: Backend, text: str) -> str:
    """Carry out a command; what is said begins with `error: ` where it failed, since pdnsutil shows nothing else."""
    try:
        words = shlex.split(text) if len(text) <= MAX_COMMAND else ["help"]
    except ValueError as error:
        return f"error: {error}\n"
    try:
        return _run(backend, words or ["help"]).rstrip("\n") + "\n"
    except Misused as error:
        return f"error: {error}\n"
    except Braked as error:
        return f"error: {error}. Add the word 'force' to do it all the same.\n"
    except (OperationError, InvalidConfiguration) as error:
        return f"error: {error}\n"


def _run(backend: Backend, words: Sequence[str]) -> str:
    for length in (2, 1):
        command = COMMANDS.get(" ".join(words[:length]).lower())
        if command is None:
            continue
        arguments = words[length:]
        if not command.least <= len(arguments) <= command.most:
            raise Misused(f"it is written: {' '.join(words[:length]).lower()} {command.words}".rstrip())
        return command.run(backend, arguments)
    raise Misused(f"{shown(' '.join(words[:2]))} is no command; 'help' lists them")


def _help(_backend: Backend, _words: Sequence[str]) -> str:
    rows = [(f"{name} {command.words}".rstrip(), command.purpose) for name, command in COMMANDS.items()]
    return "\n".join(f"{written:<62}  {purpose}" for written, purpose in rows)


def _status(backend: Backend, _words: Sequence[str]) -> str:
    serving, follower = backend.serving, backend.follower.status
    lines = [
        f"store      {follower.state}{': ' + follower.detail if follower.detail else ''}",
        f"revision   {serving.snapshot.revision}",
        f"zones      {len(backend.view.zones.by_name)}",
        f"instances  {len(serving.instances)}",
        f"overrides  {len(serving.snapshot.overrides)}",
        f"broken     {len(serving.snapshot.problems)} documents that could not be read",
        f"writing    {len(backend.administration.transactions)} open transactions",
    ]
    unwell = [
        f"  {served.instance.name} ({identifier}): requests {request_status(served)}, "
        f"health checks {health_check_status(pools_of(served, serving))}"
        for identifier, served in sorted(serving.instances.items())
        if request_status(served) != "normal"
        or health_check_status(pools_of(served, serving)) in ("warning", "exception")
    ]
    return "\n".join([*lines, "not normal:" if unwell else "every instance is normal", *unwell])


def _refusals(backend: Backend, _words: Sequence[str]) -> str:
    return "\n".join(backend.administration.refusals) or "nothing was refused"


def _instance_list(backend: Backend, _words: Sequence[str]) -> str:
    serving = backend.serving
    rows = [("ID", "NAME", "ENABLED", "REQUESTS", "HEALTH", "CNAME")]
    for identifier, served in sorted(serving.instances.items()):
        instance = served.instance
        health = health_check_status(pools_of(served, serving))
        enabled = "yes" if instance.enabled else "no"
        rows.append((identifier, instance.name, enabled, request_status(served), health, instance.cname))
    return _table(rows)


def _instance_show(backend: Backend, words: Sequence[str]) -> str:
    operator = _operator(backend)
    status = status_of_instance(operator, _instance(backend, words[0]))
    lines = [
        f"{status.name} ({status.id}), {'enabled' if status.enabled else 'disabled'}",
        f"cname     {status.cname}",
        f"requests  {status.request_status}",
        f"health    {status.health_check_status}{f', stale: {status.stale_reason}' if status.stale else ''}",
    ]
    for policy in status.policies:
        mode = f"pinned to {policy.pinned_set}" if policy.mode == "pinned" else policy.mode
        lines.append(f"policy {policy.name} ({', '.join(policy.lines)}), {mode}")
        for family, held in policy.families.items():
            since = f" since {held.since}" if held.since else ""
            lines.append(f"  {family}: set {held.effective_set or '-'}{since}, {held.reason or held.rule}")
    lines += [f"pool {pool.id}: {pool.status}" for pool in status.pools]
    lines += [f"override {override.id}: {override.effect}, {override.reason}" for override in status.overrides]
    return "\n".join([*lines, *(f"warning: {text}" for text in status.warnings)])


def _instance_enabled(*, enabled: bool) -> Callable[[Backend, Sequence[str]], str]:
    def run(backend: Backend, words: Sequence[str]) -> str:
        identifier = _instance(backend, words[0])
        outcome = documents.patch(_operator(backend), kinds.INSTANCES, identifier, {"enabled": enabled})
        state = "enabled" if enabled else "disabled"
        return f"instance {outcome.value.name} ({identifier}) is {state}"

    return run


def _pool_list(backend: Backend, _words: Sequence[str]) -> str:
    rows = [("ID", "TYPE", "STATUS", "AVAILABLE", "ADDRESSES")]
    for identifier, view in sorted(backend.serving.pools.items()):
        available = "yes" if view.available else "no"
        rows.append((identifier, view.pool.type, pool_status(view), available, str(len(view.pool.addresses))))
    return _table(rows)


def _pool_show(backend: Backend, words: Sequence[str]) -> str:
    status = status_of_pool(_operator(backend), words[0])
    rows = [("ADDRESS", "AVAILABILITY", "MODE", "WEIGHT", "OVERRIDE", "WHY")]
    rows += [
        (one.address, str(one.availability), one.mode, str(one.weight), one.override or "-", one.reason)
        for one in status.addresses
    ]
    head = f"{status.id} ({status.type}): {status.status}, {status.reason}".removesuffix(", ")
    users = ", ".join(f"{user.name} ({user.id})" for user in status.used_by) or "no instance"
    return "\n".join([head, f"used by {users}", _table(rows)])


def _address(effect: str) -> Callable[[Backend, Sequence[str]], str]:
    def run(backend: Backend, words: Sequence[str]) -> str:
        given, force = _forced(words)
        selector = dict(zip(("address", "pool"), given, strict=False))
        lifted = _lift(backend, selector)
        if effect == "auto":
            return f"{given[0]} is as its health checks say ({lifted} overrides lifted)"
        raw = {"selector": selector, "effect": EFFECTS[effect], "reason": REASON}
        made = overrides.create(_operator(backend), raw, force=force)
        return f"{given[0]} is {EFFECTS[effect]} (override {made.value.id}), until: address auto {' '.join(given)}"

    return run


def _lift(backend: Backend, selector: Mapping[str, str]) -> int:
    """Delete the overrides that were set for exactly this address."""
    operator = _operator(backend)
    # The one form of an address is that which an override of it is stored with.
    probe = overrides.create(operator, {"selector": selector, "effect": "offline"}, force=True, dry_run=True).value
    held = operator.writer.newest().snapshot.overrides
    mine = [identifier for identifier, one in held.items() if one.selector == probe.selector]
    for identifier in mine:
        overrides.delete(operator, identifier)
    return len(mine)


def _switch(backend: Backend, words: Sequence[str]) -> str:
    (name, policy, wanted), force = _forced(words)
    raw: dict[str, Any] = {"mode": wanted} if wanted in ("auto", "failback") else {"mode": "pinned", "set": wanted}
    if raw["mode"] != "auto":
        raw["reason"] = REASON
    switch(_operator(backend), _instance(backend, name), policy, raw, force=force)
    done = {"auto": "decides by itself", "failback": "goes back now"}.get(wanted, f"is pinned to {wanted}")
    return f"policy {policy} of {name} {done}"


def _simulate(backend: Backend, words: Sequence[str]) -> str:
    name, client, rrtype = (*words, "A")[:3]
    found = simulate(_operator(backend), backend.administration.locator, name, rrtype, client)
    answer = [f"{found.name}. {found.ttl} IN {found.answer.type} {record}" for record in found.answer.records]
    left = [f"left out: {one.address} of pool {one.pool}: {one.reason}" for one in found.left_out]
    return "\n".join([*(answer or ["no data"]), *(f"- {text}" for text in found.why), *left])


def _zone_list(backend: Backend, _words: Sequence[str]) -> str:
    rows = [("ZONE", "KIND", "ID", "SERIAL", "RECORD SETS", "INSTANCE NAMES")]
    for name, zone in sorted(backend.view.zones.by_name.items()):
        sets = sum(len(held) for held in zone.static.values())
        rows.append((name, zone.zone.kind, str(zone.zone.number), str(zone.serial), str(sets), str(len(zone.owned))))
    return _table(rows)


def _zone_add(backend: Backend, words: Sequence[str]) -> str:
    outcome = documents.create(_operator(backend), kinds.ZONES, {"name": words[0]})
    return (
        f"zone {outcome.value.name} is made. Where PowerDNS is not purged by this backend: pdns_control rediscover, "
        f"then pdns_control purge '{outcome.value.name}$'"
    )


def _zone_delete(backend: Backend, words: Sequence[str]) -> str:
    documents.delete(_operator(backend), kinds.ZONES, words[0])
    return f"zone {canonical(words[0])} is deleted, with its records, metadata and keys"


def _purge(backend: Backend, words: Sequence[str]) -> str:
    purger = getattr(backend, "purger", None)
    if purger is None:
        raise Misused("this backend does not purge PowerDNS: set GTM_PDNS_CONTROL, or use pdns_control purge")
    purger.purge([canonical(words[0].removesuffix("$")) + ("$" if words[0].endswith("$") else "")])
    return f"{words[0]} is purged" if purger.working else f"purging fails now and is tried again: {purger.failure}"


def _operator(backend: Backend) -> Operator:
    return backend.administration.operator


def _instance(backend: Backend, text: str) -> str:
    """The id of an instance that is named by id or by name. Raises NotFound."""
    snapshot = backend.serving.snapshot
    if text in snapshot.instances:
        return text
    found = snapshot.instance_named(text)
    if found is None:
        raise NotFound(f"there is no instance {shown(text)}")
    return found


def _forced(words: Sequence[str]) -> tuple[Sequence[str], bool]:
    return (words[:-1], True) if words[-1] == FORCE else (words, False)


def _table(rows: Sequence[Iterable[str]]) -> str:
    texts = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )


COMMANDS: Final[Mapping[str, Command]] = {
    "help": Command("", "this text", _help),
    "status": Command("", "the store, and every instance that is not normal", _status),
    "refusals": Command("", "why the last writes of pdnsutil were refused", _refusals),
    "instance list": Command("", "every instance with both statuses", _instance_list),
    "instance show": Command("INSTANCE", "one instance, by id or name", _instance_show, 1, 1),
    "instance enable": Command("INSTANCE", "answer again", _instance_enabled(enabled=True), 1, 1),
    "instance disable": Command("INSTANCE", "answer no data", _instance_enabled(enabled=False), 1, 1),
    "pool list": Command("", "every pool", _pool_list),
    "pool show": Command("POOL", "one pool with its addresses", _pool_show, 1, 1),
    "address up": Command("ADDRESS [POOL] [force]", "answer it whatever its checks say", _address("up"), 1, 3),
    "address down": Command("ADDRESS [POOL] [force]", "answer it no more", _address("down"), 1, 3),
    "address auto": Command("ADDRESS [POOL]", "let its checks decide again", _address("auto"), 1, 2),
    "switch": Command("INSTANCE POLICY SET|auto|failback [force]", "pin a policy to a set, or not", _switch, 3, 4),
    "simulate": Command("NAME CLIENT [TYPE]", "what a client gets, and why", _simulate, 2, 3),
    "zone list": Command("", "every zone", _zone_list),
    "zone add": Command("ZONE", "make a hosted zone", _zone_add, 1, 1),
    "zone delete": Command("ZONE", "delete a zone with all that is in it", _zone_delete, 1, 1),
    "purge": Command("NAME", "drop what PowerDNS has cached for a name, NAME$ = also below it", _purge, 1, 1),
}
