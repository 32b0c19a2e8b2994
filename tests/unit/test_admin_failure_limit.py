"""The limit on failed authentication, by an injected clock."""

import pytest

from pdns_gtm_backend.admin.failure_limit import MAX_CLIENTS, SECONDS_PER_TRY, TRIES, FailureLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tries_come_back_with_time() -> None:
    clock = Clock()
    limit = FailureLimit(clock)
    assert [limit.fail("192.0.2.1") for _ in range(TRIES)] == [0] * TRIES
    wait = limit.fail("192.0.2.1")
    assert wait == SECONDS_PER_TRY
    clock.now += wait - 0.1
    assert limit.fail("192.0.2.1") == 1
    clock.now += 0.1
    assert limit.fail("192.0.2.1") == 0
    assert limit.fail("192.0.2.1") > 0
    clock.now += 10_000
    assert [limit.fail("192.0.2.1") for _ in range(TRIES + 1)].count(0) == TRIES


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "not an address", True),
    ],
)
def test_whom_a_failure_counts_for(one: str, other: str, same: bool) -> None:
    limit = FailureLimit(Clock())
    for _ in range(TRIES):
        limit.fail(one)
    assert (limit.fail(other) > 0) == same


def test_its_memory_is_bounded() -> None:
    limit = FailureLimit(Clock())
    for number in range(MAX_CLIENTS + 500):
        limit.fail(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit) == MAX_CLIENTS
