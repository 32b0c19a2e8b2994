"""The edge: dnsdist in front of the whole system, asked by clients of every place in a network of the test's own."""

import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import pytest
import requests

from pdns_gtm_backend.dns.edge_file import packed, packed_regions
from pdns_gtm_backend.domain.edge import NO_REGIONS
from pdns_gtm_backend.operations.edge_conf import REGIONS
from tests.support.counted_dnsdist import CountedDnsdist
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
        self.network, self.call, self.stack = network, network.call, stack
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


def known_names(edge: Edge) -> int:
    """How many names the file says that may be answered by region."""
    path = edge.stack.layout.edge / REGIONS
    count: int = struct.unpack_from("<16I", path.read_bytes())[15] if path.exists() else 0
    return count


@pytest.fixture
def counted(edge: Edge, tmp_path: Path) -> Iterator[CountedDnsdist]:
    """Its threads start with nothing kept."""
    edge.stack.wait_until(lambda: known_names(edge) == NAMES, "all names in the file of regions")
    made = CountedDnsdist(edge.network, edge.stack.layout.edge, edge.stack.dns_port, tmp_path)
    try:
        edge.call(made.wait_until_ready, edge.weighted)
        yield made
    finally:
        made.stop()


def query(name: str, rrtype: str = "A", subnet: str = "", **options: Any) -> bytes:
    """A query's octets."""
    if subnet:
        network = ip_network(subnet, strict=False)
        options["options"] = [dns.edns.ECSOption(str(network.network_address), network.prefixlen)]
        options.setdefault("use_edns", 0)
    return dns.message.make_query(name, rrtype, **options).to_wire()


def question(message: bytes) -> bytes:
    """The question's octets, with its letters as they are."""
    return message[12 : message.index(b"\0", 12) + 5]


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("127.0.0.1", {}),
    ("127.0.0.1", {"rrtype": "AAAA"}),
    ("127.0.0.1", {"rrtype": "TXT"}),
    ("127.0.0.1", {"use_edns": 0, "payload": 512}),
    ("127.0.0.1", {"use_edns": 0, "payload": 1232}),
    ("127.0.0.1", {"use_edns": 0, "payload": 1232, "want_dnssec": True}),
    ("127.0.0.1", {"flags": dns.flags.CD}),
    ("9.9.9.9", {"use_edns": 0, "options": [dns.edns.GenericOption(3, b"")]}),
    ("1.2.4.1", {}),
    ("2001:250::1", {}),
    ("127.0.0.1", {"subnet": "1.2.4.0/24"}),
    ("127.0.0.1", {"subnet": "1.2.4.0/24", "rrtype": "AAAA", "want_dnssec": True}),
    ("127.0.0.1", {"subnet": "1.2.4.9/32"}),
    ("127.0.0.1", {"subnet": "9.9.9.128/25"}),
    ("127.0.0.1", {"subnet": "2001:250:1:200::/56"}),
    ("::1", {"subnet": "2001:250:1:234::/64"}),
    ("::1", {"subnet": "2001:250:1:234::5/128"}),
]


@pytest.mark.parametrize("variant", range(len(VARIANTS)))
def test_what_is_given_again_is_what_was_given(edge: Edge, counted: CountedDnsdist, variant: int) -> None:
    source, options = VARIANTS[variant]
    names = [edge.regional[0], edge.regional[0].upper(), edge.regional[0].title(), edge.regional[1]]
    queries = [query(name, **options) for name in names]

    def replies() -> list[tuple[bytes, bytes]]:
        first = [counted.ask(one, source) for one in queries]
        return list(zip(first, [given_again(one) for one in queries], strict=True))

    def given_again(one: bytes) -> bytes:
        return counted.ask_until_counted("self-answered", lambda: counted.ask(os.urandom(2) + one[2:], source))

    for asked, (first, again) in zip(queries, edge.call(replies), strict=True):
        assert again[2:] == first[2:]
        assert question(again) == question(asked)
        assert first[:2] == asked[:2]
        told = subnets(dns.message.from_wire(again))
        assert told == [str(ip_network(options["subnet"]))] if "subnet" in options else told == []


def test_clients_of_a_region_are_given_the_same_and_told_their_own(edge: Edge, counted: CountedDnsdist) -> None:
    own = [f"1.2.{number}.0/24" for number in range(4, 30)]
    others = [f"9.9.{number}.0/24" for number in range(4, 30)]

    def ask(subnet: str) -> dns.message.Message:
        return dns.message.from_wire(counted.ask(query(edge.regional[0], subnet=subnet)))

    def ask_all() -> list[tuple[str, str, dns.message.Message]]:
        counted.ask_until_counted("self-answered", lambda: counted.ask(query(edge.regional[0], subnet=own[0])))
        asked = [
            (pool, subnet) for pair in zip(own, others, strict=True) for pool, subnet in zip(POOLS, pair, strict=False)
        ]
        return [(pool, subnet, ask(subnet)) for pool, subnet in asked * 5]

    before = edge.call(counted.count, "self-answered")
    for pool, subnet, reply in edge.call(ask_all):
        assert addresses(reply) == held(pool, "A")
        assert subnets(reply) == [subnet]
    assert edge.call(counted.count, "self-answered") > before + len(own)


