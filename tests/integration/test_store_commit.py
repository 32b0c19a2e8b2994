import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.connection import COMMAND_TIMEOUT, Client, connect
from pdns_gtm_backend.store.leases import Lease
from pdns_gtm_backend.store.repository import SCANNED, Commit, Conflict, Repository, StoreUnavailable, parse
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.slow_link import interrupted
from tests.support.store import configured, down, eventually, instance, pool, put

BOUND = 15.0
"""Seconds within which a write that cannot succeed has failed: a time-out of 1 s and what a busy machine adds."""


def everything(client: Client) -> dict[str, bytes]:
    """Every key with its value, as Redis would move it to another Redis."""
    return {name: client.dump(name) for name in client.keys("*")}  # type: ignore[misc]


def loaded(repository: Repository) -> Snapshot:
    return parse(repository.load())


def feed(client: Client) -> list[tuple[str, dict[str, str]]]:
    return client.xrange(keys.CHANGES)  # type: ignore[return-value]


def test_a_commit_writes_everything_at_one_revision(client: Client, repository: Repository, store: str) -> None:
    events = [{"kind": "address.down", "address": "192.0.2.1"}, {"kind": "policy.switched"}]
    audit = {"action": "create", "actor": "é"}
    commit = Commit([put(pool()), put(instance()), down("192.0.2.1")], events, audit, configuration_revision=0)
    assert repository.commit(commit, store) == 1
    snapshot = loaded(repository)
    assert snapshot.position == Position(store, repository.position().replication_id, 1)
    assert snapshot.configuration_revision == 1
    assert dict(snapshot.pools) == {"pool-a": pool()}
    assert dict(snapshot.instances) == {"gtm00000001": instance()}
    assert dict(snapshot.target_states) == {"web|192.0.2.1||": down("192.0.2.1").value}
    assert dict(snapshot.versions) == {(kinds.POOLS, "pool-a"): 1, (kinds.INSTANCES, "gtm00000001"): 1}
    ((identifier, entry),) = feed(client)
    assert (identifier, entry["previous"], entry["configuration"]) == ("1-0", "0", "1")
    assert [item[:2] for item in json.loads(entry["change"])] == [
        ["pools", "pool-a"],
        ["instances", "gtm00000001"],
        ["target-states", "web|192.0.2.1||"],
    ]
    told: Any = [fields for _, fields in client.xrange(keys.EVENTS)]  # type: ignore[union-attr]
    assert [(fields["revision"], json.loads(fields["event"])) for fields in told] == [("1", event) for event in events]
    ((_, noted),) = client.xrange(keys.AUDIT)  # type: ignore[misc]
    assert (noted["revision"], json.loads(noted["entry"])) == ("1", audit)


def test_each_commit_names_the_one_before_it(client: Client, repository: Repository, store: str) -> None:
    for number in range(5):
        assert repository.commit(Commit([put(pool(f"p{number}"))]), store) == number + 1
    assert [(identifier, entry["previous"]) for identifier, entry in feed(client)] == [
        (f"{number + 1}-0", str(number)) for number in range(5)
    ]


def test_states_and_events_leave_the_configuration_alone(repository: Repository, store: str) -> None:
    repository.commit(Commit([put(pool())], configuration_revision=0), store)
    repository.commit(Commit([down("192.0.2.1")], [{"kind": "address.down"}]), store)
    repository.commit(Commit([], [{"kind": "leader.changed"}]), store)
    snapshot = loaded(repository)
    assert (snapshot.revision, snapshot.configuration_revision) == (3, 1)
    assert dict(snapshot.versions) == {(kinds.POOLS, "pool-a"): 1}


def test_deleting_removes_the_document_and_its_version(repository: Repository, store: str) -> None:
    configured(repository, store, pool("a"), pool("b"))
    repository.commit(Commit([Change(kinds.POOLS, "a", None), Change(kinds.POOLS, "missing", None)]), store)
    snapshot = loaded(repository)
    assert dict(snapshot.pools) == {"b": pool("b")}
    assert dict(snapshot.versions) == {(kinds.POOLS, "b"): 1}


