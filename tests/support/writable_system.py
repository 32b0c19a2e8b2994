"""A system with a hosted zone, an instance in it, and a secret for keys: what pdnsutil is tried on."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pdns_gtm_backend.dns.pdns_conf import CONTROL_SOCKET
from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_system import DnsSystem, system_settings
from tests.support.documents import Document, instance, policy, pool
from tests.support.powerdns import BackendProcess, PowerDns
from tests.support.redis_server import RedisServer

KEY_SECRET: Final = "a-secret-of-many-characters-0123456789"
ZONE: Final = "shop.example"
DOCUMENTS: Final[tuple[Document, ...]] = (
    Zone(name="gtm.example", kind="access", number=1),
    Zone(name=ZONE, number=2),
    pool("a", "ipv4", "192.0.2.1", "192.0.2.2"),
    pool("b", "ipv4", "192.0.2.3"),
    instance(
        "gtm00000001",
        policy("near", "cidr:203.0.113.0/24", "b"),
        policy("world", "default", "a", "b"),
        names=("www.shop.example",),
    ),
)


@contextmanager
def writable_system(
    folder: Path, overrides: Mapping[str, str] | None = None, *documents: Document
) -> Iterator[DnsSystem]:
    """Redis, backend and PowerDNS with DOCUMENTS and `documents` in the store; PowerDNS is purged on change."""
    with RedisServer(folder / "r") as redis:
        plain = system_settings(folder, redis.url, geo=False)
        decided = {"key_secret": KEY_SECRET, "pdns_control": folder / "p" / CONTROL_SOCKET}
        settings = plain.model_copy(update=decided)
        with BackendProcess(settings) as backend, PowerDns(settings, folder / "p", overrides) as powerdns:
            system = DnsSystem(redis, backend, powerdns)
            system.write(*DOCUMENTS, *documents)
            system.forget()
            yield system


def util(system: DnsSystem, *words: str) -> str:
    """What pdnsutil prints. Fails where it does."""
    done = system.powerdns.util(*words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def command(system: DnsSystem, text: str) -> str:
    """What `backend-cmd remote` answers."""
    return util(system, "backend-cmd", "remote", text).removesuffix(f"== {text}\n").removesuffix("\n")


def listed(system: DnsSystem, zone: str = ZONE) -> set[tuple[str, str, str, str]]:
    """Name, ttl, type and content of every record that list-zone shows."""
    lines = (re.split(r"\s+", line, maxsplit=4) for line in util(system, "list-zone", zone).splitlines())
    return {(line[0], line[1], line[3], line[4]) for line in lines if len(line) == 5}


def serial(system: DnsSystem, zone: str = ZONE) -> int:
    """The serial that the backend says."""
    return int(system.backend.call("getDomainInfo", name=f"{zone}.")["serial"])


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A program's output, whatever it is; killed after 20 s."""
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, input=given)
