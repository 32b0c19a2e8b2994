"""What is answered before everything on disk is decoded equals what is answered after."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns import answers
from pdns_gtm_backend.dns.answers import Question, View, lookup
from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.zones import build
from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.instance import FAMILIES
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.store import disk, feed, kinds
from pdns_gtm_backend.store.journal import Entry
from pdns_gtm_backend.store.on_demand import OnDemand, prepare_on_demand
from pdns_gtm_backend.store.serving import Prepared, prepare
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, empty
from pdns_gtm_backend.store.stored import Stored
from tests.support.store import HISTORIES, down, held, instance, pool, put
from tests.support.strategies import bounded

AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example", ()),), "hostmaster.gtm.example")
ASKED = (
    *(f"gtm0000000{number}.gtm.example" for number in range(4)),
    *("www.shop.example", "api.shop.example", "*.shop.example", "mail.shop.example", "no.shop.example"),
    *("shop.example", "gtm.example", "example", "a.www.shop.example"),
)
CLIENTS = ("203.0.113.9/32", "198.51.100.9/32", "1.2.4.9/32", "2001:db8::1/128")
START = Position("store", "history", 0)
History = Sequence[tuple[Sequence[Change], bool]]
BROKEN = st.sampled_from(["{}", "[", '{"id":"another"}', "null", '"' + "x" * 100])


def near(network: Network) -> Place:
    return Place("AS", "CN", asn=4134) if network.holds(parse_network("1.2.4.0/24")) else NOWHERE


def answered(serving: Prepared) -> Mapping[Any, Any]:
    """The answer to everything that is asked here; draws are the same each time."""
    view = View(serving, build(serving, AUTHORITY), near)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "random", lambda: 0.7)
        return {
            (name, rrtype, client): lookup(view, Question(name, rrtype, "127.0.0.1", client))
            for name in ASKED
            for rrtype in ("ANY", "A", "TXT")
            for client in CLIENTS
        }


def derived(serving: Prepared) -> Mapping[str, Any]:
    served = {
        name: (one.instance, one.answers.views, one.answers.choices, one.answers.families)
        for name, one in serving.instances.items()
    }
    names = {name: (one.instance.id, one.answers.choices) for name, one in serving.names.items()}
    return {"pools": dict(serving.pools), "instances": served, "names": names}


@contextmanager
def saved(history: History, saves: set[int]) -> Iterator[tuple[Path, Snapshot]]:
    """The file of a history, with its journal: what was saved in between. Its last snapshot."""
    snapshot = replace(empty(), position=START)
    with TemporaryDirectory() as folder:
        saver = disk.Saver(Path(folder) / "snapshot")
        for revision, (changes, configuration) in enumerate(history, 1):
            snapshot = snapshot.changed(changes, replace(START, revision=revision), configuration=configuration)
            saver.offer(snapshot, changes)
            if revision in saves:
                saver.stop()
        saver.stop()
        yield Path(folder) / "snapshot", snapshot


def damage(path: Path, chosen: Mapping[int, str]) -> None:
    """Put texts in place of documents, by the number of their line, in a file that stays whole."""
    _, position, *lines = path.read_bytes().split(b"\n")[:-1]
    for number, text in chosen.items():
        if lines:
            place = number % len(lines)
            lines[place] = lines[place].partition(b"\t")[0] + b"\t" + text.encode()
    body = b"".join(line + b"\n" for line in (position, *lines))
    header = {"format": disk.FORMAT, "length": len(body), "sha256": sha256(body).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + body)


def stored(path: Path) -> Stored:
    found = disk.read(path)
    assert found is not None
    return found


@bounded
@given(HISTORIES, st.sets(st.integers(1, 8)), st.dictionaries(st.integers(0, 30), BROKEN, max_size=3))
def test_both_answer_the_same(history: History, saves: set[int], broken: Mapping[int, str]) -> None:
    with saved(history, saves) as (path, last):
        if broken:
            damage(path, broken)
        early, whole = prepare_on_demand(stored(path)), prepare(stored(path).snapshot())
        if not broken:
            assert held(whole.snapshot) == held(last)
    assert answered(early) == answered(whole)
    assert derived(early) == derived(whole)


@bounded
@given(HISTORIES, HISTORIES, BROKEN, st.integers(0, 7))
def test_both_answer_the_same_after_what_was_written_later(
    history: History, later: History, text: str, broken: int
) -> None:
    entries = [
        Entry(
            replace(START, revision=revision),
            revision,
            [
                (change.kind, change.id, 0, None)
                if change.value is None
                else (change.kind, change.id, 0, text if number == broken else kinds.encode(change.kind, change.value))
                for change in changes
            ],
        )
        for number, (revision, (changes, _)) in enumerate(enumerate(later, len(history) + 1))
    ]
    with saved(history, set()) as (path, _):
        first = stored(path)
        prepare_on_demand(first)
        early = prepare_on_demand(first.after(entries))
        whole = prepare(stored(path).after(entries).snapshot())
    assert answered(early) == answered(whole)
    assert derived(early) == derived(whole)


@bounded
@given(HISTORIES, HISTORIES)
def test_the_feed_leads_where_it_leads_a_whole_snapshot(history: History, later: History) -> None:
    with saved(history, set()) as (path, snapshot):
        found = stored(path)
    entries = []
    at, configuration_revision = found.position, found.configuration_revision
    for changes, configuration in later:
        texts = [(c.kind, c.id, "" if c.value is None else kinds.encode(c.kind, c.value)) for c in changes]
        fields = {"previous": str(at.revision), "change": json.dumps(texts), "configuration": str(int(configuration))}
        identifier = f"{at.revision + 1}-0"
        snapshot, _ = feed.patched(snapshot, identifier, fields)
        entries.append(feed.as_written(at, configuration_revision, identifier, fields))
        at, configuration_revision = entries[-1].position, entries[-1].configuration_revision
    assert held(found.after(entries).snapshot()) == held(snapshot)


FULL = replace(empty(), position=START).changed(
    [put(pool("pool-a", "192.0.2.1", "192.0.2.2", health_checks=("web",))), put(instance()), down("192.0.2.1")],
    replace(START, revision=7),
    configuration=True,
)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    disk.save(FULL, tmp_path / "snapshot")
    return tmp_path / "snapshot"


@pytest.mark.parametrize(
    "fields",
    [
        {"previous": "6", "change": "[]"},
        {"previous": "7", "change": "nonsense"},
        {"previous": "7"},
        {"previous": "7", "change": '[["pools", "a", "{}"]]'},
    ],
)
def test_an_entry_that_does_not_follow_or_is_broken_is_a_gap(fields: dict[str, str]) -> None:
    with pytest.raises(feed.Gap):
        feed.as_written(FULL.position, 7, "8-0", fields)


def test_an_entry_of_an_unknown_kind_is_refused(full: Path) -> None:
    with pytest.raises(KeyError):
        stored(full).after([Entry(START, 0, [("nonsense", "a", 0, "{}")])])


def test_nothing_large_is_decoded_before_it_is_asked_for(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[str, str]] = []
    real = kinds.decode_stored

    def decode(kind: str, identifier: str, text: str | bytes) -> Any:
        decoded.append((kind, identifier))
        return real(kind, identifier, text)

    monkeypatch.setattr(kinds, "decode_stored", decode)
    found = stored(full)
    early = prepare_on_demand(found)
    build(early, AUTHORITY)
    assert decoded == [(kinds.INSTANCES, "gtm00000001")]
    served = early.names["gtm00000001.gtm.example"]
    assert decoded[1:] == [(kinds.POOLS, "pool-a"), (kinds.TARGET_STATES, "web|192.0.2.1||")]
    assert early.instances["gtm00000001"] is served
    assert found.snapshot().pools["pool-a"] is early.pools["pool-a"].pool, "what is decoded is not decoded again"
    assert len(decoded) == 3


def test_a_broken_document_is_absent_and_named(full: Path) -> None:
    entry = Entry(replace(START, revision=8), 7, [(kinds.POOLS, "pool-a", 8, "{}")])
    found = stored(full).after([entry])
    early = prepare_on_demand(found)
    assert "pool-a" not in early.pools
    assert early.names["gtm00000001.gtm.example"].answers.families == ()
    assert list(found.known_problems()) == [(kinds.POOLS, "pool-a")]
    whole = found.snapshot()
    assert dict(whole.pools) == {}
    assert list(whole.problems) == [(kinds.POOLS, "pool-a")]
    assert whole.version(kinds.POOLS, "pool-a") == 8


@pytest.mark.parametrize("order", [("gtm00000001", "gtm00000002"), ("gtm00000002", "gtm00000001")])
def test_the_first_of_two_instances_owns_a_name_in_whatever_order_they_are_stored(
    tmp_path: Path, order: Sequence[str]
) -> None:
    disk.save(replace(empty(), position=START), tmp_path / "snapshot")
    texts = {name: kinds.encode(kinds.INSTANCES, instance(name, names=("www.shop.example",))) for name in order}
    entries = [Entry(START, 0, [(kinds.INSTANCES, name, 1, texts[name])]) for name in order]
    early = prepare_on_demand(stored(tmp_path / "snapshot").after(entries))
    assert early.names["www.shop.example"].instance.id == "gtm00000001"


def asked_at_once(values: Mapping[str, Any], key: str) -> list[Any]:
    """What two threads get."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(values[key])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_what_two_threads_decode_at_once_is_one_value(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=60)
    real = kinds.decode_stored

    def decode(kind: str, identifier: str, text: str | bytes) -> Any:
        together.wait()
        return real(kind, identifier, text)

    monkeypatch.setattr(kinds, "decode_stored", decode)
    one, other = asked_at_once(stored(full).documents[kinds.POOLS], "pool-a")
    assert one is other


