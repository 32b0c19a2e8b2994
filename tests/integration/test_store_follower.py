import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from pdns_gtm_backend.store import disk, follower, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository, StoreUnavailable, parse
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change
from tests.support.redis_server import RedisServer
from tests.support.store import (
    HISTORIES,
    Heard,
    comparable,
    configured,
    down,
    eventually,
    following,
    held,
    instance,
    pool,
    put,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("s"), "--enable-debug-command", "yes") as running:
        yield running


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faults suite has the real ones."""
    monkeypatch.setattr(follower, "BLOCK_MILLISECONDS", 40)
    monkeypatch.setattr(follower, "GAP_SECONDS", 0.1)


@pytest.fixture
def client(server: RedisServer) -> Iterator[Client]:
    with server.connect() as made:
        made.flushall()
        yield made


@pytest.fixture
def repository(client: Client) -> Repository:
    return Repository(client)


@pytest.fixture
def store(repository: Repository) -> str:
    return repository.identify()


def caught_up(followed: Follower, repository: Repository) -> bool:
    return followed.serving.snapshot.position == repository.position()


def settled(followed: Follower, repository: Repository) -> dict[str, Any]:
    """What the follower holds once it holds what the store does, which a whole load must equal."""
    eventually(lambda: caught_up(followed, repository))
    patched = comparable(followed.serving)
    assert patched == comparable(prepare(parse(repository.load())))
    return patched


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=HISTORIES)
def test_a_followed_history_equals_a_whole_load(
    client: Client, repository: Repository, history: Sequence[tuple[Sequence[Change], bool]]
) -> None:
    client.flushall()
    store = repository.identify()
    with following(client) as followed:
        for changes, configuration in history:
            expected = followed.serving.snapshot.configuration_revision if configuration else None
            revision = repository.commit(Commit(changes, configuration_revision=expected), store)
            assert followed.wait_for(revision, 5)
        assert followed.serving.snapshot.revision == len(history)
        assert settled(followed, repository)
        assert followed.status.reloads == 1


def test_a_change_is_served_and_what_it_does_not_touch_is_the_same(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        first = configured(repository, store, pool("a"), pool("b", "192.0.2.9"), instance("gtm00000001", "a"))
        assert followed.wait_for(first, 2)
        before = followed.serving
        assert followed.wait_for(repository.commit(Commit([Change(kinds.POOLS, "b", None)]), store), 2)
        assert followed.serving.pools["a"] is before.pools["a"]
        assert "b" not in followed.serving.pools
        settled(followed, repository)


def test_listeners_hear_each_change_once_and_in_order(client: Client, repository: Repository, store: str) -> None:
    heard: Heard = []
    with following(client, heard=heard) as followed:
        written = [put(pool(f"p{number % 7}", f"192.0.2.{number + 1}")) for number in range(200)]
        for change in written:
            revision = repository.commit(Commit([change]), store)
        assert followed.wait_for(revision, 5)
        eventually(lambda: heard[-1][0].snapshot.revision == revision)
    assert heard[0][1] is None, "the first load"
    changes = [change for _, listed in heard[1:] if listed is not None for change in listed]
    assert changes == written
    revisions = [serving.snapshot.revision for serving, _ in heard]
    assert revisions == sorted(set(revisions))
    assert all(
        serving.snapshot.pools[change.id] == change.value for serving, listed in heard[1:] for change in listed[-1:]
    )  # type: ignore[index]


def test_a_listener_that_fails_stops_neither_the_others_nor_the_follower(
    client: Client, repository: Repository, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def broken(_serving: Serving, _changes: Sequence[Change] | None) -> None:
        raise ZeroDivisionError("in a listener")

    with following(client) as followed:
        followed.listeners[:] = [broken, lambda serving, _changes: heard.append(serving.snapshot.revision)]
        for number in range(3):
            assert followed.wait_for(configured(repository, store, pool(f"p{number}")), 2)
        eventually(lambda: heard == [1, 2, 3])
        assert followed.status.state == "following"
        assert followed.status.reloads == 1
    assert "in a listener" in caplog.text


def test_the_new_state_is_visible_when_a_listener_is_called(client: Client, repository: Repository, store: str) -> None:
    seen: list[bool] = []
    with following(client) as followed:
        followed.listeners.append(lambda serving, _changes: seen.append(followed.serving is serving))
        configured(repository, store, pool())
        eventually(lambda: seen == [True])


def test_more_entries_than_one_read_takes_are_all_patched(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path):
        pass
    for number in range(follower.BATCH + 20):
        repository.commit(Commit([put(pool(f"p{number}"))]), store)
    with following(client, path) as followed:
        settled(followed, repository)
        assert followed.status.reloads == 0


def test_waiting_for_a_revision_ends_when_it_is_there_or_the_time_is_over(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        began = time.monotonic()
        assert not followed.wait_for(1, 0.1)
        assert 0.1 <= time.monotonic() - began < 1
        timer = threading.Timer(0.1, configured, (repository, store, pool()))
        timer.start()
        assert followed.wait_for(1, 5)
        assert followed.serving.snapshot.revision == 1
        assert followed.wait_for(0, 0)
        timer.join()


def test_a_new_store_gets_an_id_and_is_followed(client: Client, repository: Repository) -> None:
    before = Follower(client)
    assert not before.loaded
    with following(client) as followed:
        assert followed.loaded
        assert followed.serving.snapshot.position == repository.position()
        assert client.get(keys.SCHEMA) == str(keys.SCHEMA_VERSION)


def test_a_restart_goes_on_from_the_disk_without_a_reload(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), 2)
    heard: Heard = []
    configured(repository, store, pool("b"))
    with following(client, path, heard) as followed:
        settled(followed, repository)
        assert followed.status.reloads == 0
    assert [changes for _, changes in heard] == [[put(pool("b"))]]


def test_the_disk_serves_before_redis_is_there(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), 2)
        expected = comparable(followed.serving)
    cold = Follower(client, path)
    assert cold.loaded
    assert cold.status.state == "starting"
    assert comparable(cold.serving) == expected


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_broken_file_on_disk_is_refused_and_the_store_loaded(
    client: Client,
    repository: Repository,
    store: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: bytes | None,
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool()), 2)
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    with following(client, path) as followed:
        settled(followed, repository)
        assert followed.status.reloads == 1
    assert "snapshot on disk refused" in caplog.text
    assert disk.load(path) is not None, "replaced by a whole one"


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
        assert followed.wait_for(configured(repository, store, pool("first")), 2)
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
        assert followed.wait_for(configured(repository, store, pool()), 2)
        client.hdel(keys.documents(kinds.POOLS), "pool-a")
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        assert eventually(lambda: followed.status.reloads == 2) < 2
        eventually(lambda: not followed.serving.snapshot.pools)
        assert followed.wait_for(configured(repository, store, pool("b")), 2)


def test_another_history_is_noticed_in_a_feed_that_never_rests(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        deadline = time.monotonic() + 5
        while followed.status.reloads < 2 and time.monotonic() < deadline:
            repository.commit(Commit([down("192.0.2.1")]), store)
        assert followed.status.reloads == 2
        settled(followed, repository)


def test_a_store_that_goes_back_is_noticed_while_following(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        for number in range(3):
            assert followed.wait_for(configured(repository, store, pool(f"p{number}")), 2)
        client.set(keys.REVISION, 1)
        eventually(lambda: followed.serving.snapshot.revision == 1)
        revision = configured(repository, store, pool("next"))
        assert revision == 4, "after the newest entry of the feed"
        assert followed.wait_for(revision, 2)
        assert followed.serving.snapshot.pools["next"] == pool("next")


def test_a_revision_without_an_entry_means_a_reload(client: Client, repository: Repository, store: str) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), 2)
        client.hset(keys.documents(kinds.POOLS), "b", kinds.encode(kinds.POOLS, pool("b")))
        client.incr(keys.REVISION)
        eventually(lambda: "b" in followed.serving.snapshot.pools)
        assert followed.status.reloads == 2


def test_a_wiped_store_is_foreign_and_the_snapshot_held(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    with following(client, tmp_path / "snapshot") as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), 2)
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
        assert followed.wait_for(configured(repository, store, pool()), 2)
        client.rename(keys.STORE_ID, "elsewhere")
        eventually(lambda: followed.status.state == "foreign")
        client.rename("elsewhere", keys.STORE_ID)
        assert eventually(lambda: followed.status.state == "following") < 1.5
        assert followed.wait_for(configured(repository, store, pool("b")), 2)


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


GARBAGE = [
    b"",
    b"nonsense",
    b"{}",
    b"\xff\xfe\x00",
    b"[" * 10_000,
    b'{"id": "b", "type": "ipv4", "min_available": "xx"}',
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_in_a_cold_load_is_left_out_and_named(
    client: Client, repository: Repository, store: str, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    configured(repository, store, pool("a"), pool("b"), instance("gtm00000001", "a", "b"))
    client.hset(keys.documents(kinds.POOLS), "b", garbage)  # type: ignore[arg-type]
    client.hset(keys.documents(kinds.POOLS), b"\xff", garbage)  # type: ignore[arg-type]
    client.hset(keys.documents(kinds.TARGET_STATES), "web|192.0.2.1||", garbage)  # type: ignore[arg-type]
    client.hset(keys.VERSIONS, "nonsense", "x")
    client.hset(keys.VERSIONS, "pools/b", "x")
    with following(client) as followed:
        assert list(followed.serving.snapshot.pools) == ["a"]
        assert followed.serving.instances["gtm00000001"].families == ("ipv4",)
        assert set(followed.serving.snapshot.problems) == {
            (kinds.POOLS, "b"),
            (kinds.POOLS, "\udcff"),
            (kinds.TARGET_STATES, "web|192.0.2.1||"),
        }
        assert "pools b in the store is broken" in caplog.text
        assert followed.wait_for(configured(repository, store, pool("c")), 2)


def test_garbage_in_a_cold_load_can_be_saved(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    client.hset(keys.documents(kinds.POOLS), b"\xff", b"\xff")  # type: ignore[arg-type]
    with following(client, tmp_path / "snapshot") as followed:
        snapshot = followed.serving.snapshot
    loaded = disk.load(tmp_path / "snapshot")
    assert loaded is not None
    assert held(loaded) == held(snapshot)


def broken_entry(client: Client, store: str, change: object, *, kind: str = kinds.POOLS, identifier: str = "a") -> int:
    """A commit by software that writes garbage, otherwise as it should be."""
    revision = int(client.incr(keys.REVISION))  # type: ignore[arg-type]
    client.hset(keys.documents(kind), identifier, "garbage")
    client.hset(keys.VERSIONS, f"{kind}/{identifier}", revision)
    fields: Any = {"previous": revision - 1, "configuration": 0, "change": change}
    client.xadd(keys.CHANGES, fields, id=f"{revision}-0")
    return revision


def test_garbage_in_the_feed_leaves_the_last_good_value(
    client: Client, repository: Repository, store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool("a"), pool("b")), 2)
        entry = json.dumps([["pools", "a", "garbage"], ["pools", "b", ""]])
        revision = broken_entry(client, store, entry)
        assert followed.wait_for(revision, 2)
        snapshot = followed.serving.snapshot
        assert dict(snapshot.pools) == {"a": pool("a")}, "the rest of the change is carried out"
        assert list(snapshot.problems) == [(kinds.POOLS, "a")]
        assert snapshot.version(kinds.POOLS, "a") == revision
        assert followed.status.reloads == 1
        assert "pools a in the feed is broken" in caplog.text
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.reloads == 2)
        assert followed.serving.snapshot.pools["a"] == pool("a"), "kept over a reload"
        conditions = {(kinds.POOLS, "a"): revision}
        mended = repository.commit(Commit([put(pool("a", "192.0.2.7"))], preconditions=conditions), store)
        assert followed.wait_for(mended, 2)
        assert followed.serving.snapshot.pools["a"] == pool("a", "192.0.2.7")
        assert not followed.serving.snapshot.problems
    loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) == held(followed.serving.snapshot)


BROKEN_CHANGES = ["", "nonsense", "5", "null", "[5]", "[" * 100_000, '[["unheard-of","a",""]]', '[["pools","a",5]]']


@pytest.mark.parametrize("change", BROKEN_CHANGES)
def test_an_entry_that_is_garbage_means_one_reload(
    client: Client, repository: Repository, store: str, change: str
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool("b")), 2)
        assert followed.wait_for(broken_entry(client, store, change), 5)
        assert followed.wait_for(configured(repository, store, pool("c")), 5)
        assert set(followed.serving.snapshot.pools) == {"b", "c"}
        assert followed.status.reloads == 2


@pytest.mark.parametrize(
    ("identifier", "fields"),
    [
        ("1-1", {"x": "y"}),
        ("2-0", {"x": "y"}),
        ("2-7", {"previous": "1", "configuration": "1", "change": "[]"}),
        ("5-0", {"previous": "1"}),
        ("9000000000-5", {"previous": "garbage", "change": "[]"}),
    ],
)
def test_an_entry_that_does_not_belong_is_passed_and_writing_goes_on(
    client: Client, repository: Repository, store: str, identifier: str, fields: dict[Any, Any]
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool("a")), 2)
        client.xadd(keys.CHANGES, fields, id=identifier)
        eventually(lambda: followed.status.reloads == 2)
        time.sleep(2 * follower.BLOCK_MILLISECONDS / 1000)
        assert followed.status.reloads == 2, "it is not read again and again"
        revision = configured(repository, store, pool("b"))
        assert followed.wait_for(revision, 2)
        settled(followed, repository)
        assert followed.status.reloads == 2


def test_a_flood_of_garbage_costs_a_reload_a_second_at_most(
    client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "GAP_SECONDS", 1.0)
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool("a")), 2)
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < 2.5:
            client.xadd(keys.CHANGES, {"garbage": str(number)}, id=f"{10 + number}-0")
            number += 1
            time.sleep(0.001)
        assert followed.status.reloads <= 5
        revision = configured(repository, store, pool("b"))
        assert followed.wait_for(revision, 5)
        settled(followed, repository)


@pytest.mark.parametrize("name", [keys.REVISION, keys.CONFIGURATION_REVISION, keys.SCHEMA])
@pytest.mark.parametrize("garbage", [b"abc", b"", b"-1", b"\xff", b"1" * 30])
def test_a_number_that_is_none_is_named_and_the_snapshot_held(
    client: Client, repository: Repository, store: str, name: str, garbage: bytes
) -> None:
    configured(repository, store, pool())
    right = client.get(name)
    with following(client) as followed:
        client.set(name, garbage)
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.state == "disconnected")
        assert followed.status.detail.startswith(f"the store is damaged: {name} holds")
        assert list(followed.serving.snapshot.pools) == ["pool-a"]
        client.set(name, str(right))
        eventually(lambda: followed.status.state == "following")
        settled(followed, repository)


def test_a_key_of_another_type_is_named_and_the_snapshot_held(
    client: Client, repository: Repository, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    configured(repository, store, pool())
    with following(client) as followed:
        client.rename(keys.documents(kinds.POOLS), "elsewhere")
        client.set(keys.documents(kinds.POOLS), "garbage")
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        caplog.set_level(logging.INFO)
        eventually(lambda: followed.status.state == "disconnected")
        assert keys.documents(kinds.POOLS) in followed.status.detail
        time.sleep(1)
        assert list(followed.serving.snapshot.pools) == ["pool-a"]
        assert sum("disconnected" in record.message for record in caplog.records) == 1, "said once"
        client.rename("elsewhere", keys.documents(kinds.POOLS))
        eventually(lambda: followed.status.state == "following")


def test_a_store_that_is_replaced_while_it_is_loaded_is_not_taken(
    client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), 2)
        load = followed.repository.load

        def replaced() -> Any:
            client.flushall()
            Repository(client).identify()
            return load()

        monkeypatch.setattr(followed.repository, "load", replaced)
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.state == "foreign")
        assert list(followed.serving.snapshot.pools) == ["pool-a"]


def test_the_file_is_written_on_stop_and_not_for_every_change(
    client: Client, repository: Repository, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    real = disk.save
    monkeypatch.setattr(disk, "save", lambda snapshot, path: (saves.append(snapshot.revision), real(snapshot, path)))
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        for number in range(100):
            revision = repository.commit(Commit([put(pool(f"p{number}"))]), store)
        assert followed.wait_for(revision, 5)
    loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) == held(followed.serving.snapshot)
    assert saves[-1] == revision
    assert len(saves) <= 3


def test_a_slow_disk_delays_no_change(
    client: Client, repository: Repository, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = threading.Event()
    release = threading.Event()

    def slow(*_: object) -> None:
        writing.set()
        release.wait(10)

    monkeypatch.setattr(disk, "save", slow)
    with following(client, tmp_path / "snapshot") as followed:
        assert writing.wait(2)
        try:
            assert followed.wait_for(configured(repository, store, pool()), 1)
        finally:
            release.set()


def test_stopping_is_quick_and_can_come_before_starting(client: Client, store: str, tmp_path: Path) -> None:
    with following(client, tmp_path / "snapshot") as followed:
        began = time.monotonic()
        followed.stop()
        assert time.monotonic() - began < 1.5
    Follower(client, tmp_path / "another").stop()


def test_a_document_that_needs_no_change_is_not_touched_by_a_reload(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool()), 2)
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
