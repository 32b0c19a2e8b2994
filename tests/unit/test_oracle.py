"""The oracle judges by history alone, and finds each kind of wrong answer."""

import pytest

from tests.support.oracle import Oracle, Origin


@pytest.fixture
def oracle() -> Oracle:
    origins = {name: Origin([0.0]) for name in ("a1", "a2", "c1")}
    return Oracle(origins, {"cn": [["a1", "a2"], ["c1"]]}, settle=2.0)


def test_right_while_nothing_changes(oracle: Oracle) -> None:
    assert oracle.wrong("cn", ["a1", "a2"], 10.0, 10.1) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([], "empty"),
        (["a1"], "missing"),
        (["c1"], "earlier set"),
        (["a1", "c1"], "not of one pool"),
        (["b1"], "not of one pool"),
    ],
)
def test_wrong_while_nothing_changes(oracle: Oracle, answer: list[str], said: str) -> None:
    assert said in str(oracle.wrong("cn", answer, 10.0, 10.1))


def test_a_dead_address_is_right_until_it_must_have_left(oracle: Oracle) -> None:
    oracle.origins["a1"].stops(10.0)
    assert oracle.wrong("cn", ["a1", "a2"], 11.9, 11.95) is None
    assert oracle.wrong("cn", ["a2"], 10.1, 10.2) is None
    assert "down since" in str(oracle.wrong("cn", ["a1", "a2"], 12.1, 12.2))
    assert oracle.wrong("cn", ["a2"], 12.1, 12.2) is None


def test_the_backup_answers_when_the_pool_is_down(oracle: Oracle) -> None:
    for name in ("a1", "a2"):
        oracle.origins[name].stops(10.0)
    assert oracle.wrong("cn", ["c1"], 13.0, 13.1) is None
    assert "down since" in str(oracle.wrong("cn", ["a1"], 13.0, 13.1))


def test_with_everything_down_whatever_is_answered_is_fail_open(oracle: Oracle) -> None:
    for origin in oracle.origins.values():
        origin.stops(10.0)
    assert oracle.wrong("cn", ["a1", "a2"], 13.0, 13.1) is None
