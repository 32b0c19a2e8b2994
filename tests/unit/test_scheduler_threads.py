"""The scheduler's thread, with engines that the test controls."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from healthd.probes.result import Done, Probe, Result, Submit
from healthd.scheduler import GRACE, Scheduler
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

    def until(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def addresses(self) -> list[str]:
        return [probed.address for probed, _, _ in self.seen]


class Engine:
    """Keeps what it is given until the test ends it; `answered` ones are ended at once."""

    def __init__(self, answered: Callable[[Target], bool] = lambda _: False) -> None:
        self.held: dict[str, Done] = {}
        self._answered = answered
        self._changed = threading.Condition()

    def __call__(self, probed: Target, done: Done) -> None:
        if self._answered(probed):
            done(GOOD)
            return
        with self._changed:
            assert probed.address not in self.held, "probed twice at once"
            self.held[probed.address] = done
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def end(self, address: str, result: Result = GOOD) -> None:
        with self._changed:
            done = self.held.pop(address)
        done(result)


def at_once(probe: Probe) -> Submit:
    return lambda probed, done: done(probe(probed))


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
    with running(Scheduler({"tcp": at_once(lambda _: GOOD)}, results)) as scheduler:
        scheduler.update([target(n) for n in range(20)])
        assert results.until(lambda: all(results.addresses().count(f"192.0.2.{n}") >= 3 for n in range(20)))
        assert scheduler.lag().samples >= 60
    assert all(before <= started <= time.monotonic() for _, _, started in results.seen)
    probes = results.addresses().count("192.0.2.1")
    assert probes <= (time.monotonic() - before) / 0.05 + 1


def test_slow_targets_delay_nobody() -> None:
    engine, results = Engine(lambda probed: probed.address not in ("192.0.2.0", "192.0.2.1")), Results()
    with running(Scheduler({"tcp": engine}, results)) as scheduler:
        scheduler.update([target(n) for n in range(30)])
        assert results.until(lambda: len(results.seen) == 28)
        assert scheduler.lag().p99 < 15
        assert sorted(engine.held) == ["192.0.2.0", "192.0.2.1"]
        engine.end("192.0.2.0")
        engine.end("192.0.2.1")
        assert results.until(lambda: len(results.seen) == 30)


def test_a_result_from_another_thread_wakes_the_scheduler_and_carries_when_it_started() -> None:
    engine, results = Engine(), Results(wait=0.0)
    with running(Scheduler({"tcp": engine}, results)) as scheduler:
        scheduler.update([target(1)])
        for _ in range(5):
            assert engine.until(lambda: bool(engine.held))
            time.sleep(0.02)
            ended = time.monotonic()
            engine.end("192.0.2.1", Result(True, None, "connected", "connect", 100.0, {}))
            assert results.until(lambda: bool(results.seen))
            (_, _, started) = results.seen.pop()
            assert started == pytest.approx(ended - 100.0, abs=30)


def test_lag_is_until_the_probe_really_started() -> None:
    """An engine that is at its limit starts probes late; that is what the duration of a result leaves out."""
    engine, results = Engine(), Results()
    with running(Scheduler({"tcp": engine}, results)) as scheduler:
        scheduler.update([target(n) for n in range(10)])
        assert engine.until(lambda: len(engine.held) == 10)
        time.sleep(0.3)
        for number in range(10):
            engine.end(f"192.0.2.{number}")
        assert results.until(lambda: len(results.seen) == 10)
        assert scheduler.lag().p50 >= 0.3


def test_the_late_result_of_a_removed_target_is_dropped() -> None:
    engine, results = Engine(lambda probed: probed.address == "192.0.2.2"), Results()
    with running(Scheduler({"tcp": engine}, results)) as scheduler:
        scheduler.update([target(1)])
        assert engine.until(lambda: bool(engine.held))
        scheduler.update([target(2)])
        engine.end("192.0.2.1")
        assert results.until(lambda: "192.0.2.2" in results.addresses())
        assert scheduler.stop(60.0)
    assert results.addresses() == ["192.0.2.2"]


def test_each_protocol_has_its_engine() -> None:
    ping, tcp, results = Engine(), Engine(), Results()
    with running(Scheduler({"ping": ping, "tcp": tcp}, results)) as scheduler:
        scheduler.update([target(1, "ping"), target(2, "tcp")])
        assert ping.until(lambda: list(ping.held) == ["192.0.2.1"])
        assert tcp.until(lambda: list(tcp.held) == ["192.0.2.2"])
        ping.end("192.0.2.1")
        assert results.until(lambda: results.addresses() == ["192.0.2.1"])
        assert results.seen[0][1] is GOOD


def test_a_hastened_target_is_probed_now() -> None:
    results = Results(wait=1000.0)
    with running(Scheduler({"tcp": at_once(lambda _: GOOD)}, results)) as scheduler:
        wanted = [target(1), target(2)]
        scheduler.update(wanted)
        assert results.until(lambda: len(results.seen) == 2)
        scheduler.hasten([wanted[0].key, "no such target"])
        assert results.until(lambda: results.addresses().count("192.0.2.1") == 2)
        assert results.addresses().count("192.0.2.2") == 1


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_hanging_probe_makes_its_target_overdue() -> None:
    clock, engine, results = Clock(), Engine(), Results()
    with running(Scheduler({"tcp": engine}, results, clock=clock)) as scheduler:
        clock.now += 1
        scheduler.update([target(1)])
        clock.now += 1
        scheduler.update([target(1)])
        assert engine.until(lambda: bool(engine.held))
        assert scheduler.overdue() == []
        clock.now += 10
        assert scheduler.overdue() == [target(1)]
        engine.end("192.0.2.1")
        assert results.until(lambda: len(results.seen) == 1)
        assert poll(lambda: scheduler.overdue() == [])


@pytest.mark.parametrize("fault", ["engine raises", "no such protocol", "internal", "handler raises"])
def test_what_goes_wrong_here_makes_the_target_overdue_and_nothing_stops(fault: str) -> None:
    clock, results = Clock(), Results(wait=1.0)
    asked = threading.Event()

    def broken(*_: object) -> Result:
        asked.set()
        raise ValueError("broken")

    def handler(probed: Target, result: Result, started: float) -> float:
        if fault == "handler raises" and probed.address == "192.0.2.1":
            return broken().duration
        return results(probed, result, started)

    protocol = {
        "engine raises": "ping",
        "no such protocol": "gopher",
        "handler raises": "http",
    }.get(fault, "https")
    good = at_once(lambda _: GOOD)
    engines = {"tcp": good, "http": good, "https": at_once(lambda _: INTERNAL), "ping": at_once(broken)}
    with running(Scheduler(engines, handler, clock=clock)) as scheduler:
        wanted = [target(1, protocol), target(2)]
        scheduler.update(wanted)
        for _ in range(8):
            seen = results.addresses().count("192.0.2.2")
            clock.now += 1.1
            scheduler.update(wanted)
            assert results.until(lambda seen=seen: results.addresses().count("192.0.2.2") > seen)  # type: ignore[misc]
        assert poll(lambda: scheduler.overdue() == [wanted[0]])
    assert asked.is_set() or fault in ("no such protocol", "internal")


def test_an_address_of_which_nothing_was_reported_is_not_overdue() -> None:
    clock, results = Clock(), Results(wait=1.0)
    unreported = Result(False, "unreported", "nothing was reported yet", "answer", 0.0, {})
    with running(Scheduler({"tcp": at_once(lambda _: unreported)}, results, clock=clock)) as scheduler:
        scheduler.update([target(1)])
        for seen in range(8):
            clock.now += 1.1
            scheduler.update([target(1)])
            assert results.until(lambda seen=seen: len(results.seen) > seen)  # type: ignore[misc]
        assert poll(lambda: scheduler.overdue() == [])
        assert clock.now - 1000.0 > target(1).check.interval + target(1).check.timeout + GRACE


def poll(condition: Callable[[], bool], timeout: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()


def test_what_comes_in_after_the_stop_is_dropped() -> None:
    engine, results = Engine(), Results()
    scheduler = Scheduler({"tcp": engine}, results)
    scheduler.start()
    scheduler.update([target(1)])
    assert engine.until(lambda: bool(engine.held))
    assert scheduler.stop(60.0)
    engine.end("192.0.2.1")
    assert results.seen == []
    assert not any(thread.name == "scheduler" for thread in threading.enumerate())


def test_stop_is_bounded_and_honest_about_a_stuck_handler() -> None:
    entered, release = threading.Event(), threading.Event()

    def stuck(*_: object) -> float:
        entered.set()
        release.wait(90)
        return 1.0

    scheduler = Scheduler({"tcp": at_once(lambda _: GOOD)}, stuck)
    scheduler.start()
    scheduler.update([target(1)])
    assert entered.wait(60)
    began = time.monotonic()
    assert not scheduler.stop(0.2)
    assert time.monotonic() - began < 15.0
    release.set()
    assert scheduler.stop(60.0)


def test_a_scheduler_that_was_never_started_stops() -> None:
    assert Scheduler({}, Results()).stop(1.0)
