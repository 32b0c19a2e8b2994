"""Probes, schedule and verdicts together: a service that dies and comes back, among many that do not."""

import threading
import time
from collections.abc import Callable

from healthd.probes.registry import make_probes
from healthd.probes.result import Result
from healthd.scheduler import Scheduler
from healthd.verdicts import Verdict, advance, changed, next_interval
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import Origin, answer


class Vantage:
    """Keeps verdicts as a daemon does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.verdicts: dict[str, Verdict] = {}
        self.changes: list[tuple[str, bool | None]] = []

    def __call__(self, target: Target, result: Result, _started: float) -> float:
        with self._lock:
            before = self.verdicts.get(target.key, Verdict())
            after = self.verdicts[target.key] = advance(before, result, target.check, time.time())
            if changed(before, after):
                self.changes.append((target.address, after.up))
        return next_interval(after, target.check)

    def up(self, *targets: Target) -> bool:
        with self._lock:
            return all(target.key in self.verdicts and self.verdicts[target.key].up for target in targets)


def within(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def test_a_service_dies_and_comes_back() -> None:
    probes, vantage = make_probes(allow_private=True), Vantage()
    scheduler = Scheduler(probes.engines, vantage)
    scheduler.start()
    with Origin(answer(), host="0.0.0.0") as stable, Origin(answer(), host="127.0.0.1") as dying:
        common = {"interval": 1.0, "timeout": 10.0, "fall": 2, "rise": 2}
        web = HealthCheck(id="web", protocol="http", port=stable.port, **common)  # type: ignore[arg-type]
        port = HealthCheck(id="port", protocol="tcp", port=stable.port, **common)  # type: ignore[arg-type]
        ping = HealthCheck(id="ping", protocol="ping", **common)  # type: ignore[arg-type]
        steady = [Target(check, f"127.0.3.{n}", "ipv4") for check in (web, port, ping) for n in range(1, 41)]
        victim = Target(HealthCheck(id="victim", protocol="http", port=dying.port, **common), "127.0.0.1", "ipv4")  # type: ignore[arg-type]
        scheduler.update([*steady, victim])
        try:
            assert within(lambda: vantage.up(*steady, victim))
            dying.behaviour = answer(503)
            assert within(lambda: vantage.verdicts[victim.key].up is False)
            failure = vantage.verdicts[victim.key].last_failure
            assert failure is not None
            assert (failure.reason, failure.detail) == ("status", "status 503, expected 200-399")
            dying.behaviour = answer(200)
            assert within(lambda: vantage.up(victim))
            assert vantage.up(*steady)
            assert scheduler.overdue() == []
            assert [up for address, up in vantage.changes if address == "127.0.0.1"] == [True, False, True]
            assert len(vantage.changes) == len(steady) + 3
        finally:
            assert scheduler.stop(30.0)
            probes.close()
