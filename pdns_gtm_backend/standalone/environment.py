"""The settings of this system from its environment, with errors that a person can act on."""

import difflib
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import ValidationError

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone.layout import Unusable

SECRET: Final = frozenset({"GTM_REDIS_URL", "GTM_BACKEND_SECRET"})


def load(environment: Mapping[str, str]) -> Settings:
    """Settings from the environment of this process. Raises Unusable with every wrong one and what is allowed."""
    try:
        settings = Settings()
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False, include_input=False):
            name = f"GTM_{'_'.join(str(part) for part in problem['loc'])}".upper()
            value = "" if name in SECRET else f"={environment.get(name, '')}"
            problems.append(f"{name}{value}: {problem['msg'].removeprefix('Value error, ')}")
        raise Unusable("\n".join(problems)) from None
    return settings


def unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {f"GTM_{name}".upper() for name in Settings.model_fields}
    for name in sorted(environment):
        if not name.startswith("GTM_") or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        yield f"{name} is no setting" + (f"; is {close[0]} meant?" if close else "")


def without_ping() -> Iterator[str]:
    """A sentence where this process may open no ICMP socket of either kind, so that ping checks cannot work."""
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        try:
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
        except PermissionError:
            continue
        return
    yield "ping checks will fail: they need root, or (as root) sysctl -w net.ipv4.ping_group_range='0 2147483647'"
