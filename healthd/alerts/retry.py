"""When an event that a receiver did not take is sent again."""

from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
DOUBLINGS: Final = 20
"""More make no difference: the longest wait is reached long before."""


def delay(attempts: int, fraction: float) -> float:
    """Seconds until the next attempt, after `attempts` failed ones: they double from 1 s up to 5 minutes.

    fraction: random, 0 to 1; takes up to half of it away, so that receivers that failed together are not tried
    together.
    """
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(max(attempts, 1) - 1, DOUBLINGS))
    return longest * (1 - fraction / 2)


def is_over(happened: float, now: float, give_up_after: float) -> bool:
    """Is an event that happened then too old to be sent? Times in seconds since the epoch, by Redis's clock."""
    return now - happened > give_up_after
