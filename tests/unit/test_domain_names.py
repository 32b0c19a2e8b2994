import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.names import ancestors, canonical, domain_name_error, identifier_error, is_below, parents
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from tests.support.strategies import DOMAIN_NAMES, IDENTIFIERS, bounded


@bounded
@given(DOMAIN_NAMES)
def test_canonical_name_is_one_form(name: str) -> None:
    once = canonical(name)
    assert domain_name_error(name) is None
    assert domain_name_error(once) is None
    assert canonical(once) == once == canonical(name.upper()) == canonical(once + ".")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("", "''"),
        (".", "''"),
        ("a..b", "''"),
        (".a", "''"),
        ("-a.example", "'-a'"),
        ("a-.example", "'a-'"),
        ("a b.example", "'a b'"),
        ("a/b.example", "'a/b'"),
        ("a\n.example", "'a\\n'"),
        ("bücher.example", "'bücher'"),
        ("\u212aelvin.example", "'\u212aelvin'"),
        ("*.example", "'*'"),
        ("a.*.example", "'*'"),
        ("x" * 64 + ".example", "'" + "x" * 64 + "'"),
        (".".join(["x" * 63] * 4), "255 characters"),
    ],
)
def test_what_is_no_domain_name_is_named(name: str, named: str) -> None:
    error = domain_name_error(name)
    assert error is not None
    assert named in error


def test_limits_of_a_domain_name() -> None:
    assert domain_name_error("x" * 63 + ".example") is None
    assert domain_name_error(".".join(["x" * 63] * 3 + ["x" * 61])) is None
    assert domain_name_error(".".join(["x" * 63] * 3 + ["x" * 61]) + ".") is None
    assert domain_name_error(".".join(["x" * 63] * 3 + ["x" * 62])) is not None
    assert domain_name_error("_sip._tcp.example") is None


def test_wildcard_is_a_whole_first_label_where_allowed() -> None:
    assert domain_name_error("*.shop.example", wildcard=True) is None
    assert domain_name_error("a*.shop.example", wildcard=True) is not None
    assert domain_name_error("www.*.example", wildcard=True) is not None
    assert domain_name_error("*.*.example", wildcard=True) is not None


@given(IDENTIFIERS)
def test_identifiers(text: str) -> None:
    assert identifier_error(text) is None


@pytest.mark.parametrize("text", ["", "-a", "a-", ".a", "a b", "a/b", "a|b", "ä", "a\n", "a:b"])
def test_what_is_no_identifier(text: str) -> None:
    assert identifier_error(text) is not None


@bounded
@given(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4), st.lists(st.sampled_from(["a", "b"])))
def test_below_is_a_suffix_of_whole_labels(name: list[str], zone: list[str]) -> None:
    below = is_below(".".join(name), ".".join(zone))
    assert below == (not zone or name[-len(zone) :] == zone)
    assert below == (not zone or ".".join(zone) in parents(".".join(name)))


def test_parents_are_longest_first() -> None:
    assert list(parents("a.b.c")) == ["a.b.c", "b.c", "c"]
    assert list(parents(r"a\.b.c")) == [r"a\.b.c", "c"]
    assert list(ancestors("a.b.c")) == ["b.c", "c"]


def test_pointer_escapes_as_rfc_6901() -> None:
    assert pointer("headers", "a/b~c", 0) == "/headers/a~1b~0c/0"
    assert pointer() == ""


def test_all_violations_are_told_at_once() -> None:
    found = InvalidConfiguration([Violation("/port", "no").under("/checks/0"), Violation("", "all")])
    assert [v.pointer for v in found.violations] == ["/checks/0/port", ""]
    assert str(found) == "/checks/0/port: no; /: all"


def test_long_values_are_cut() -> None:
    assert shown("x" * 78) == repr("x" * 78)
    assert shown("x" * 79).endswith("... (79 characters)")
    assert len(shown("x" * 100_000)) < 100
