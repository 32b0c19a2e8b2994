"""What PowerDNS may keep for everybody is gone as soon as the backend knows better."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.figure import MAINLAND, POOLS, Origins, load_figure, policy
from tests.support.ports import free_port
from tests.support.stack import Stack

A1, A2 = POOLS["pool-a"]
PURGED_SECONDS = 10.0
"""Enough on a busy machine; what is not purged is kept for 20 s, that a name does not exist for 60 s."""


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("purging"), {"GTM_ALLOW_PRIVATE_TARGETS": "1"}) as running:
        yield running


def purging(stack: Stack) -> bool:
    return "PowerDNS is purged on change" in stack.log("backend")


def test_unscoped_answers_follow_changes_at_once(stack: Stack, origins: Origins) -> None:
    geo = load_figure(stack.api, origins.port)["cname"]
    stack.wait_until(lambda: purging(stack), "purging")
    body = {"name": "same-for-all", "policies": [policy("all", "default", ("pool-a", "pool-c"))]}
    uniform = stack.api.post("/instances", body)
    cname = uniform["cname"]
    stack.wait_until(lambda: stack.dns.a(cname, MAINLAND) == [A1, A2], "the right answer")
    assert stack.dns.ask(cname, "A", MAINLAND).scope == 0
    assert stack.dns.ask(geo, "A", MAINLAND).scope == 24

    for mode, expected in (("offline", [A2]), ("auto", [A1, A2])) * 3:
        assert stack.dns.a(cname)
        stack.api.patch(f"/pools/pool-a/addresses/{A1}", {"mode": mode})
        stack.wait_until(lambda expected=expected: stack.dns.a(cname) == expected, f"{expected}", PURGED_SECONDS)  # type: ignore[misc]

    stack.api.delete(f"/instances/{uniform['id']}")
    stack.wait_until(lambda: stack.dns.ask(cname).code == "NXDOMAIN", "the released name is gone", PURGED_SECONDS)


def test_a_name_resolves_at_once_although_its_absence_was_cached(stack: Stack) -> None:
    stack.wait_until(lambda: purging(stack), "purging")
    stack.api.post("/zones", {"name": "shop.example"})
    stack.wait_until(lambda: stack.dns.ask("www.shop.example").code == "NXDOMAIN", "the zone", PURGED_SECONDS)
    stack.api.post("/pools", {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]})
    body = {"name": "new", "names": ["www.shop.example"], "policies": [policy("all", "default", ("p",))]}
    stack.api.post("/instances", body)
    stack.wait_until(lambda: stack.dns.a("www.shop.example") == ["192.0.2.1"], "the new name", PURGED_SECONDS)


def test_without_purging_everything_is_scoped(tmp_path: Path, origins: Origins) -> None:
    settings = {"GTM_ALLOW_PRIVATE_TARGETS": "1", "GTM_PDNS_CONTROL": str(tmp_path / "nothing.here")}
    with Stack(tmp_path, settings) as stack:
        load_figure(stack.api, origins.port)
        body = {"name": "same-for-all", "policies": [policy("all", "default", ("pool-a", "pool-c"))]}
        cname = stack.api.post("/instances", body)["cname"]
        stack.wait_until(lambda: stack.dns.a(cname, MAINLAND) == [A1, A2], "the right answer")
        assert stack.dns.ask(cname, "A", MAINLAND).scope == 24
        assert "cannot be purged" in stack.log("backend")
