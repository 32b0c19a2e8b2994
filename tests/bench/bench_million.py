"""Is any query lost? `make bench ARGS="-k million"`; GTM_BENCH_QUERIES=1000000 makes it a million for each row."""

import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.bench.contenders_ours import Http, Ours, Unix
from tests.bench.load import dnsperf_once
from tests.bench.scenario import make_scenario
from tests.bench.table import conditions, markdown
from tests.support.powerdns import BackendProcess, wait_for

QUERIES: Final = int(os.environ.get("GTM_BENCH_QUERIES", "100000"))
HEADS: Final = ("transport", "meanwhile", "queries", "NOERROR", "SERVFAIL", "other", "no answer")
SLOWEST: Final = 500
"""Queries a second that any machine manages, for the time limit."""


def _nothing(_backend: BackendProcess) -> None:
    pass


def _reload(backend: BackendProcess) -> None:
    backend.signal(signal.SIGHUP)


def _restart(backend: BackendProcess) -> None:
    backend.stop()
    backend.start()


MEANWHILE: Final[dict[str, Callable[[BackendProcess], None]]] = {
    "nothing": _nothing,
    "reload (SIGHUP)": _reload,
    "restart": _restart,
}


@pytest.mark.timeout(2 * 3 * (QUERIES / SLOWEST + 60))
def test_million_queries(tmp_path: Path) -> None:
    scenario = make_scenario()
    database = scenario.write_mmdb(tmp_path / "country.mmdb")
    queries = scenario.write_queries(tmp_path / "queries", QUERIES, random.Random(6), subnets=True)
    rows: list[list[str | int]] = []
    kinds: dict[str, type[Ours]] = {"unix": Unix, "http": Http}
    for transport, kind in kinds.items():
        for name, act in MEANWHILE.items():
            folder = tmp_path / f"{transport}-{len(rows)}"
            folder.mkdir()
            with ExitStack() as stack:
                ours = kind(folder, scenario, database, stack)
                load = dnsperf_once(ours.port, queries, lambda ours=ours, act=act: _at_half(ours, act))  # type: ignore[misc]
            codes = dict(load.codes)
            good, failed = codes.pop("NOERROR", 0), codes.pop("SERVFAIL", 0)
            other = ", ".join(f"{count:,} {code}" for code, count in codes.items()) or "0"
            rows.append([transport, name, QUERIES, good, failed, other, load.lost])
            assert good + failed + sum(codes.values()) + load.lost == QUERIES
    print(f"\n{conditions()}\n\n{markdown(HEADS, rows)}\n")
    assert [row for row in rows if row[1] != "restart" and row[3] != QUERIES] == []


def _at_half(ours: Ours, act: Callable[[BackendProcess], None]) -> None:
    backend = ours.system.backend
    before = backend.calls()
    wait_for(lambda: backend.calls() - before > QUERIES / 2, "half of the queries", QUERIES / SLOWEST)
    act(backend)
