"""The scheduler's threads, with probes that the test controls."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from healthd.probes.result import Result
from healthd.scheduler import Scheduler, Workers
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.target import Target

GOOD = Result(True, None, "connected", "connect", 0.0, {})
INTERNAL = Result(False, "internal", "no descriptors", "connect", 0.0, {})


def target(number: int, protocol: str = "tcp", interval: float = 1.0, timeout: float = 0.1) -> Target:
    template = HealthCheck(id=protocol, protocol=protocol, port=80, interval=interval, timeout=timeout)  # type: ignore[arg-type]
    return Target(template, f"192.0.2.{number}", "ipv4")


class Results:
    """Collects what the scheduler hands over; asks for the next probe after `wait` seconds."""

    def __init__(self, wait: float = 1000.0) -> None:
        self.wait = wait
        self.seen: list[tuple[Target, Result, float]] = []
        self._changed = threading.Condition()

    def __call__(self, probed: Target, result: Result, started: float) -> float:
        with self._changed:
            self.seen.append((probed, result, started))
            self._changed.notify_all()
        return self.wait

    def until(self, condition: Callable[[], bool], timeout: float = 5.0) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def addresses(self) -> list[str]:
        return [probed.address for probed, _, _ in self.seen]


@contextmanager
def running(scheduler: Scheduler) -> Iterator[Scheduler]:
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop(1.0)


def test_every_target_is_probed_and_again_when_asked_for() -> None:
    results = Results(wait=0.05)
    before = time.monotonic()
    with running(Scheduler({"tcp": lambda _: GOOD}, {}, results)) as scheduler:
        scheduler.update([target(n) for n in range(20)])
        assert results.until(lambda: all(results.addresses().count(f"192.0.2.{n}") >= 3 for n in range(20)))
        assert scheduler.lag().samples >= 60
    assert all(before <= started <= time.monotonic() for _, _, started in results.seen)
    starts = [started for probed, _, started in results.seen if probed.address == "192.0.2.1"]
    assert all(after - first >= 0.04 for first, after in itertools.pairwise(starts))


def test_slow_targets_delay_nobody_while_a_worker_is_free() -> None:
    release = threading.Event()

    def probe(probed: Target) -> Result:
        if probed.address in ("192.0.2.0", "192.0.2.1", "192.0.2.2"):
            release.wait(10)
        return GOOD

    results = Results()
    with running(Scheduler({"tcp": probe}, {}, results, workers=4)) as scheduler:
        scheduler.update([target(n) for n in range(30)])
        assert results.until(lambda: len(results.seen) == 27)
        assert scheduler.lag().p99 < 0.5
        release.set()
        assert results.until(lambda: len(results.seen) == 30)


def test_no_more_probes_at_once_than_workers() -> None:
    lock = threading.Lock()
    under_way, most = 0, 0

    def probe(_: Target) -> Result:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
        return GOOD

    results = Results()
    with running(Scheduler({"tcp": probe}, {}, results, workers=3)) as scheduler:
        scheduler.update([target(n) for n in range(40)])
        assert results.until(lambda: len(results.seen) == 40)
    assert 1 < most <= 3


def test_the_late_result_of_a_removed_target_is_dropped() -> None:
    entered, release = threading.Event(), threading.Event()

    def probe(probed: Target) -> Result:
        if probed.address == "192.0.2.1":
            entered.set()
            release.wait(10)
        return GOOD

    results = Results()
    with running(Scheduler({"tcp": probe}, {}, results)) as scheduler:
        scheduler.update([target(1)])
        assert entered.wait(5)
        scheduler.update([target(2)])
        release.set()
        assert results.until(lambda: "192.0.2.2" in results.addresses())
        assert scheduler.stop(5.0)
    assert results.addresses() == ["192.0.2.2"]


def test_an_engine_takes_its_targets_without_a_worker() -> None:
    submitted: list[tuple[Target, Callable[[Result], None]]] = []
    taken = threading.Event()

    def submit(probed: Target, done: Callable[[Result], None]) -> None:
        submitted.append((probed, done))
        taken.set()

    results = Results()
    with running(Scheduler({}, {"ping": submit}, results, workers=1)) as scheduler:
        scheduler.update([target(1, "ping")])
        assert taken.wait(5)
        submitted[0][1](GOOD)
        assert results.until(lambda: results.addresses() == ["192.0.2.1"])
        assert results.seen[0][1] is GOOD


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_hanging_probe_makes_its_target_overdue() -> None:
    clock, entered, release = Clock(), threading.Event(), threading.Event()

    def probe(_: Target) -> Result:
        entered.set()
        release.wait(10)
        return GOOD

    results = Results()
    with running(Scheduler({"tcp": probe}, {}, results, clock=clock)) as scheduler:
        clock.now += 1
        scheduler.update([target(1)])
        clock.now += 1
        scheduler.update([target(1)])
        assert entered.wait(5)
        assert scheduler.overdue() == []
        clock.now += 10
        assert scheduler.overdue() == [target(1)]
        release.set()
        assert results.until(lambda: len(results.seen) == 1)
        assert poll(lambda: scheduler.overdue() == [])


@pytest.mark.parametrize("fault", ["probe raises", "engine raises", "no such protocol", "internal", "handler raises"])
def test_what_goes_wrong_here_makes_the_target_overdue_and_nothing_stops(fault: str) -> None:
    clock, results = Clock(), Results(wait=1.0)
    asked = threading.Event()

    def broken(*_: object) -> Result:
        asked.set()
        raise ValueError("broken")

    def submit(_: Target, __: Callable[[Result], None]) -> None:
        broken()

    def handler(probed: Target, result: Result, started: float) -> float:
        if fault == "handler raises" and probed.address == "192.0.2.1":
            return broken().duration
        return results(probed, result, started)

    protocol = {"engine raises": "ping", "no such protocol": "gopher", "handler raises": "http"}.get(fault, "https")
    internal = fault == "internal"
    probes = {"tcp": lambda _: GOOD, "http": lambda _: GOOD, "https": (lambda _: INTERNAL) if internal else broken}
    with running(Scheduler(probes, {"ping": submit}, handler, clock=clock)) as scheduler:
        wanted = [target(1, protocol), target(2)]
        scheduler.update(wanted)
        for _ in range(8):
            seen = results.addresses().count("192.0.2.2")
            clock.now += 1.1
            scheduler.update(wanted)
            assert results.until(lambda seen=seen: results.addresses().count("192.0.2.2") > seen)  # type: ignore[misc]
        assert poll(lambda: scheduler.overdue() == [wanted[0]])
    assert asked.is_set() or fault in ("no such protocol", "internal")


def poll(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def test_stop_is_bounded_and_honest_about_a_stuck_probe() -> None:
    entered, release = threading.Event(), threading.Event()

    def probe(_: Target) -> Result:
        entered.set()
        release.wait(10)
        return GOOD

    results = Results()
    scheduler = Scheduler({"tcp": probe}, {}, results)
    scheduler.start()
    scheduler.update([target(1)])
    assert entered.wait(5)
    began = time.monotonic()
    assert not scheduler.stop(0.2)
    assert time.monotonic() - began < 1.0
    release.set()
    assert scheduler.stop(5.0)
    assert results.seen == []


def test_stop_ends_all_threads() -> None:
    results = Results(wait=0.01)
    scheduler = Scheduler({"tcp": lambda _: GOOD}, {}, results, workers=8)
    scheduler.start()
    scheduler.update([target(n) for n in range(50)])
    assert results.until(lambda: len(results.seen) > 200)
    assert scheduler.stop(5.0)
    seen = len(results.seen)
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith(("probe-", "completion-", "scheduler")) for name in names)
    assert len(results.seen) == seen


def test_workers_start_on_demand_only() -> None:
    workers = Workers(16, "demand")
    for _ in range(100):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(5)
        assert poll(lambda: workers._pending == 0)
    started = [thread for thread in threading.enumerate() if thread.name.startswith("demand-")]
    assert len(started) == 1
    assert workers.stop(time.monotonic() + 5)


def test_a_task_that_raises_ends_no_worker() -> None:
    workers, done = Workers(1, "raising"), threading.Event()
    workers.submit(lambda: [][1])
    workers.submit(done.set)
    assert done.wait(5)
    assert workers.stop(time.monotonic() + 5)
