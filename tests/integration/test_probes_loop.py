"""The loop that runs probes: many at once, its limit, its end, and what must not stop it."""

import gc
import logging
import threading
import time

import pytest

from healthd.probes.connection import connect
from healthd.probes.destination import Destinations
from healthd.probes.http import http_work
from healthd.probes.loop import Loop, Task
from healthd.probes.registry import make_probes
from healthd.probes.result import Result
from healthd.probes.tcp import tcp_work
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import (
    Connection,
    Origin,
    answer,
    raw,
    redirect,
    refusing_port,
    slow_headers,
    unanswering_port,
)
from tests.support.probing import LATE, descriptors, gathered, http_target, looped, settle

DESTINATIONS = Destinations(allow_private=True)


def mute(connection: Connection) -> None:
    """Say nothing until the peer goes away."""
    while connection.stream.recv(65536):
        pass


def tcp_target(port: int, timeout: float = 30.0, address: str = "127.0.0.1") -> Target:
    return Target(HealthCheck(id="port", protocol="tcp", port=port, timeout=timeout), address, "ipv4")


def test_dead_targets_keep_nobody_waiting() -> None:
    """300 that do not answer a connection, 100 that accept and say nothing, 100 that trickle, and 100 that are fine."""
    with (
        unanswering_port() as dead,
        Origin(mute) as still,
        Origin(slow_headers(0.2)) as slow,
        Origin(answer()) as fine,
        looped(lambda _: http_work(DESTINATIONS, {})) as submit,
    ):
        doomed = [dead] * 300 + [still.port] * 100 + [slow.port] * 100
        aims = [http_target(port, timeout=3.0) for port in doomed] + [http_target(fine.port, timeout=30)] * 100
        results = gathered(submit, aims)
    assert {result.reason for result in results[:500]} == {"timeout"}
    assert all(3.0 <= result.duration < 3.0 + LATE for result in results[:500])
    assert all(result.ok and result.duration < 3.0 for result in results[500:])


def test_thousands_at_once() -> None:
    with Origin(lambda _: None, host="0.0.0.0") as origin, looped(lambda _: tcp_work(DESTINATIONS)) as submit:
        aims = [tcp_target(origin.port, 60.0, f"127.4.{n // 250}.{n % 250 + 1}") for n in range(2000)]
        results = gathered(submit, aims, 90.0)
    assert [result.detail for result in results if not result.ok] == []


def test_no_more_probes_at_once_than_the_limit_and_the_others_in_their_turn() -> None:
    """Counted where they run: an origin learns a moment later that one has ended."""
    probe, active, most = http_work(DESTINATIONS, {}), 0, 0

    async def counted(target: Target, task: Task) -> str:
        nonlocal active, most
        active += 1
        most = max(most, active)
        try:
            return await probe(target, task)
        finally:
            active -= 1

    with Origin(mute) as origin, looped(lambda _: counted, limit=3) as submit:
        began = time.monotonic()
        results = gathered(submit, [http_target(origin.port, timeout=0.2)] * 12)
        took = time.monotonic() - began
    assert (most, active) == (3, 0)
    assert took >= 4 * 0.2
    assert all(result.reason == "timeout" and result.duration < 0.2 + LATE for result in results)


def test_a_descriptor_that_is_used_again_is_not_taken_for_the_old_one() -> None:
    """Each probe opens and closes many; the kernel gives the lowest free number, so they pass them to each other."""

    async def many(target: Target, task: Task) -> str:
        for _ in range(20):
            (await connect(target.address, target.check.port or 0, task)).close()
        return "20 connections"

    with Origin(lambda _: None) as origin, refusing_port() as refusing, looped(lambda _: many) as submit:
        aims = [tcp_target(origin.port, 60.0), tcp_target(refusing, 60.0)] * 50
        results = gathered(submit, aims)
    assert [result.reason for result in results] == [None, "refused"] * 50


