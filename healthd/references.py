"""Reference targets: hosts outside of what is probed, that tell whether this vantage's own network works."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.names import domain_name_error
from pdns_gtm_backend.domain.pool import Family
from pdns_gtm_backend.domain.target import Target

INTERVAL: Final = 2.0
TIMEOUT: Final = 1.0


def parse_reference(text: str) -> Target:
    """The target of `HOST:PORT`, probed by TCP; an IPv6 address in brackets. Raises ValueError with what is allowed."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 1 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    family: Family = "domain"
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        if bracketed or (error := domain_name_error(host)):
            raise ValueError(f"{text!r} names no host: {'no IPv6 address' if bracketed else error}") from None
    else:
        if (address.version == 6) != bracketed:
            raise ValueError(f"{text!r}: write IPv6 addresses, and only them, in brackets")
        host, family = str(address), "ipv6" if address.version == 6 else "ipv4"
    # "@" is in no check's id, so that this is the key of no other target.
    check = HealthCheck(
        id=f"@reference-{port}", protocol="tcp", port=int(port), interval=INTERVAL, timeout=TIMEOUT, fall=1, rise=1
    )
    return Target(check, host, family)


@dataclass(frozen=True, slots=True)
class Connectivity:
    """What probes tell of the network of this vantage.

    references: does each answer? None = not known yet. failing_since: when the probe was started that left none that
    answers. last_success: when the latest probe of any other target was started that passed. restored_at: when the
    probe was started that ended the last isolation. All on a monotonic clock.
    """

    references: Mapping[str, bool | None] = field(default_factory=dict)
    failing_since: float | None = None
    last_success: float = float("-inf")
    restored_at: float = float("-inf")

    @classmethod
    def of(cls, references: Iterable[Target]) -> Connectivity:
        """Nothing is known yet."""
        return cls({target.key: None for target in references})

    def after_reference(self, key: str, ok: bool, started: float) -> Connectivity:
        """A reference target was probed."""
        references = {**self.references, key: ok}
        if any(answers is not False for answers in references.values()):
            return self._next(started, references=references, failing_since=None)
        since = started if self.failing_since is None else self.failing_since
        return self._next(started, references=references, failing_since=since)

    def after_success(self, started: float) -> Connectivity:
        """A probe of another target passed."""
        return self._next(started, last_success=max(started, self.last_success))

    def _next(self, started: float, **changes: Any) -> Connectivity:
        after = replace(self, **changes)
        return replace(after, restored_at=started) if self.isolated and not after.isolated else after

    @property
    def answering(self) -> bool | None:
        """Does a reference target answer? None where there is none, or nothing is known yet."""
        if any(self.references.values()):
            return True
        return False if self.failing_since is not None else None

    @property
    def isolated(self) -> bool:
        """Do all reference targets fail, and has nothing else answered since?"""
        return self.failing_since is not None and self.last_success < self.failing_since

    def trusts(self, started: float) -> bool:
        """May a probe that was started then be believed where it failed?"""
        return not self.isolated and started >= self.restored_at
