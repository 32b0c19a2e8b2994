"""The judge of the fault suite can say no."""

from collections.abc import Iterable
from dataclasses import replace

from tests.support.fault_load import Asked, Judged, Span, judge
from tests.support.oracle import Oracle, Origin

ORACLE = Oracle(
    {"a1": Origin([0.0, 100.0]), "a2": Origin([0.0]), "c1": Origin([0.0])}, {"client": [["a1", "a2"], ["c1"]]}, settle=5
)
"""a1 dies at 100."""


def answer(sent: float, *addresses: str, asker: str = "site1") -> Asked:
    return Asked(asker, "client", sent, sent + 0.1, addresses)


def judged(*asked: Asked, stalled: Span | None = None, down: Iterable[Span] = ()) -> Judged:
    return judge(asked, ORACLE, stalled, lambda asker: down if asker == "site1" else ())


def test_a_dead_address_is_wrong_after_the_time_it_has_to_leave() -> None:
    assert not judged(answer(104.8, "a1", "a2")).wrong
    found = judged(answer(105.2, "a1", "a2"))
    assert found.wrong and "a1" in found.wrong[0]


def test_while_states_cannot_spread_a_dead_address_stays_right_until_the_fault_is_over() -> None:
    fault = Span(99.0, 110.0)
    for sent in (105.2, 110.0, 114.9):
        assert not judged(answer(sent, "a1", "a2"), stalled=fault).wrong
    assert judged(answer(115.2, "a1", "a2"), stalled=fault).wrong


def test_what_changed_before_the_fault_has_left_also_during_it() -> None:
    fault = Span(120.0, 130.0)
    assert judged(answer(125.0, "a1", "a2"), stalled=fault).wrong
    assert not judged(answer(125.0, "a2"), stalled=fault).wrong


def test_an_address_that_was_up_all_the_time_must_not_be_missing_in_a_fault() -> None:
    fault = Span(99.0, 110.0)
    assert judged(answer(108.0, "a1"), stalled=fault).wrong
    assert judged(answer(108.0, "c1"), stalled=fault).wrong, "the earlier set has a2"
    assert judged(answer(108.0), stalled=fault).wrong


def test_no_answer_is_a_failure_but_where_its_site_was_down() -> None:
    lost = replace(answer(50.0), addresses=None, failure="SERVFAIL")
    elsewhere = replace(lost, asker="resolver")
    down = [Span(49.0, 50.05)]
    assert (judged(lost).failed, judged(lost).spared) == (("site1 at 50.00: SERVFAIL",), 0)
    assert (judged(lost, down=down).failed, judged(lost, down=down).spared) == ((), 1)
    assert judged(elsewhere, down=down).failed
    assert judged(replace(lost, sent=51.0, received=51.1), down=down).failed
