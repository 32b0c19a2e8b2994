import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.store import disk, follower, keys, kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.repository import Commit, Repository
from tests.support.store import (
    SECONDS,
    configured,
    eventually,
    following,
    held,
    instance,
    pool,
    put,
    settled,
)

pytestmark = pytest.mark.usefixtures("short_waits")


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
        assert followed.serving.instances["gtm00000001"].answers.families == ("ipv4",)
        assert set(followed.serving.snapshot.problems) == {
            (kinds.POOLS, "b"),
            (kinds.POOLS, "\udcff"),
            (kinds.TARGET_STATES, "web|192.0.2.1||"),
        }
        assert "pools 'b' in the store is broken" in caplog.text
        assert followed.wait_for(configured(repository, store, pool("c")), SECONDS)


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
        assert followed.wait_for(configured(repository, store, pool("a"), pool("b")), SECONDS)
        entry = json.dumps([["pools", "a", "garbage"], ["pools", "b", ""]])
        revision = broken_entry(client, store, entry)
        assert followed.wait_for(revision, SECONDS)
        snapshot = followed.serving.snapshot
        assert dict(snapshot.pools) == {"a": pool("a")}, "the rest of the change is carried out"
        assert list(snapshot.problems) == [(kinds.POOLS, "a")]
        assert snapshot.version(kinds.POOLS, "a") == revision
        assert followed.status.reloads == 1
        assert "pools 'a' in the store is broken" in caplog.text
        client.execute_command("DEBUG", "CHANGE-REPL-ID")
        eventually(lambda: followed.status.reloads == 2)
        assert followed.serving.snapshot.pools["a"] == pool("a"), "kept over a reload"
        conditions = {(kinds.POOLS, "a"): revision}
        mended = repository.commit(Commit([put(pool("a", "192.0.2.7"))], preconditions=conditions), store)
        assert followed.wait_for(mended, SECONDS)
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
        assert followed.wait_for(configured(repository, store, pool("b")), SECONDS)
        assert followed.wait_for(broken_entry(client, store, change), SECONDS)
        assert followed.wait_for(configured(repository, store, pool("c")), SECONDS)
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
        assert followed.wait_for(configured(repository, store, pool("a")), SECONDS)
        client.xadd(keys.CHANGES, fields, id=identifier)
        eventually(lambda: followed.status.reloads == 2)
        time.sleep(2 * follower.BLOCK_MILLISECONDS / 1000)
        assert followed.status.reloads == 2, "it is not read again and again"
        revision = configured(repository, store, pool("b"))
        assert followed.wait_for(revision, SECONDS)
        settled(followed, repository)
        assert followed.status.reloads == 2


def test_a_flood_of_garbage_costs_a_reload_at_most_in_the_time_between_two(
    client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "GAP_SECONDS", 0.5)
    with following(client) as followed:
        assert followed.wait_for(configured(repository, store, pool("a")), SECONDS)
        began = time.monotonic()
        number = 0
        while (flooded := time.monotonic() - began) < 1.2:
            client.xadd(keys.CHANGES, {"garbage": str(number)}, id=f"{10 + number}-0")
            number += 1
            time.sleep(0.001)
        assert followed.status.reloads <= 3 + flooded / follower.GAP_SECONDS
        revision = configured(repository, store, pool("b"))
        assert followed.wait_for(revision, SECONDS)
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
        time.sleep(4 * follower.RETRY_SECONDS)
        assert list(followed.serving.snapshot.pools) == ["pool-a"]
        assert sum("disconnected" in record.message for record in caplog.records) == 1, "said once"
        client.rename("elsewhere", keys.documents(kinds.POOLS))
        eventually(lambda: followed.status.state == "following")
