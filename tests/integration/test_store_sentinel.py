import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest
from redis.exceptions import RedisError

from pdns_gtm_backend.store.connection import connect
from pdns_gtm_backend.store.repository import Commit, Repository, StoreUnavailable
from tests.support.ports import accepts, free_port
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS, configured, eventually, following, pool, put


@dataclass(frozen=True)
class Watched:
    """A master with its replica, and the ports of the sentinels that watch it."""

    master: RedisServer
    replica: RedisServer
    sentinels: tuple[int, ...]

    def url(self, query: str = "", login: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{login}{hosts}/gtm{query}"


def sentinel(folder: Path, port: int, master: int, *lines: str) -> Popen[bytes]:
    folder.mkdir()
    configuration = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor gtm 127.0.0.1 {master} 2",
        "sentinel down-after-milliseconds gtm 500",
        "sentinel failover-timeout gtm 3000",
        *lines,
    ]
    file = folder / "sentinel.conf"
    file.write_text("\n".join(configuration) + "\n")
    return Popen(["redis-sentinel", str(file)], stdout=DEVNULL)


def started(folder: Path, stack: ExitStack, secret: str = "") -> Watched:
    ports = free_port(), free_port()
    local = ("--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    master = RedisServer(folder / "m", "--port", str(ports[0]), *local)
    replica = RedisServer(folder / "r", "--port", str(ports[1]), *local, "--replicaof", f"127.0.0.1 {ports[0]}")
    for server in (master, replica):
        stack.enter_context(server)
    if secret:
        for server in (master, replica):
            client = server.connect()
            client.config_set("masterauth", secret)
            client.config_set("requirepass", secret)
    with connect(f"redis://:{secret}@127.0.0.1:{ports[0]}" if secret else master.url) as client:
        eventually(lambda: '"state": "online"' in json.dumps(client.info("replication")))
    guards = (f"sentinel auth-pass gtm {secret}", f"requirepass watch-{secret}") if secret else ()
    sentinels = []
    for number in range(3):
        port = free_port()
        process = sentinel(folder / f"s{number}", port, ports[0], *guards)
        stack.callback(process.wait)
        stack.callback(process.kill)
        eventually(lambda listening=port: accepts(listening))
        sentinels.append(port)
    return Watched(master, replica, tuple(sentinels))


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield started(tmp_path_factory.mktemp("s"), stack)


def test_the_master_is_found_and_followed_through_any_sentinel(watched: Watched) -> None:
    with connect(watched.url()) as client:
        repository = Repository(client)
        store = repository.identify()
        with following(client) as followed:
            assert followed.wait_for(configured(repository, store, pool()), SECONDS)
            assert watched.master.connect().exists("{gtm}:pools")
    dead = Watched(watched.master, watched.replica, (free_port(), watched.sentinels[2]))
    with connect(dead.url()) as client:
        assert Repository(client).position().store_id == store


def test_the_database_in_the_url_is_used(watched: Watched) -> None:
    with connect(watched.url("?db=3")) as client:
        client.set("here", "1")
    with connect(f"{watched.master.url}?db=3") as client:
        assert client.get("here") == "1"


def test_a_master_that_no_sentinel_knows_is_an_error_of_redis(watched: Watched) -> None:
    with connect(watched.url().replace("/gtm", "/other")) as client, pytest.raises(RedisError, match="other"):
        client.get("x")


def test_writes_fail_over_to_the_new_master(watched: Watched) -> None:
    with connect(watched.url()) as client:
        repository = Repository(client)
        store = repository.identify()
        with following(client) as followed:
            assert followed.wait_for(configured(repository, store, pool("before")), SECONDS)
            eventually(lambda: client.wait(1, 300) == 1)

            def known() -> bool:
                with connect(f"redis://127.0.0.1:{watched.sentinels[0]}") as watcher:
                    found: Any = watcher.sentinel_master("gtm")
                    return bool(found["num-slaves"] == 1 and found["num-other-sentinels"] == 2)

            eventually(known)
            watched.master.kill()

            def written() -> bool:
                try:
                    repository.commit(Commit([put(pool("after"))]), store)
                except StoreUnavailable:
                    return False
                return True

            eventually(written)
            eventually(lambda: "after" in followed.serving.snapshot.pools)
            assert "before" in followed.serving.snapshot.pools
            assert followed.serving.snapshot.position.store_id == store


def test_passwords_of_redis_and_of_the_sentinels(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as stack:
        watched = started(tmp_path_factory.mktemp("s"), stack, "s3cret")
        with connect(watched.url("?sentinel_password=watch-s3cret", ":s3cret@")) as client:
            assert Repository(client).identify()
        for url in (watched.url("", ":s3cret@"), watched.url("?sentinel_password=watch-s3cret")):
            with connect(url) as client, pytest.raises(RedisError):
                client.get("x")
