"""The configuration of PowerDNS, from the file in `pdns-conf/` that says why each setting is as it is."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.settings import Settings

TEMPLATE: Final = Path(__file__).parents[2] / "pdns-conf" / "pdns.conf"
CONTROL_SOCKET: Final = "pdns.controlsocket"
MAX_SOCKET_PATH: Final = 107
"""sun_path of Linux, without its closing NUL (unix(7))."""


def render(settings: Settings, directory: Path, template: Path = TEMPLATE) -> str:
    """The text of pdns.conf. directory: where PowerDNS keeps its control socket and pid file.

    Raises ValueError with the setting, its value and what is allowed; OSError where there is no template.
    """
    socket = directory.absolute() / CONTROL_SOCKET
    if len(str(socket).encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"GTM_VAR: {str(socket)!r} is too long for a unix socket ({MAX_SOCKET_PATH} octets)")
    if not str(socket).isprintable():
        raise ValueError(f"GTM_VAR: {str(socket)!r} holds characters that a line of pdns.conf cannot")
    values = {
        "LISTEN": settings.listen,
        "DNS_PORT": str(settings.dns_port),
        "BACKEND_URL": backend_url(settings),
        "SOCKET_DIR": str(directory.absolute()),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], template.read_text())


def backend_url(settings: Settings) -> str:
    """Where PowerDNS reaches the backend, which is on the same machine. Raises ValueError."""
    secret = settings.backend_secret
    if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
        raise ValueError("GTM_BACKEND_SECRET: may hold letters, digits, '_' and '-' only, as it is part of a URL")
    try:
        listen = ip_address(settings.listen)
    except ValueError:
        raise ValueError(f"GTM_LISTEN: {shown(settings.listen)} is no IP address") from None
    if listen.is_unspecified:
        listen = ip_address("127.0.0.1" if listen.version == 4 else "::1")
    host = f"[{listen}]" if listen.version == 6 else str(listen)
    return f"http://{host}:{settings.backend_port}/dns" + (f"/{secret}" if secret else "")
