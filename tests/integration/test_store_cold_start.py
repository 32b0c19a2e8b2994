"""A follower that answers from what is on disk before it has loaded it, beside a real Redis."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.store import feed, follower, keys, kinds
from pdns_gtm_backend.store.connection import Client, connect
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.serving import Prepared
from pdns_gtm_backend.store.snapshot import Change, Snapshot
from pdns_gtm_backend.store.stored import Stored
from tests.support.store import (
    SECONDS,
    Heard,
    caught_up,
    configured,
    eventually,
    following,
    held,
    instance,
    pool,
    put,
    settled,
)

NAME = "gtm00000001.gtm.example"


pytestmark = pytest.mark.usefixtures("short_waits")


@pytest.fixture
def path(client: Client, repository: Repository, store: str, tmp_path: Path) -> Path:
    """A snapshot on disk of what the store has."""
    with following(client, tmp_path / "snapshot") as followed:
        assert followed.wait_for(configured(repository, store, pool(), pool("gone"), instance()), SECONDS)
    return tmp_path / "snapshot"


class Whole:
    """Holds the loading of everything back. loads: how often it has begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads = 0
        self.release = threading.Event()
        real = Stored.snapshot

        def snapshot(stored: Stored) -> Snapshot:
            self.loads += 1
            assert self.release.wait(SECONDS)
            return real(stored)

        monkeypatch.setattr(Stored, "snapshot", snapshot)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    made = Whole(monkeypatch)
    yield made
    made.release.set()


@contextmanager
def starting(client: Client, path: Path, whole: Whole, heard: Heard | None = None) -> Iterator[tuple[Follower, Heard]]:
    """A follower that may answer, and what its listeners hear; what it answers from is `early` on it."""
    told: Heard = [] if heard is None else heard
    newer: list[Prepared] = []
    followed = Follower(
        client, path, [lambda serving, changes: told.append((serving, changes))], on_demand=newer.append
    )
    assert followed.early is not None
    assert not followed.loaded
    followed.start()
    try:
        assert followed.wait_until_answering(SECONDS)
        assert newer[-1:] == ([followed.early] if newer else []), "it is called with what answers are made from"
        yield followed, told
    finally:
        whole.release.set()
        followed.stop()


def early(followed: Follower) -> Prepared:
    assert followed.early is not None
    return followed.early


def addresses(serving: Prepared) -> list[str]:
    return [found.address.address for found in serving.pools["pool-a"].addresses]


def test_what_is_current_answers_at_once_and_a_change_then_comes_once(
    client: Client, repository: Repository, store: str, path: Path, whole: Whole
) -> None:
    with starting(client, path, whole) as (followed, heard):
        assert early(followed).snapshot.position == repository.position()
        assert early(followed).names[NAME].instance == instance()
        assert followed.status.state == "starting", "it does not follow yet"
        assert heard == []
        changes = [put(pool("pool-a", f"192.0.2.{number}")) for number in range(1, 6)]
        for change in changes:
            revision = repository.commit(Commit([change]), store)
        assert not followed.wait_for(revision, 0.1)
        whole.release.set()
        assert followed.wait_for(revision, SECONDS)
        settled(followed, repository)
        assert followed.status.reloads == 0
        assert followed.early is None
    assert heard[0][1] is None, "the whole"
    assert [change for _, listed in heard[1:] for change in listed or ()] == changes
    assert whole.loads == 1


def test_what_was_missed_is_in_the_first_answer(
    client: Client, repository: Repository, store: str, path: Path, whole: Whole
) -> None:
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    repository.commit(Commit([Change(kinds.POOLS, "gone", None)]), store)
    with starting(client, path, whole) as (followed, heard):
        assert early(followed).snapshot.position == repository.position()
        assert addresses(early(followed)) == ["192.0.2.77"]
        assert "gone" not in early(followed).pools
        assert heard == []
        whole.release.set()
        assert followed.wait_until_following(SECONDS)
        settled(followed, repository)
        assert followed.status.reloads == 0
    assert [changes for _, changes in heard] == [None]


def test_what_was_missed_is_saved_though_nothing_changes_any_more(
    client: Client, repository: Repository, store: str, path: Path, whole: Whole
) -> None:
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    with starting(client, path, whole) as (followed, _):
        whole.release.set()
        assert followed.wait_until_following(SECONDS)
        expected = held(followed.serving.snapshot)
    again = Follower(client, path)
    assert held(again.serving.snapshot) == expected
    assert expected["documents"][kinds.POOLS]["pool-a"] == pool("pool-a", "192.0.2.77")


