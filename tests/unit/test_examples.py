"""How Hypothesis looks for examples: repeatably, whatever else is tested, unless it is asked to search."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from tests.support.strategies import bounded, bounded_few, examples


def test_every_kind_of_test_inherits_the_profile() -> None:
    profile = settings()
    for kind in (bounded, bounded_few, examples(7, HealthCheck.function_scoped_fixture)):
        assert (kind.derandomize, kind.database, kind.deadline) == (profile.derandomize, None, None)
        assert HealthCheck.too_slow in kind.suppress_health_check, "a busy machine is no failure"
    assert (bounded.max_examples, bounded_few.max_examples) == (profile.max_examples, profile.max_examples // 2)


def test_a_repeatable_search_draws_no_constants_from_modules_that_other_tests_have_imported() -> None:
    @bounded
    @given(st.text())
    def draw(text: str) -> None:
        assert isinstance(text, str)

    draw()
    held = providers._get_local_constants()
    assert bool(held.strings) is not settings().derandomize, "tests/conftest.py: pytest_configure"
