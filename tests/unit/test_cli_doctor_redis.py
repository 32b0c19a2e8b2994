"""gtmctl doctor at real Redis servers: what it reads of them is what they do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.cli.doctor_redis import ask_redis, examine, judge
from tests.support.ports import free_port
from tests.support.powerdns import wait_for
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica."""
    port = str(free_port())
    master = RedisServer(tmp_path_factory.mktemp("m"), "--port", port, "--repl-diskless-sync-delay", "0")
    replica = RedisServer(tmp_path_factory.mktemp("r"), "--replicaof", "127.0.0.1", port)
    with master, replica:
        wait_for(lambda: found(master)["redis replication"] == "ok", "a replica in step")
        yield master, replica


def found(server: RedisServer, write_replicas: int = 1) -> dict[str, str]:
    return {finding.check: finding.level for finding in examine(server.url, write_replicas)}


def test_a_master_with_a_replica(pair: tuple[RedisServer, RedisServer]) -> None:
    master, _ = pair
    checks = ("redis", "redis persistence", "redis eviction", "redis replication", "clock")
    assert found(master) == dict.fromkeys(checks, "ok")
    assert found(master, write_replicas=2)["redis replication"] == "problem"


def test_a_replica_is_no_store(pair: tuple[RedisServer, RedisServer]) -> None:
    assert found(pair[1])["redis replication"] == "problem"


def test_settings_that_lose_data(pair: tuple[RedisServer, RedisServer]) -> None:
    master, _ = pair
    with master.connect() as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            seen = found(master)
        finally:
            client.config_set("appendonly", "yes")
            client.config_set("maxmemory-policy", "noeviction")
    assert (seen["redis persistence"], seen["redis eviction"]) == ("warning", "warning")


def test_another_clock(pair: tuple[RedisServer, RedisServer]) -> None:
    ahead, behind = ask_redis(pair[0].url, lambda: 0.0), ask_redis(pair[0].url, lambda: 4e9)
    assert ahead.clock > 60
    assert behind.clock < -60
    assert [finding.level for finding in judge(ahead) if finding.check == "clock"] == ["problem"]


def test_no_redis_is_there(tmp_path: Path) -> None:
    assert found(RedisServer(tmp_path)) == {"redis": "problem"}
    assert {finding.level for finding in examine(f"redis://127.0.0.1:{free_port()}", 0)} == {"problem"}
