"""The socket on which PowerDNS reaches the backend.

It outlives the process where somebody keeps it: who asks during a restart waits, and is not refused. `make run` keeps
it, and systemd does (https://systemd.io/FILE_DESCRIPTOR_STORE/).
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pdns_gtm_backend.dns.pdns_conf import socket_path
from pdns_gtm_backend.notify import notify
from pdns_gtm_backend.settings import Settings

LISTENING_ARGUMENT: Final = "--listening"
"""Before the descriptor of a socket that whoever starts this process keeps."""
SYSTEMD_FIRST: Final = 3
"""sd_listen_fds(3)."""
KEPT: Final = "FDNAME=backend"
SOCKET_MODE: Final = 0o660
BACKLOG: Final = 1024


def make(settings: Settings) -> socket.socket:
    """A new socket. Raises OSError, or ValueError where the unix socket's path is too long."""
    if settings.transport == "unix":
        return _unix_socket(socket_path(settings))
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    return socket.create_server((settings.listen, settings.backend_port), family=family, backlog=BACKLOG)


def _unix_socket(path: Path) -> socket.socket:
    """Made anew at `path`, for owner and group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    made.listen(BACKLOG)
    return made


def inherited(settings: Settings, arguments: Sequence[str]) -> socket.socket | None:
    """The socket that was kept for this process; None where there is none, or it is not what the settings say now."""
    if arguments[:1] == [LISTENING_ARGUMENT]:
        return socket.socket(fileno=int(arguments[1]))
    mine = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    if not (mine and os.environ.pop("LISTEN_FDS", "") == "1"):
        return None
    found = socket.socket(fileno=SYSTEMD_FIRST)
    if _is_wanted(found, settings):
        return found
    found.close()
    notify(f"FDSTOREREMOVE=1\n{KEPT}")
    return None


def _is_wanted(found: socket.socket, settings: Settings) -> bool:
    if settings.transport == "unix":
        path = socket_path(settings)
        return found.getsockname() == str(path) and path.exists()
    return found.family != socket.AF_UNIX and found.getsockname()[:2] == (settings.listen, settings.backend_port)


def keep(descriptor: int) -> None:
    """Have systemd keep a listening socket for the next start."""
    notify(f"FDSTORE=1\n{KEPT}", [descriptor])
