from collections.abc import Iterator

import pytest
from flask import Flask

from pdns_gtm_backend.admin.problems import Problem
from pdns_gtm_backend.admin.reading import flag, limit, parameters, parse_json, precondition
from pdns_gtm_backend.operations.errors import InvalidParameters, PreconditionFailed, PreconditionRequired
from pdns_gtm_backend.operations.preconditions import Precondition


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": 1', "Expecting ',' delimiter at line 1, column 8"),
        (b"{a: 1}", "Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"a": NaN}', "NaN is not JSON (RFC 8259 section 6)"),
        (b'{"a": -Infinity}', "-Infinity is not JSON (RFC 8259 section 6)"),
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "the member 'a' is given twice in one object"),
        (b'{"a": "\xff"}', "the body is not UTF-8: octet 7 is 0xff"),
        (b'{"a": "\\ud800"}', "a text holds half of a surrogate pair, which is no character"),
        (b"[" * 40 + b"]" * 40, "it is nested more than 32 levels deep"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "it is nested more than 32 levels deep"),
        (b"[" * 200_000, "it is nested more than 32 levels deep"),
        (b'{"a": 1} x', "Extra data at line 1, column 10"),
        (b"{" + b",".join(b'"%d": 1' % n for n in range(1001)) + b"}", "an object has 1001 members, more than 1000"),
    ],
)
def test_json_is_read_strictly(body: bytes, told: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_json(body)
    assert (caught.value.kind, caught.value.detail) == ("malformed", told)


def test_a_number_of_many_digits_is_refused_and_not_computed() -> None:
    with pytest.raises(Problem) as caught:
        parse_json(b"1" * 100_000)
    assert caught.value.kind == "malformed"


def test_what_is_json_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, "ü", null, true], "b": {}}'.encode()) == {"a": [1, 2.5, "ü", None, True], "b": {}}
    assert parse_json(b"[" * 32 + b"]" * 32) is not None


@pytest.fixture
def app() -> Iterator[Flask]:
    yield Flask("test")


@pytest.mark.parametrize(
    ("headers", "version", "outcome"),
    [
        ({}, "7", PreconditionRequired),
        ({}, "", None),
        ({"If-Match": '"7"'}, "7", None),
        ({"If-Match": '"6", "7"'}, "7", None),
        ({"If-Match": '"6"'}, "7", PreconditionFailed),
        ({"If-Match": 'W/"7"'}, "7", PreconditionFailed),
        ({"If-Match": ""}, "7", PreconditionFailed),
        ({"If-Match": "*"}, "7", None),
        ({"If-Match": "*"}, "", PreconditionFailed),
        ({"If-Match": '"7"'}, "", PreconditionFailed),
        ({"If-None-Match": "*"}, "7", PreconditionFailed),
        ({"If-None-Match": "*"}, "", None),
        ({"If-None-Match": '"7"'}, "7", PreconditionFailed),
        ({"If-None-Match": '"6"'}, "7", None),
        ({"If-None-Match": '"6"', "If-Match": '"7"'}, "7", None),
    ],
)
def test_preconditions(app: Flask, headers: dict[str, str], version: str, outcome: type[Exception] | None) -> None:
    with app.test_request_context(headers=headers):
        read = precondition()
    if outcome is None:
        read.check("pool 'a'", version)
    else:
        with pytest.raises(outcome) as caught:
            read.check("pool 'a'", version)
        assert "pool 'a'" in str(caught.value)


def test_nothing_is_asked_of_a_door_without_versions() -> None:
    Precondition(required=False).check("pool 'a'", "7")


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("?x=1", [("x", "unknown parameter 'x': allowed are dry_run, limit")]),
        ("?limit=1&limit=2", [("limit", "is given 2 times: once is allowed")]),
        (
            "?a=1&b=2",
            [
                ("a", "unknown parameter 'a': allowed are dry_run, limit"),
                ("b", "unknown parameter 'b': allowed are dry_run, limit"),
            ],
        ),
    ],
)
def test_unknown_and_repeated_parameters_are_refused(app: Flask, query: str, errors: list[tuple[str, str]]) -> None:
    with app.test_request_context("/" + query), pytest.raises(InvalidParameters) as caught:
        parameters("limit", "dry_run")
    assert list(caught.value.errors) == errors


def test_parameters_without_any_allowed_say_so(app: Flask) -> None:
    with app.test_request_context("/?x=1"), pytest.raises(InvalidParameters, match="none is allowed here"):
        parameters()


@pytest.mark.parametrize("text", ["0", "1001", "-1", "x", "", "1e2", "٣", "99999999999"])
def test_a_limit_has_bounds(text: str) -> None:
    with pytest.raises(InvalidParameters, match="must be from 1 to 1000"):
        limit({"limit": text})
    assert limit({}) == 100
    assert limit({"limit": "1000"}) == 1000


def test_a_flag_is_true_or_false() -> None:
    assert flag({"force": "true"}, "force")
    assert not flag({}, "force")
    with pytest.raises(InvalidParameters, match="'1' is not allowed: must be true or false"):
        flag({"force": "1"}, "force")
