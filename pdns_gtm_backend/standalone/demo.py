"""The demo: the documents of the figure in the README, its origins, and when it is loaded."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone.layout import Layout, Unusable, write_private
from pdns_gtm_backend.standalone.ports import is_free

ORIGINS: Final[Mapping[str, str]] = {
    "a1": "127.0.1.1",
    "a2": "127.0.1.2",
    "b1": "127.0.2.1",
    "b2": "127.0.2.2",
    "c1": "127.0.3.1",
}
"""Name -> address; the first letter is the pool's."""
FIRST_PORT: Final = 8500
LAST_PORT: Final = 8599
TIMEOUT_SECONDS: Final = 0.3
INSTANCE_NAME: Final = "shop"
HEALTH_CHECK_PATH: Final = "/healthz"

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Marker:
    """What a supervisor remembers of the demo. cname: of the demo's instance, once it is loaded."""

    origin_port: int
    cname: str | None = None


MARKER: Final = TypeAdapter(Marker)


def part_name(origin: str) -> str:
    """The part that runs `origin`."""
    return f"origin-{origin}"


def health_checks(port: int) -> Sequence[Document]:
    """The demo's health checks: quick, so that a person sees what happens."""
    return [
        {
            "id": "web",
            "protocol": "http",
            "port": port,
            "interval": 1,
            "timeout": 1,
            "fall": 1,
            "rise": 2,
            "http": {"path": HEALTH_CHECK_PATH},
        }
    ]


def pools() -> Sequence[Document]:
    """The demo's address pools A, B and C."""
    return [
        {
            "id": f"pool-{letter}",
            "type": "ipv4",
            "health_checks": ["web"],
            "host": "www.shop.example",
            "addresses": [
                {"address": address, "labels": {"origin": name}}
                for name, address in ORIGINS.items()
                if name[0] == letter
            ],
        }
        for letter in "abc"
    ]


def instances() -> Sequence[Document]:
    """The demo's instance: clients in mainland China get A, all others B, both fail over to C."""
    return [
        {
            "name": INSTANCE_NAME,
            "ttl": 10,
            "service_domains": ["www.shop.example"],
            "policies": [
                {
                    "name": "mainland",
                    "lines": ["AS-CN"],
                    "pool_sets": [{"pools": [{"pool": "pool-a"}]}, {"pools": [{"pool": "pool-c"}]}],
                },
                {
                    "name": "world",
                    "lines": ["default"],
                    "pool_sets": [{"pools": [{"pool": "pool-b"}]}, {"pools": [{"pool": "pool-c"}]}],
                },
            ],
        }
    ]


def read_marker(layout: Layout) -> Marker | None:
    """The marker of this `$GTM_VAR`, None where there is none that can be read."""
    try:
        return MARKER.validate_json(layout.demo.read_text(), strict=True)
    except (OSError, ValueError):
        return None


def write_marker(layout: Layout, marker: Marker) -> None:
    """Remember the demo."""
    write_private(layout.demo, MARKER.dump_json(marker).decode() + "\n")


def wanted(settings: Settings, *, first_start: bool, marker: Marker | None) -> bool:
    """Does this start show the demo?

    Unset = with the embedded Redis, when its first start chose it. Raises Unusable where it is asked for with an
    external Redis: that data is never touched.
    """
    if settings.demo and not settings.embedded_redis:
        raise Unusable("GTM_DEMO=1 is for the embedded Redis only: leave GTM_REDIS_URL unset, or set GTM_DEMO=0")
    if settings.demo is not None:
        return settings.demo
    return settings.embedded_redis and (first_start or marker is not None)


def prepare(layout: Layout, marker: Marker | None) -> Marker:
    """The marker to run with: the one that is there, or a new one with a port that is free for every origin."""
    if marker is not None:
        return marker
    port = next((port for port in range(FIRST_PORT, LAST_PORT + 1) if _free(port)), None)
    if port is None:
        raise Unusable(f"the demo's origins find no free port from {FIRST_PORT} to {LAST_PORT}: set GTM_DEMO=0")
    made = Marker(port)
    write_marker(layout, made)
    return made


def _free(port: int) -> bool:
    return all(is_free(address, port, socket.SOCK_STREAM) for address in ORIGINS.values())


def is_loaded(layout: Layout) -> bool:
    """Has the demo been loaded?"""
    marker = read_marker(layout)
    return marker is not None and marker.cname is not None


def answers(address: str, port: int) -> bool:
    """Does an origin take connections?"""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS):
            return True
    except OSError:
        return False