def test_the_last_of_two_changes_of_a_document_holds(repository: Repository, store: str) -> None:
    repository.commit(Commit([put(pool("a", "192.0.2.1")), put(pool("a", "192.0.2.9"))]), store)
    assert loaded(repository).pools["a"] == pool("a", "192.0.2.9")


def test_an_override_has_a_version_but_is_no_configuration(repository: Repository, store: str) -> None:
    override = Override(id="o", selector=Selector(pool="a"), effect="offline")
    repository.commit(Commit([put(override)]), store)
    assert loaded(repository).version(kinds.OVERRIDES, "o") == 1
    assert loaded(repository).configuration_revision == 0


PREPARED = [put(pool("a")), put(pool("b"))]


@pytest.mark.parametrize(
    ("commit", "reason", "detail"),
    [
        (Commit(PREPARED, configuration_revision=0), "configuration", "1"),
        (Commit(PREPARED, configuration_revision=2), "configuration", "1"),
        (Commit(PREPARED, lease="not-the-leader"), "lease", "the-leader"),
        (Commit(PREPARED, preconditions={(kinds.POOLS, "a"): 0}), "version", "pools/a 1"),
        (Commit(PREPARED, preconditions={(kinds.POOLS, "a"): 1, (kinds.POOLS, "b"): 5}), "version", "pools/b 0"),
    ],
)
def test_a_conflict_writes_nothing(
    client: Client, repository: Repository, store: str, commit: Commit, reason: str, detail: str
) -> None:
    configured(repository, store, pool("a"))
    client.set(keys.LEADER, "the-leader")
    before = everything(client)
    full = Commit(
        commit.changes,
        [{"kind": "x"}],
        {"action": "x"},
        commit.lease,
        commit.configuration_revision,
        commit.preconditions,
    )
    with pytest.raises(Conflict) as conflict:
        repository.commit(full, store)
    assert (conflict.value.reason, conflict.value.detail) == (reason, detail)
    assert everything(client) == before


@pytest.mark.parametrize("held", [None, "another"])
def test_another_store_is_not_written(client: Client, repository: Repository, store: str, held: str | None) -> None:
    client.delete(keys.STORE_ID)
    if held is not None:
        client.set(keys.STORE_ID, held)
    before = everything(client)
    with pytest.raises(Conflict) as conflict:
        repository.commit(Commit(PREPARED), store)
    assert (conflict.value.reason, conflict.value.detail) == ("store", held or "")
    assert everything(client) == before


def test_a_store_without_an_id_is_never_written(repository: Repository) -> None:
    with pytest.raises(Conflict, match="store"):
        repository.commit(Commit(PREPARED), "")


def test_conditions_that_hold_let_a_commit_through(client: Client, repository: Repository, store: str) -> None:
    configured(repository, store, pool("a"))
    client.set(keys.LEADER, "token")
    conditions = {(kinds.POOLS, "a"): 1, (kinds.POOLS, "b"): 0}
    commit = Commit(PREPARED, lease="token", configuration_revision=1, preconditions=conditions)
    assert repository.commit(commit, store) == 2


def test_a_leader_whose_lease_ended_writes_nothing(client: Client, repository: Repository, store: str) -> None:
    first, second = Lease(client, keys.LEADER), Lease(client, keys.LEADER)
    assert first.hold()
    repository.commit(Commit([down("192.0.2.1")], lease=first.token), store)
    client.delete(keys.LEADER)
    with pytest.raises(Conflict, match="lease"):
        repository.commit(Commit([down("192.0.2.2")], lease=first.token), store)
    assert second.hold()
    with pytest.raises(Conflict, match="lease"):
        repository.commit(Commit([down("192.0.2.2")], lease=first.token), store)
    repository.commit(Commit([down("192.0.2.3")], lease=second.token), store)
    assert sorted(loaded(repository).target_states) == ["web|192.0.2.1||", "web|192.0.2.3||"]


