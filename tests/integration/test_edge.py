"""The edge: dnsdist in front of the whole system, asked by clients of every place in a network of the test's own."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
import requests

from tests.support.edge_clients import Client, Countries, addresses, server_for, some_clients, subnets
from tests.support.figure import policy
from tests.support.namespace import Namespace, unavailable
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

CLIENTS = int(os.environ.get("GTM_TEST_EDGE_CLIENTS", "400"))
NAMES = int(os.environ.get("GTM_TEST_EDGE_NAMES", "30"))
LOCAL_ROUTES = (
    "ip route add local 0.0.0.0/1 dev lo",
    "ip route add local 128.0.0.0/1 dev lo",
    "ip -6 route add local ::/0 dev lo",
    "sysctl -qw net.ipv6.ip_nonlocal_bind=1",
)
POOLS = {
    "china": ("192.0.2.1", "192.0.2.2", "2001:db8::1"),
    "world": ("192.0.2.11", "2001:db8::11"),
    "office": ("192.0.2.21", "2001:db8::21"),
    "spare": ("192.0.2.31", "2001:db8::31"),
}
OFFICE = "8.8.8.16/28"


class Edge:
    """The system, and the names in it. `call` does something inside of its network."""

    def __init__(self, network: Namespace, stack: Stack) -> None:
        self.call, self.stack = network.call, stack
        self.regional: list[str] = []
        self.weighted = ""

    def api(self, verb: str, path: str, body: object = None) -> Any:
        function = getattr(self.stack.api, verb)
        return self.call(function, path, *([] if body is None else [body]))

    def ask(self, client: Client, name: str, rrtype: str = "A") -> list[str]:
        return addresses(client.ask(server_for(client), self.stack.dns_port, name, rrtype), rrtype)

    def status(self) -> dict[str, Any]:
        answer = self.call(requests.get, f"http://127.0.0.1:{self.stack.backend_port}/readyz", timeout=10)
        found: dict[str, Any] = answer.json()
        return found

    def lookups(self) -> int:
        text = self.call(requests.get, f"http://127.0.0.1:{self.stack.backend_port}/metrics", timeout=10).text
        return int(float(next(row for row in text.splitlines() if 'requests_total{method="lookup"}' in row).split()[1]))


def documents() -> dict[str, list[dict[str, Any]]]:
    pools = [
        {
            "id": f"{name}{kind}",
            "type": kind,
            "strategy": "all",
            "addresses": [{"address": a} for a in held if (":" in a) == six],
        }
        for name, held in POOLS.items()
        for kind, six in (("ipv4", False), ("ipv6", True))
    ]
    weighted = {
        "id": "drawn",
        "type": "ipv4",
        "strategy": "weighted",
        "addresses": [{"address": f"192.0.2.{n}"} for n in range(41, 49)],
    }
    return {"pools": [*pools, weighted]}


def sets(*names: str) -> list[dict[str, Any]]:
    return [{"pools": [{"pool": f"{name}{kind}"} for kind in ("ipv4", "ipv6")]} for name in names]


def lines(swapped: bool = False) -> list[dict[str, Any]]:
    china, world = ("world", "china") if swapped else ("china", "world")
    return [
        {"name": "mainland", "lines": ["AS-CN"], "pool_sets": sets(china, "spare")},
        {"name": "office", "lines": [f"cidr:{OFFICE}"], "pool_sets": sets("office", "spare")},
        {"name": "rest", "lines": ["default"], "pool_sets": sets(world, "spare")},
    ]


@pytest.fixture(scope="module")
def countries() -> Countries:
    return Countries()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Namespace() as network:
        for route in LOCAL_ROUTES:
            subprocess.run(network.command(*route.split()), check=True)
        stack = Stack(tmp_path_factory.mktemp("edge"), {"GTM_LISTEN": "0.0.0.0", "GTM_TRANSPORT": "unix"}, edge=True)
        network.call(stack.start)
        try:
            made = Edge(network, stack)
            for body in documents()["pools"]:
                made.api("post", "/pools", body)
            for number in range(NAMES):
                created = made.api("post", "/instances", {"name": f"service-{number}", "policies": lines()})
                made.regional.append(created["cname"])
            made.weighted = made.api(
                "post", "/instances", {"name": "weighted", "policies": [policy("all", "default", ["drawn"])]}
            )["cname"]
            yield made
        finally:
            network.call(stack.stop)


def right(countries: Countries, client: Client, *, swapped: bool = False) -> str:
    """The pool that a client must get while all is well."""
    known = client.address if client.subnet is None or client.subnet.endswith("/0") else client.subnet
    if ip_network(known).version == 4 and ip_network(known).subnet_of(ip_network(OFFICE)):  # type: ignore[arg-type]
        return "office"
    china = countries.of(*client.counted()) == "CN"
    return "china" if china != swapped else "world"


def held(pool: str, rrtype: str) -> list[str]:
    return sorted(a for a in POOLS[pool] if (":" in a) == (rrtype == "AAAA"))


def wrong_answers(edge: Edge, clients: list[Client], expected: Callable[[Client], str], names: list[str]) -> list[str]:
    """What is wrong with the answers to all clients, each for one of the names."""

    def wrong(turn: int) -> str:
        client, name = clients[turn], names[turn * 7 % len(names)]
        rrtype = "AAAA" if turn % 5 == 0 else "A"
        reply = client.ask(server_for(client), edge.stack.dns_port, name, rrtype)
        told = [] if client.subnet is None or client.subnet.endswith("/0") else [client.subnet]
        if subnets(reply) != told:
            return f"{client} was told of {subnets(reply)}"
        if addresses(reply, rrtype) != held(expected(client), rrtype):
            return f"{client} got {addresses(reply, rrtype)} for {name}, not of {expected(client)}"
        return ""

    def all_of_them() -> list[str]:
        return [found for found in map(wrong, range(len(clients))) if found]

    return edge.call(all_of_them)


def all_right(edge: Edge, clients: list[Client], expected: Callable[[Client], str], names: list[str]) -> bool:
    return not wrong_answers(edge, clients, expected, names)


def wait_for_regions(edge: Edge, name: str) -> None:
    """Wait until a name is answered by region: then another client of a region costs no lookup."""

    def by_region() -> bool:
        first = random.randrange(1, 250)
        edge.call(edge.ask, Client("127.0.0.1", "1.2.4.0/24"), name)
        before = edge.lookups()
        edge.call(edge.ask, Client("127.0.0.1", f"1.2.{first}.0/24"), name)
        return edge.lookups() == before

    edge.stack.wait_until(by_region, f"{name} answered by region")


@pytest.fixture(scope="module")
def clients(countries: Countries) -> list[Client]:
    chance = random.Random(7)
    office = [
        Client("8.8.8.20"),
        Client("8.8.8.40"),
        Client("127.0.0.1", "8.8.8.20/32"),
        Client("127.0.0.1", "8.8.8.0/24"),
    ]
    made = [*office, *some_clients(countries, CLIENTS - len(office), chance)]
    chance.shuffle(made)
    return made


def test_every_client_gets_what_is_right_for_it(edge: Edge, countries: Countries, clients: list[Client]) -> None:
    wait_for_regions(edge, edge.regional[-1])
    for _ in range(2):
        assert wrong_answers(edge, clients, lambda client: right(countries, client), edge.regional) == []


def test_a_region_costs_one_lookup(edge: Edge) -> None:
    name = edge.regional[0]
    wait_for_regions(edge, name)
    around = [f"1.2.{number}.0/24" for number in range(4, 60)]
    edge.call(edge.ask, Client("127.0.0.1", around[0]), name)
    edge.call(edge.ask, Client("1.2.4.1"), name)
    before = edge.lookups()
    for subnet in around:
        assert edge.call(edge.ask, Client("127.0.0.1", subnet), name) == held("china", "A")
        assert edge.call(edge.ask, Client(subnet.replace("0/24", "9")), name) == held("china", "A")
    assert edge.lookups() == before


def test_a_draw_holds_for_a_network(edge: Edge) -> None:
    drawn = {
        str(number): edge.call(edge.ask, Client("127.0.0.1", f"1.2.{number}.0/24"), edge.weighted)
        for number in range(40)
    }
    again = {
        str(number): edge.call(edge.ask, Client("127.0.0.1", f"1.2.{number}.0/24"), edge.weighted)
        for number in range(40)
    }
    assert drawn == again
    assert len({answer[0] for answer in drawn.values()}) > 3


def test_a_switchover_reaches_everybody_at_once(
    edge: Edge, countries: Countries, clients: list[Client], record_property: Callable[[str, object], None]
) -> None:
    sample = clients[:20]
    took = []
    for turn in range(6):
        mode, instead = ("offline", "spare") if turn % 2 == 0 else ("auto", "china")
        for address in held("china", "AAAA"):
            edge.api("patch", f"/pools/chinaipv6/addresses/{address}", {"mode": mode})
        for address in held("china", "A"):
            edge.api("patch", f"/pools/chinaipv4/addresses/{address}", {"mode": mode})

        def now(client: Client, instead: str = instead) -> str:
            usual = right(countries, client)
            return instead if usual == "china" else usual

        began = time.monotonic()
        edge.stack.wait_until(partial(all_right, edge, sample, now, edge.regional[:1]), "the switchover")
        took.append(time.monotonic() - began)
        if turn < 2:
            edge.stack.wait_until(partial(all_right, edge, clients, now, edge.regional), "the switchover of all names")
    record_property("switchover_milliseconds", [round(seconds * 1000, 1) for seconds in took])
    print("all of 20 answers right, ms after the API answered:", [round(seconds * 1000, 1) for seconds in took])


def test_new_lines_are_taken_over_while_it_answers(edge: Edge, countries: Countries, clients: list[Client]) -> None:
    name = edge.regional[1]
    identifier = name.partition(".")[0]
    stopped, outcomes = threading.Event(), Counter[str]()

    def keep_asking() -> None:
        while not stopped.is_set():
            for client in clients[:20]:
                answer = edge.ask(client, edge.regional[2])
                outcomes[answer[0][:5] if answer else "nothing"] += 1

    asking = threading.Thread(target=edge.call, args=(keep_asking,))
    asking.start()
    try:
        for turn in range(3):
            swapped = turn % 2 == 0
            edge.api("patch", f"/instances/{identifier}", {"policies": lines(swapped)})
            new = [{"name": "us", "lines": ["NA-US"], "pool_sets": sets("spare")}] if turn == 1 else []
            edge.api("patch", f"/instances/{identifier}", {"policies": [*new, *lines(swapped)]})

            def expected(client: Client, turn: int = turn, swapped: bool = swapped) -> str:
                usual = right(countries, client, swapped=swapped)
                american = turn == 1 and countries.of(*client.counted()) == "US"
                return "spare" if american and usual != "office" else usual

            edge.stack.wait_until(lambda: not wrong_answers(edge, clients[:60], expected, [name]), "the new lines")
            wait_for_regions(edge, name)
            assert wrong_answers(edge, clients[:200], expected, [name]) == []
    finally:
        stopped.set()
        asking.join()
    assert set(outcomes) == {"192.0"}


def test_dnsdist_is_started_again_and_knows_its_regions(
    edge: Edge, countries: Countries, clients: list[Client]
) -> None:
    dead = edge.stack.kill("dnsdist")
    edge.call(edge.stack.wait_until_restarted, "dnsdist", dead)
    wait_for_regions(edge, edge.regional[3])
    assert wrong_answers(edge, clients[:100], lambda client: right(countries, client), edge.regional[3:]) == []


def test_a_dnsdist_that_does_not_listen_is_said(edge: Edge) -> None:
    edge.stack.wait_until(lambda: edge.status()["edge"] == {"working": True, "detail": ""}, "all is well")
    edge.stack.kill("dnsdist", signal.SIGSTOP)
    try:
        edge.api("patch", "/pools/spareipv4/addresses/192.0.2.31", {"weight": 2})
        edge.stack.wait_until(lambda: not edge.status()["edge"]["working"], "the failure is said")
        assert "dnsdist at 127.0.0.1" in edge.status()["edge"]["detail"]
        edge.api("patch", "/pools/spareipv4/addresses/192.0.2.31", {"weight": 1})
    finally:
        edge.stack.kill("dnsdist", signal.SIGCONT)
    edge.stack.wait_until(lambda: edge.status()["edge"]["working"], "all is well again")
