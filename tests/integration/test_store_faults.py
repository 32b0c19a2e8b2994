"""What Redis can do to a follower, with the time-outs that are shipped."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.store.connection import COMMAND_TIMEOUT, connect
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Repository, StoreUnavailable
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.store import comparable, configured, eventually, following, instance, pool, put

UNKNOWN_SECONDS = 60.0
LOCAL = ("--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
RECOVERY = NOTICED = 15.0
"""Bounds that a busy machine keeps: each takes about 1 s on an idle one, with the client's own defaults 50 s."""


@pytest.fixture
def server(short_path: Path) -> Iterator[RedisServer]:
    with RedisServer(short_path, *LOCAL, "--port", str(free_port())) as running:
        yield running


def change_is_served(server: RedisServer, followed: Follower, name: str) -> bool:
    """Write once Redis takes it, and see it served."""
    with server.connect(COMMAND_TIMEOUT) as client:
        configured(Repository(client), followed.serving.snapshot.position.store_id, pool(name))
    eventually(lambda: name in followed.serving.snapshot.pools)
    return True


def test_killed_and_restarted(server: RedisServer, tmp_path: Path) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client, tmp_path / "snapshot") as followed:
        change_is_served(server, followed, "before")
        kept = comparable(followed.serving)
        server.kill()
        assert eventually(lambda: followed.status.state == "disconnected") < NOTICED
        assert comparable(followed.serving) == kept
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            followed.repository.commit(Commit([put(pool())]), followed.serving.snapshot.position.store_id)
        assert time.monotonic() - began < NOTICED
        server.start()
        began = time.monotonic()
        change_is_served(server, followed, "after")
        assert time.monotonic() - began < RECOVERY
        eventually(lambda: followed.status.state == "following")
        assert "before" in followed.serving.snapshot.pools


def test_frozen_and_woken(server: RedisServer) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client) as followed:
        change_is_served(server, followed, "before")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert eventually(lambda: followed.status.state == "disconnected") < NOTICED
            assert "before" in followed.serving.pools
        finally:
            os.kill(server.pid, signal.SIGCONT)
        began = time.monotonic()
        change_is_served(server, followed, "after")
        assert time.monotonic() - began < RECOVERY
        assert followed.status.reloads == 1, "the same history goes on"


def test_frozen_for_less_than_a_time_out_is_not_even_noticed(server: RedisServer) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client) as followed:
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(server.pid, signal.SIGCONT)
        change_is_served(server, followed, "after")
        assert followed.status.state == "following"


def test_stopping_while_redis_is_frozen_is_bounded(server: RedisServer, tmp_path: Path) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client, tmp_path / "snapshot") as followed:
        change_is_served(server, followed, "before")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            followed.stop()
            assert time.monotonic() - began < NOTICED
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert list(Follower(connect(server.url), tmp_path / "snapshot").serving.snapshot.pools) == ["before"]


def test_killed_again_and_again(server: RedisServer) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client) as followed:
        for number in range(3):
            change_is_served(server, followed, f"p{number}")
            server.kill()
            server.start()
        change_is_served(server, followed, "last")
        assert set(followed.serving.snapshot.pools) == {"p0", "p1", "p2", "last"}


def test_started_before_redis(short_path: Path) -> None:
    server = RedisServer(short_path)
    followed = Follower(connect(server.url))
    followed.start()
    try:
        eventually(lambda: followed.status.state == "disconnected")
        assert not followed.loaded
        with server:
            assert eventually(lambda: followed.status.state == "following") < RECOVERY
            change_is_served(server, followed, "a")
    finally:
        followed.stop()


