"""When events that a receiver did not take are sent again."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
LONGEST_ASKED_SECONDS: Final = 600.0
"""Of what a receiver asks for; a robot of DingTalk that was told too much is closed for so long."""
DOUBLINGS: Final = 20
"""More make no difference: the longest wait is reached long before."""


def delay(attempts: int, fraction: float, asked: float = 0.0) -> float:
    """Seconds until the next attempt, after `attempts` failed ones: they double from 1 s up to 5 minutes.

    fraction: random, 0 to 1; takes up to half of it away, so that receivers that failed together are not tried
    together. asked: seconds that the receiver asked for, which are waited at the least, up to 10 minutes.
    """
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(max(attempts, 1) - 1, DOUBLINGS))
    return max(longest * (1 - fraction / 2), min(asked, LONGEST_ASKED_SECONDS))


def retry_after(text: str | None, now: float) -> float:
    """The seconds that a `Retry-After` asks for (RFC 9110 section 10.2.3), up to 10 minutes; 0 where it asks for none.

    now: seconds since the epoch.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), LONGEST_ASKED_SECONDS))
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return max(0.0, min(seconds, LONGEST_ASKED_SECONDS))


def is_over(happened: float, now: float, give_up_after: float) -> bool:
    """Is an event that happened then too old to be sent? Times in seconds since the epoch, by Redis's clock."""
    return now - happened > give_up_after
