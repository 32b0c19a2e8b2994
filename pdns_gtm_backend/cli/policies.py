"""Access policies as they are written on a command line: lines, and pool sets in the order of failover."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pdns_gtm_backend.domain.violation import shown

FORM: Final = "[NAME:]POOL[=WEIGHT][,POOL[=WEIGHT]...], sets parted by '/'"


def parse_policy(name: str, lines: str, sets: str) -> Mapping[str, Any]:
    """A policy; `lines` are parted by commas. Raises ValueError with a sentence."""
    return {"name": name, "lines": parse_lines(lines), "pool_sets": parse_sets(sets)}


def parse_lines(text: str) -> Sequence[str]:
    """Lines parted by commas. Raises ValueError."""
    lines = [line.strip() for line in text.split(",")]
    if not all(lines):
        raise ValueError(f"{shown(text)}: a line is missing between commas")
    return lines


def parse_sets(text: str) -> Sequence[Mapping[str, Any]]:
    """Pool sets: `main:pool-a=3,pool-d/backup:pool-c`. Raises ValueError."""
    return [_set(part.strip(), text) for part in text.split("/")]


def _set(part: str, text: str) -> Mapping[str, Any]:
    name, colon, pools = part.rpartition(":")
    members = [_member(member.strip(), text) for member in pools.split(",")]
    return {"name": name, "pools": members} if colon else {"pools": members}


def _member(member: str, text: str) -> Mapping[str, Any]:
    pool, equals, weight = member.partition("=")
    if not pool:
        raise ValueError(f"{shown(text)}: a pool is missing; sets are written {FORM}")
    if not equals:
        return {"pool": pool}
    if not (weight.isascii() and weight.isdecimal()):
        raise ValueError(f"{shown(member)}: the weight must be a whole number")
    return {"pool": pool, "weight": int(weight)}


def sets_text(pool_sets: Sequence[Mapping[str, Any]]) -> str:
    """Pool sets in the same writing."""
    return "/".join(_set_text(pool_set) for pool_set in pool_sets)


def _set_text(pool_set: Mapping[str, Any]) -> str:
    members = [
        member["pool"] + ("" if member.get("weight", 1) == 1 else f"={member['weight']}")
        for member in pool_set["pools"]
    ]
    return (f"{pool_set['name']}:" if pool_set.get("name") else "") + ",".join(members)