def test_started_from_disk_without_redis_then_found(server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    with server.connect(COMMAND_TIMEOUT) as client, following(client, path) as followed:
        configured(Repository(client), followed.serving.snapshot.position.store_id, pool(), instance())
        eventually(lambda: "pool-a" in followed.serving.pools)
        kept = comparable(followed.serving)
    server.kill()
    cold = Follower(connect(server.url), path)
    cold.start()
    try:
        began = time.monotonic()
        cold.wait_until_known(UNKNOWN_SECONDS)
        assert time.monotonic() - began < UNKNOWN_SECONDS, "Redis refuses at once: there is nothing to wait for"
        assert cold.status.state == "disconnected"
        assert comparable(cold.serving) == kept
        server.start()
        assert eventually(lambda: cold.status.state == "following") < RECOVERY
        change_is_served(server, cold, "after")
    finally:
        cold.stop()


def test_restored_from_an_older_copy(server: RedisServer) -> None:
    """What was acknowledged after the copy is gone from Redis: the follower goes back with it, and says so."""
    with server.connect(COMMAND_TIMEOUT) as client, following(client) as followed:
        change_is_served(server, followed, "old")
        log = server.folder / "appendonlydir"
        server.kill()
        copy = {file: file.read_bytes() for file in log.iterdir()}
        server.start()
        change_is_served(server, followed, "new")
        newest = followed.serving.snapshot.revision
        server.kill()
        for file in log.iterdir():
            file.unlink()
        for file, content in copy.items():
            file.write_bytes(content)
        server.start()
        eventually(lambda: "new" not in followed.serving.snapshot.pools)
        assert list(followed.serving.snapshot.pools) == ["old"]
        assert followed.serving.snapshot.revision < newest
        change_is_served(server, followed, "newer")
        assert set(followed.serving.snapshot.pools) == {"old", "newer"}


def test_full(server: RedisServer) -> None:
    with server.connect(COMMAND_TIMEOUT) as client, following(client) as followed:
        change_is_served(server, followed, "before")
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="full"):
            followed.repository.commit(Commit([put(pool())]), followed.serving.snapshot.position.store_id)
        time.sleep(0.5)
        assert followed.status.state == "following", "reading goes on"
        with server.connect(COMMAND_TIMEOUT) as another, following(another) as cold:
            assert list(cold.serving.snapshot.pools) == ["before"]
        client.config_set("maxmemory", "0")
        change_is_served(server, followed, "after")


def test_a_replica_is_followed_and_its_promotion_is_another_history(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    master = connect(server.url)
    port = master.config_get("port")["port"]  # type: ignore[index]
    store = Repository(master).identify()
    configured(Repository(master), store, pool("first"))
    options = (*LOCAL, "--port", str(free_port()), "--replicaof", f"127.0.0.1 {port}")
    with RedisServer(tmp_path_factory.mktemp("s"), *options) as replica, replica.connect() as client:
        eventually(lambda: client.info("replication")["master_link_status"] == "up")  # type: ignore[index]
        with following(client) as followed:
            configured(Repository(master), store, pool("second"))
            eventually(lambda: "second" in followed.serving.snapshot.pools)
            with pytest.raises(StoreUnavailable, match="read-only replica"):
                followed.repository.commit(Commit([put(pool())]), store)
            server.kill()
            client.replicaof("NO", "ONE")
            eventually(lambda: followed.status.reloads == 2)
            change_is_served(replica, followed, "third")
            assert set(followed.serving.snapshot.pools) == {"first", "second", "third"}
    master.close()


def test_a_replica_that_lost_the_last_writes_takes_them_back(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The follower was ahead of what is the master now: nothing else tells that."""
    master = connect(server.url)
    port = master.config_get("port")["port"]  # type: ignore[index]
    options = (*LOCAL, "--port", str(free_port()), "--replicaof", f"127.0.0.1 {port}")
    with RedisServer(tmp_path_factory.mktemp("s"), *options) as replica, replica.connect() as client:
        eventually(lambda: client.info("replication")["master_link_status"] == "up")  # type: ignore[index]
        with following(master) as followed:
            change_is_served(server, followed, "kept")
            eventually(lambda: client.get("{gtm}:revision") == "1")
            client.replicaof("NO", "ONE")
            change_is_served(server, followed, "lost")
            assert followed.serving.snapshot.revision == 2
            own = client.config_get("port")["port"]  # type: ignore[index]
            master.replicaof("127.0.0.1", own)
            eventually(lambda: "lost" not in followed.serving.snapshot.pools)
            assert list(followed.serving.snapshot.pools) == ["kept"]
            configured(Repository(client), followed.serving.snapshot.position.store_id, pool("next"))
            eventually(lambda: "next" in followed.serving.snapshot.pools)
    master.close()
