"""Writes what the containers of docker-compose.yml start from: secrets, made once, and configuration that holds them.

Runs before the other containers and may run again: secrets stay. Each folder is a volume of its own, so that a
container gets those secrets only which it needs.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdns_gtm_backend.dns.pdns_conf import backend_url, render
from pdns_gtm_backend.settings import Settings

TEMPLATE: Final = Path(__file__).resolve().parents[1] / "pdns-conf" / "pdns.conf"
SECRETS: Final = ("redis-password", "backend-secret")
MASTER: Final = "gtm"
"""What the sentinels call the master that they watch."""
SOCKET_FOLDER: Final = Path("/tmp")  # noqa: S108 - of PowerDNS's container, whose only writable folder it is


@dataclass(frozen=True, slots=True)
class Networks:
    """The first three numbers of the networks' addresses; the last ones are those in docker-compose.yml."""

    store: str = "172.30.52"
    dns: str = "172.30.53"

    @property
    def redis(self) -> str:
        """The master at the first start."""
        return f"{self.store}.11"

    @property
    def sentinels(self) -> tuple[str, ...]:
        """All that watch it."""
        return tuple(f"{self.store}.{last}" for last in (21, 22, 23))

    @property
    def backends(self) -> Mapping[str, str]:
        """Name of a container -> its address; the PowerDNS beside it has a configuration of that name."""
        return {"backend": f"{self.dns}.21", "backend-2": f"{self.dns}.22"}


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


def sentinel_conf(password: str, networks: Networks) -> str:
    """sentinel.conf: two of three must agree that the master is down."""
    lines = (
        "dir /data",
        "bind * -::*",
        "protected-mode no",
        f"sentinel monitor {MASTER} {networks.redis} 6379 2",
        f"sentinel auth-pass {MASTER} {password}",
        f"sentinel down-after-milliseconds {MASTER} 3000",
        f"sentinel failover-timeout {MASTER} 10000",
    )
    return "".join(f"{line}\n" for line in lines)


def redis_url(password: str, networks: Networks, *, sentinels: bool) -> str:
    """Where the processes find Redis."""
    if not sentinels:
        return f"redis://:{password}@{networks.redis}:6379/0"
    hosts = ",".join(f"{address}:26379" for address in networks.sentinels)
    return f"redis+sentinel://:{password}@{hosts}/{MASTER}?db=0"


def pdns_conf(settings: Settings, backend: str, template: Path) -> str:
    """pdns.conf of the PowerDNS whose backend is at the address `backend`."""
    own = backend_url(settings)
    other = own.replace(own.split("/")[2], f"{backend}:{settings.backend_port}", 1)
    return render(settings, SOCKET_FOLDER, template).replace(own, other, 1)


def files(made: Mapping[str, str], networks: Networks, *, sentinels: bool, template: Path) -> Iterator[tuple[str, str]]:
    """Path below the root of the volumes, and text, of every file. made: the secrets by name."""
    password, secret = made["redis-password"], made["backend-secret"]
    settings = Settings(listen="0.0.0.0", backend_secret=secret)  # noqa: S104 - inside a container's own network
    yield "secrets/redis-password", f"{password}\n"
    yield "secrets/backend-secret", f"{secret}\n"
    yield "secrets/redis-url", f"{redis_url(password, networks, sentinels=sentinels)}\n"
    yield "redis-conf/auth.conf", auth_conf(password)
    yield "redis-conf/master.conf", redis_conf()
    yield "redis-conf/replica.conf", f"{redis_conf()}replicaof {networks.redis} 6379\n"
    yield "redis-conf/sentinel.conf", sentinel_conf(password, networks)
    for name, address in networks.backends.items():
        yield f"pdns-conf/{name}/pdns.conf", pdns_conf(settings, address, template)


def kept_or_new(folder: Path) -> Mapping[str, str]:
    """The secrets in `folder`; those that are not there are made."""
    paths = {name: folder / name for name in SECRETS}
    return {name: (path.exists() and path.read_text().strip()) or secrets.token_hex(16) for name, path in paths.items()}


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
    made = kept_or_new(root / "secrets")
    networks = Networks(store=environment["GTM_STORE_NETWORK"], dns=environment["GTM_DNS_NETWORK"])
    sentinels = "ha" in environment.get("GTM_PROFILES", "").split(",")
    for path, text in files(made, networks, sentinels=sentinels, template=template):
        write(root / path, text)


if __name__ == "__main__":
    main(Path("/run"), os.environ)
