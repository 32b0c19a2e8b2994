"""What a change of one address costs the backends that follow it, and how long it takes to their answers."""

import os
import random
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import dns.message
import dns.rdatatype

from tests.bench.growth import Pair, Site
from tests.bench.load import Asker, dnsperf
from tests.bench.processes import cpu_seconds
from tests.bench.scenario import Scenario
from tests.support.powerdns import wait_for

CHANGES: Final = int(os.environ.get("GTM_BENCH_CHANGES", "200"))
RATE: Final = 1000
CHANGE_RATE: Final = 100
WARM_SECONDS: Final = 1.0
DISTURBED_SECONDS: Final = 3.0
"""A backend notices within a second that it has to load everything anew."""


def change_costs(pair: Pair) -> dict[str, tuple[float, float]]:
    """CPU in us that one change of an address costs a backend, and its PowerDNS; what they use at rest is taken off."""

    def used(act: Callable[[], None]) -> dict[int, float]:
        pids = [pid for site in pair.sites.values() for pid in site.processes]
        before = {pid: cpu_seconds([pid]) for pid in pids}
        act()
        return {pid: cpu_seconds([pid]) - before[pid] for pid in pids}

    began = time.monotonic()

    def change() -> None:
        for address, available in _switches(pair.scenario, CHANGES):
            pair.switch(address, available)
            time.sleep(1 / CHANGE_RATE)
        # Purges come again 200 ms and some seconds after a change.
        pair.settled()
        time.sleep(1)

    changed = used(change)
    seconds = time.monotonic() - began
    rested = used(lambda: time.sleep(seconds))
    return {
        name: (
            1e6 * (changed[site.backend.pid] - rested[site.backend.pid]) / CHANGES,
            1e6 * (changed[site.powerdns.pid] - rested[site.powerdns.pid]) / CHANGES,
        )
        for name, site in pair.sites.items()
    }


def _switches(scenario: Scenario, count: int) -> Iterator[tuple[str, bool]]:
    """Addresses that go out and come back."""
    chosen = random.Random(4)
    for number in range(count):
        if number % 2 == 0:
            address = chosen.choice(scenario.services).world[0]
        yield address, number % 2 == 1


def delays(pair: Pair) -> dict[str, list[float]]:
    """Seconds from the beginning of a change to the first right answer, at each backend."""
    askers = {name: Asker(pair.scenario, site.port) for name, site in pair.sites.items()}
    world = next(number for number, client in enumerate(pair.scenario.clients) if not client.in_china)
    found: dict[str, list[float]] = {name: [] for name in askers}
    chosen = random.Random(5)
    for number in range(CHANGES):
        if number % 2 == 0:
            service = chosen.randrange(len(pair.scenario.services))
        address = pair.scenario.services[service].world[0]
        began = time.monotonic()
        pair.switch(address, number % 2 == 1)
        waiting = set(askers)
        while waiting:
            for name in sorted(waiting):
                sample = askers[name].ask(service, world)
                if sample.reply and (address in _addresses(sample.reply)) == (number % 2 == 1):
                    found[name].append(sample.received - began)
                    waiting.remove(name)
            assert time.monotonic() < began + 10, f"{address} not followed by {waiting}"
        time.sleep(chosen.uniform(0.005, 0.02))
    for asker in askers.values():
        asker.close()
    return found


def _addresses(reply: bytes) -> set[str]:
    answer = dns.message.from_wire(reply).answer
    return {record.to_text() for found in answer if found.rdtype == dns.rdatatype.A for record in found}


def disturbed(pair: Pair, site: Site, queries: Path, rounds: int) -> Sequence[object]:
    """p99 in ms of queries at 1,000 a second: at rest, with changes, with whole reloads; median of the rounds.

    And how many of them failed. The other backend is stopped meanwhile.
    """
    found: defaultdict[int, list[float]] = defaultdict(list)
    failed = 0
    with pair.alone(site):
        # After a restart, which it may have had while another was alone, each connection of PowerDNS loses a query.
        wait_for(lambda: not dnsperf(site.port, queries, WARM_SECONDS, RATE).failed, "answers by every connection", 60)
        for _ in range(rounds):
            disturbances: Sequence[AbstractContextManager[None]]
            disturbances = (nullcontext(), _changing(pair, site), _reloading(pair, site))
            for number, disturbing in enumerate(disturbances):
                with disturbing:
                    load = dnsperf(site.port, queries, DISTURBED_SECONDS, RATE)
                failed += load.failed
                found[number].append(1e3 * load.percentile(0.99))
    return [*(statistics.median(found[number]) for number in range(3)), failed]


@contextmanager
def _changing(pair: Pair, site: Site) -> Iterator[None]:
    ended = threading.Event()

    def change() -> None:
        due = time.monotonic()
        for address, available in _switches(pair.scenario, 1_000_000):
            pair.switch(address, available)
            due += 1 / CHANGE_RATE
            if ended.wait(max(0.0, due - time.monotonic())) and available:
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        pair.followed(site)


@contextmanager
def _reloading(pair: Pair, site: Site) -> Iterator[None]:
    before = site.reloads()
    pair.break_history()
    yield
    wait_for(lambda: site.reloads() > before, "the backend has loaded everything anew", 120)
