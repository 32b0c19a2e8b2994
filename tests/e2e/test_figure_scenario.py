"""The figure, from `make run`'s supervisor to DNS answers, with real processes all the way."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.figure import MAINLAND, POOLS, WORLD, Origins, load_figure, remove_figure
from tests.support.ports import free_port
from tests.support.stack import Stack

A1, A2 = POOLS["pool-a"]
(B1,) = POOLS["pool-b"]
(C1,) = POOLS["pool-c"]


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("figure"), {"GTM_ALLOW_PRIVATE_TARGETS": "1"}) as running:
        yield running


class Scene:
    """What a client and an operator see."""

    def __init__(self, stack: Stack, instance: Any) -> None:
        self.stack, self.id, self.cname = stack, instance["id"], instance["cname"]

    def status(self) -> Any:
        return self.stack.api.get(f"/instances/{self.id}/status")

    def until(self, mainland: list[str], world: list[str], health: str, request: str) -> Any:
        """Wait until clients get these addresses and the operator sees these statuses."""

        def reached() -> bool:
            status = self.status()
            return (
                self.stack.dns.a(self.cname, MAINLAND) == mainland
                and self.stack.dns.a(self.cname, WORLD) == world
                and (status["health_check_status"], status["request_status"]) == (health, request)
            )

        self.stack.wait_until(reached, f"{mainland} {world} {health} {request}")
        return self.status()

    def events(self, kind: str) -> list[Any]:
        return [e for e in self.stack.api.get(f"/events?instance={self.id}&limit=500")["items"] if e["kind"] == kind]


@pytest.fixture
def scene(stack: Stack, origins: Origins) -> Iterator[Scene]:
    """The figure with all of it up; its check has a name of its own, so that no state of an earlier one counts."""
    scene = Scene(stack, load_figure(stack.api, origins.port, id=f"web-{origins.port}"))
    scene.until([A1, A2], [B1], "normal", "normal")
    yield scene
    remove_figure(stack.api)


def effective(status: Any, policy: str) -> Any:
    return next(p for p in status["policies"] if p["name"] == policy)["families"]["ipv4"]


def test_pools_by_region_failover_and_back(stack: Stack, origins: Origins, scene: Scene) -> None:

    origins.kill(A1)
    status = scene.until([A2], [B1], "warning", "normal")
    assert effective(status, "mainland")["effective_set"] == "default"
    down = scene.events("address.down")
    assert [event["address"] for event in down] == [A1]
    assert "refused" in down[0]["reason"]

    origins.kill(A2)
    status = scene.until([C1], [B1], "exception", "error")
    assert effective(status, "mainland")["effective_set"] == "failover"
    assert "pool-a" in effective(status, "mainland")["reason"]
    assert effective(status, "world")["effective_set"] == "default"
    (switched,) = scene.events("set.switched")
    assert (switched["policy"], switched["from"], switched["to"]) == ("mainland", "default", "failover")
    assert "pool-a" in switched["reason"]

    origins.start(A1)
    status = scene.until([A1], [B1], "warning", "normal")
    assert effective(status, "mainland")["effective_set"] == "default"
    assert effective(status, "mainland")["previous_set"] == "failover"
    origins.start(A2)
    scene.until([A1, A2], [B1], "normal", "normal")
    assert len(scene.events("set.switched")) == 2


def test_everything_down_fails_open_and_recovers(stack: Stack, origins: Origins, scene: Scene) -> None:
    for addresses in POOLS.values():
        for address in addresses:
            origins.kill(address)
    scene.until([A1, A2], [B1], "exception", "unavailable")
    assert scene.events("instance.all_down")

    stack.api.patch(f"/instances/{scene.id}", {"when_all_down": "fail_closed"})
    scene.until([], [], "exception", "unavailable")
    reply = stack.dns.ask(scene.cname, "A", MAINLAND)
    assert (reply.code, reply.types("authority")) == ("NOERROR", ["SOA"])

    origins.start(C1)
    scene.until([C1], [C1], "exception", "error")
    assert scene.events("instance.recovered")


def test_a_restart_keeps_everything(stack: Stack, origins: Origins, scene: Scene) -> None:
    origins.kill(A1)
    scene.until([A2], [B1], "warning", "normal")
    stack.stop()
    stack.start()
    assert stack.dns.a(scene.cname, MAINLAND) == [A2]
    scene.until([A2], [B1], "warning", "normal")


def test_switching_by_hand(stack: Stack, origins: Origins, scene: Scene) -> None:
    switch = f"/instances/{scene.id}/policies/mainland/switch"
    stack.api.post(switch, {"mode": "pinned", "set": "failover"})
    status = scene.until([C1], [B1], "normal", "error")
    mainland = next(policy for policy in status["policies"] if policy["name"] == "mainland")
    assert (mainland["mode"], mainland["pinned_set"]) == ("pinned", "failover")
    stack.api.post(switch, {"mode": "auto"})
    scene.until([A1, A2], [B1], "normal", "normal")

    instance = stack.api.get(f"/instances/{scene.id}")
    policies = [{**policy, "failback": "manual"} for policy in instance["policies"]]
    stack.api.patch(f"/instances/{scene.id}", {"policies": policies})
    for address in (A1, A2):
        origins.kill(address)
    scene.until([C1], [B1], "exception", "error")
    for address in (A1, A2):
        origins.start(address)
    scene.until([C1], [B1], "normal", "error")
    stack.api.post(switch, {"mode": "failback"})
    scene.until([A1, A2], [B1], "normal", "normal")