def test_what_two_threads_make_at_once_is_one_value() -> None:
    together = threading.Barrier(2, timeout=60)

    def make(_key: str) -> object:
        together.wait()
        return object()

    one, other = asked_at_once(OnDemand(["a"], make), "a")
    assert one is other


def test_threads_that_ask_first_get_the_same(tmp_path: Path) -> None:
    many = range(200)
    snapshot = FULL.changed([put(pool(f"p{n}")) for n in many])
    snapshot = snapshot.changed([put(instance(f"gtm{n:08}", f"p{n}", f"p{(n + 1) % 200}")) for n in many])
    disk.save(snapshot, tmp_path / "snapshot")
    early = prepare_on_demand(stored(tmp_path / "snapshot"))
    names = [f"gtm{n:08}.gtm.example" for n in many]
    together, found = threading.Barrier(4), list[list[Any]]()

    def ask() -> None:
        together.wait()
        served = [early.names[name] for name in names]
        found.append([*served, *(_pool_of(early, name) for name in names)])

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert len(found) == 4
    assert all(one is other for listed in found[1:] for one, other in zip(found[0], listed, strict=True))
    whole = prepare(snapshot)
    assert [one.answers.choices for one in found[0][: len(names)]] == [
        whole.names[name].answers.choices for name in names
    ]


def _pool_of(early: Prepared, name: str) -> Pool:
    served = early.names[name]
    return served.answers.views[FAMILIES["address"][0]][0].sets[0].members[0][0].pool
