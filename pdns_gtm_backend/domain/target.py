"""What is probed: an address by a check, under the service's name. Equal targets are probed once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.pool import Family, Pool


@dataclass(frozen=True, slots=True)
class Target:
    """One address to probe with one check.

    family: of the address; a `domain` is resolved when it is probed.
    host: name in the Host header and for certificate checks; None = the address itself.
    sni: TLS server name; None = `host`.
    """

    check: HealthCheck
    address: str
    family: Family
    host: str | None = None
    sni: str | None = None

    @property
    def key(self) -> str:
        """Names this target in Redis and in the API."""
        return target_key(self.check.id, self.address, self.host, self.sni)


def target_key(check: str, address: str, host: str | None, sni: str | None) -> str:
    """The key of a target: `check|address|host|sni`."""
    return f"{check}|{address}|{host or ''}|{sni or ''}"


def targets_of(pool: Pool, checks: Mapping[str, HealthCheck]) -> Iterator[Target]:
    """The targets of a pool: of every address that its health decides, by every check that exists.

    The addresses that an operator has put `online` or `offline` are probed all the same: their health is shown, and is
    known when they return to `auto`.
    """
    for name in pool.health_checks:
        check = checks.get(name)
        if check is None:
            continue
        for address in pool.addresses:
            yield Target(check, address.address, pool.type, pool.host, pool.sni)
