"""A Redis that was emptied or holds another store, and the operator's word on which one is right."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.adoption import NotAdopted, accept, newest_on_disk, restore
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.repository import Commit, NotReplicated, Repository
from pdns_gtm_backend.store.snapshot import Snapshot
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS, configured, down, eventually, following, held, instance, pool, put


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    port = str(free_port())
    options = ("--port", port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    with RedisServer(tmp_path_factory.mktemp("s"), *options) as running:
        yield running


def contents(snapshot: Snapshot) -> object:
    """What a snapshot holds, wherever in a history it is."""
    found = held(snapshot)
    return {name: found[name] for name in ("documents", "versions", "indexes")}


def saved(client: Client, folder: Path) -> Snapshot:
    """The snapshot that a follower of a store with some documents has kept in `folder`."""
    repository = Repository(client)
    store = repository.identify()
    with following(client, folder / "snapshot" / "backend.snapshot") as followed:
        revision = configured(repository, store, pool(), instance())
        assert followed.wait_for(repository.commit(Commit([down("192.0.2.1")]), store), SECONDS)
        assert revision < followed.serving.snapshot.revision
    return newest_on_disk(folder / "snapshot")


def command(server: RedisServer, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GTM_")}
    given = {"GTM_REDIS_URL": server.url, "GTM_VAR": str(folder)}
    run = [sys.executable, "-m", "pdns_gtm_backend.cli", "store", "adopt", *words]
    return subprocess.run(run, env=mine | given, check=False, capture_output=True, text=True, timeout=120)


def test_a_wiped_store_is_restored_and_followed_again_by_all(
    server: RedisServer, client: Client, tmp_path: Path
) -> None:
    before = saved(client, tmp_path)
    with following(client, tmp_path / "of another" / "other.snapshot") as ahead:
        store = ahead.serving.snapshot.position.store_id
        assert ahead.wait_for(configured(Repository(client), store, pool("later")), SECONDS)
        client.flushall()
        eventually(lambda: ahead.status.state == "foreign")
        done = command(server, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        eventually(lambda: ahead.status.state == "following")
        eventually(lambda: ahead.serving.snapshot.revision > 1_000_000)
        assert contents(ahead.serving.snapshot) == contents(before), "one that knew more goes back to what is restored"
        assert ahead.wait_for(configured(Repository(client), store, pool("next")), SECONDS)
        assert "next" in ahead.serving.snapshot.pools
    assert client.smembers(keys.INSTANCE_IDS) == {"gtm00000001"}
    assert client.xlen(keys.AUDIT) == 1


def test_nothing_is_done_where_the_store_is_the_known_one(server: RedisServer, client: Client, tmp_path: Path) -> None:
    saved(client, tmp_path)
    before = client.get(keys.REVISION)
    done = command(server, tmp_path)
    assert done.returncode == 1
    assert "there is nothing to adopt" in done.stderr
    assert client.get(keys.REVISION) == before


def test_another_store_is_accepted_or_replaced_by_name_only(
    server: RedisServer, client: Client, tmp_path: Path
) -> None:
    before = saved(client, tmp_path)
    lost = before.position.store_id
    with following(client) as followed:
        client.flushall()
        eventually(lambda: followed.status.state == "foreign")
        found = Repository(client).identify()
        configured(Repository(client), found, pool("theirs"))
        refused = command(server, tmp_path)
        assert refused.returncode == 1
        assert f"--accept {found} follows Redis, --replace {found} restores the snapshot" in refused.stderr
        assert command(server, tmp_path, "--replace", "another").returncode == 1
        assert command(server, tmp_path, "--accept", "another").returncode == 1
        assert client.get(keys.STORE_ID) == found
        assert followed.status.state == "foreign"
        assert command(server, tmp_path, "--accept", found).returncode == 0
        eventually(lambda: followed.status.state == "following")
        assert followed.serving.snapshot.position.store_id == found
        assert list(followed.serving.snapshot.pools) == ["theirs"]
    with following(client, tmp_path / "snapshot" / "backend.snapshot") as later:
        eventually(lambda: later.serving.snapshot.position.store_id == found)
        assert restore(client, before, replacing=found).store_id == lost
        eventually(lambda: later.status.state == "foreign")
        assert list(later.serving.snapshot.pools) == ["theirs"]
    with following(client) as fresh:
        assert contents(fresh.serving.snapshot) == contents(before)


def test_what_cannot_be_adopted_is_said(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotAdopted, match="no snapshot that can be read"):
        newest_on_disk(tmp_path)
    before = saved(client, tmp_path)
    with pytest.raises(NotAdopted, match="name it to have it replaced"):
        restore(client, before)
    with pytest.raises(NotAdopted, match="nothing to accept"):
        accept(client, before.position.store_id, before.position.store_id)
    client.flushall()
    with pytest.raises(NotAdopted, match="Redis holds no store, not other"):
        accept(client, before.position.store_id, "other")
    path = tmp_path / "snapshot" / "backend.snapshot"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(NotAdopted, match="no snapshot that can be read"):
        newest_on_disk(tmp_path / "snapshot")


def test_snapshots_of_two_stores_are_not_chosen_from(client: Client, tmp_path: Path) -> None:
    saved(client, tmp_path)
    client.flushall()
    with following(client, tmp_path / "snapshot" / "admin.snapshot") as followed:
        assert followed.wait_for(configured(Repository(client), Repository(client).identify(), pool()), SECONDS)
    with pytest.raises(NotAdopted, match="several stores"):
        newest_on_disk(tmp_path / "snapshot")


def _replicated(repository: Repository, store: str) -> bool:
    """Is a write acknowledged? On a busy machine the replica may take longer than a write waits."""
    try:
        configured(repository, store, pool("both"))
    except NotReplicated:
        return False
    return True


def test_a_write_waits_for_the_replicas_that_are_asked_for(
    server: RedisServer, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    careful = Repository(client, write_replicas=1)
    store = careful.identify()
    with pytest.raises(NotReplicated, match="written here, not yet on 1 replicas: 0 confirmed"):
        careful.commit(Commit([put(pool("alone"))], configuration_revision=0), store)
    assert "alone" in careful.load().documents["pools"], "it is written all the same"
    assert careful.commit(Commit([down("192.0.2.1")]), store), "states wait for nobody"
    port: object = client.config_get("port")
    assert isinstance(port, dict)
    options = ("--port", str(free_port()), "--bind", "127.0.0.1", "--replicaof", f"127.0.0.1 {port['port']}")
    with RedisServer(tmp_path_factory.mktemp("s"), *options) as replica, replica.connect() as reading:
        eventually(lambda: "up" in str(reading.info("replication")))
        eventually(lambda: client.wait(1, 300) == 1)
        eventually(lambda: _replicated(careful, store))
        assert reading.hexists(keys.documents("pools"), "both")
    with pytest.raises(NotReplicated):
        Repository(client, write_replicas=2).commit(
            Commit([put(pool("x"))], configuration_revision=careful.load().configuration_revision), store
        )
