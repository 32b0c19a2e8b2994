import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.operations.parsing import merge_patch, parse, to_json
from tests.support.strategies import examples

POOL = {"id": "pool-a", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]}
SET = {"pools": [{"pool": "pool-a"}]}
INSTANCE = {"name": "shop", "policies": [{"name": "world", "lines": ["default"], "pool_sets": [SET]}]}


def told(document: type, raw: Any) -> dict[str, str]:
    return {v.pointer: v.detail for v in parse(document, raw).violations}


@pytest.mark.parametrize(
    ("document", "raw", "pointer", "detail"),
    [
        (Pool, POOL | {"type": "ipv5"}, "/type", "'ipv5' is not allowed: must be one of 'ipv4', 'ipv6', 'domain'"),
        (Pool, POOL | {"enabled": "yes"}, "/enabled", "'yes' is not allowed: must be true or false"),
        (
            Pool,
            POOL | {"min_available": -1},
            "/min_available",
            "-1 is not allowed: must be a count from 1 to 10000, or a share like '50%'",
        ),
        (
            Pool,
            POOL | {"min_available": None},
            "/min_available",
            "null is not allowed: must be a count from 1 to 10000, or a share like '50%'",
        ),
        (
            Pool,
            POOL | {"addresses": [{"address": "192.0.2.1", "weight": -1}]},
            "/addresses/0/weight",
            "-1 is not allowed: must be a whole number from 0 to 1000",
        ),
        (
            Pool,
            POOL | {"addresses": [{"address": "192.0.2.1", "weight": 1.5}]},
            "/addresses/0/weight",
            "1.5 is not allowed: must be a whole number from 0 to 1000",
        ),
        (Pool, POOL | {"addresses": [{}]}, "/addresses/0/address", "is required: text of 1 to 254 characters"),
        (
            Pool,
            POOL | {"addresses": ["192.0.2.1"]},
            "/addresses/0",
            "'192.0.2.1' is not allowed: must be an object with address, weight, mode, labels",
        ),
        (
            Pool,
            POOL | {"addresses": [{"address": "192.0.2.1", "labels": {"a" * 64: "x"}}]},
            "/addresses/0/labels/" + "a" * 64,
            f"the name '{'a' * 64}' has 64 characters: at most 63 are allowed",
        ),
        (
            Pool,
            POOL | {"health_checks": "web"},
            "/health_checks",
            "'web' is not allowed: must be a list of at most 10 items",
        ),
        (
            Pool,
            POOL | {"max_answers": "2"},
            "/max_answers",
            "'2' is not allowed: must be a whole number from 1 to 1000 or null",
        ),
        (
            Pool,
            POOL | {"wieght": 1, "helth_checks": []},
            "/helth_checks",
            "unknown field 'helth_checks', did you mean 'health_checks'? Allowed are id, type, strategy, "
            "min_available, max_answers, enabled, health_checks, require, host, sni, addresses",
        ),
        (Instance, INSTANCE | {"ttl": True}, "/ttl", "true is not allowed: must be a whole number from 1 to 604800"),
        (
            Instance,
            INSTANCE | {"policies": []},
            "/policies",
            "a list of 0 is not allowed: must be a list of 1 to 500 items",
        ),
        (
            HealthCheck,
            {"id": "web", "protocol": "http", "interval": 0.5},
            "/interval",
            "0.5 is not allowed: must be a number from 1 to 86400",
        ),
        (
            HealthCheck,
            {"id": "web", "protocol": "http", "http": {"method": "POST"}},
            "/http/method",
            "'POST' is not allowed: must be one of 'GET', 'HEAD'",
        ),
        (
            Override,
            {"selector": {"pool": "p"}, "effect": "offline", "until": "tomorrow"},
            "/until",
            "'tomorrow' is not allowed: must be a moment like '2030-01-31T12:00:00Z' or null",
        ),
        (Line, {"id": "telecom"}, "/members", "is required: a list of 1 to 5000 items"),
        (Zone, [], "", "a list of 0 is not allowed: must be an object with name, kind, number, serial"),
        (Zone, None, "", "null is not allowed: must be an object with name, kind, number, serial"),
    ],
)
def test_each_error_names_place_value_and_what_is_allowed(document: type, raw: Any, pointer: str, detail: str) -> None:
    assert told(document, raw)[pointer] == detail


def test_every_error_is_told_at_once_and_each_place_once() -> None:
    raw = {
        "id": "p" * 10_000,
        "type": "x",
        "min_available": [],
        "surplus": 1,
        "addresses": [{"address": 5, "weight": 1001}, {}, {"address": "192.0.2.1", "labels": {"a": 1}}],
    }
    assert set(told(Pool, raw)) == {
        "/id",
        "/type",
        "/min_available",
        "/surplus",
        "/addresses/0/address",
        "/addresses/0/weight",
        "/addresses/1/address",
        "/addresses/2/labels/a",
    }


def test_a_list_is_not_called_short_for_its_faulty_items() -> None:
    raw = INSTANCE | {"policies": [{"name": "world", "lines": [5], "pool_sets": [{"pools": [{"pool": "a", "w": 1}]}]}]}
    assert set(told(Instance, raw)) == {"/policies/0/lines/0", "/policies/0/pool_sets/0/pools/0/w"}


def test_what_remains_without_faulty_fields_is_read_for_the_other_rules() -> None:
    parsed = parse(Pool, POOL | {"surplus": 1, "enabled": 3, "addresses": [{"address": "192.0.2.1", "weight": -1}]})
    assert {v.pointer for v in parsed.violations} == {"/surplus", "/enabled", "/addresses/0/weight"}
    assert parsed.value is not None
    assert (parsed.value.id, parsed.value.addresses[0].weight) == ("pool-a", 1)


@pytest.mark.parametrize("raw", [POOL | {"type": 1}, POOL | {"addresses": [1]}, {"id": "a"}, 5])
def test_nothing_remains_where_a_required_field_or_an_item_is_faulty(raw: Any) -> None:
    parsed = parse(Pool, raw)
    assert parsed.value is None
    assert parsed.violations


def test_more_errors_than_are_listed_are_counted() -> None:
    violations = parse(Pool, POOL | {f"surplus-{n}": 1 for n in range(1200)}).violations
    assert len(violations) == 1001
    assert violations[-1].detail == "has 1200 errors, of which the first 1000 are listed"


def test_a_valid_document_comes_back_as_it_is_stored() -> None:
    parsed = parse(Pool, POOL)
    assert not parsed.violations
    assert parse(Pool, to_json(parsed.value)).value == parsed.value


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from([1e300, -0.5, 1e18])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["id", "name", "type", "policies", "addresses", "members", "selector", "min_available", "x/y~"]
)
BODIES = st.dictionaries(FIELDS, JSON, max_size=6) | JSON


@examples(150)
@given(st.sampled_from([Pool, Instance, Line, HealthCheck, Override, Zone]), BODIES)
def test_any_json_is_read_or_told_what_is_wrong(document: type, raw: Any) -> None:
    parsed = parse(document, raw)
    assert parsed.violations or parsed.value is not None
    assert all(v.detail and (not v.pointer or v.pointer.startswith("/")) for v in parsed.violations)
    json.dumps([(v.pointer, v.detail) for v in parsed.violations])


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_rfc_7396_appendix_a(target: Any, patch: Any, merged: Any) -> None:
    assert merge_patch(target, patch) == merged
