import dataclasses
from collections.abc import Sequence
from unittest import mock

import pytest
from hypothesis import given

from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store import serving as serving_state
from pdns_gtm_backend.store.serving import Serving, prepare, touched
from pdns_gtm_backend.store.snapshot import Change, Position, Snapshot, build, empty
from tests.support.store import HISTORIES, applied, comparable, down, held, instance, pool, put
from tests.support.strategies import bounded

History = Sequence[tuple[Sequence[Change], bool]]


def patched(before: Serving, history: History) -> Serving:
    """What the follower does with one batch of entries."""
    snapshot, changes = before.snapshot, list[Change]()
    for listed, configuration in history:
        position = dataclasses.replace(snapshot.position, revision=snapshot.revision + 1)
        snapshot = snapshot.changed(listed, position, configuration=configuration)
        changes += listed
    return before.changed(snapshot, changes)


def whole(history: History) -> Snapshot:
    """The snapshot of the same documents, made at once."""
    versions: dict[tuple[str, str], int] = {}
    for revision, (listed, _) in enumerate(history, 1):
        for change in listed:
            versions.pop((change.kind, change.id), None)
            if change.value is not None and kinds.versioned(change.kind):
                versions[change.kind, change.id] = revision
    configured = max((revision for revision, (_, yes) in enumerate(history, 1) if yes), default=0)
    documents = applied(listed for listed, _ in history)
    return build(Position("store", "history", len(history)), configured, documents, versions, {})


START = prepare(dataclasses.replace(empty(), position=Position("store", "history", 0)))


@bounded
@given(HISTORIES)
def test_patches_lead_where_a_whole_load_leads(history: History) -> None:
    one_by_one = START
    for entry in history:
        one_by_one = patched(one_by_one, [entry])
    expected = comparable(prepare(whole(history)))
    assert comparable(one_by_one) == expected
    assert comparable(patched(START, history)) == expected


@bounded
@given(HISTORIES)
def test_a_change_leaves_earlier_snapshots_as_they_were(history: History) -> None:
    before = patched(START, history[:-1])
    kept = comparable(before)
    patched(before, history[-1:])
    assert comparable(before) == kept


@bounded
@given(HISTORIES)
def test_what_is_prepared_when_it_is_asked_for_is_the_same(history: History) -> None:
    with mock.patch.object(serving_state, "AT_ONCE", 0):
        before = patched(START, history[:-1])
        after = patched(before, history[-1:])
    assert comparable(after) == comparable(prepare(whole(history)))
    assert comparable(before) == comparable(prepare(whole(history[:-1])))


@bounded
@given(HISTORIES)
def test_what_is_not_touched_is_the_same_object(history: History) -> None:
    before = patched(START, history[:-1])
    after = patched(before, history[-1:])
    pools, instances = touched(before.snapshot, after.snapshot, history[-1][0])
    assert all(after.pools[name] is view for name, view in before.pools.items() if name not in pools)
    assert all(after.instances[name] is view for name, view in before.instances.items() if name not in instances)


def serving(*documents: object) -> Serving:
    return patched(START, [([put(document) for document in documents], True)])


def test_only_the_pools_that_an_override_can_select_are_touched() -> None:
    near = Pool(id="near", type="ipv4", addresses=(Address(address="192.0.2.9", labels={"site": "hz"}),))
    before = serving(near, pool("far"), instance("gtm00000001", "near"), instance("gtm00000002", "far"))
    for selector in (Selector(label="site=hz"), Selector(address="192.0.2.9"), Selector(pool="near")):
        change = put(Override(id="o", selector=selector, effect="offline"))
        after = before.snapshot.changed([change])
        assert touched(before.snapshot, after, [change]) == ({"near"}, {"gtm00000001"})
        assert not before.changed(after, [change]).pools["near"].available


def test_an_override_that_is_moved_or_deleted_gives_back_what_it_acted_on() -> None:
    before = serving(
        pool("a"),
        pool("b"),
        instance("gtm00000001", "a", "b"),
        instance("gtm00000002", "a", "b"),
        Override(id="o", selector=Selector(pool="a"), effect="offline"),
        Override(id="p", selector=Selector(instance="gtm00000001", policy="world"), effect="pin", set="failover"),
    )
    assert [before.pools[name].available for name in ("a", "b")] == [False, True]
    moved = [
        put(Override(id="o", selector=Selector(pool="b"), effect="offline")),
        put(Override(id="p", selector=Selector(instance="gtm00000002", policy="world"), effect="pin", set="failover")),
    ]
    after = patched(before, [(moved, False)])
    assert [after.pools[name].available for name in ("a", "b")] == [True, False]
    assert [after.instances[name].answers.views["ipv4"][0].pinned for name in ("gtm00000001", "gtm00000002")] == [
        None,
        "failover",
    ]
    gone = patched(after, [([Change(kinds.OVERRIDES, name, None) for name in ("o", "p")], False)])
    assert [gone.pools[name].available for name in ("a", "b")] == [True, True]
    assert gone.instances["gtm00000002"].answers.views["ipv4"][0].pinned is None


