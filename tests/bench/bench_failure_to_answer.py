"""How long until the answers follow: from the kill (or start) of an origin to the first right DNS answer.

Interval 1 s, fall 1, rise 1; polled every 10 ms through PowerDNS. The study of peers measured PowerGSLB 2.4.0 in the
same way: out 0.30 s median and 0.79 s worst, back 0.51 s and 1.05 s.
"""

import json
import os
import random
import statistics
import time
from pathlib import Path

import pytest

from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.connection import connect
from tests.support.figure import MAINLAND, POOLS, Origins, load_figure
from tests.support.ports import free_port
from tests.support.stack import Stack

ROUNDS = int(os.environ.get("GTM_BENCH_ROUNDS", "20"))
A1, A2 = POOLS["pool-a"]


@pytest.mark.timeout(ROUNDS * 10 + 120)
def test_failure_to_answer(tmp_path: Path) -> None:
    with Origins(free_port()) as origins, Stack(tmp_path, {"GTM_ALLOW_PRIVATE_TARGETS": "1"}) as stack:
        cname = load_figure(stack.api, origins.port)["cname"]
        store = connect(f"unix://{stack.layout.var}/redis.sock")
        rng = random.Random(7)

        def answered(wanted: list[str]) -> tuple[float, float]:
            """When the right answer came: by the monotonic clock and by the wall clock."""
            deadline = time.monotonic() + 10
            while stack.dns.a(cname, MAINLAND) != wanted:
                assert time.monotonic() < deadline, f"no {wanted} within 10 s"
                time.sleep(0.01)
            return time.monotonic(), time.time()

        def verdict_since() -> float:
            text = store.hget(keys.verdicts("local"), target_key("web", A1, None, None))
            return float(json.loads(str(text))["since"])

        seconds: dict[str, list[float]] = {"out": [], "back": [], "verdict to answer": []}
        answered([A1, A2])
        for _ in range(ROUNDS):
            for name, change, wanted in (("out", origins.kill, [A2]), ("back", origins.start, [A1, A2])):
                time.sleep(rng.uniform(1.0, 2.0))
                began = change(A1)
                right, wall = answered(wanted)
                seconds[name].append(right - began)
                seconds["verdict to answer"].append(wall - verdict_since())
        print(f"\n{'':20} {'median s':>10} {'worst s':>10} {'rounds':>8}")
        for name, found in seconds.items():
            print(f"{name:20} {statistics.median(found):10.3f} {max(found):10.3f} {len(found):8}")
        assert len(seconds["verdict to answer"]) == 2 * ROUNDS
