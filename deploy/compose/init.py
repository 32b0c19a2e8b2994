"""Writes what the containers of docker-compose.yml start from: secrets, made once, and configuration that holds them.

Runs before the other containers and may run again: secrets stay. Each folder is a volume of its own, so that a
container gets those secrets only which it needs.
"""

import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from pdns_gtm_backend.dns.pdns_conf import CONTROL_SOCKET, render
from pdns_gtm_backend.operations import edge_conf
from pdns_gtm_backend.settings import Settings

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "pdns-conf" / "pdns.conf"
"""Of PowerDNS; that of dnsdist is beside it."""
SECRETS: Final = ("redis-password", "key-secret")
"""Names of files. The second encrypts private keys in the store: it must outlive every container."""
MASTER: Final = "gtm"
"""What the sentinels call the master that they watch."""
PDNS_RUN: Final = Path("/run/pdns")
"""Where PowerDNS keeps its control socket, in a volume that it shares with its backend."""
VAR: Final = Path("/var/lib/pdns-gtm")
ANYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a container's own network
DNS_PORT: Final = 5300
"""Of every PowerDNS and dnsdist, inside its container."""
EDGES: Final = {1: "dnsdist.conf", 2: "dnsdist-2.conf"}
"""Number of a dnsdist, with its PowerDNS and its backend -> its configuration."""
NO_EDGE: Final = (
    'error("the backends know of no dnsdist: put edge into COMPOSE_PROFILES in .env, then docker compose up")\n'
)
"""The configuration of a dnsdist that is started nevertheless: it would keep answers that have changed."""


@dataclass(frozen=True, slots=True)
class Store:
    """The network of Redis. network: the first three numbers of its addresses; the last are in docker-compose.yml."""

    network: str = "172.30.52"

    @property
    def redis(self) -> str:
        """The master at the first start."""
        return f"{self.network}.11"

    @property
    def sentinels(self) -> tuple[str, ...]:
        """All that watch it."""
        return tuple(f"{self.network}.{last}" for last in (21, 22, 23))


@dataclass(frozen=True, slots=True)
class Edge:
    """A dnsdist, its PowerDNS and its backend. network: the first three numbers of their addresses."""

    number: int
    network: str = "172.30.53"

    @property
    def pdns(self) -> str:
        """PowerDNS, which this dnsdist alone asks."""
        return f"{self.network}.{10 + self.number}"

    @property
    def dnsdist(self) -> str:
        """Where the backend tells it what has changed. Clients reach it by another network."""
        return f"{self.network}.{20 + self.number}"

    @property
    def backend(self) -> str:
        """Where dnsdist is told from."""
        return f"{self.network}.{30 + self.number}"


def redis_conf() -> str:
    """redis.conf of the master and of the replica: nothing is evicted, at most a second is lost in a crash."""
    settings = {
        "include": "/run/redis-conf/auth.conf",
        "dir": "/data",
        "bind": "* -::*",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "always-show-logo": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def auth_conf(password: str) -> str:
    """The part of redis.conf that is secret."""
    return f"requirepass {password}\nmasterauth {password}\n"


def sentinel_conf(password: str, store: Store) -> str:
    """sentinel.conf: two of three must agree that the master is down."""
    lines = (
        "dir /data",
        "bind * -::*",
        "protected-mode no",
        f"sentinel monitor {MASTER} {store.redis} 6379 2",
        f"sentinel auth-pass {MASTER} {password}",
        f"sentinel down-after-milliseconds {MASTER} 3000",
        f"sentinel failover-timeout {MASTER} 10000",
    )
    return "".join(f"{line}\n" for line in lines)


def redis_url(password: str, store: Store, *, sentinels: bool) -> str:
    """Where the processes find Redis."""
    if not sentinels:
        return f"redis://:{password}@{store.redis}:6379/0"
    hosts = ",".join(f"{address}:26379" for address in store.sentinels)
    return f"redis+sentinel://:{password}@{hosts}/{MASTER}?db=0"


def pdns_conf(template: Path) -> str:
    """pdns.conf of every PowerDNS here: each finds the sockets of its own backend at the same place."""
    settings = Settings(
        listen=ANYWHERE,
        dns_port=DNS_PORT,
        transport="unix",
        var=VAR,
        pdns_control=PDNS_RUN / CONTROL_SOCKET,
    )
    return render(settings, PDNS_RUN, template)


def dnsdist_conf(edge: Edge, zone: str, template: Path) -> str:
    """dnsdist.conf of one edge. zone: by which it looks whether PowerDNS works."""
    settings = Settings(
        listen=ANYWHERE,
        var=VAR,
        access_zone=zone,
        dns_port=DNS_PORT,
        pdns_port=DNS_PORT,
        edge_address=IPv4Address(edge.dnsdist),
    )
    return edge_conf.render(settings, template, pdns=edge.pdns, backend=edge.backend)


def files(made: Mapping[str, str], store: Store, *, sentinels: bool, template: Path) -> Iterator[tuple[str, str]]:
    """Path below the root of the volumes, and text, of every file but dnsdist's. made: the secrets by name."""
    yield from ((f"secrets/{name}", f"{secret}\n") for name, secret in made.items())
    password = made["redis-password"]
    yield "secrets/redis-url", f"{redis_url(password, store, sentinels=sentinels)}\n"
    yield "redis-conf/auth.conf", auth_conf(password)
    yield "redis-conf/master.conf", redis_conf()
    yield "redis-conf/replica.conf", f"{redis_conf()}replicaof {store.redis} 6379\n"
    yield "redis-conf/sentinel.conf", sentinel_conf(password, store)
    yield "pdns-conf/pdns.conf", pdns_conf(template)


def edge_files(environment: Mapping[str, str], template: Path) -> Iterator[tuple[str, str]]:
    """The same of every dnsdist."""
    used = "edge" in profiles(environment)
    for number, name in EDGES.items():
        edge = Edge(number, environment["GTM_DNS_NETWORK"])
        yield f"pdns-conf/{name}", dnsdist_conf(edge, environment["GTM_ACCESS_ZONE"], template) if used else NO_EDGE


def profiles(environment: Mapping[str, str]) -> Collection[str]:
    """Those of docker-compose.yml in use."""
    return environment.get("GTM_PROFILES", "").split(",")


def kept_or_new(path: Path) -> str:
    """The secret in the file `path`; a new one where there is none."""
    return (path.exists() and path.read_text().strip()) or secrets.token_hex(16)


def write(path: Path, text: str) -> None:
    """Write `path` so that a reader sees the old text or the new one.

    Any user may read it, as the processes that do are of several users: who sees it is decided by the volume.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o444)
    new.replace(path)


def main(root: Path, environment: Mapping[str, str], template: Path = TEMPLATE) -> None:
    """Write every file below `root`. GTM_PROFILES: those of docker-compose in use, separated by commas."""
    made = {name: kept_or_new(root / "secrets" / name) for name in SECRETS}
    store = Store(environment["GTM_STORE_NETWORK"])
    written = files(made, store, sentinels="ha" in profiles(environment), template=template)
    for path, text in (*written, *edge_files(environment, template.with_name("dnsdist.conf"))):
        write(root / path, text)


if __name__ == "__main__":
    main(Path("/run"), os.environ)
