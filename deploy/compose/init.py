"""Writes what the containers of docker-compose.yml start from: secrets, made once, and configuration that holds them.

Runs before the other containers and may run again: secrets stay. Each folder is a volume of its own, so that a
container gets those secrets only which it needs.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pdns_gtm_backend.dns.pdns_conf import backend_url, render
from pdns_gtm_backend.settings import Settings

SHARE: Final = Path(__file__).resolve().parents[1]
SECRETS: Final = ("redis-password", "backend-secret")
BACKENDS: Final = ("backend", "backend-2")
"""Host names; the PowerDNS beside each has a configuration of that name."""
SENTINELS: Final = ("sentinel-1", "sentinel-2", "sentinel-3")
MASTER: Final = "gtm"
SOCKET_FOLDER: Final = Path("/tmp")  # noqa: S108 - of PowerDNS's container, whose only writable folder it is


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


def sentinel_conf(password: str) -> str:
    """sentinel.conf: two of three must agree that the master is down; hosts go by name, for addresses change."""
    lines = (
        "dir /data",
        "bind * -::*",
        "protected-mode no",
        "sentinel resolve-hostnames yes",
        "sentinel announce-hostnames yes",
        f"sentinel monitor {MASTER} redis 6379 2",
        f"sentinel auth-pass {MASTER} {password}",
        f"sentinel down-after-milliseconds {MASTER} 3000",
        f"sentinel failover-timeout {MASTER} 10000",
    )
    return "".join(f"{line}\n" for line in lines)


def redis_url(password: str, *, sentinels: bool) -> str:
    """Where the processes find Redis."""
    if not sentinels:
        return f"redis://:{password}@redis:6379/0"
    hosts = ",".join(f"{name}:26379" for name in SENTINELS)
    return f"redis+sentinel://:{password}@{hosts}/{MASTER}?db=0"


def pdns_conf(settings: Settings, backend: str, template: Path) -> str:
    """pdns.conf of the PowerDNS whose backend is the host `backend`."""
    own = backend_url(settings)
    other = own.replace(own.split("/")[2], f"{backend}:{settings.backend_port}", 1)
    return render(settings, SOCKET_FOLDER, template).replace(own, other, 1)


def files(made: Mapping[str, str], *, sentinels: bool, share: Path) -> Iterator[tuple[str, str]]:
    """Path below the root of the volumes, and text, of every file. made: the secrets by name."""
    password, secret = made["redis-password"], made["backend-secret"]
    settings = Settings(listen="0.0.0.0", backend_secret=secret)  # noqa: S104 - inside a container's own network
    yield "secrets/redis-password", f"{password}\n"
    yield "secrets/backend-secret", f"{secret}\n"
    yield "secrets/redis-url", f"{redis_url(password, sentinels=sentinels)}\n"
    yield "redis-conf/redis.conf", redis_conf()
    yield "redis-conf/sentinel.conf", sentinel_conf(password)
    yield "redis-conf/auth.conf", auth_conf(password)
    for backend in BACKENDS:
        yield f"pdns-conf/{backend}/pdns.conf", pdns_conf(settings, backend, share / "pdns-conf" / "pdns.conf")


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


def main(root: Path, profiles: str, share: Path = SHARE) -> None:
    """Write every file below `root`. profiles: those of docker-compose in use, separated by commas."""
    made = kept_or_new(root / "secrets")
    for path, text in files(made, sentinels="ha" in profiles.split(","), share=share):
        write(root / path, text)


if __name__ == "__main__":
    main(Path("/run"), os.environ.get("GTM_PROFILES", ""))