def test_the_overrides_on_a_pool_are_found_without_those_on_others() -> None:
    held_by_label = Pool(id="p", type="ipv4", addresses=(Address(address="192.0.2.9", labels={"site": "hz"}),))
    chosen = [
        Override(id="address", selector=Selector(address="192.0.2.9"), effect="offline"),
        Override(id="label", selector=Selector(label="site=hz"), effect="offline"),
        Override(id="pool", selector=Selector(pool="p"), effect="offline"),
    ]
    others = [
        Override(id="another-address", selector=Selector(address="192.0.2.8"), effect="offline"),
        Override(id="another-label", selector=Selector(label="site=sh"), effect="offline"),
        Override(id="another-pool", selector=Selector(pool="q"), effect="offline"),
        Override(id="pin", selector=Selector(instance="gtm00000001", policy="world"), effect="pin", set="default"),
    ]
    snapshot = serving(held_by_label, *chosen, *others).snapshot
    assert snapshot.overrides_on_pool(held_by_label) == tuple(chosen)
    assert snapshot.overrides_on_instance("gtm00000001") == (others[3],)
    assert snapshot.overrides_on_instance("gtm00000002") == ()


def test_a_state_touches_the_pools_that_hold_the_address_and_name_the_check() -> None:
    before = serving(
        pool("a", "192.0.2.1", health_checks=("web",)),
        pool("b", "192.0.2.1", health_checks=("other",)),
        pool("c", "192.0.2.2", health_checks=("web",)),
        instance("gtm00000001", "a"),
        instance("gtm00000002", "b", "c"),
    )
    change = down("192.0.2.1")
    after = before.changed(before.snapshot.changed([change]), [change])
    assert touched(before.snapshot, after.snapshot, [change]) == ({"a"}, {"gtm00000001"})
    assert (after.pools["a"].available, after.pools["b"].available, after.pools["c"].available) == (False, True, True)


def test_of_two_owners_of_a_name_the_first_id_answers_until_it_is_gone() -> None:
    both = serving(instance("gtm00000002", names=("www.shop.example",)))
    both = patched(both, [([put(instance("gtm00000001", names=("www.shop.example",)))], True)])
    assert both.names["www.shop.example"].instance.id == "gtm00000001"
    one = patched(both, [([Change(kinds.INSTANCES, "gtm00000001", None)], True)])
    assert one.names["www.shop.example"].instance.id == "gtm00000002"
    none = patched(one, [([Change(kinds.INSTANCES, "gtm00000002", None)], True)])
    assert "www.shop.example" not in none.names


def test_a_name_moves_between_instances_in_one_change() -> None:
    before = serving(instance("gtm00000001", names=("www.shop.example",)), instance("gtm00000002"))
    moved = [put(instance("gtm00000001")), put(instance("gtm00000002", names=("www.shop.example",)))]
    assert patched(before, [(moved, True)]).names["www.shop.example"].instance.id == "gtm00000002"


def test_documents_are_found_by_what_they_hold() -> None:
    snapshot = serving(
        pool("a", "192.0.2.1", health_checks=("web",)),
        pool("b", "192.0.2.1"),
        instance("gtm00000001", "a", "b", name="shop", names=("WWW.shop.example",)),
        RRset(zone="shop.example", name="mail.shop.example", type="MX", records=("10 mx.shop.example",)),
        RRset(zone="shop.example", name="mail.shop.example", type="TXT", records=('"x"',)),
    ).snapshot
    assert snapshot.instance_named("shop") == "gtm00000001"
    assert snapshot.instance_named("other") is None
    assert snapshot.name_owner("www.shop.example") == "gtm00000001"
    assert snapshot.instances_using_pool("b") == {"gtm00000001"}
    assert snapshot.pools_using_check("web") == {"a"}
    assert snapshot.pools_with_address("192.0.2.1") == {"a", "b"}
    assert snapshot.static_types("mail.shop.example") == {"MX", "TXT"}
    assert snapshot.pools_with_address("192.0.2.7") == frozenset()


def test_versions_are_of_what_operators_write() -> None:
    after = patched(START, [([put(pool("a")), down("192.0.2.1")], True), ([put(pool("b"))], False)])
    assert after.snapshot.version(kinds.POOLS, "a") == 1
    assert after.snapshot.version(kinds.POOLS, "b") == 2
    assert after.snapshot.version(kinds.TARGET_STATES, "web|192.0.2.1||") == 0
    assert after.snapshot.version(kinds.POOLS, "gone") == 0
    assert after.snapshot.configuration_revision == 1
    deleted = patched(after, [([Change(kinds.POOLS, "a", None)], True)])
    assert deleted.snapshot.version(kinds.POOLS, "a") == 0


def test_a_broken_document_is_named_until_it_is_written_again() -> None:
    before = serving(pool("a")).snapshot
    broken = before.changed([], dataclasses.replace(before.position, revision=2)).with_problems(
        {(kinds.POOLS, "a"): "type: is wrong", (kinds.TARGET_STATES, "t"): "is wrong"}
    )
    assert broken.pools["a"] == pool("a")
    assert dict(broken.problems) == {(kinds.POOLS, "a"): "type: is wrong", (kinds.TARGET_STATES, "t"): "is wrong"}
    assert broken.version(kinds.POOLS, "a") == 2, "or nobody could name the version to overwrite"
    assert broken.version(kinds.TARGET_STATES, "t") == 0
    mended = broken.changed([put(pool("a")), Change(kinds.TARGET_STATES, "t", None)])
    assert dict(mended.problems) == {}


def test_nothing_is_served_from_an_empty_snapshot() -> None:
    nothing = prepare(empty())
    assert comparable(nothing)["views"] == comparable(nothing)["served"] == comparable(nothing)["owners"] == {}
    assert not any(held(empty())["documents"].values())


@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_deleting_what_is_not_there_changes_nothing(kind: str) -> None:
    after = patched(START, [([Change(kind, "missing", None)], False)])
    assert held(after.snapshot) == held(whole([([], False)]))
