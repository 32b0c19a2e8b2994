"""The figure: mainland China gets pool A, everybody else B, both fall back to C; origins are real processes."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.oracle import Oracle, Origin
from tests.support.powerdns import wait_for
from tests.support.stack import Api

MAINLAND, WORLD = "1.2.4.0/24", "8.8.8.0/24"
CHECK = {"id": "web", "protocol": "http", "interval": 1, "timeout": 5, "fall": 1, "rise": 1}
POOLS: Mapping[str, tuple[str, ...]] = {
    "pool-a": ("127.0.11.1", "127.0.11.2"),
    "pool-b": ("127.0.12.1",),
    "pool-c": ("127.0.13.1",),
}
SETTLE_SECONDS = 8.0
"""A refused connection is known within 1 s; the rest is for a busy machine."""


class Origins:
    """Real origin processes at loopback addresses, and the history of when each served."""

    def __init__(self, port: int, errors: int | None = None) -> None:
        """errors: where the processes' standard error goes, as subprocess takes it."""
        self.port, self._errors = port, errors
        self.histories = {address: Origin() for addresses in POOLS.values() for address in addresses}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Origins":
        for address in self.histories:
            self.start(address)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def start(self, address: str) -> float:
        """Start an origin; returns the moment from which it served (monotonic)."""
        command = [sys.executable, "-m", "pdns_gtm_backend.standalone.origin", address, address, str(self.port)]
        process = self._processes[address] = subprocess.Popen(command, stderr=self._errors)
        wait_for(lambda: serves(address, self.port) or process.poll() is not None, f"origin {address}")
        assert process.poll() is None, f"origin {address} did not start"
        moment = time.monotonic()
        self.histories[address].starts(moment)
        return moment

    def kill(self, address: str) -> float:
        """Kill an origin while nobody is connected: a connection under way would be reset, a new one is refused.

        Returns the moment from which it was gone (monotonic).
        """
        process = self._processes.pop(address)
        wait_for(lambda: not _connected(address), f"{address} without a connection")
        process.kill()
        process.wait()
        moment = time.monotonic()
        self.histories[address].stops(moment)
        return moment

    def oracle(self) -> Oracle:
        """Judges answers to the two kinds of client."""
        a, b, c = POOLS.values()
        return Oracle(self.histories, {MAINLAND: [a, c], WORLD: [b, c]}, SETTLE_SECONDS)


def serves(address: str, port: int) -> bool:
    """Does something accept connections there?"""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((address, port)) == 0


def policy(name: str, line: str, pools: Iterable[str]) -> Mapping[str, Any]:
    return {"name": name, "lines": [line], "pool_sets": [{"pools": [{"pool": pool}]} for pool in pools]}


def load_figure(api: Api, port: int, **check: Any) -> Mapping[str, Any]:
    """Write the figure's documents; returns the instance as the API gave it. check: fields of the check, as its id."""
    template = {**CHECK, "port": port, **check}
    api.post("/health-checks", template)
    for name, addresses in POOLS.items():
        listed = [{"address": address} for address in addresses]
        api.post("/pools", {"id": name, "type": "ipv4", "health_checks": [template["id"]], "addresses": listed})
    policies = [policy("mainland", "AS-CN", ("pool-a", "pool-c")), policy("world", "default", ("pool-b", "pool-c"))]
    created: Mapping[str, Any] = api.post("/instances", {"name": "shop", "policies": policies})
    return created


def remove_figure(api: Api) -> None:
    """Delete what `load_figure` wrote."""
    for kind in ("instances", "pools", "health-checks"):
        for item in api.get(f"/{kind}")["items"]:
            api.delete(f"/{kind}/{item['id']}")


def _connected(address: str) -> bool:
    """Has anybody an established connection to an IPv4 address (proc(5), /proc/net/tcp)?"""
    local = socket.inet_aton(address)[::-1].hex().upper()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].startswith(local) and row[3] == "01" for row in rows)
