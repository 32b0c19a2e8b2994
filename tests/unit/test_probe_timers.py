"""The timers of the loop: never early, hardly late, and gone once cleared."""

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.loop import TICK, Task, Timers

MOMENTS = st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30)


def named(number: int) -> Task:
    """Timers only compare tasks."""
    return cast(Task, number)


@given(MOMENTS, st.floats(0, 101))
def test_due_are_those_whose_time_has_come_and_that_were_not_cleared(
    moments: list[tuple[float, bool]], now: float
) -> None:
    timers = Timers()
    for number, (moment, cleared) in enumerate(moments):
        bucket = timers.set(named(number), moment)
        if cleared:
            timers.clear(named(number), bucket)
    due = set(timers.due(now))
    wanted = {number: moment for number, (moment, cleared) in enumerate(moments) if not cleared}
    assert {number for number, moment in wanted.items() if moment + TICK * 1.001 < now} <= due
    assert due <= {number for number, moment in wanted.items() if moment <= now}
    left = {number: moment for number, moment in wanted.items() if number not in due}
    upcoming = timers.next()
    if not left:
        assert upcoming is None
    else:
        assert upcoming is not None
        assert min(left.values()) <= upcoming <= min(left.values()) + TICK * 1.001
    assert set(timers.due(200.0)) == set(left)
    assert timers.next() is None


@given(MOMENTS)
def test_the_next_one_is_due_when_it_is_said_to_be(moments: list[tuple[float, bool]]) -> None:
    timers = Timers()
    for number, (moment, _) in enumerate(moments):
        timers.set(named(number), moment)
    seen: list[Task] = []
    while (moment := timers.next()) is not None:
        found = timers.due(moment)
        assert found
        seen += found
    assert sorted(seen) == list(range(len(moments)))  # type: ignore[type-var]