def test_of_writers_that_read_the_same_configuration_one_wins_each_time(server: RedisServer, store: str) -> None:
    won: list[int] = []
    lost = threading.Semaphore(0)

    def write(number: int) -> None:
        with server.connect() as client:
            repository = Repository(client)
            for _ in range(10):
                while True:
                    read = repository.load().configuration_revision
                    try:
                        commit = Commit([put(pool(f"p{number}"))], configuration_revision=read)
                        won.append(repository.commit(commit, store))
                        break
                    except Conflict as conflict:
                        assert conflict.reason == "configuration"
                        lost.release()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert sorted(won) == list(range(1, 41))
    with server.connect() as client:
        assert [entry["previous"] for _, entry in feed(client)] == [str(number) for number in range(40)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (keys.VERSIONS, "hash"),
        (keys.CHANGES, "stream"),
        (keys.EVENTS, "stream"),
        (keys.AUDIT, "stream"),
        (keys.documents(kinds.POOLS), "hash"),
        (keys.documents(kinds.TARGET_STATES), "hash"),
    ],
)
def test_a_key_of_another_type_is_named_and_nothing_written(
    client: Client, repository: Repository, store: str, name: str, kind: str
) -> None:
    client.delete(name)
    client.rpush(name, "garbage")
    before = everything(client)
    commit = Commit([put(pool()), down("192.0.2.1")], [{"kind": "x"}], {"action": "x"}, configuration_revision=0)
    with pytest.raises(StoreUnavailable, match=f"the store is damaged: {name} is a list, not a {kind}"):
        repository.commit(commit, store)
    assert everything(client) == before


@pytest.mark.parametrize("garbage", ["abc", "", "-1", "1.5", "1e3", " 1"])
def test_a_revision_that_is_no_number_is_named_and_nothing_written(
    client: Client, repository: Repository, store: str, garbage: str
) -> None:
    client.set(keys.REVISION, garbage)
    before = everything(client)
    with pytest.raises(StoreUnavailable, match=f"{keys.REVISION} is no number"):
        repository.commit(Commit(PREPARED), store)
    assert everything(client) == before


@pytest.mark.parametrize("left", [None, "1"])
def test_revisions_go_on_after_the_feed_where_the_revision_was_lost(
    client: Client, repository: Repository, store: str, left: str | None
) -> None:
    for number in range(4):
        repository.commit(Commit([put(pool(f"p{number}"))]), store)
    client.delete(keys.REVISION)
    if left is not None:
        client.set(keys.REVISION, left)
    assert repository.commit(Commit([put(pool("next"))]), store) == 5
    identifier, entry = feed(client)[-1]
    assert (identifier, entry["previous"]) == ("5-0", left or "0")
    assert loaded(repository).version(kinds.POOLS, "next") == 5


def test_a_load_is_at_one_revision_while_others_write(server: RedisServer, client: Client, store: str) -> None:
    filler = [put(pool(f"filler-{number}")) for number in range(300)]
    Repository(client).commit(Commit(filler), store)
    done = threading.Event()

    def write() -> None:
        with server.connect() as own:
            repository, number = Repository(own), 0
            while not done.is_set():
                number = number % 200 + 1
                both = [put(pool(name, f"192.0.2.{number}")) for name in ("a", "z")]
                repository.commit(Commit(both), store)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        revisions = set()
        for _ in range(50):
            snapshot = loaded(Repository(client))
            revisions.add(snapshot.revision)
            assert snapshot.pools.get("a", pool("a")).addresses == snapshot.pools.get("z", pool("z")).addresses
            assert snapshot.version(kinds.POOLS, "z") in (0, snapshot.revision)
    finally:
        done.set()
        writer.join()
    assert len(revisions) > 5, "it did change meanwhile"


