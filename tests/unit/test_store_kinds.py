import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import Place, parse_network
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.repository import parse_change
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import Position, build
from tests.support.store import HISTORIES, instance, pool
from tests.support.strategies import bounded


@bounded
@given(HISTORIES)
def test_every_document_comes_back_as_it_was(history: Any) -> None:
    for changes, _ in history:
        for change in changes:
            if change.value is not None:
                text = kinds.encode(change.kind, change.value)
                assert kinds.decode_stored(change.kind, change.id, text) == change.value


def stored(kind: str, identifier: str, text: str | bytes) -> str:
    """The reason for which a stored document is refused."""
    with pytest.raises(kinds.BrokenDocument) as refused:
        kinds.decode_stored(kind, identifier, text)
    return str(refused.value)


def altered(document: Any, kind: str, **fields: Any) -> str:
    return json.dumps(json.loads(kinds.encode(kind, document)) | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "ipv5"}, "type: Input should be 'ipv4', 'ipv6' or 'domain'"),
        ({"enabled": "yes"}, "enabled: Input should be a valid boolean"),
        ({"weight": 1}, "weight: Unexpected keyword argument"),
        ({"min_available": "ab"}, "min_available: 'ab' is neither a count nor '1%' to '100%'"),
        ({"addresses": [{"address": "nonsense"}]}, "addresses/0/address: 'nonsense' is no IPv4 address"),
        ({"id": "pool-b"}, "names itself 'pool-b'"),
    ],
)
def test_a_broken_pool_is_refused_with_the_field_and_the_reason(fields: dict[str, Any], reason: str) -> None:
    assert stored(kinds.POOLS, "pool-a", altered(pool(), kinds.POOLS, **fields)).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("null", "should be"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"a":' * 5000, "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"id": "\xff"}'.decode("utf-8", "surrogateescape"), "unicode"),
        ("\x00", "Invalid JSON"),
        ('{"id": NaN}', ""),
    ],
)
@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_garbage_is_no_document_of_any_kind(kind: str, text: str | bytes, reason: str) -> None:
    assert reason in stored(kind, "x", text)


def test_a_moment_without_time_zone_is_refused() -> None:
    override = Override(id="o", selector=Selector(pool="p"), effect="offline", created=datetime(2026, 1, 1, tzinfo=UTC))
    naive = altered(override, kinds.OVERRIDES, created="2026-01-01T00:00:00")
    assert stored(kinds.OVERRIDES, "o", naive).startswith("created: needs a time zone")


def test_zones_and_records_are_stored_by_their_names() -> None:
    zone = '{"name": "Shop.Example.", "number": 1}'
    assert kinds.decode_stored(kinds.ZONES, "shop.example", zone).number == 1
    assert stored(kinds.ZONES, "other.example", zone) == "names itself 'shop.example'"
    rrset = '{"zone": "shop.example", "name": "www.shop.example", "type": "TXT", "records": ["x"]}'
    assert kinds.decode_stored(kinds.RRSETS, "shop.example|www.shop.example|TXT", rrset).records == ("x",)
    assert stored(kinds.RRSETS, "shop.example|www.shop.example|A", rrset).startswith("names itself")


def test_a_document_of_another_kind_is_refused() -> None:
    text = kinds.encode(kinds.LINES, Line(id="x", members=("AS",)))
    assert "field required" in stored(kinds.POOLS, "x", text).lower()


TEXT = st.sampled_from(
    ["", "x", "a b", "50%", "ab%", "AS", "192.0.2.1", "..", "www.shop.example", "default", "\u0661%"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 100_000) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str]:
    """A document with some of its fields, at any depth, put to anything."""
    chosen: list[tuple[str, Any]] = [
        (kinds.POOLS, pool()),
        (kinds.INSTANCES, instance("gtm00000001", "pool-a", names=("www.shop.example",))),
        (kinds.LINES, Line(id="l0", members=("AS", "asn:1"))),
        (kinds.OVERRIDES, Override(id="o", selector=Selector(pool="pool-a"), effect="offline")),
    ]
    kind, value = draw(st.sampled_from(chosen))
    document = json.loads(kinds.encode(kind, value))
    for _ in range(draw(st.integers(1, 2))):
        place: Any = document
        while True:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
            inner = place[key]
            if not (isinstance(inner, (dict, list)) and inner and draw(st.booleans())):
                place[key] = draw(VALUES)
                break
            place = inner
    return kind, json.dumps(document)


@bounded
@given(st.lists(mutated(), min_size=1, max_size=3))
def test_whatever_is_accepted_can_be_served(documents: list[tuple[str, str]]) -> None:
    held: dict[str, dict[str, Any]] = {}
    for kind, text in documents:
        identifier = json.loads(text).get("id")
        try:
            value = kinds.decode_stored(kind, str(identifier), text)
        except kinds.BrokenDocument:
            continue
        held.setdefault(kind, {})[value.id] = value
    serving = prepare(build(Position("s", "r", 1), 1, held, {}, {}))
    client = parse_network("203.0.113.7")
    for view in serving.instances.values():
        match = view.match(client.truncated(view.scope(client)), Place("AS", "CN", "", 4134))
        for family in view.answers.families:
            assert view.answers.addresses(family, match, client, lambda: 0.5) is not None


def test_a_change_names_what_is_broken_and_keeps_the_rest() -> None:
    good = kinds.encode(kinds.POOLS, pool("a"))
    text = json.dumps([("pools", "a", good), ("pools", "b", "{}"), ("lines", "l0", "")])
    changes, problems = parse_change(text)
    assert [(change.kind, change.id, change.value) for change in changes] == [
        ("pools", "a", pool("a")),
        ("lines", "l0", None),
    ]
    assert list(problems) == [("pools", "b")]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "5", "[5]", '["abc"]', "[[]]", '[["pools","a"]]', '[["pools","a",{}]]', '[["pools",1,""]]'),
        *('[["nonsense","a",""]]', '[[["pools"],"a",""]]', '[["pools","a",null]]', "[" * 100_000, "NaN"),
    ],
)
def test_a_change_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        parse_change(text)
