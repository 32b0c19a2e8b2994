"""When events are sent again, and when they are given up."""

from hypothesis import given
from hypothesis import strategies as st

from healthd.alerts.retry import LONGEST_SECONDS, delay, is_over

FRACTIONS = st.floats(0, 1)


@given(st.integers(0, 10**9), FRACTIONS)
def test_a_delay_is_between_half_of_and_the_whole_of_its_step(attempts: int, fraction: float) -> None:
    whole = delay(attempts, 0.0)
    assert whole / 2 <= delay(attempts, fraction) <= whole <= LONGEST_SECONDS


@given(st.integers(1, 10**6), FRACTIONS)
def test_steps_double_up_to_the_longest(attempts: int, fraction: float) -> None:
    following = delay(attempts + 1, fraction)
    assert following == min(2 * delay(attempts, fraction), delay(10**6, fraction))


def test_the_first_steps() -> None:
    assert [delay(attempts, 0.0) for attempts in (1, 2, 3, 9, 10, 10_000)] == [1, 2, 4, 256, 300, 300]
    assert delay(1, 1.0) == 0.5


@given(st.floats(0, 1e10), st.floats(0, 1e6), st.integers(60, 604_800))
def test_an_event_is_over_once_it_is_older_than_that(happened: float, age: float, limit: int) -> None:
    now = happened + age
    assert is_over(happened, now, limit) == (now - happened > limit)
    assert not is_over(happened, happened, limit)
