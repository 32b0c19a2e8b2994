"""What a vantage tells the store, over random results, answers of the store and edits of the targets."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from healthd.book import STALL_SECONDS, VerdictBook
from healthd.probes.result import Result
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.state import TargetState, VantageVerdict
from tests.support.strategies import NOW, examples

CHECK = HealthCheck(id="web", protocol="tcp", port=80, timeout=1, fall=2, rise=2)
KEYS = ("web|192.0.2.1||", "web|192.0.2.2||", "web|192.0.2.3||")
GOOD = Result(True, None, "connected", "connect", 0.01, {})
BAD = Result(False, "refused", "connection refused by 192.0.2.1:80", "connect", 0.01, {})
INTERNAL = Result(False, "internal", "no descriptors", "connect", 0.0, {})
STALLED = Result(False, "timeout", "no connection within 1 s", "connect", 1 + STALL_SECONDS + 0.1, {})
UP, DOWN = TargetState(health="up", since=NOW - 60), TargetState(health="down", since=NOW - 60)


def book(states: Mapping[str, TargetState] | None = None, *keys: str) -> VerdictBook:
    made = VerdictBook()
    made.follow(keys or KEYS, states or {})
    return made


def tell(told: VerdictBook, store: dict[str, VantageVerdict]) -> list[str]:
    """Tell a store that takes it; returns what was told."""
    batch = told.take_untold(1000)
    for key, verdict in batch.items():
        if verdict is None:
            store.pop(key, None)
        else:
            store[key] = verdict
    told.told(batch)
    return list(batch)


def test_the_first_result_is_told_and_then_only_changes() -> None:
    store: dict[str, VantageVerdict] = {}
    told = book()
    assert tell(told, store) == []
    told.take(KEYS[0], GOOD, CHECK, NOW)
    assert tell(told, store) == [KEYS[0]]
    assert store[KEYS[0]] == VantageVerdict(up=True, since=NOW)
    told.take(KEYS[0], GOOD, CHECK, NOW + 1)
    told.take(KEYS[0], BAD, CHECK, NOW + 2)
    assert tell(told, store) == []
    told.take(KEYS[0], BAD, CHECK, NOW + 3)
    assert tell(told, store) == [KEYS[0]]
    assert store[KEYS[0]] == VantageVerdict(up=False, since=NOW + 3, reason="refused", detail=BAD.detail)


def test_one_that_joins_says_what_is_known_until_it_knows_otherwise() -> None:
    store: dict[str, VantageVerdict] = {}
    told = book({KEYS[0]: DOWN, KEYS[1]: UP, KEYS[2]: TargetState(health="unknown", since=NOW)})
    assert tell(told, store) == []
    for key in KEYS:
        told.take(key, BAD, CHECK, NOW)
    assert set(tell(told, store)) == {KEYS[0], KEYS[2]}
    assert not store[KEYS[0]].up, "confirmed"
    assert not store[KEYS[2]].up, "nothing was known: the first result decides"
    told.take(KEYS[1], GOOD, CHECK, NOW)
    assert tell(told, store) == [KEYS[1]]
    assert store[KEYS[1]].up


def test_a_restart_goes_on_from_what_the_store_holds() -> None:
    held = {KEYS[0]: VantageVerdict(up=False, since=NOW - 5), "web|gone||": VantageVerdict(up=True, since=NOW)}
    store = dict(held)
    told = VerdictBook()
    told.adopt(held)
    told.follow(KEYS, {KEYS[0]: UP})
    assert tell(told, store) == ["web|gone||"]
    told.take(KEYS[0], BAD, CHECK, NOW)
    assert tell(told, store) == []
    told.take(KEYS[0], GOOD, CHECK, NOW)
    assert tell(told, store) == []
    told.take(KEYS[0], GOOD, CHECK, NOW)
    assert tell(told, store) == [KEYS[0]]


def test_what_says_nothing_of_the_target_changes_nothing() -> None:
    told = book({KEYS[0]: UP})
    for _ in range(5):
        told.take(KEYS[0], INTERNAL, CHECK, NOW)
        told.take(KEYS[0], STALLED, CHECK, NOW)
    assert told.verdict(KEYS[0]) is not None
    assert not told.untold
    assert told.take("web|not probed||", BAD, CHECK, NOW) is None
    slow = Result(False, "timeout", "no connection within 1 s", "connect", 1.2, {})
    for _ in range(2):
        told.take(KEYS[0], slow, CHECK, NOW)
    assert told.untold, "a time-out as it should be"


def test_while_the_vantage_cannot_trust_itself_nothing_is_said_to_be_down() -> None:
    store: dict[str, VantageVerdict] = {}
    told = book({KEYS[0]: UP, KEYS[1]: DOWN}, *KEYS[:2])
    for _ in range(2):
        told.take(KEYS[0], BAD, CHECK, NOW, trusted=False)
        told.take(KEYS[1], GOOD, CHECK, NOW, trusted=False)
    assert tell(told, store) == [KEYS[1]]
    assert not told.untold
    told.take(KEYS[0], BAD, CHECK, NOW)
    assert tell(told, store) == [KEYS[0]], "it fails now that the vantage can be trusted"
    for _ in range(2):
        told.take(KEYS[0], GOOD, CHECK, NOW)
    tell(told, store)
    for _ in range(2):
        told.take(KEYS[0], BAD, CHECK, NOW, trusted=False)
    told.take(KEYS[0], GOOD, CHECK, NOW)
    assert tell(told, store) == [], "one success is no proof, but the failures were none either"
    told.take(KEYS[0], GOOD, CHECK, NOW)
    assert tell(told, store) == [], "it was never said to be down"


def test_no_more_than_a_batch_at_once() -> None:
    store: dict[str, VantageVerdict] = {}
    told = book()
    for key in KEYS:
        told.take(key, GOOD, CHECK, NOW)
    first = told.take_untold(2)
    told.told(first)
    assert (len(first), told.untold) == (2, True)
    assert len(tell(told, store)) == 1
    assert not told.untold


STEPS = st.one_of(
    st.tuples(st.just("result"), st.tuples(st.sampled_from(KEYS), st.sampled_from([GOOD, BAD, BAD, INTERNAL]))),
    st.tuples(st.just("result"), st.tuples(st.sampled_from(KEYS), st.sampled_from([GOOD, GOOD, BAD, STALLED]))),
    st.tuples(st.just("follow"), st.sets(st.sampled_from(KEYS))),
    st.tuples(st.just("publish"), st.sampled_from(["taken", "refused", "unknown"])),
    st.tuples(st.just("lost"), st.sets(st.sampled_from(KEYS))),
    st.tuples(st.just("altered"), st.sampled_from(KEYS)),
    st.tuples(st.just("compare"), st.none()),
)


@examples(300)
@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_the_store_holds_every_verdict_in_the_end(steps: list[tuple[str, object]]) -> None:
    """Refused writes, writes of which nobody knows, a store that loses or alters what it held, edits of the targets."""
    store: dict[str, VantageVerdict] = {}
    told, wanted = book(), set(KEYS)
    for now, (what, detail) in enumerate(steps, int(NOW)):
        if what == "result":
            assert isinstance(detail, tuple)
            told.take(detail[0], detail[1], CHECK, now)
        elif what == "follow":
            assert isinstance(detail, set)
            wanted = set(detail)
            told.follow(wanted, {})
        elif what == "publish" and detail == "taken":
            tell(told, store)
        elif what == "publish":
            batch = told.take_untold(2)
            if detail == "unknown":
                store.update({key: verdict for key, verdict in batch.items() if verdict is not None})
            told.not_told(batch)
        elif what == "lost":
            assert isinstance(detail, set)
            store = {key: verdict for key, verdict in store.items() if key not in detail}
        elif what == "altered" and detail in store:
            assert isinstance(detail, str)
            store[detail] = VantageVerdict(up=not store[detail].up, since=NOW)
        elif what == "compare":
            told.compare(store)
    told.compare(store)
    while told.untold:
        assert tell(told, store) or not told.untold
    assert store.keys() <= wanted
    for key in wanted:
        verdict = told.verdict(key)
        assert verdict is not None
        told.take(key, GOOD if verdict.up else BAD, CHECK, NOW)
    tell(told, store)
    for key in wanted:
        verdict = told.verdict(key)
        assert verdict is not None
        assert verdict.up is not None
        assert store[key].up == verdict.up
    assert len(told) == len(wanted)
