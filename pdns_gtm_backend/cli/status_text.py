"""Statuses as people read them: of instances, of pools, and of overrides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pdns_gtm_backend.cli.printing import Column, paint, printable, table

Data = Mapping[str, Any]

RULES: Final[Mapping[str, str]] = {
    "pinned_unavailable": "{set} (pinned, not available: all of it)",
    "fail_open": "{set} (nothing is available: all of it)",
    "fail_closed": "none (nothing is available: no data)",
    "other_policy": "{set} of policy {policy}",
    "none": "none (it has no such address: no data)",
    "disabled": "none (disabled: no data)",
}
STATUS_COLOURS: Final[Mapping[str, str]] = {
    "normal": "green",
    "unmonitored": "cyan",
    "warning": "yellow",
    "error": "yellow",
    "exception": "red",
    "unavailable": "red",
}


def moment(text: object) -> str:
    """A moment (RFC 3339) to the second."""
    return str(text).partition(".")[0].replace("T", " ").removesuffix("Z") + "Z" if text else "-"


def _checks(address: Data) -> str:
    """What vantages see, of each check that is not up everywhere."""
    found = []
    for check in address.get("checks") or ():
        for vantage, seen in check["vantages"].items():
            failure = seen.get("last_failure")
            if seen["verdict"] != "up":
                why = f": {failure['reason']}" if failure else ""
                found.append(f"{check['check']} from {vantage} {seen['verdict']}{why}")
    return "; ".join(found)


ADDRESS_COLUMNS: Final = (
    Column("ADDRESS", lambda a: a["address"]),
    Column("AVAILABLE", lambda a: a["availability"]),
    Column("HEALTH", lambda a: a["health"]),
    Column("SINCE", lambda a: moment(a["since"])),
    Column("MODE", lambda a: a["mode"]),
    Column("WEIGHT", lambda a: a["weight"]),
    Column("LABELS", lambda a: a["labels"]),
    Column("WHY", lambda a: a["reason"]),
    Column("VANTAGES", _checks),
)

OVERRIDE_COLUMNS: Final = (
    Column("ID", lambda o: o.get("id")),
    Column("EFFECT", lambda o: o.get("effect")),
    Column("ON", lambda o: selected(o.get("selector") or {})),
    Column("SET", lambda o: o.get("set")),
    Column("OWNER", lambda o: o.get("owner")),
    Column("SINCE", lambda o: moment(o.get("created"))),
    Column("UNTIL", lambda o: moment(o.get("until"))),
    Column("REASON", lambda o: o.get("reason")),
)

PREVIEW_COLUMNS: Final = (
    Column("INSTANCE", lambda e: e["instance_name"]),
    Column("POLICY", lambda e: e["policy"]),
    Column("FAMILY", lambda e: e["family"]),
    Column("ANSWERS FROM", lambda e: answering(e["before"])),
    Column("THEN FROM", lambda e: answering(e["after"])),
)


def selected(selector: Data) -> str:
    """What an override selects."""
    return " ".join(f"{name} {value}" for name, value in selector.items() if value is not None)


def answering(where: Data) -> str:
    """Where a policy answers from: a set, or what an all-down rule makes of it."""
    form = RULES.get(str(where.get("rule")), "{set}")
    return form.format(set=where.get("set"), policy=where.get("policy"))


def family_answers(policy: Data, family: Data) -> str:
    """Where a policy answers from for a family."""
    if family["rule"] == "set":
        pinned = " (pinned)" if policy["mode"] == "pinned" else ""
        return f"{family['effective_set']}{pinned}"
    source = family.get("source") or {}
    return answering({"rule": family["rule"], "set": source.get("set"), "policy": source.get("policy")})


POLICY_COLUMNS: Final = (
    Column("POLICY", lambda row: row["policy"]["name"]),
    Column("LINES", lambda row: row["policy"]["lines"]),
    Column("FAMILY", lambda row: row["name"]),
    Column("ANSWERS FROM", lambda row: family_answers(row["policy"], row["family"])),
    Column("SINCE", lambda row: moment(row["family"]["since"])),
    Column("WHY", lambda row: row["family"]["reason"]),
)


def policy_rows(policies: Sequence[Data]) -> Iterator[Data]:
    """Each policy for each family."""
    for policy in policies:
        for name, family in policy["families"].items():
            yield {"policy": policy, "name": name, "family": family}


def instance_status_text(status: Data, *, colour: bool) -> str:
    """Everything that `/instances/{id}/status` says."""
    parts = [_head(status, colour), table(POLICY_COLUMNS, policy_rows(status["policies"]), colour=colour)]
    parts += [_pool(pool, colour) for pool in status["pools"]]
    return "\n\n".join(part for part in (*parts, *_tail(status)) if part)


def pool_status_text(status: Data, *, colour: bool) -> str:
    """Everything that `/pools/{id}/status` says."""
    users = ", ".join(printable(user["name"]) for user in status["used_by"]) or "no instance"
    parts = [_pool(status, colour) + f"\nused by {users}", *_stale(status), *_tail(status)]
    return "\n\n".join(part for part in parts if part)


def _head(status: Data, colour: bool) -> str:
    lines = [
        f"instance {printable(status['name'])}  {status['cname']}{'' if status['enabled'] else '  DISABLED'}",
        f"health check status  {_status(status['health_check_status'], colour)}",
        f"request status       {_status(status['request_status'], colour)}",
        *_stale(status),
    ]
    return "\n".join(lines)


def _stale(status: Data) -> Iterator[str]:
    if status["stale"]:
        yield f"stale: {printable(str(status['stale_reason']))}"


def _pool(pool: Data, colour: bool) -> str:
    head = f"pool {pool['id']}: {_status(pool['status'], colour)}, {printable(pool['reason'])}"
    rows = table(ADDRESS_COLUMNS, pool["addresses"], colour=colour)
    return head + ("\n" + rows if rows else "")


def _tail(status: Data) -> Iterator[str]:
    overrides = table(OVERRIDE_COLUMNS, status["overrides"])
    yield f"overrides in force\n{overrides}" if overrides else ""
    yield "\n".join(f"warning: {printable(warning)}" for warning in status["warnings"])


def _status(word: str, colour: bool) -> str:
    return paint(word, STATUS_COLOURS.get(word, "yellow")) if colour else word
