"""Domain names and identifiers as text: what is allowed, and the one form that names are compared in."""

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final

LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
ESCAPED_LABEL: Final = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)


def canonical(name: str) -> str:
    """Lower case and without the trailing dot (RFC 4343: names compare without regard to case). The root is ""."""
    return name.lower().removesuffix(".")


def is_address(text: str) -> bool:
    """Is this an IP address, and so no name?"""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def domain_name_error(name: str, *, wildcard: bool = False) -> str | None:
    """Why `name` is no domain name that can be configured, or None.

    Allowed are letters, digits, hyphens and underscores in labels of 1 to 63 octets, 253 in all (RFC 1035 section
    2.3.4), and a first label `*` where `wildcard` says so. Internationalised names are given in their `xn--` form.
    """
    text = name.removesuffix(".")
    if len(text) > 253:
        return f"has {len(text)} characters, a domain name has at most 253"
    labels = text.split(".")
    if wildcard and labels[0] == "*":
        labels = labels[1:]
    bad = next((label for label in labels if not LABEL.fullmatch(label)), None)
    if bad is None:
        return None
    return (
        f"label {bad[:70]!r} is not allowed: a label has 1 to 63 letters, digits, hyphens or underscores "
        "and no hyphen at its ends (write internationalised names as xn--)"
    )


@lru_cache(maxsize=4096)
def identifier_error(text: str) -> str | None:
    """Why `text` cannot name a pool, check, line, policy or set, or None."""
    if IDENTIFIER.fullmatch(text):
        return None
    return "may hold letters, digits, '.', '_' and '-', and starts and ends with a letter or digit"


def is_below(name: str, zone: str) -> bool:
    """Is `name` the apex of `zone` or below it? Both in canonical form."""
    if zone == "" or name == zone:
        return True
    return name.endswith("." + zone) and ("\\" not in name or zone in parents(name))


def parents(name: str) -> Iterator[str]:
    """`name` and its ancestors without the root, longest first: a.b.c, b.c, c."""
    if "\\" in name:
        labels = ESCAPED_LABEL.findall(name)
        yield from (".".join(labels[i:]) for i in range(len(labels)))
        return
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name


def ancestors(name: str) -> Iterator[str]:
    """What is above `name`, without the root, longest first: of a.b.c, b.c and c."""
    return islice(parents(name), 1, None)
