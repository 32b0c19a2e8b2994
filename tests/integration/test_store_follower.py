import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given

from pdns_gtm_backend.store import disk, follower, journal, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change
from tests.support.store import (
    HISTORIES,
    SECONDS,
    Heard,
    comparable,
    configured,
    eventually,
    following,
    held,
    instance,
    pool,
    put,
    settled,
)
from tests.support.strategies import examples

pytestmark = pytest.mark.usefixtures("short_waits")


@examples(30, *HealthCheck)
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
            assert followed.wait_for(revision, SECONDS)
        assert followed.serving.snapshot.revision == len(history)
        assert settled(followed, repository)
        assert followed.status.reloads == 1


def test_a_change_is_served_and_what_it_does_not_touch_is_the_same(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        first = configured(repository, store, pool("a"), pool("b", "192.0.2.9"), instance("gtm00000001", "a"))
        assert followed.wait_for(first, SECONDS)
        before = followed.serving
        assert followed.wait_for(repository.commit(Commit([Change(kinds.POOLS, "b", None)]), store), SECONDS)
        assert followed.serving.pools["a"] is before.pools["a"]
        assert "b" not in followed.serving.pools
        settled(followed, repository)


def test_listeners_hear_each_change_once_and_in_order(client: Client, repository: Repository, store: str) -> None:
    heard: Heard = []
    with following(client, heard=heard) as followed:
        written = [put(pool(f"p{number % 7}", f"192.0.2.{number + 1}")) for number in range(200)]
        for change in written:
            revision = repository.commit(Commit([change]), store)
        assert followed.wait_for(revision, SECONDS)
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
            assert followed.wait_for(configured(repository, store, pool(f"p{number}")), SECONDS)
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


def test_who_waited_for_a_revision_finds_the_listeners_told(client: Client, repository: Repository, store: str) -> None:
    told: list[int] = []

    def slow(serving: Serving, _changes: Sequence[Change] | None) -> None:
        time.sleep(0.1)
        told.append(serving.snapshot.revision)

    with following(client) as followed:
        followed.listeners.append(slow)
        for number in range(3):
            revision = configured(repository, store, pool(f"p{number}"))
            assert followed.wait_for(revision, SECONDS)
            assert told[-1] == revision


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


def test_a_change_of_a_thousand_documents_is_one_patch(client: Client, repository: Repository, store: str) -> None:
    heard: Heard = []
    with following(client, heard=heard) as followed:
        documents = [pool(f"p{number}") for number in range(1000)]
        documents += [instance(f"gtm{number:08}", f"p{number}") for number in range(1000)]
        revision = configured(repository, store, *documents)
        assert followed.wait_for(revision, SECONDS)
        settled(followed, repository)
        assert followed.status.reloads == 1
    assert [len(changes) for _, changes in heard if changes is not None] == [2000]


def test_waiting_for_a_revision_ends_when_it_is_there_or_the_time_is_over(
    client: Client, repository: Repository, store: str
) -> None:
    with following(client) as followed:
        began = time.monotonic()
        assert not followed.wait_for(1, 0.1)
        assert 0.1 <= time.monotonic() - began < 15
        timer = threading.Timer(0.1, configured, (repository, store, pool()))
        timer.start()
        assert followed.wait_for(1, SECONDS)
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
        assert followed.wait_for(configured(repository, store, pool(), instance()), SECONDS)
    heard: Heard = []
    missed = [pool(f"b{number}") for number in range(3)]
    for document in missed:
        configured(repository, store, document)
    with following(client, path, heard) as followed:
        assert followed.serving.snapshot.position == repository.position(), "what follows is the present"
        assert followed.status.reloads == 0
    assert [change for _, changes in heard for change in changes or ()] == [put(document) for document in missed]


def test_a_restart_after_more_than_the_feed_holds_is_up_to_date_when_it_follows(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), SECONDS)
    configured(repository, store, pool("b"))
    client.delete(keys.CHANGES)
    with following(client, path) as followed:
        assert followed.serving.snapshot.position == repository.position()
        assert followed.status.reloads == 1


def test_the_disk_serves_before_redis_is_there(
    client: Client, repository: Repository, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        assert followed.wait_for(configured(repository, store, pool(), instance()), SECONDS)
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
        assert followed.wait_for(configured(repository, store, pool()), SECONDS)
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    with following(client, path) as followed:
        settled(followed, repository)
        assert followed.status.reloads == 1
    assert "snapshot on disk refused" in caplog.text
    assert disk.load(path) is not None, "replaced by a whole one"


def test_the_file_is_written_on_stop_and_not_for_every_change(
    client: Client, repository: Repository, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    real = journal.append
    monkeypatch.setattr(journal, "append", lambda path, *what: (saves.append(1), real(path, *what))[1])
    path = tmp_path / "snapshot"
    with following(client, path) as followed:
        for number in range(100):
            revision = repository.commit(Commit([put(pool(f"p{number}"))]), store)
        assert followed.wait_for(revision, SECONDS)
    loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) == held(followed.serving.snapshot)
    assert 1 <= len(saves) <= 3


def test_a_slow_disk_delays_no_change(
    client: Client, repository: Repository, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = threading.Event()
    release = threading.Event()

    def slow(*_: object) -> str:
        writing.set()
        release.wait(2 * SECONDS)
        return ""

    monkeypatch.setattr(disk, "save", slow)
    with following(client, tmp_path / "snapshot") as followed:
        assert writing.wait(SECONDS)
        try:
            assert followed.wait_for(configured(repository, store, pool()), SECONDS)
        finally:
            release.set()


def test_stopping_is_quick_and_can_come_before_starting(client: Client, store: str, tmp_path: Path) -> None:
    with following(client, tmp_path / "snapshot") as followed:
        began = time.monotonic()
        followed.stop()
        assert time.monotonic() - began < 15
    Follower(client, tmp_path / "another").stop()
