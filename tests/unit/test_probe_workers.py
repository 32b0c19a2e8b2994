"""Threads for probes that block."""

import threading
import time
from collections.abc import Callable

from healthd.probes.result import Result
from healthd.probes.workers import Workers, threaded
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.target import Target

GOOD = Result(True, None, "status 200", "status", 0.0, {})
TARGET = Target(HealthCheck(id="web", protocol="http"), "192.0.2.1", "ipv4")


def poll(condition: Callable[[], bool], timeout: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def test_workers_start_on_demand_only() -> None:
    workers = Workers(16, "demand")
    for _ in range(100):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(60)
        assert poll(lambda: workers._pending == 0)
    started = [thread for thread in threading.enumerate() if thread.name.startswith("demand-")]
    assert len(started) == 1
    assert workers.stop(time.monotonic() + 60)


def test_a_task_that_raises_ends_no_worker() -> None:
    workers, done = Workers(1, "raising"), threading.Event()
    workers.submit(lambda: [][1])
    workers.submit(done.set)
    assert done.wait(60)
    assert workers.stop(time.monotonic() + 60)


def test_no_more_probes_at_once_than_workers_and_all_have_a_result() -> None:
    lock, complete = threading.Lock(), threading.Event()
    under_way, most = 0, 0
    results: list[Result] = []

    def probe(_: Target) -> Result:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
        return GOOD

    def done(result: Result) -> None:
        with lock:
            results.append(result)
            if len(results) == 40:
                complete.set()

    workers = Workers(3, "few")
    submit = threaded(probe, workers)
    for _ in range(40):
        submit(TARGET, done)
    assert complete.wait(60)
    assert 1 < most <= 3
    assert workers.stop(time.monotonic() + 60)
    assert not any(thread.name.startswith("few-") for thread in threading.enumerate())


def test_stop_is_bounded_and_honest_about_a_stuck_task() -> None:
    release = threading.Event()
    workers = Workers(2, "stuck")
    workers.submit(lambda: release.wait(90) and None)
    began = time.monotonic()
    assert not workers.stop(time.monotonic() + 0.2)
    assert time.monotonic() - began < 15.0
    release.set()
    assert workers.stop(time.monotonic() + 60)
