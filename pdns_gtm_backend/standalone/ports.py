"""Are the ports free that the settings name? Asked before anything is started."""

import errno
import socket
from collections.abc import Iterator

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone.layout import Unusable

TCP = socket.SOCK_STREAM
UDP = socket.SOCK_DGRAM


def is_free(address: str, port: int, kind: socket.SocketKind) -> bool:
    """Can a server listen there? Raises OSError where it cannot for another reason than that one does already."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == TCP:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def require_free(settings: Settings) -> None:
    """Raises Unusable with every port setting that cannot be used."""
    problems = list(_clashes(settings)) or list(_taken(settings))
    if problems:
        raise Unusable("\n".join(problems))


def _port_settings(settings: Settings) -> dict[str, int]:
    return {
        "GTM_DNS_PORT": settings.dns_port,
        **({"GTM_PDNS_PORT": settings.pdns_port} if settings.edge else {}),
        "GTM_BACKEND_PORT": settings.backend_port,
        "GTM_ADMIN_PORT": settings.admin_port,
        "GTM_HEALTHD_PORT": settings.healthd_port,
    }


def _clashes(settings: Settings) -> Iterator[str]:
    seen: dict[int, str] = {}
    for name, port in _port_settings(settings).items():
        if port in seen:
            yield f"{name}={port} is the port of {seen[port]} too: give each a port of its own"
        seen.setdefault(port, name)


def _taken(settings: Settings) -> Iterator[str]:
    for name, port in _port_settings(settings).items():
        for kind in (TCP, UDP) if name in ("GTM_DNS_PORT", "GTM_PDNS_PORT") else (TCP,):
            place = f"{settings.listen} port {port} ({'TCP' if kind == TCP else 'UDP'})"
            try:
                if not is_free(settings.listen, port, kind):
                    yield f"{name}={port}: {place} is taken by another program; set {name} to a free port"
            except OSError as error:
                yield f"{name}={port}: {place} cannot be listened on: {error.strerror}"
