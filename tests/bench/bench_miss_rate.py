"""The edge where its cache is cold at first, and a switchover every 10 s empties what it holds of a name.

`make bench ARGS="-k comparison"` runs this too. In the TTL of 60 s each answer has to be fetched once; here, once in
GTM_BENCH_MISS_SECONDS.
"""

import os
import random
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.bench.changing import Changing
from tests.bench.contenders_edge import Edge
from tests.bench.judge import History, Judge
from tests.bench.load import Sampler, dnsperf
from tests.bench.processes import cpu_seconds
from tests.bench.scenario import TTL, make_scenario
from tests.bench.table import conditions, markdown

SECONDS: Final = float(os.environ.get("GTM_BENCH_MISS_SECONDS", "20"))
SWITCHOVER_SECONDS: Final = 10.0
QUERIES: Final = 500_000
CHECKED_A_SECOND: Final = 300.0
HEADS: Final = ("seconds", "switchovers", "CPU us/query", "misses %", "q/s", "wrong", "failed")


@pytest.mark.timeout(SECONDS + 180)
def test_comparison_edge_miss_rate(tmp_path: Path) -> None:
    scenario = make_scenario()
    database = scenario.write_mmdb(tmp_path / "country.mmdb")
    queries = scenario.write_queries(tmp_path / "queries", QUERIES, random.Random(8), subnets=True)
    folder = tmp_path / "edge"
    folder.mkdir()
    history = History()
    with ExitStack() as stack:
        edge = Edge(folder, scenario, database, stack)
        calls, before = edge.calls(), cpu_seconds(edge.processes())
        sampler = Sampler(scenario, edge.port, CHECKED_A_SECOND, history.recent, subnets=True)
        with Changing(edge, history, deque(), SWITCHOVER_SECONDS) as changing, sampler:
            load = dnsperf(edge.port, queries, SECONDS)
        used, called = cpu_seconds(edge.processes()) - before, edge.calls()
    assert calls is not None and called is not None
    judge = Judge(scenario, edge.semantics, edge.settle)
    wrong = [reason for sample in sampler.samples if (reason := judge.wrong(sample, history))]
    answers = load.answers + len(sampler.samples)
    row = [
        SECONDS,
        len(changing.seen),
        1e6 * used / answers,
        100 * (called - calls) / answers,
        round(load.answers / load.seconds),
        f"{len(wrong)} of {len(sampler.samples):,}",
        load.failed,
    ]
    print(f"\n{conditions()}; pdns-gtm, edge; TTL {TTL} s\n\n{markdown(HEADS, [row])}\n")
    assert wrong == []
    assert load.failed == 0