def test_a_load_that_a_write_came_between_is_read_again(client: Client, server: RedisServer, store: str) -> None:
    """On a slow network the commands of one load arrive in pieces."""
    writes = [lambda: Repository(client).commit(Commit([put(pool("a")), put(pool("z"))]), store)]

    def between(sent: bytes) -> int | None:
        """Where to hold up what is sent, for the first load alone."""
        place = sent.find(b"HGETALL")
        return place if place >= 0 and writes else None

    with interrupted(server.socket, between, lambda: writes.pop()()) as path, connect(f"unix://{path}") as slow:
        loading = Repository(slow).load()
    assert not writes
    assert parse(loading).position.revision == 1
    assert set(parse(loading).pools) == {"a", "z"}


def filled(repository: Repository, store: str) -> None:
    """More documents of a kind than are read at a time."""
    repository.commit(Commit([put(pool(f"p{number}")) for number in range(3 * SCANNED)]), store)
    repository.commit(Commit([put(instance("gtm00000001", "p0")), down("192.0.2.1")]), store)


def test_a_gentle_load_reads_the_same_and_rests(repository: Repository, store: str) -> None:
    filled(repository, store)
    rests: list[int] = []
    assert repository.load(lambda: rests.append(1)) == repository.load()
    assert len(rests) > 2


def test_a_gentle_load_that_a_write_comes_between_is_one_revision_too(repository: Repository, store: str) -> None:
    filled(repository, store)
    rests: list[int] = []

    def write() -> None:
        # An earlier document goes and a later one comes, while the first are read already.
        changes = [Change(kinds.POOLS, f"p{len(rests)}", None), put(pool(f"q{len(rests)}"))]
        repository.commit(Commit(changes), store)
        rests.append(1)

    found = parse(repository.load(write))
    assert rests, "something was written meanwhile"
    assert found == parse(repository.load())
    assert len([name for name in found.pools if name.startswith("q")]) == len(rests)


def test_a_gentle_load_of_which_another_server_gives_a_part_is_read_again(
    client: Client, repository: Repository, store: str
) -> None:
    """A replica that was promoted holds the same revision; a cursor of the old master means nothing to it."""
    filled(repository, store)
    plain: Any = client
    rests: list[int] = []

    def take_over() -> None:
        rests.append(1)
        if len(rests) == 1:
            plain.execute_command("DEBUG", "CHANGE-REPL-ID")

    found = repository.load(take_over)
    assert found == repository.load()
    assert found.position == repository.position()
    quiet: list[int] = []
    repository.load(lambda: quiet.append(1))
    assert len(rests) <= len(quiet), "the pieces read so far were given up"


def test_a_gentle_load_of_an_empty_redis(client: Client, repository: Repository) -> None:
    assert repository.load(lambda: None) == repository.load()
    assert client.dbsize() == 0


def test_scripts_that_redis_forgot_are_sent_again(client: Client, repository: Repository, store: str) -> None:
    repository.commit(Commit(PREPARED), store)
    client.script_flush()
    assert repository.commit(Commit(PREPARED), store) == 2


