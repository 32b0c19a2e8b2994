"""The configuration of PowerDNS, from the file in `pdns-conf/` that says why each setting is as it is."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.settings import Settings

TEMPLATE: Final = Path(__file__).parents[2] / "pdns-conf" / "pdns.conf"
CONTROL_SOCKET: Final = "pdns.controlsocket"
PURGED: Final = {
    "CACHE_TTL": "20",
    "QUERY_CACHE_TTL": "20",
    "NEGQUERY_CACHE_TTL": "60",
    "ZONE_CACHE_REFRESH_INTERVAL": "60",
}
UNPURGED: Final = {
    "CACHE_TTL": "1",
    "QUERY_CACHE_TTL": "5",
    "NEGQUERY_CACHE_TTL": "5",
    "ZONE_CACHE_REFRESH_INTERVAL": "10",
}
THREADS: Final = {
    "http": {"DISTRIBUTOR_THREADS": "16", "RECEIVER_THREADS": "1", "REUSEPORT": "no"},
    "unix": {"DISTRIBUTOR_THREADS": "1", "RECEIVER_THREADS": "4", "REUSEPORT": "yes"},
}
LOOPBACK: Final = "127.0.0.1"
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
        "LISTEN": LOOPBACK if settings.edge else settings.listen,
        "DNS_PORT": str(settings.pdns_port if settings.edge else settings.dns_port),
        "CONNECTION": connection_string(settings),
        "SOCKET_DIR": str(directory.absolute()),
        **(PURGED if settings.pdns_control else UNPURGED),
        **THREADS[settings.transport],
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], template.read_text())


def connection_string(settings: Settings) -> str:
    """How PowerDNS reaches the backend: the value of remote-connection-string. Raises ValueError."""
    if settings.transport == "unix":
        path = socket_path(settings)
        if "," in str(path):
            raise ValueError(f"GTM_VAR: {str(path)!r} holds a comma, which separates options of PowerDNS")
        return f"unix:path={path},timeout=4000"
    return f"http:url={backend_url(settings)},post=1,post_json=1,timeout=2000"


def socket_path(settings: Settings) -> Path:
    """The unix socket of the backend. Raises ValueError where it is too long for one."""
    path = settings.var.absolute() / "backend.sock"
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"GTM_VAR: {str(path)!r} is too long for a unix socket ({MAX_SOCKET_PATH} octets)")
    return path


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
