"""Free ports on loopback for processes that tests start."""

import socket
from contextlib import ExitStack


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens now, neither by UDP nor by TCP."""
    for _ in range(100):
        with ExitStack() as opened:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            tcp = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            tcp.bind((address, 0))
            port: int = tcp.getsockname()[1]
            udp = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port is free on {address} for both UDP and TCP")


def accepts(port: int, address: str = "127.0.0.1") -> bool:
    """Does something accept TCP connections there?"""
    try:
        with socket.create_connection((address, port), timeout=0.5):
            return True
    except OSError:
        return False
