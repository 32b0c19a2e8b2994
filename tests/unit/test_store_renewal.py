"""Loading everything again gives what loading it for the first time gives, and says what has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.store import kinds, renewal
from pdns_gtm_backend.store.renewal import renewed
from pdns_gtm_backend.store.repository import Loaded, parse
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, empty
from tests.support.store import HISTORIES, comparable, down, held, instance, pool, put
from tests.support.strategies import bounded

History = Sequence[tuple[Sequence[Change], bool]]
START = replace(empty(), position=Position("store", "history", 0))


def after(history: History, begin: Snapshot = START) -> Snapshot:
    snapshot = begin
    for changes, configuration in history:
        position = replace(snapshot.position, revision=snapshot.revision + 1)
        snapshot = snapshot.changed(changes, position, configuration=configuration)
    return snapshot


def loaded(snapshot: Snapshot, broken: Mapping[int, str]) -> Loaded:
    """What a Redis that holds a snapshot gives; `broken`: texts in place of documents, by their number."""
    documents = {
        kind: {identifier: kinds.encode(kind, value) for identifier, value in sorted(held.items())}
        for kind, held in snapshot.documents.items()
    }
    every = [(kind, identifier) for kind, texts in documents.items() for identifier in texts]
    for number, text in broken.items():
        if every:
            kind, identifier = every[number % len(every)]
            documents[kind][identifier] = text
    versions = {f"{kind}/{identifier}": str(version) for (kind, identifier), version in snapshot.versions.items()}
    position = replace(snapshot.position, replication_id="another history")
    return Loaded(position, snapshot.configuration_revision, documents, versions)


def nothing() -> None:
    """Rest."""


BROKEN = st.dictionaries(st.integers(0, 30), st.sampled_from(["{}", "[", '{"id":"another"}', "null"]), max_size=2)


@bounded
@given(HISTORIES, HISTORIES, HISTORIES, BROKEN)
def test_it_equals_a_first_load(common: History, here: History, there: History, broken: Mapping[int, str]) -> None:
    begin = after(common)
    before, found = after(here, begin), loaded(after(there, begin), broken)
    renewal_ = renewed(before, found, nothing)
    assert renewal_ is not None, "there are never a hundred changes here"
    snapshot, changes = renewal_
    expected = parse(found, before)
    assert held(snapshot) == held(expected)
    assert snapshot.problems == expected.problems
    assert comparable(prepare(before).changed(snapshot, changes)) == comparable(prepare(expected))
    again = renewed(snapshot, found, nothing)
    assert again is not None
    assert again[1] == []
    assert again[0].problems is snapshot.problems


FULL = after([([put(pool("a", "192.0.2.1")), put(pool("b", "192.0.2.2")), put(instance()), down("192.0.2.1")], True)])


def test_what_has_not_changed_is_the_same_object_and_no_change() -> None:
    found = loaded(FULL.changed([put(pool("b", "192.0.2.3"))], replace(FULL.position, revision=9)), {})
    renewal_ = renewed(FULL, found, nothing)
    assert renewal_ is not None
    snapshot, changes = renewal_
    assert [(change.kind, change.id) for change in changes] == [(kinds.POOLS, "b")]
    assert snapshot.pools["a"] is FULL.pools["a"]
    assert snapshot.instances is FULL.instances
    assert (snapshot.position.replication_id, snapshot.version(kinds.POOLS, "b")) == ("another history", 9)


def test_a_document_written_otherwise_is_the_same_document() -> None:
    found = loaded(FULL, {})
    text = found.documents[kinds.POOLS]["a"]
    assert ":" in text
    spaced = {**found.documents, kinds.POOLS: {**found.documents[kinds.POOLS], "a": text.replace(":", ": ")}}
    renewal_ = renewed(FULL, replace(found, documents=spaced), nothing)
    assert renewal_ is not None
    assert renewal_[1] == []


def test_a_document_whose_version_alone_has_changed_is_told() -> None:
    found = replace(loaded(FULL, {}), versions={"pools/a": "7", "instances/gtm00000001": "1"})
    renewal_ = renewed(FULL, found, nothing)
    assert renewal_ is not None
    assert sorted(change.id for change in renewal_[1]) == ["a", "b"]
    assert [renewal_[0].version(kinds.POOLS, name) for name in "ab"] == [7, 0]


def test_a_document_that_is_broken_again_in_another_version_is_known_anew() -> None:
    first = renewed(FULL, loaded(FULL, {0: "{}"}), nothing)
    assert first is not None
    (key,) = first[0].problems
    found = loaded(FULL, {0: "{}"})
    again = renewed(first[0], replace(found, versions={**found.versions, "/".join(key): "77"}), nothing)
    assert again is not None
    assert again[0].problems == first[0].problems
    assert again[0].problems is not first[0].problems, "the saver writes everything then"
    assert again[0].version(*key) == 77


def test_where_much_has_changed_nothing_is_patched() -> None:
    many = [put(pool(f"p{number}")) for number in range(3 * renewal.LEAST_CHANGES)]
    assert renewed(FULL, loaded(FULL.changed(many), {}), nothing) is None
    grown = FULL.changed(many)
    assert renewed(grown, loaded(grown.changed(many[:10]), {}), nothing) is not None


def test_it_rests_often() -> None:
    rests: list[int] = []
    many = FULL.changed([put(pool(f"p{number}")) for number in range(100)])
    renewed(many, loaded(many, {}), lambda: rests.append(1))
    assert len(rests) >= 200