def test_close_gives_up_what_is_under_way_and_takes_no_more() -> None:
    before = descriptors()
    results: list[Result] = []
    with Origin(mute) as origin:
        loop = Loop("closing", limit=5)
        work = http_work(DESTINATIONS, {})
        for _ in range(10):
            loop.submit(work, http_target(origin.port, timeout=30), results.append)
        assert settle(lambda: origin.active == 5)
        began = time.monotonic()
        loop.close(60.0)
        assert time.monotonic() - began < 15.0
        assert settle(lambda: origin.active == 0), "connections are closed"
        with pytest.raises(RuntimeError):
            loop.submit(work, http_target(origin.port), results.append)
    loop.close()
    assert results == []
    assert not any(thread.name == "closing" for thread in threading.enumerate())
    assert settle(lambda: descriptors() <= before)


def test_a_loop_that_was_never_used_is_closed() -> None:
    before = descriptors()
    loop = Loop("unused")
    assert not any(thread.name == "unused" for thread in threading.enumerate())
    loop.close()
    assert descriptors() == before


def test_what_raises_where_nothing_should_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(target: Target, _: Task) -> str:
        if target.check.port == 1:
            raise ZeroDivisionError
        return "fine"

    def refuse(_: Result) -> None:
        raise ValueError("not taken")

    loop = Loop("sturdy")
    try:
        loop.submit(broken, tcp_target(2), refuse)
        loop.call(lambda: [][0])
        submit = lambda target, done: loop.submit(broken, target, done)  # noqa: E731
        raised, fine = gathered(submit, [tcp_target(1), tcp_target(2)])
    finally:
        loop.close()
    assert (raised.reason, raised.conclusive) == ("internal", False)
    assert "ZeroDivisionError" in raised.detail
    assert fine.ok
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 3


@pytest.mark.parametrize("ending", ["up", "refused", "timeout", "protocol"])
def test_probes_leave_nothing_for_the_garbage_collector(ending: str) -> None:
    """A whole collection stops every probe; with thousands of targets that is longer than a schedule may be late."""
    with (
        refusing_port() as refusing,
        unanswering_port() as dead,
        Origin(answer()) as fine,
        Origin(raw(b"junk\r\n")) as junk,
        looped(lambda _: http_work(DESTINATIONS, {})) as submit,
    ):
        port = {"up": fine.port, "refused": refusing, "timeout": dead, "protocol": junk.port}[ending]
        gathered(submit, [http_target(port, timeout=0.3)] * 5)
        gc.collect()
        gc.disable()
        try:
            gathered(submit, [http_target(port, timeout=0.3)] * 200)
            assert gc.collect() < 200
        finally:
            gc.enable()


def test_sleeping_tasks_wake_in_time_and_end_at_their_deadline() -> None:
    late: list[float] = []

    async def sleepy(_: Target, task: Task) -> str:
        for number in range(1, 9):
            moment = task.started + number * 0.05
            await task.sleep_until(moment)
            late.append(time.monotonic() - moment)
        return "slept"

    with looped(lambda _: sleepy) as submit:
        slept, cut = gathered(submit, [tcp_target(1, 30.0), tcp_target(1, 0.25)])
    assert slept.ok, slept
    assert 0 <= min(late) < 0.05, "a busy machine is late at times, not each time"
    assert cut.reason == "timeout"
    assert 0.25 <= cut.duration < 0.25 + LATE


def test_every_protocol_has_an_engine_and_redirects_are_followed_where_asked_for() -> None:
    probes = make_probes(allow_private=True)
    try:
        assert set(probes.engines) == {"ping", "tcp", "http", "https", "dns", "external"}
        with Origin(answer(404)) as origin:
            origin.behaviour = lambda c: (redirect("/x") if len(origin.requests) % 2 == 0 else answer(204))(c)
            check = HealthCheck(id="web", protocol="http", port=origin.port, http=HttpCheck(follow_redirects=True))
            (followed,) = gathered(probes.engines["http"], [Target(check, "127.0.0.1", "ipv4")])
            (plain,) = gathered(probes.engines["http"], [http_target(origin.port)])
        assert (followed.detail, plain.detail) == ("status 204", "status 302")
    finally:
        probes.close()
    assert not any(thread.name.startswith(("probes", "redirects")) for thread in threading.enumerate())
