"""What PowerDNS keeps of answers: never one client's for another, and nothing for long."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice

import pytest

from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_system import DnsSystem
from tests.support.documents import instance, policy, pool, rrset
from tests.support.powerdns import wait_for

CHINA, AMERICA = "1.2.4.0/24", "8.8.8.0/24"
NAME = "gtm00000001.gtm.example"
KEPT_SECONDS = 5.0
"""query-cache-ttl and negquery-cache-ttl of pdns-conf/."""
SOON_SECONDS = 25.0
"""Enough on a busy machine for what PowerDNS keeps for 5 to 10 s; its own default would be 60 s."""

POOL_A = pool("a", "ipv4", "192.0.2.1", "192.0.2.2")
BY_PLACE = instance("gtm00000001", policy("china", "AS-CN", "a"), policy("world", "default", "b"))
DOCUMENTS = (
    Zone(name="gtm.example", kind="access", number=1),
    Zone(name="shop.example", number=2),
    POOL_A,
    pool("b", "ipv4", "192.0.2.101"),
    BY_PLACE,
    rrset("shop.example", "www.shop.example", "A", "192.0.2.80"),
)


@pytest.fixture(autouse=True, scope="module")
def _documents(system: DnsSystem) -> None:
    system.write(*DOCUMENTS)
    system.forget()


def calls_for(system: DnsSystem, name: str, rrtype: str, subnets: list[str | None]) -> int:
    """Lookups that the queries for a name cost, all asked after a first one and within what PowerDNS keeps."""
    for _ in range(5):
        system.client.ask(name, rrtype, subnets[0])
        began, before = time.monotonic(), system.backend.calls()
        for subnet in subnets:
            system.client.ask(name, rrtype, subnet)
        cost = system.backend.calls() - before
        if time.monotonic() - began < KEPT_SECONDS - 1:
            return cost
    raise AssertionError("the machine is too slow to ask in time")


@pytest.mark.parametrize(
    "subnets", [[CHINA], [None], ["2400:3200::/48"], [CHINA, AMERICA, None]], ids=["ipv4", "none", "ipv6", "mixed"]
)
def test_a_scoped_answer_costs_one_call(system: DnsSystem, subnets: list[str | None]) -> None:
    assert calls_for(system, NAME, "A", list(islice(cycle(subnets), 60))) == 60


@pytest.mark.parametrize(
    ("name", "rrtype"),
    [("gtm.example", "SOA"), ("www.shop.example", "A"), ("gtm00000099.gtm.example", "A"), ("elsewhere.example", "A")],
)
def test_what_is_the_same_for_all_is_kept(system: DnsSystem, name: str, rrtype: str) -> None:
    assert calls_for(system, name, rrtype, list(islice(cycle([CHINA, AMERICA, None]), 30))) == 0


def test_a_change_of_a_pool_is_answered_at_once(system: DnsSystem) -> None:
    assert system.client.a(NAME, CHINA) == ["192.0.2.1", "192.0.2.2"]
    system.write(replace(POOL_A, addresses=POOL_A.addresses[1:]))
    assert system.client.a(NAME, CHINA) == ["192.0.2.2"]
    system.write(POOL_A)
    assert system.client.a(NAME, CHINA) == ["192.0.2.1", "192.0.2.2"]


def test_a_disabled_instance_comes_back_soon(system: DnsSystem) -> None:
    off = instance("gtm00000003", policy("world", "default", "b"), enabled=False)
    system.write(off)
    reply = system.client.ask("gtm00000003.gtm.example")
    assert (reply.code, reply.types()) == ("NOERROR", [])
    system.write(replace(off, enabled=True))
    wait_for(lambda: system.client.a("gtm00000003.gtm.example"), "the answer of an enabled instance", SOON_SECONDS)


def test_a_new_name_is_answered_soon_although_it_did_not_exist(system: DnsSystem) -> None:
    name = "gtm00000004.gtm.example"
    assert system.client.ask(name).code == "NXDOMAIN"
    system.write(instance("gtm00000004", policy("world", "default", "b")))
    wait_for(lambda: system.client.a(name) == ["192.0.2.101"], "the answer of a new instance", SOON_SECONDS)


def test_a_new_zone_is_known_soon(system: DnsSystem) -> None:
    assert system.client.ask("new.example", "SOA").code == "REFUSED"
    system.write(Zone(name="new.example", number=7))
    wait_for(lambda: system.client.ask("new.example", "SOA").types() == ["SOA"], "the new zone", SOON_SECONDS)


def test_clients_never_get_each_others_answers(system: DnsSystem) -> None:
    expected = {
        CHINA: {"192.0.2.1", "192.0.2.2"},
        AMERICA: {"192.0.2.101"},
        "2400:3200::/48": {"192.0.2.1", "192.0.2.2"},
        "2001:4860:4860::/48": {"192.0.2.101"},
        None: {"192.0.2.101"},
    }

    def asked(turn: int) -> str:
        subnet = list(expected)[turn % len(expected)]
        if turn % 7 == 3:
            return system.client.ask(NAME, "AAAA", subnet).code
        reply = system.client.ask(NAME, "A", subnet)
        right = set(reply.values("A")) == expected[subnet] and reply.scope in (None, 24, 56)
        return reply.code if right else f"{subnet} got {reply.values('A')}"

    with ThreadPoolExecutor(8) as threads:
        outcomes = Counter(threads.map(asked, range(3000)))
    assert outcomes == {"NOERROR": 3000}
