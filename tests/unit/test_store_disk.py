import dataclasses
import json
import os
import stat
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.store import disk, journal, kinds
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, empty
from tests.support.store import HISTORIES, down, eventually, held, instance, pool, put
from tests.support.strategies import bounded, bounded_few

FULL = (
    dataclasses.replace(empty(), position=Position("store", "history", 6))
    .changed(
        [
            put(pool()),
            put(instance()),
            put(RRset(zone="a.example", name="t.a.example", type="TXT", records=('"a\tb\n\r\u2028é"',))),
            down("192.0.2.1"),
        ],
        Position("store", "history", 7),
        configuration=True,
    )
    .with_problems({(kinds.POOLS, "broken"): "type: is wrong"})
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "backend.snapshot"
    disk.save(FULL, path)
    return path


@bounded
@given(HISTORIES)
def test_a_snapshot_comes_back_as_it_was(history: Sequence[tuple[Sequence[Change], bool]]) -> None:
    snapshot = dataclasses.replace(empty(), position=Position("store", "history", 0))
    for revision, (changes, configuration) in enumerate(history, 1):
        position = Position("store", "history", revision)
        snapshot = snapshot.changed(changes, position, configuration=configuration)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        disk.save(snapshot, path)
        loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) == held(snapshot)


def test_whatever_text_it_holds(saved: Path) -> None:
    loaded = disk.load(saved)
    assert loaded is not None
    assert held(loaded) == held(FULL)


def test_there_is_none_where_there_is_no_file(tmp_path: Path) -> None:
    assert disk.load(tmp_path / "missing") is None


def refused(path: Path) -> str:
    with pytest.raises(disk.BrokenSnapshot) as error:
        disk.load(path)
    return str(error.value)


@bounded_few
@given(st.data())
def test_no_shortened_file_is_loaded(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        disk.save(FULL, path)
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        assert "is truncated" in (reason := refused(path)) or "no header" in reason


@bounded_few
@given(st.data())
def test_no_altered_file_is_loaded(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        disk.save(FULL, path)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(content.index(b"\n") + 1, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        assert "was altered" in refused(path)


def test_an_altered_position_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content.replace(b'["store", "history", 7', b'["store", "history", 8'))
    assert "was altered" in refused(saved)


def test_what_was_appended_is_noticed(saved: Path) -> None:
    with saved.open("ab") as file:
        file.write(b"x")
    assert "octets of" in refused(saved)


@pytest.mark.parametrize(
    "garbage", [b"", b"\n", b"nonsense", b"{}\n", b"[]\n", b"5\n", os.urandom(4096), b"[" * 100_000, b'{"format": 1}\n']
)
def test_garbage_is_refused(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "snapshot"
    path.write_bytes(garbage)
    assert "has no header of a snapshot" in refused(path)


def test_another_format_is_named(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content.replace(b'"format": 1', b'"format": 2', 1))
    assert refused(saved) == "has format 2, this software reads 1"


def signed(path: Path, *lines: bytes) -> None:
    """A file whose digest is right, whatever it holds."""
    body = b"".join(line + b"\n" for line in lines)
    header = {"format": disk.FORMAT, "length": len(body), "sha256": sha256(body).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + body)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"[]"],
        [b'["store", "history", 1, 1, []]', b"nonsense"],
        [b'["store", "history", 1, 1, []]', b'["nonsense", "a", 1]\t{}'],
        [b'["store", "history", 1, 1, 5]'],
        [b"[" * 100_000],
    ],
)
def test_a_whole_file_of_nonsense_is_refused(tmp_path: Path, lines: list[bytes]) -> None:
    signed(tmp_path / "snapshot", *lines)
    assert "cannot be read" in refused(tmp_path / "snapshot")


