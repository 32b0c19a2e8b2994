"""A change costs in proportion to the change: as much among a thousand of everything as among ten."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from statistics import median

import pytest

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import TargetState
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Position, build
from tests.support.store import instance, pool, put

FEW, MANY = 10, 2000
LIMIT = 4
"""Times that a change may cost among 200 times as many documents: maps of more levels, colder caches."""
SAMPLES = 60


def host(number: int, member: int = 1) -> str:
    return f"10.{number >> 8 & 255}.{number & 255}.{member}"


def numbered(number: int) -> Pool:
    labels = {"site": f"s{number}", "all": "1"}
    addresses = tuple(Address(address=host(number, member), labels=labels) for member in (1, 2, 3))
    return Pool(id=f"p{number}", type="ipv4", health_checks=("web",), addresses=addresses)


@cache
def world(count: int) -> Serving:
    """Pools with one check in common, an instance and an override for each, and every target up."""
    up = TargetState(health="up", since=1.0)
    documents = {
        kinds.HEALTH_CHECKS: {"web": HealthCheck(id="web", protocol="http")},
        kinds.POOLS: {f"p{n}": numbered(n) for n in range(count)},
        kinds.INSTANCES: {f"gtm{n:08}": instance(f"gtm{n:08}", f"p{n}") for n in range(count)},
        kinds.TARGET_STATES: {f"web|{host(n, m)}||": up for n in range(count) for m in (1, 2, 3)},
        kinds.OVERRIDES: {
            f"o{n}": Override(id=f"o{n}", selector=Selector(address=host(n, 3)), effect="offline") for n in range(count)
        },
    }
    return prepare(build(Position("store", "history", 1), 1, documents, {}, {}))


def state(number: int) -> Change:
    health = TargetState(health="down" if number % 2 else "up", since=float(number))
    return Change(kinds.TARGET_STATES, f"web|{host(number % FEW)}||", health)


def new_pool(number: int) -> Change:
    return put(replace(numbered(number % FEW), id=f"new{number}"))


def label_override(number: int) -> Change:
    selector = Selector(label=f"site=s{number % FEW}")
    return put(Override(id="by-label", selector=selector, effect="failed", reason=str(number)))


def pin(number: int) -> Change:
    selector = Selector(instance=f"gtm{number % FEW:08}", policy="world")
    return put(Override(id="pinned", selector=selector, effect="pin", set="default", reason=str(number)))


def edited_instance(number: int) -> Change:
    return put(instance(f"gtm{number % FEW:08}", f"p{number % FEW}", ttl=number + 1))


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def seconds_each(serving: Serving, change: Callable[[int], Change]) -> float:
    """Median of the processor time of patching with one change."""
    spent = []
    for number in range(SAMPLES):
        listed: Sequence[Change] = [change(number)]
        began = time.thread_time()
        position = replace(serving.snapshot.position, revision=serving.snapshot.revision + 1)
        serving = serving.changed(serving.snapshot.changed(listed, position), listed)
        spent.append(time.thread_time() - began)
    return median(spent)


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("change", [state, new_pool, label_override, pin, edited_instance])
def test_a_change_costs_the_same_among_few_and_among_many(change: Callable[[int], Change]) -> None:
    few = min(seconds_each(world(FEW), change) for _ in range(3))
    many = min(seconds_each(world(MANY), change) for _ in range(3))
    assert many < few * LIMIT, f"{many * 1e6:.0f} us among {MANY}, {few * 1e6:.0f} us among {FEW}"


def test_a_pool_that_is_new_costs_no_copy_of_its_neighbours() -> None:
    before = world(MANY).snapshot
    after = before.changed([new_pool(1)])
    assert after.pools_using_check("web") == before.pools_using_check("web") | {"new1"}
    assert pool("p1").id in before.pools_using_check("web")
