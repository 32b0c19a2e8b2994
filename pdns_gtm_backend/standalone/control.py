"""Requests to a running supervisor over a unix socket: one line in, one line out."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 0.5
LONGEST_REQUEST: Final = 256
ASK_SECONDS: Final = 5.0


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at `path` that takes requests, while the lock of the folder is held."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fsencode(path))
        path.chmod(0o600)
        listener.listen(4)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def answer_request(listener: socket.socket, handle: Callable[[str], str]) -> None:
    """Take one request; a peer that is slow or gone gets no answer."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return
    with connection:
        connection.settimeout(PATIENCE_SECONDS)
        try:
            request = connection.recv(LONGEST_REQUEST).decode(errors="replace").strip()
            connection.sendall(handle(request).encode() + b"\n")
        except OSError:
            return


def ask(path: Path, request: str) -> str:
    """The answer to `request`. Raises OSError where no supervisor listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ASK_SECONDS)
        connection.connect(os.fsencode(path))
        connection.sendall(request.encode() + b"\n")
        return connection.recv(4096).decode(errors="replace").strip()