def test_a_document_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    good = kinds.encode(kinds.POOLS, pool("a")).encode()
    signed(
        tmp_path / "snapshot",
        b'["store", "history", 9, 8, []]',
        b'["pools", "a", 8]\t' + good,
        b'["pools", "b", 7]\t' + good,
    )
    loaded = disk.load(tmp_path / "snapshot")
    assert loaded is not None
    assert dict(loaded.pools) == {"a": pool("a")}
    assert dict(loaded.problems) == {(kinds.POOLS, "b"): "names itself 'a'"}
    assert loaded.version(kinds.POOLS, "b") == 7


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "snapshot"
    left_behind = path.with_name("snapshot.new")
    left_behind.parent.mkdir(parents=True)
    left_behind.touch(0o666)
    umask = os.umask(0)
    try:
        disk.save(FULL, path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["snapshot"]


def test_a_failed_write_leaves_the_file_as_it_was(saved: Path) -> None:
    before = saved.read_bytes()
    blocker = saved.with_name(saved.name + ".new")
    blocker.mkdir()
    with pytest.raises(OSError):
        disk.save(FULL.changed([], Position("store", "history", 8)), saved)
    assert saved.read_bytes() == before


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    big = FULL.changed([put(pool(f"p{number}")) for number in range(300)])
    disk.save(FULL, path)
    done = threading.Event()

    def write() -> None:
        for snapshot in [FULL, big] * 10:
            disk.save(snapshot, path)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        loaded = disk.load(path)
        assert loaded is not None
        seen.add(len(loaded.pools))
    writer.join()
    assert seen <= {1, 301}


def at(revision: int) -> Snapshot:
    return FULL.changed([], Position("store", "history", revision))


def revision_in(path: Path) -> int:
    loaded = disk.load(path)
    return -1 if loaded is None else loaded.revision


def saved_changes(saver: disk.Saver, before: Snapshot, changes: Sequence[Change]) -> Snapshot:
    after = before.changed(changes, Position("store", "history", before.revision + 1), configuration=True)
    saver.offer(after, changes)
    return after


def whole_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    writes: list[int] = []
    real = disk.save

    def save(snapshot: Snapshot, path: Path) -> str:
        writes.append(snapshot.revision)
        return real(snapshot, path)

    monkeypatch.setattr(disk, "save", save)
    return writes


def test_the_saver_saves_at_once_and_then_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = whole_writes(monkeypatch)
    path = tmp_path / "snapshot"
    saver = disk.Saver(path)
    saver.start()
    saver.offer(at(1), None)
    eventually(lambda: revision_in(path) == 1)
    for revision in range(2, 50):
        saver.offer(at(revision), [])
    saver.stop()
    assert writes == [1], "the one at once; what follows is in the journal"
    assert len(journal.path_of(path).read_bytes().splitlines()) == 2, "its head, and the last one on stopping"
    assert revision_in(path) == 49


def test_the_saver_saves_what_comes_between_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SAVE_SECONDS", 0.02)
    path = tmp_path / "snapshot"
    saver = disk.Saver(path)
    saver.start()
    try:
        for revision in (1, 2, 3):
            saver.offer(at(revision), [])
            eventually(lambda wanted=revision: revision_in(path) == wanted)
    finally:
        saver.stop()


@bounded
@given(HISTORIES, st.sets(st.integers(0, 10)))
def test_the_journal_leads_where_the_changes_lead(
    history: Sequence[tuple[Sequence[Change], bool]], saves: set[int]
) -> None:
    snapshot = dataclasses.replace(empty(), position=Position("store", "history", 0))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        saver = disk.Saver(path)
        saver.offer(snapshot, None)
        saver.stop()
        for revision, (changes, configuration) in enumerate(history, 1):
            position = Position("store", "history", revision)
            snapshot = snapshot.changed(changes, position, configuration=configuration)
            saver.offer(snapshot, changes)
            if revision in saves:
                saver.stop()
        saver.stop()
        loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) == held(snapshot)


@bounded_few
@given(st.data())
def test_a_journal_that_was_cut_or_altered_holds_up_to_there(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot"
        saver = disk.Saver(path)
        saver.offer(FULL, None)
        saver.stop()
        states = [held(FULL)]
        snapshot = FULL
        for number in range(3):
            snapshot = saved_changes(saver, snapshot, [put(pool(f"p{number}"))])
            saver.stop()
            states.append(held(snapshot))
        content = bytearray(journal.path_of(path).read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[place:]
        else:
            content[place] ^= data.draw(st.integers(1, 255))
        journal.path_of(path).write_bytes(content)
        loaded = disk.load(path)
    assert loaded is not None
    assert held(loaded) in states[:-1]


def test_a_large_journal_becomes_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LEAST_ROOM", 2000)
    monkeypatch.setattr(disk, "JOURNAL_PART", 10**9)
    writes = whole_writes(monkeypatch)
    path = tmp_path / "snapshot"
    saver = disk.Saver(path)
    saver.offer(FULL, None)
    saver.stop()
    snapshot = FULL
    for number in range(30):
        snapshot = saved_changes(saver, snapshot, [put(pool(f"p{number}"))])
        saver.stop()
        assert journal.path_of(path).stat().st_size < 3000
        assert held(disk.load(path) or empty()) == held(snapshot)
    assert 1 < len(writes) < 30


def test_a_document_that_cannot_be_read_is_named_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    saver = disk.Saver(path)
    saver.offer(FULL, None)
    saver.stop()
    worse = FULL.changed([], Position("store", "history", 8)).with_problems({(kinds.POOLS, "worse"): "type: is wrong"})
    saver.offer(worse, [])
    saver.stop()
    assert held(disk.load(path) or empty()) == held(worse)


def test_the_journal_of_another_snapshot_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    saver = disk.Saver(path)
    saver.offer(FULL, None)
    saver.stop()
    saved_changes(saver, FULL, [put(pool("later"))])
    saver.stop()
    disk.save(at(9), path)
    assert held(disk.load(path) or empty()) == held(at(9))


def test_a_saver_that_is_offered_nothing_writes_nothing(saved: Path) -> None:
    before = saved.stat().st_mtime_ns
    saver = disk.Saver(saved)
    saver.start()
    saver.stop()
    assert saved.stat().st_mtime_ns == before
    assert not journal.path_of(saved).exists()


def test_another_history_at_the_same_revision_is_saved(saved: Path) -> None:
    saver = disk.Saver(saved)
    saver.offer(dataclasses.replace(FULL, position=Position("store", "another", 7)), None)
    saver.stop()
    loaded = disk.load(saved)
    assert loaded is not None
    assert loaded.position.replication_id == "another"


def test_the_saver_tries_again_and_complains_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk, "SAVE_SECONDS", 0.01)
    path = tmp_path / "snapshot"
    blocker = tmp_path / "snapshot.new"
    blocker.mkdir()
    tried: list[None] = []
    real = disk.save
    monkeypatch.setattr(disk, "save", lambda snapshot, where: (tried.append(None), real(snapshot, where))[1])
    saver = disk.Saver(path)
    saver.start()
    try:
        saver.offer(at(1), None)
        eventually(lambda: len(tried) >= 3)
        blocker.rmdir()
        eventually(lambda: revision_in(path) == 1)
    finally:
        saver.stop()
    assert [record.message for record in caplog.records if "cannot be saved" in record.message][1:] == []
    assert "cannot be saved" in caplog.text
