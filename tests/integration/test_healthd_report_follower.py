"""The follower of reports beside a Redis that goes away: nothing runs out while nobody can renew it."""

from pathlib import Path

from healthd.reports import ReportFollower
from pdns_gtm_backend.domain.health_check import ExternalCheck, HealthCheck, Report
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.store.reports import Reports
from pdns_gtm_backend.store.repository import Repository
from tests.support.redis_server import RedisServer
from tests.support.store import configured, eventually, following, pool

A1, A2 = "192.0.2.1", "192.0.2.2"
TTL = 60.0
OUTAGE = 1000.0
CHECK = HealthCheck(id="batch", protocol="external", external=ExternalCheck(when_expired="down"))


def target(address: str) -> Target:
    return Target(CHECK, address, "ipv4")


def test_time_in_which_the_store_is_away_does_not_count(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, server.connect() as client:
        repository = Repository(client)
        store = repository.identify()
        with following(client) as follower:
            configured(repository, store, CHECK, pool("a", A1, A2, health_checks=("batch",)))
            pushed = Reports(client).push(store, {("batch", A1): Report(ok=True, at=0, ttl=TTL)})
            now = pushed + TTL - 1
            hastened: list[str] = []
            reports = ReportFollower(client, follower, hastened.extend, lambda: now)

            def is_up() -> bool:
                report = reports.last(target(A1))
                return report is not None and report.up("down", now)

            def renew_the_other() -> None:
                """What comes in now is found by another look than what came before."""
                at = Reports(client).push(store, {("batch", A2): Report(ok=True, at=0, ttl=TTL)})
                eventually(lambda: (known := reports.last(target(A2))) is not None and known.at == at)

            reports.start()
            try:
                eventually(is_up)
                renew_the_other()
                for _ in range(2):
                    server.kill()
                    now += OUTAGE
                    assert is_up(), "nobody could renew it"
                    server.start()
                    assert follower.wait_until_following(60)
                    renew_the_other()
                    assert is_up(), "it has a second left, as before"
                hastened.clear()
                now += 1.5
                eventually(lambda: target(A1).key in hastened)
                assert not is_up(), "there was time to renew it"
            finally:
                reports.stop()
