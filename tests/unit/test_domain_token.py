from datetime import UTC, datetime, timedelta

import pytest

from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.token import Token, allows, has_label, token_violations

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_role_allows_what_lesser_ones_do() -> None:
    roles = ("viewer", "operator", "admin")
    for held, role in enumerate(roles):
        for needed, other in enumerate(roles):
            assert allows(role, other) == (held >= needed)  # type: ignore[arg-type]


def test_a_token_is_refused_from_its_expiry_on() -> None:
    token = Token(name="ci", role="viewer", expires=NOON)
    assert not token.expired(NOON - timedelta(microseconds=1))
    assert token.expired(NOON)
    assert not Token(name="ci", role="viewer").expired(NOON)


def test_a_label_is_a_key_and_its_value() -> None:
    labels = {"team": "shop", "empty": "", "odd": "a=b"}
    assert has_label(labels, "team=shop")
    assert has_label(labels, "odd=a=b")
    assert not has_label(labels, "team=ops")
    assert not has_label(labels, "other=shop")
    assert not has_label(labels, "team")


@pytest.mark.parametrize("label", ["team", "=shop", "team=", ""])
def test_a_restriction_that_is_no_label_is_told(label: str) -> None:
    found = list(token_violations(Token(name="ci", role="viewer", label=label)))
    assert [(v.pointer, repr(label) in v.detail) for v in found] == [("/label", True)]


def test_an_expiry_has_a_time_zone() -> None:
    assert list(token_violations(Token(name="ci", role="viewer", label="team=shop", expires=NOON))) == []
    naive = Token(name="ci", role="viewer", expires=NOON.replace(tzinfo=None))
    assert [v.pointer for v in token_violations(naive)] == ["/expires"]


def test_moments_are_shown_in_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
