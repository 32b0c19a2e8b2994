"""What more instances cost: `make bench ARGS="-k growth"`. 5 addresses an instance, 200 custom lines in all.

Redis is followed by two backends, one on each transport. All sizes run at once, and are measured in turn.
"""

import os
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.bench.growth import TRANSPORTS, Pair, Site
from tests.bench.growth_changes import CHANGE_RATE, change_costs, delays, disturbed
from tests.bench.load import dnsperf, dnsperf_once, percentile
from tests.bench.processes import cpu_seconds, memory_octets
from tests.bench.scenario import make_scenario
from tests.bench.table import conditions, markdown

SIZES: Final = [int(size) for size in os.environ.get("GTM_BENCH_SIZES", "10,1000,10000").split(",")]
ROUNDS: Final = int(os.environ.get("GTM_BENCH_ROUNDS", "5"))
SECONDS: Final = float(os.environ.get("GTM_BENCH_SECONDS", "1"))
QUERIES: Final = 100_000
MEBI: Final = 2**20

pytestmark = pytest.mark.timeout(600 + ROUNDS * 60)


@dataclass(frozen=True)
class Size:
    """queries: random ones. few: those for the first ten names. each: one for every name.

    memory: octets of each backend that has answered nothing yet.
    """

    pair: Pair
    queries: Path
    few: Path
    each: Path
    memory: Mapping[str, int]


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, Size]]:
    folder = tmp_path_factory.mktemp("growth")
    with ExitStack() as stack:
        yield {size: _size(folder / str(size), size, stack) for size in SIZES}


def _size(folder: Path, size: int, stack: ExitStack) -> Size:
    folder.mkdir()
    chosen = random.Random(3)
    scenario = make_scenario(services=size)
    queries = scenario.write_queries(folder / "queries", QUERIES, chosen, subnets=True)
    asked = (chosen.randrange(SIZES[0]) for _ in range(QUERIES))
    few = scenario.write_asked(folder / "few", asked, chosen, subnets=True)
    each = scenario.write_asked(folder / "each", range(size), chosen, subnets=True)
    pair = Pair(folder / "pair", scenario, scenario.write_mmdb(folder / "country.mmdb"), stack)
    memory: dict[str, int] = {name: memory_octets([site.backend.pid]) for name, site in pair.sites.items()}
    return Size(pair, queries, few, each, memory)


@dataclass
class Cost:
    """What the rounds gave: CPU in us a query over all names and over ten, calls of the backend a query, failures."""

    everything: list[float] = field(default_factory=list)
    few: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    failed: int = 0


def test_growth_of_cost_per_query(sizes: Mapping[int, Size]) -> None:
    """CPU of PowerDNS and backend for a query that depends on the client."""
    costs = {(size, name): Cost() for size in SIZES for name in TRANSPORTS}
    for number in range(ROUNDS):
        for size in random.Random(number).sample(SIZES, len(SIZES)):
            for name, site in sizes[size].pair.sites.items():
                _round(sizes[size], site, costs[size, name])
    heads = ["instances", "addresses", "transport", "CPU us/query, all names", "ten of them", "calls/query", "failed"]
    heads += ["MB a backend", "KiB an instance"]
    least = sizes[SIZES[0]].memory
    rows = [
        [
            size,
            5 * size,
            name,
            statistics.median(cost.everything),
            statistics.median(cost.few),
            statistics.median(cost.calls),
            cost.failed,
            sizes[size].memory[name] / MEBI,
            None if size == SIZES[0] else (sizes[size].memory[name] - least[name]) / (size - SIZES[0]) / 1024,
        ]
        for (size, name), cost in costs.items()
    ]
    print(f"\n{conditions()}; median of {ROUNDS} rounds of {SECONDS:g} s\n\n{markdown(heads, rows)}\n")
    assert [key for key, cost in costs.items() if cost.failed] == []


def _round(size: Size, site: Site, cost: Cost) -> None:
    # PowerDNS keeps for a minute that a name is no delegation: the first query of it costs a second call.
    dnsperf_once(site.port, size.each, lambda: None)
    for queries, costs in ((size.queries, cost.everything), (size.few, cost.few)):
        called, used = site.backend.calls(), cpu_seconds(site.processes)
        load = dnsperf(site.port, queries, SECONDS)
        costs.append(1e6 * (cpu_seconds(site.processes) - used) / load.answers)
        cost.calls.append((site.backend.calls() - called) / load.answers)
        cost.failed += load.failed


def test_growth_of_cost_per_change(sizes: Mapping[int, Size]) -> None:
    """A change of one address: its cost, its way to the answers, and what other queries feel of it."""
    heads = ["instances", "transport", "CPU us/change, backend", "and PowerDNS", "to the answer: p50 ms", "p99 ms"]
    heads += ["other queries, p99 ms: at rest", f"at {CHANGE_RATE} changes/s", "in a whole reload", "failed"]
    rows: list[list[object]] = []
    for size in SIZES[1:]:
        pair = sizes[size].pair
        costs, delayed = change_costs(pair), delays(pair)
        for name, site in pair.sites.items():
            found = sorted(delayed[name])
            times = [1e3 * percentile(found, share) for share in (0.5, 0.99)]
            felt: Sequence[object] = (None,) * 4
            if size == SIZES[-1]:
                felt = disturbed(pair, site, sizes[size].queries, ROUNDS)
            rows.append([size, name, *costs[name], *times, *felt])
    print(f"\n{conditions()}\n\n{markdown(heads, rows)}\n")
    assert [row for row in rows if row[-1]] == []


def test_growth_of_cold_start(sizes: Mapping[int, Size]) -> None:
    """Seconds from the start of a backend to its first right answer, by where it finds its snapshot."""
    heads = ("instances", "transport", "from Redis", "from disk, Redis there", "from disk, Redis away")
    rows = []
    for size in SIZES[1:]:
        pair = sizes[size].pair
        last = pair.scenario.services[-1]
        for name, site in pair.sites.items():
            site.backend.stop()
            took = [site.cold_start(last, keep_disk=False)]
            pair.settled()
            site.backend.stop()
            took.append(site.cold_start(last, keep_disk=True))
            pair.settled()
            site.backend.stop()
            pair.redis.kill()
            took.append(site.cold_start(last, keep_disk=True))
            pair.redis.start()
            pair.settled()
            rows.append([size, name, *took])
    print(f"\n{conditions()}\n\n{markdown(heads, rows)}\n")
