"""YAML as gtmctl reads and writes it: plain data, nothing twice, and every place known."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.cli import yaml_text
from pdns_gtm_backend.cli.printing import as_json
from pdns_gtm_backend.cli.yaml_text import Malformed, dump, load, places
from pdns_gtm_backend.domain.violation import pointer
from tests.support.strategies import bounded

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(
        ["no", "on", "NO", "1e3", "0o7", "0x1F", "22:30", "1_000", "2030-01-31", "~", "", "<<", "=", "-", ".5", "+1"]
    ),
)
KEYS = st.one_of(st.text(max_size=8), st.sampled_from(["yes", "null", "1", "~", "<<", "a b", "a/b", "a~b", "1.5"]))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@bounded
@given(VALUES, st.booleans())
def test_what_is_written_is_read_back_as_it_was(value: Any, compact: bool) -> None:
    text = dump(value, compact=compact)
    assert json.dumps(load(text)) == json.dumps([value])


@bounded
@given(VALUES)
def test_json_as_gtmctl_writes_it_is_yaml_too(value: Any) -> None:
    assert json.dumps(load(as_json(value))) == json.dumps([value])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("True", True),
        ("false", False),
        ("22:30", "22:30"),
        ("2030-01-31", "2030-01-31"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("+.5", 0.5),
        ("-0", 0),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("~", None),
        ("50%", "50%"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("-.nan", "-.nan"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    (read,) = load(f"- {text}\n")
    assert read == [value]
    assert type(read[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "detail"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "the key 'a' is given twice, first in line 1"),
        ('- {"a": 1, "a": 2}', 1, 12, "the key 'a' is given twice, first in line 1"),
        ("a:\n  b: !!python/object/apply:os.system [id]\n", 2, 6, "the tag tag:yaml.org,2002:python/object/apply"),
        ("a: !secret x\n", 1, 4, "the tag !secret is not allowed"),
        ("a: !!int '1'\n", 1, 4, "the tag tag:yaml.org,2002:int is not allowed"),
        ("a: &x\n  b: *x\n", 2, 6, "*x holds itself"),
        ("a: *x\n", 1, 4, "there is no &x before this"),
        ("base: &b {a: 1}\nmore:\n  <<: *b\n", 3, 3, "merge keys (<<) are not part of YAML 1.2"),
        ("1: a\n", 1, 1, "the key '1' is not text: write it in quotes"),
        ("? [a]\n: 1\n", 1, 3, "a key must be text"),
        ("a: &k b\n*k : c\n", 2, 1, "a key must be text, not an alias"),
        ("a: .inf\n", 1, 4, ".inf is no number that JSON can hold"),
        ("a: 1e999\n", 1, 4, "the number 1e999 is too large"),
        ("a: [1\nb: 2\n", 2, 2, "while parsing a flow sequence"),
        ("a: 'x\n", 2, 1, "while scanning a quoted scalar"),
        ("a:\n\t- b\n", 2, 1, "while scanning for the next token"),
        ("a: 1\nb: \x07\n", 2, 0, "the character U+0007 is not allowed"),
        ("- " * 40 + "a\n", 1, 65, "it is nested more than 32 levels deep"),
    ],
)
def test_what_is_refused_is_told_with_its_place(text: str, line: int, column: int, detail: str) -> None:
    with pytest.raises(Malformed) as caught:
        load(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.detail.startswith(detail)


def test_a_few_lines_cannot_stand_for_billions_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MAX_NODES", 10_000)
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(Malformed, match="it holds more than 10000 values"):
        load("\n".join(lines))


def test_aliases_stand_for_their_values() -> None:
    assert load("a: &x {b: [1]}\nc: *x\nd: &y 2\ne: *y\n") == [{"a": {"b": [1]}, "c": {"b": [1]}, "d": 2, "e": 2}]


def test_documents_of_a_text_are_counted() -> None:
    assert load("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, None, {"b": 2}]
    assert load("") == []
    found = places("a: 1\n---\n---\nb: 2\n", [(0, "/a"), (2, "/b")])
    assert found == {(0, "/a"): (1, 1), (2, "/b"): (4, 1)}


def marks(node: Any, place: str, document: int) -> dict[tuple[int, str], tuple[int, int]]:
    """Every pointer of a document with its place, as PyYAML's own trees tell it."""
    found = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = place + pointer(key.value)
            found[document, below] = (key.start_mark.line + 1, key.start_mark.column + 1)
            found |= marks(value, below, document)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            below = place + pointer(index)
            found[document, below] = (value.start_mark.line + 1, value.start_mark.column + 1)
            found |= marks(value, below, document)
    return found


@bounded
@given(st.lists(VALUES, min_size=1, max_size=3), st.booleans())
def test_places_are_those_of_the_text(values: list[Any], compact: bool) -> None:
    text = "".join("---\n" + dump(value, compact=compact) for value in values)
    wanted = {}
    for number, node in enumerate(yaml.compose_all(text, Loader=yaml.SafeLoader)):
        wanted |= marks(node, "", number)
    assert places(text, list(wanted)) == wanted


def test_the_place_of_what_is_not_there_is_that_of_what_would_hold_it() -> None:
    text = "pools:\n- id: a\n  labels: {x: y}\n  addresses:\n  - address: 192.0.2.1\n"
    assert places(text, [(0, "/pools/0/addresses/0/weight")]) == {(0, "/pools/0/addresses/0/weight"): (5, 5)}
    assert places(text, [(0, "/pools/0/addresses/7/weight")]) == {(0, "/pools/0/addresses/7/weight"): (4, 3)}
    assert places(text, [(0, "/lines/3")]) == {(0, "/lines/3"): (1, 1)}
    assert places(text, [(4, "/pools")]) == {}
