"""Where everything lies under `$GTM_VAR`."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pdns_gtm_backend.dns.pdns_conf import CONTROL_SOCKET
from pdns_gtm_backend.operations import sealing
from pdns_gtm_backend.operations.edge_conf import FOLDER


class Unusable(Exception):
    """The system cannot be started as asked; the message says which setting is wrong and what is allowed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one system. var: an absolute path."""

    var: Path

    @property
    def run(self) -> Path:
        """Process ids, the lock and the control socket."""
        return self.var / "run"

    @property
    def logs(self) -> Path:
        """What each part wrote."""
        return self.var / "log"

    @property
    def redis(self) -> Path:
        """The embedded Redis: its configuration and its append-only files."""
        return self.var / "redis"

    @property
    def redis_socket(self) -> Path:
        """Where the embedded Redis listens."""
        return self.var / "redis.sock"

    @property
    def pdns(self) -> Path:
        """What `pdnsutil --config-dir` and `pdns_control --config-dir` take; PowerDNS's control socket too."""
        return self.var / "pdns"

    @property
    def pdns_control(self) -> Path:
        """PowerDNS's control socket."""
        return self.pdns / CONTROL_SOCKET

    @property
    def edge(self) -> Path:
        """What dnsdist and the backend share: its configuration, the regions, their secret."""
        return self.var / FOLDER

    @property
    def admin_token(self) -> Path:
        """The first admin token, written by admin."""
        return self.var / "admin-token"

    @property
    def demo(self) -> Path:
        """What is known of the demo (`demo.Marker`)."""
        return self.var / "demo.json"

    @property
    def control_socket(self) -> Path:
        """Where the supervisor takes requests."""
        return self.run / "control.sock"

    def pid_file(self, part: str) -> Path:
        """The id of the process that one would kill to stop `part`; absent while it does not run."""
        return self.run / f"{part}.pid"

    def prepare(self) -> None:
        """Make the folders. Raises Unusable where `var` cannot be used."""
        try:
            for folder in (self.var, self.run, self.logs, self.redis, self.pdns):
                folder.mkdir(parents=True, exist_ok=True)
            self.run.chmod(0o700)
            self.redis.chmod(0o700)
        except OSError as error:
            raise Unusable(f"GTM_VAR={self.var} cannot be written: {error.strerror} ({error.filename})") from None

    def backend_secret(self) -> str:
        """The secret in the path of the backend's URL, made on the first call and kept with mode 0600."""
        return self._secret("backend-secret")

    def key_secret(self) -> str:
        """The secret that encrypts private keys in the store, made and kept in the same way: the backend reads it."""
        return self._secret(sealing.FILE_NAME)

    def _secret(self, name: str) -> str:
        path = self.var / name
        if path.exists() and (kept := path.read_text().strip()):
            return kept
        made = secrets.token_hex(16)
        write_private(path, made + "\n")
        return made


def write_private(path: Path, text: str) -> None:
    """Write `path` with mode 0600 so that a reader sees the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def redis_configuration(layout: Layout) -> str:
    """The redis.conf of the embedded Redis: a unix socket only, nothing evicted, at most a second lost in a crash."""
    settings = {
        "port": "0",
        "unixsocket": _quoted(layout.redis_socket),
        "unixsocketperm": "700",
        "dir": _quoted(layout.redis),
        "daemonize": "no",
        # It would overwrite the environment by which a later start recognises what this one left behind.
        "set-proc-title": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
        "always-show-logo": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)