def test_a_thousand_changes_are_one_commit(client: Client, repository: Repository, store: str) -> None:
    changes = [put(pool(f"p{number}")) for number in range(1000)]
    changes += [put(instance(f"gtm{number:08}", f"p{number}")) for number in range(1000)]
    client.config_resetstat()
    assert repository.commit(Commit(changes, configuration_revision=0), store) == 1
    assert len(loaded(repository).documents[kinds.POOLS]) == 1000
    stats: Any = client.info("commandstats")
    spent = sum(stats[name]["usec"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)
    assert spent < 500_000, "microseconds for which nobody else is served"


def test_of_huge_changes_few_are_kept_in_the_feed(
    client: Client, repository: Repository, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdns_gtm_backend.store.repository.KEPT_CHANGES_OCTETS", 1_000_000)
    small = Commit([put(pool("small"))])
    for _ in range(200):
        repository.commit(small, store)
    assert client.xlen(keys.CHANGES) == 200
    huge = Commit([put(pool(f"p{number}")) for number in range(2000)])
    for _ in range(5):
        repository.commit(huge, store)
    size = len(feed(client)[-1][1]["change"])
    assert size * client.xlen(keys.CHANGES) < 2_000_000, "of the last entry and those before it"
    assert [entry["previous"] for _, entry in feed(client)][-1] == "204"


def test_a_full_redis_writes_nothing_and_recovers(client: Client, repository: Repository, store: str) -> None:
    configured(repository, store, pool())
    before = everything(client)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match=r"Redis is full \(maxmemory"):
            repository.commit(Commit(PREPARED, [{"kind": "x"}], {"action": "x"}), store)
    finally:
        client.config_set("maxmemory", "0")
    assert everything(client) == before
    assert repository.commit(Commit(PREPARED), store) == 2


def test_a_redis_without_its_replicas_writes_nothing(client: Client, repository: Repository, store: str) -> None:
    before = everything(client)
    client.config_set("min-replicas-to-write", "1")
    try:
        with pytest.raises(StoreUnavailable, match="min-replicas-to-write"):
            repository.commit(Commit(PREPARED), store)
    finally:
        client.config_set("min-replicas-to-write", "0")
    assert everything(client) == before


def test_a_replica_writes_nothing(client: Client, repository: Repository, store: str) -> None:
    before = everything(client)
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            repository.commit(Commit(PREPARED), store)
    finally:
        client.replicaof("NO", "ONE")
    assert everything(client) == before


def test_a_dead_redis_is_told_within_bounds(short_path: Path) -> None:
    with RedisServer(short_path) as server, server.connect(COMMAND_TIMEOUT) as client:
        repository = Repository(client)
        store = repository.identify()
        server.kill()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            repository.commit(Commit(PREPARED), store)
        assert time.monotonic() - began < BOUND
        server.start()
        assert repository.commit(Commit(PREPARED), store) == 1, "what was written before is still there"


def test_a_frozen_redis_is_told_within_bounds(short_path: Path) -> None:
    with RedisServer(short_path) as server, server.connect(COMMAND_TIMEOUT) as client:
        repository = Repository(client)
        store = repository.identify()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable, match=r"[Tt]imeout"):
                    repository.commit(Commit(PREPARED), store)
                assert time.monotonic() - began < BOUND
        finally:
            os.kill(server.pid, signal.SIGCONT)
        repository.commit(Commit(PREPARED), store)
        assert [entry["previous"] for _, entry in feed(client)] == [str(n) for n in range(len(feed(client)))]


def test_every_script_runs_on_a_cluster(short_path: Path) -> None:
    port = free_port()
    local = ("--bind", "127.0.0.1", "--cluster-port", str(free_port()))
    options = ("--port", str(port), *local, "--cluster-enabled", "yes")
    with RedisServer(short_path, *options), connect(f"redis://127.0.0.1:{port}") as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
        repository = Repository(client)
        store = repository.identify()
        lease = Lease(client, keys.LEADER)
        assert lease.hold()
        commit = Commit([*PREPARED, down("192.0.2.1")], [{"kind": "x"}], {"action": "x"}, lease.token, 0)
        assert repository.commit(commit, store) == 1
        assert len(loaded(repository).pools) == 2
        lease.drop()
        slots = {client.execute_command("CLUSTER", "KEYSLOT", name) for name in client.keys("*")}  # type: ignore[union-attr]
        assert len(slots) == 1


def test_the_clock_of_redis(repository: Repository) -> None:
    before = time.time()
    assert before - 1 < repository.time() < time.time() + 1


def test_the_id_of_a_store_is_made_once(repository: Repository, store: str) -> None:
    assert len(store) == 16
    assert repository.identify() == store


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_both_protocols_of_redis_are_understood(server: RedisServer, client: Client, protocol: str) -> None:
    with connect(f"{server.url}?protocol={protocol}") as other:
        repository = Repository(other)
        store = repository.identify()
        assert repository.commit(Commit(PREPARED), store) == 1
        snapshot = loaded(repository)
        assert (len(snapshot.pools), snapshot.position) == (2, repository.position())
        assert len(snapshot.position.replication_id) == 40
