"""How long a pool's failure takes that very many instances share: from the report to the answer of every one of them.

`make bench ARGS="-k shared"`. One policy for China and one for the rest, both of pool a before pool c; that the address
of a is down, and up again, is reported (a check of protocol `external`): no interval of probes is in the figures.
"""

import os
import random
import socket
import statistics
import struct
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dns.message
import pytest

from tests.bench.load import percentile
from tests.bench.table import conditions, markdown
from tests.support.stack import Stack

INSTANCES: Final = int(os.environ.get("GTM_BENCH_SHARED", "1000"))
ROUNDS: Final = int(os.environ.get("GTM_BENCH_ROUNDS", "5"))
OUTSTANDING: Final = 16
MOST_SECONDS: Final = 60.0
A, C = "192.0.2.1", "192.0.2.9"
SHARES: Final = (0.0, 0.5, 0.99, 1.0)
HEADS: Final = ("tier", "instances", "change", "first ms", "half ms", "99 % ms", "last ms")
TIERS: Final = {"http": ("http", False), "unix": ("unix", False), "edge": ("unix", True)}


@pytest.mark.timeout(300 + INSTANCES / 10)
def test_a_shared_pool_fails_and_comes_back(tmp_path: Path) -> None:
    rows = []
    for tier, (transport, edge) in TIERS.items():
        folder = tmp_path / tier
        folder.mkdir()
        with Stack(folder, {"GTM_TRANSPORT": transport}, edge=edge) as stack:
            names = configure(stack)
            for change, found in measured(stack, names).items():
                rows.append([tier, INSTANCES, change, *map(statistics.median, zip(*found, strict=True))])
    print(f"\n{conditions()}\n\n{markdown(HEADS, rows)}\n")


def configure(stack: Stack) -> Sequence[str]:
    """The names of the instances, all of which answer."""
    stack.api.post("/health-checks", {"id": "told", "protocol": "external", "interval": 60})
    stack.api.post("/pools", {"id": "a", "type": "ipv4", "addresses": [{"address": A}], "health_checks": ["told"]})
    stack.api.post("/pools", {"id": "c", "type": "ipv4", "addresses": [{"address": C}]})
    report(stack, "up")
    stack.wait_until_up("a")
    sets = [{"pools": [{"pool": "a"}]}, {"pools": [{"pool": "c"}]}]
    policies = [
        {"name": name, "lines": [line], "pool_sets": sets} for name, line in (("cn", "AS-CN"), ("world", "default"))
    ]
    instances = ({"name": f"service-{number}", "policies": policies} for number in range(INSTANCES))
    names = [stack.api.post("/instances", instance)["cname"] for instance in instances]
    until_answered(stack.dns_port, names, A)
    return names


def report(stack: Stack, status: str) -> None:
    stack.api.put(f"/health-checks/told/reports/{A}", {"status": status, "ttl": 3600})


def measured(stack: Stack, names: Sequence[str]) -> dict[str, list[list[float]]]:
    """By change and round: milliseconds until such shares of the names were answered right."""
    found: dict[str, list[list[float]]] = {"fails": [], "comes back": []}
    for _ in range(ROUNDS):
        for change, status, wanted in (("fails", "down", C), ("comes back", "up", A)):
            # What the last change has left to do must not be in this one's figures.
            time.sleep(3)
            began = time.monotonic()
            report(stack, status)
            moments = until_answered(stack.dns_port, names, wanted)
            found[change].append([1e3 * (percentile(moments, share) - began) for share in SHARES])
    return found


def until_answered(port: int, names: Sequence[str], wanted: str) -> Sequence[float]:
    """When each name was answered so first, by the monotonic clock, sorted. Who is not is asked over and over."""
    queries = [dns.message.make_query(name, "A", use_edns=False).to_wire()[2:] for name in names]
    waiting = deque(random.sample(range(len(names)), len(names)))
    moments: list[float] = []
    end = socket.inet_aton(wanted)
    deadline = time.monotonic() + MOST_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect(("127.0.0.1", port))
        channel.settimeout(MOST_SECONDS)
        asked = 0
        while len(moments) < len(names):
            assert time.monotonic() < deadline, f"{len(names) - len(moments)} names are not {wanted}"
            while asked < OUTSTANDING and waiting:
                number = waiting.popleft()
                channel.send(struct.pack("!H", number) + queries[number])
                asked += 1
            reply = channel.recv(4096)
            asked -= 1
            if reply.endswith(end):
                moments.append(time.monotonic())
            else:
                waiting.append(struct.unpack("!H", reply[:2])[0])
    return moments
