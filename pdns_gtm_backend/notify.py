"""Tells systemd how this process stands, where systemd started it (sd_notify(3))."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress


def notify(state: str, descriptors: Sequence[int] = ()) -> None:
    """Send `READY=1`, `WATCHDOG=1` or `STOPPING=1`, or `FDSTORE=1` with descriptors to keep for the next start.

    Nothing happens where no one listens: the work goes on.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(address)
        socket.send_fds(channel, [state.encode()], list(descriptors))
