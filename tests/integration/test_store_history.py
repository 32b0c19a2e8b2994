import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.store import follower, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository, StoreUnavailable
from tests.support.store import (
    SECONDS,
    caught_up,
    comparable,
    configured,
    down,
    eventually,
    following,
    held,
    instance,
    pool,
    put,
    settled,
)

pytestmark = pytest.mark.usefixtures("short_waits")


def restarted(client: Client, path: Path) -> Follower:
    """A follower that starts from the file and follows, stopped again."""
    with following(client, path) as followed:
        repository = Repository(client)
        eventually(lambda: caught_up(followed, repository))
        settled(followed, repository)
    return followed


@pytest.fixture
def saved(client: Client, repository: Repository, store: str, tmp_path: Path) -> Path:
    """The file of a follower that stopped at revision 1."""
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool("first")), SECONDS)
    return path


def test_a_feed_that_was_trimmed_means_a_reload(
    client: Client, repository: Repository, store: str, saved: Path
) -> None:
    for number in range(5):
        configured(repository, store, pool(f"p{number}"))
    client.xtrim(keys.CHANGES, maxlen=2, approximate=False)
    assert restarted(client, saved).status.reloads == 1


def test_a_feed_that_was_emptied_means_a_reload(
    client: Client, repository: Repository, store: str, saved: Path
) -> None:
    configured(repository, store, pool("second"))
    client.delete(keys.CHANGES)
    assert restarted(client, saved).status.reloads == 1


def test_a_gap_in_the_feed_means_a_reload(client: Client, repository: Repository, store: str, saved: Path) -> None:
    for number in range(5):
        configured(repository, store, pool(f"p{number}"))
    client.xdel(keys.CHANGES, "4-0")
    assert restarted(client, saved).status.reloads == 1


def test_another_history_means_a_reload(client: Client, repository: Repository, store: str, saved: Path) -> None:
    client.execute_command("DEBUG", "CHANGE-REPL-ID")
    assert restarted(client, saved).status.reloads == 1


def test_a_store_that_went_back_means_a_reload(client: Client, repository: Repository, store: str, saved: Path) -> None:
    client.delete(keys.CHANGES, keys.documents(kinds.POOLS), keys.VERSIONS)
    client.set(keys.REVISION, 0)
    client.set(keys.CONFIGURATION_REVISION, 0)
    followed = restarted(client, saved)
    assert followed.status.reloads == 1
    assert not followed.serving.snapshot.pools


def test_another_history_is_noticed_while_following(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        client.hdel(keys.documents(kinds.POOLS), "pool-a")
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.reloads == 2)
        eventually(lambda: not followed.serving.snapshot.pools)
        assert followed.wait_for(configured(repository, store, pool("b")), SECONDS)


def test_another_history_is_noticed_in_a_feed_that_never_rests(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        deadline = time.monotonic() + SECONDS
        while followed.status.reloads < 2 and time.monotonic() < deadline:
            repository.commit(Commit([down("192.0.2.1")]), store)
        assert followed.status.reloads == 2
        settled(followed, repository)


def test_a_store_that_goes_back_is_noticed_while_following(
    client: Client, repository: Repository, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    with following(client) as followed:
        for number in range(3):
            assert followed.wait_for(configured(repository, store, pool(f"p{number}")), SECONDS)
        client.set(keys.REVISION, 1)
        eventually(lambda: followed.serving.snapshot.revision == 1)
        assert "the store went back from revision 3 to 1" in caplog.text
        revision = configured(repository, store, pool("next"))
        assert revision == 4, "after the newest entry of the feed"
        assert followed.wait_for(revision, SECONDS)
        assert followed.serving.snapshot.pools["next"] == pool("next")


def test_a_revision_without_an_entry_means_a_reload(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        client.hset(keys.documents(kinds.POOLS), "b", kinds.encode(kinds.POOLS, pool("b")))
        client.incr(keys.REVISION)
        eventually(lambda: "b" in followed.serving.snapshot.pools)
        assert followed.status.reloads == 2


def test_a_wiped_store_is_foreign_and_the_snapshot_held(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    with following(client, tmp_path / "snapshot") as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), SECONDS)
        kept = comparable(followed.serving)
        client.flushall()
        eventually(lambda: followed.status.state == "foreign")
        assert followed.status.detail == f"Redis holds no store, the snapshot is of store {store}: it is held"
        time.sleep(3 * follower.RETRY_SECONDS)
        assert client.keys("*") == [], "nothing is made in a store that is not known"
        assert comparable(followed.serving) == kept
        with pytest.raises(Conflict, match="store"):
            repository.commit(Commit([put(pool("b"))]), followed.serving.snapshot.position.store_id)
        other = repository.identify()
        configured(repository, other, pool("b"))
        eventually(lambda: f"Redis holds store {other}" in followed.status.detail)
        assert comparable(followed.serving) == kept
    again = Follower(client, tmp_path / "snapshot")
    assert comparable(again.serving) == kept


def test_a_store_that_comes_back_is_followed_again(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        client.rename(keys.STORE_ID, "elsewhere")
        eventually(lambda: followed.status.state == "foreign")
        client.rename("elsewhere", keys.STORE_ID)
        eventually(lambda: followed.status.state == "following")
        assert followed.wait_for(configured(repository, store, pool("b")), SECONDS)


def test_another_store_at_the_start_is_foreign(client: Client, repository: Repository, store: str, saved: Path) -> None:
    client.flushall()
    other = repository.identify()
    configured(repository, other, pool("other"))
    followed = Follower(client, saved)
    followed.start()
    try:
        eventually(lambda: followed.status.state == "foreign")
        assert list(followed.serving.snapshot.pools) == ["first"]
    finally:
        followed.stop()


def test_a_newer_schema_is_not_read(client: Client, repository: Repository, store: str, saved: Path) -> None:
    newer = keys.SCHEMA_VERSION + 1
    with following(client, saved) as followed:
        client.set(keys.SCHEMA, newer)
        eventually(lambda: followed.status.state == "newer")
        assert f"schema version {newer}" in followed.status.detail
        configured_by_newer = Commit([put(pool("b"))])
        repository.commit(configured_by_newer, store)
        time.sleep(0.3)
        assert list(followed.serving.snapshot.pools) == ["first"]
    cold = Follower(client)
    cold.start()
    try:
        eventually(lambda: cold.status.state == "newer")
        assert not cold.loaded
        client.set(keys.SCHEMA, keys.SCHEMA_VERSION)
        eventually(lambda: cold.status.state == "following")
    finally:
        cold.stop()


def test_a_store_that_is_replaced_while_it_is_loaded_is_not_taken(
    client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        load = followed.repository.load

        def replaced(rest: Callable[[], object] | None = None) -> Any:
            client.flushall()
            Repository(client).identify()
            return load(rest)

        monkeypatch.setattr(followed.repository, "load", replaced)
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.state == "foreign")
        assert list(followed.serving.snapshot.pools) == ["pool-a"]


def test_a_document_that_needs_no_change_is_not_touched_by_a_reload(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        before = followed.serving.snapshot
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.reloads == 2)
        after = followed.serving.snapshot
        assert after.position.replication_id != before.position.replication_id
        same = dataclasses.replace(after, position=before.position)
        assert held(same) == held(before)


def test_a_write_while_the_store_is_foreign_is_refused(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        client.set(keys.STORE_ID, "other")
        eventually(lambda: followed.status.state == "foreign")
        with pytest.raises((Conflict, StoreUnavailable)):
            followed.repository.commit(Commit([put(pool())]), followed.serving.snapshot.position.store_id)
