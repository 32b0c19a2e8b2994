"""External checks from a script's report to DNS answers: acted on at once, not at the next look, a minute later."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

A1, A2, SPARE = "192.0.2.1", "192.0.2.2", "192.0.2.9"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path) as running:
        yield running


def until_answered(stack: Stack, name: str, *addresses: str) -> float:
    began = time.monotonic()
    stack.wait_until(lambda: stack.dns.a(name) == sorted(addresses), f"{name} is {addresses}")
    return time.monotonic() - began


def test_reports_move_answers(stack: Stack) -> None:
    def report(address: str, status: str, ttl: float = 3600) -> Any:
        return stack.api.put(f"/health-checks/batch/reports/{address}", {"status": status, "ttl": ttl})

    check = {"id": "batch", "protocol": "external", "interval": 60, "external": {"when_expired": "down"}}
    stack.api.post("/health-checks", check)
    addresses = [{"address": A1}, {"address": A2}]
    stack.api.post("/pools", {"id": "a", "type": "ipv4", "addresses": addresses, "health_checks": ["batch"]})
    stack.api.post("/pools", {"id": "c", "type": "ipv4", "addresses": [{"address": SPARE}]})
    sets = [{"pools": [{"pool": "a"}]}, {"pools": [{"pool": "c"}]}]
    policy = {"name": "world", "lines": ["default"], "pool_sets": sets}
    cname = stack.api.post("/instances", {"name": "shop", "policies": [policy]})["cname"]
    revision = stack.api.get("/export")
    both = {"items": [{"address": a, "status": "up", "ttl": 3600} for a in (A1, A2)]}
    stack.api.post("/health-checks/batch/reports", both)
    stack.wait_until_up("a")
    took = []
    for _ in range(3):
        report(A1, "down")
        took.append(until_answered(stack, cname, A2))
        report(A1, "up")
        took.append(until_answered(stack, cname, A1, A2))
    report(A2, "up", ttl=1)
    expired = until_answered(stack, cname, A1)
    report(A1, "down")
    switched = until_answered(stack, cname, SPARE)
    print(
        f"\nfrom a report to DNS: {[round(seconds * 1000) for seconds in took]} ms, a switch {switched * 1000:.0f} ms"
    )
    assert expired > 0.9, "it held for its second"
    down = stack.api.get("/pools/a/status")["addresses"]
    assert [one["health"] for one in down] == ["down", "down"]
    assert "that held for 1 s, now: down" in down[1]["reason"]
    assert stack.api.get("/export") == revision, "reports are no configuration"