def test_some_queries_are_never_answered_from_what_a_thread_remembers(edge: Edge, counted: CountedDnsdist) -> None:
    regional = edge.regional[0]
    asked = [
        ("127.0.0.1", query(edge.weighted), False),
        ("127.0.0.1", query(edge.weighted, subnet="1.2.4.0/24"), False),
        ("127.0.0.1", query(regional, "ANY"), False),
        ("127.0.0.1", query(regional), True),
        ("127.0.0.1", query(regional, subnet="1.2.4.0/24"), True),
        ("127.0.0.1", query(regional, subnet="1.2.0.0/16"), False),
        ("127.0.0.1", query(regional, subnet="2001:250::/48"), False),
        ("127.0.0.1", query(regional, subnet="8.8.8.20/32"), False),
        ("8.8.8.20", query(regional), False),
        ("127.0.0.1", query("nothing." + regional), False),
    ]

    def ask_all() -> int:
        before = counted.count("self-answered")
        for source, octets, tcp in asked * 40:
            counted.ask(octets, source, tcp=tcp)
        return counted.count("self-answered") - before

    assert edge.call(ask_all) == 0
    assert edge.call(counted.count, "cache-hits") > len(asked)


def test_no_tcp_connection_is_dropped(edge: Edge, counted: CountedDnsdist) -> None:
    octets = query(edge.regional[0])

    def ask_often() -> set[bytes]:
        return {counted.ask(octets, tcp=True)[2:] for _ in range(400)}

    assert len(edge.call(ask_often)) == 1


def test_it_is_remembered_for_a_second(edge: Edge, counted: CountedDnsdist) -> None:
    for octets in (query(edge.regional[0]), query(edge.regional[0], subnet="1.2.4.0/24")):
        ask = partial(counted.ask, octets)
        for name in ("self-answered", "cache-hits", "self-answered", "cache-hits"):
            edge.call(counted.ask_until_counted, name, ask)


def test_a_name_that_is_no_more_regional_is_not_remembered(edge: Edge, counted: CountedDnsdist) -> None:
    ask = partial(counted.ask, query(edge.regional[0], subnet="1.2.4.0/24"))

    def asked_after_a_load() -> int:
        counted.ask_until_counted("self-answered", ask)
        counted.control.send("load")
        before = counted.count("self-answered")
        for _ in range(5):
            ask()
        return counted.count("self-answered") - before

    counted.regions.write_bytes(packed(packed_regions(NO_REGIONS), []))
    assert edge.call(asked_after_a_load) == 0


def test_nothing_remembered_outlives_a_purge(edge: Edge, counted: CountedDnsdist) -> None:
    """Asked by several threads all the time; each answer is judged by what was true when its query was sent."""
    name = edge.regional[0]
    asked = [("127.0.0.1", query(name)), ("127.0.0.1", query(name, subnet="9.9.9.0/24")), ("9.9.9.9", query(name))]
    stopped, purged, late, answers = threading.Event(), [0], [], Counter[int]()
    right_at = [held("world", "A"), held("spare", "A")]

    def keep_asking(number: int) -> None:
        source, octets = asked[number % len(asked)]
        while not stopped.is_set():
            turn = purged[0]
            found = addresses(dns.message.from_wire(counted.ask(octets, source)))
            answers[turn] += 1
            if found != right_at[turn % 2] and purged[0] == turn and not changing.is_set():
                late.append((turn, found))

    def everywhere(turn: int) -> bool:
        return all(
            edge.call(edge.ask, Client(source), name) == right_at[turn % 2] for source in ("127.0.0.1", "9.9.9.9")
        )

    changing = threading.Event()
    threads = [threading.Thread(target=edge.call, args=(keep_asking, number)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 5):
            edge.stack.wait_until(lambda turn=turn: answers[turn - 1] > 500, "queries")
            mode = "offline" if turn % 2 else "auto"
            edge.api("patch", f"/pools/worldipv4/addresses/{POOLS['world'][0]}", {"mode": mode})
            edge.stack.wait_until(partial(everywhere, turn), "the change")
            changing.set()
            edge.call(counted.control.send, *(("name", name) if turn < 3 else ("all",)))
            purged[0] = turn
            changing.clear()
        edge.stack.wait_until(lambda: answers[4] > 500, "queries")
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert late == []
