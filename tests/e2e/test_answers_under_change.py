"""Load while addresses go down and up: every answer is judged by what the test itself did to the origins."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import pytest

from tests.support.figure import MAINLAND, POOLS, WORLD, Origins, load_figure
from tests.support.ports import free_port
from tests.support.stack import Stack

SECONDS = float(os.environ.get("GTM_TEST_LOAD_SECONDS", "15"))
CLIENTS = 4


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(free_port()) as running:
        yield running


@pytest.mark.timeout(SECONDS + 285)
def test_no_servfail_and_no_wrong_answer(tmp_path: Path, origins: Origins) -> None:
    with Stack(tmp_path, {"GTM_ALLOW_PRIVATE_TARGETS": "1"}) as stack:
        cname = load_figure(stack.api, origins.port)["cname"]
        wanted = sorted(POOLS["pool-a"])
        stack.wait_until(lambda: stack.dns.a(cname, MAINLAND) == wanted, "the first right answer")
        oracle = origins.oracle()
        stop = threading.Event()
        seen: Counter[str] = Counter()
        wrong: list[str] = []

        def load(number: int) -> None:
            rng = random.Random(number)
            while not stop.is_set():
                client = rng.choice((MAINLAND, WORLD))
                name = "".join(rng.choice((c, c.upper())) for c in cname)
                sent = time.monotonic()
                try:
                    kind = rng.random()
                    if kind < 0.1:
                        reply = stack.dns.ask(f"nothing{rng.randrange(9)}.{cname}", "A", client)
                        seen["nxdomain"] += 1
                        if reply.code != "NXDOMAIN":
                            wrong.append(f"{reply.code} for a name that does not exist")
                        continue
                    if kind < 0.2:
                        reply = stack.dns.ask(name, "AAAA", client)
                        seen["nodata"] += 1
                        if reply.code != "NOERROR" or reply.types():
                            wrong.append(f"{reply.code} {reply.types()} for a type that does not exist")
                        continue
                    reply = stack.dns.ask(name, "A", client, tcp=kind < 0.22)
                except (dns.exception.DNSException, OSError) as error:
                    wrong.append(f"no answer: {error!r}")
                    continue
                seen["answered"] += 1
                if reply.code != "NOERROR":
                    wrong.append(f"{reply.code} at {sent}")
                elif reason := oracle.wrong(client, reply.values("A"), sent, time.monotonic()):
                    wrong.append(f"{client}: {reason}")

        threads = [threading.Thread(target=load, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            _shake(origins, time.monotonic() + SECONDS)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"\n{dict(seen)} in {SECONDS:g} s, wrong or failed: {len(wrong)}")
        assert not wrong, wrong[:10]
        assert seen["answered"] > 20 * SECONDS
        assert seen["nxdomain"] and seen["nodata"]


def _shake(origins: Origins, until: float) -> None:
    """Take addresses down and up, the whole of a pool now and then; every origin stays as it is for a while."""
    rng = random.Random(1)
    addresses = [address for pool in POOLS.values() for address in pool]
    down: set[str] = set()
    while time.monotonic() < until:
        address = rng.choice(addresses)
        if address in down:
            origins.start(address)
            down.discard(address)
        else:
            origins.kill(address)
            down.add(address)
        time.sleep(rng.uniform(0.2, 3.0))