def _too_much(client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    monkeypatch.setattr(feed, "BULK_CHARACTERS", 10)


def _more_than_a_batch(client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "BATCH", 2)
    for number in (1, 2, 77):
        configured(repository, store, pool("pool-a", f"192.0.2.{number}"))


def _gap(client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    client.delete(keys.CHANGES)


def _broken(client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry holds what is no document."""
    real = kinds.encode
    with monkeypatch.context() as patched:
        patched.setattr(kinds, "encode", lambda kind, value: "{}" if value.id == "gone" else real(kind, value))
        repository.commit(Commit([put(pool("gone")), put(pool("pool-a", "192.0.2.77"))]), store)


@pytest.mark.parametrize("missed", [_too_much, _more_than_a_batch, _gap, _broken])
def test_what_cannot_be_made_current_quickly_is_loaded_first(
    client: Client,
    repository: Repository,
    store: str,
    path: Path,
    whole: Whole,
    monkeypatch: pytest.MonkeyPatch,
    missed: Callable[..., None],
) -> None:
    missed(client, repository, store, monkeypatch)
    followed = Follower(client, path, on_demand=lambda serving: pytest.fail(f"{serving} is not current"))
    followed.start()
    try:
        eventually(lambda: whole.loads == 1)
        assert not followed.wait_until_answering(SECONDS), "it is not taken for the present"
        whole.release.set()
        followed.wait_until_known(SECONDS)
        assert caught_up(followed, repository)
        assert addresses(followed.serving) == ["192.0.2.77"]
        assert "gone" in followed.serving.pools, "a broken document is no change"
    finally:
        whole.release.set()
        followed.stop()


def test_another_history_is_loaded_from_redis_alone(
    client: Client, repository: Repository, store: str, path: Path, whole: Whole
) -> None:
    server: Any = client
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    client.hset(keys.documents(kinds.POOLS), "gone", "{}")
    server.execute_command("DEBUG", "CHANGE-REPL-ID")
    with starting(client, path, whole) as (followed, heard):
        assert followed.status.state == "following"
        assert followed.serving.snapshot.position == repository.position()
        assert addresses(followed.serving) == ["192.0.2.77"]
        assert followed.serving.snapshot.pools["gone"] == pool("gone"), "in place of a broken one: that of the disk"
        assert (followed.status.reloads, whole.loads) == (1, 0)
        assert followed.early is None
    assert [changes for _, changes in heard] == [None]


def test_the_disk_answers_while_redis_is_away(path: Path, whole: Whole) -> None:
    with starting(connect("unix:///nowhere/redis.sock"), path, whole) as (followed, heard):
        assert followed.status.state == "disconnected"
        assert early(followed).names[NAME].instance == instance()
        assert heard == []
        eventually(lambda: whole.loads == 1)
        whole.release.set()
        eventually(lambda: followed.loaded and followed.early is None)
        assert followed.status.state == "disconnected"
        assert followed.serving.names[NAME].instance == instance()
    assert [changes for _, changes in heard] == [None]


def test_the_disk_answers_while_redis_holds_another_store(
    client: Client, repository: Repository, path: Path, whole: Whole
) -> None:
    client.flushall()
    other = repository.identify()
    with starting(client, path, whole) as (followed, heard):
        assert followed.status.state == "foreign"
        assert early(followed).names[NAME].instance == instance()
        whole.release.set()
        eventually(lambda: followed.early is None)
        assert followed.loaded
        assert followed.serving.snapshot.position.store_id != other
    assert [changes for _, changes in heard] == [None]


def test_a_reload_that_fails_leaves_what_is_on_disk(
    client: Client, repository: Repository, path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Any = client
    server.execute_command("DEBUG", "CHANGE-REPL-ID")
    monkeypatch.setattr(Repository, "load", lambda *_: (_ for _ in ()).throw(ConnectionError("reset")))
    with starting(client, path, whole) as (followed, _):
        assert followed.status.state == "disconnected"
        whole.release.set()
        eventually(lambda: followed.loaded)
        assert addresses(followed.serving) == ["192.0.2.1", "192.0.2.2"]
        monkeypatch.undo()
        assert followed.wait_until_following(SECONDS)
        settled(followed, repository)


def test_it_can_be_stopped_before_it_loads_everything(
    client: Client, repository: Repository, store: str, path: Path, whole: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    configured(repository, store, pool("pool-a", "192.0.2.77"))
    before = path.read_bytes()
    followed = Follower(client, path, on_demand=lambda _: followed.stop())
    followed._run()
    assert whole.loads == 0
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    assert path.read_bytes() == before


def test_who_needs_the_whole_waits_for_it(client: Client, path: Path, whole: Whole) -> None:
    waited = threading.Event()
    with starting(client, path, whole) as (followed, _):

        def wait() -> None:
            followed.wait_until_whole(SECONDS)
            assert followed.loaded
            waited.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        followed.wait_until_whole(0.1)
        followed.wait_until_known(0.1)
        assert not waited.is_set()
        whole.release.set()
        waiting.join(SECONDS)
        assert waited.is_set()
        followed.wait_until_known(SECONDS)
        assert followed.status.state == "following"


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_broken_file_is_refused_and_the_store_loaded(
    client: Client, repository: Repository, path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    followed = Follower(client, path, on_demand=lambda serving: pytest.fail(f"{serving} is from nowhere"))
    assert followed.early is None
    followed.start()
    try:
        followed.wait_until_answering(SECONDS)
        assert caught_up(followed, repository)
        assert followed.status.reloads == 1
    finally:
        followed.stop()
    assert "snapshot on disk refused" in caplog.text
