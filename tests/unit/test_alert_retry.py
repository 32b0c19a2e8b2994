"""When events are sent again, and when they are given up."""

from hypothesis import given
from hypothesis import strategies as st

from healthd.alerts.retry import LONGEST_ASKED_SECONDS, LONGEST_SECONDS, delay, is_over, retry_after

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


@given(st.integers(0, 10**6), FRACTIONS, st.floats(0, 1e9))
def test_what_a_receiver_asks_for_is_waited_within_bounds(attempts: int, fraction: float, asked: float) -> None:
    found = delay(attempts, fraction, asked)
    assert found >= delay(attempts, fraction)
    assert min(asked, LONGEST_ASKED_SECONDS) <= found <= LONGEST_ASKED_SECONDS


@given(st.text() | st.none(), st.floats(0, 1e11))
def test_whatever_is_asked_for_is_bounded(text: str | None, now: float) -> None:
    assert 0 <= retry_after(text, now) <= LONGEST_ASKED_SECONDS


def test_both_forms_of_a_retry_after() -> None:
    now = 784111777.0
    assert (retry_after("120", now), retry_after(" 0 ", now), retry_after("9" * 5000, now)) == (120, 0, 600)
    assert retry_after("Sun, 06 Nov 1994 08:50:07 GMT", now) == 30
    assert retry_after("Sun, 06 Nov 1994 08:40:07 GMT", now) == 0
    assert [retry_after(text, now) for text in (None, "", "soon", "-5", "1.5", "٣")] == [0] * 6


@given(st.floats(0, 1e10), st.floats(0, 1e6), st.integers(60, 604_800))
def test_an_event_is_over_once_it_is_older_than_that(happened: float, age: float, limit: int) -> None:
    now = happened + age
    assert is_over(happened, now, limit) == (now - happened > limit)
    assert not is_over(happened, happened, limit)
