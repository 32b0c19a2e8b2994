"""What differs between two versions of an object, and how a plan tells it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.cli.changes import change_lines, in_order, sentence, summary
from pdns_gtm_backend.cli.differences import ABSENT, Difference, differences
from tests.support.strategies import bounded

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "pools"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ADDRESSES = st.lists(
    st.fixed_dictionaries({"address": st.sampled_from(["1", "2", "3"]), "weight": st.integers(0, 1)}), max_size=4
)
OBJECTS = st.fixed_dictionaries({"addresses": ADDRESSES, "other": VALUES}, optional={"more": VALUES})


def types(value: Any) -> Any:
    """A value with its types, as 1 and true are equal."""
    if isinstance(value, dict):
        return {name: types(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [types(inner) for inner in value]
    return type(value), value


@bounded
@given(OBJECTS, OBJECTS)
def test_there_are_differences_where_objects_differ(before: Any, after: Any) -> None:
    found = list(differences(before, after))
    assert (found == []) == (types(before) == types(after))
    assert all(types(one.before) != types(one.after) for one in found)


@bounded
@given(OBJECTS)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert list(differences(value, value)) == []


def told(before: Any, after: Any) -> list[str]:
    return [sentence(difference) for difference in differences(before, after)]


def address(text: str, weight: int = 1) -> dict[str, Any]:
    return {"address": text, "weight": weight}


def test_addresses_are_compared_one_by_one() -> None:
    before = {"addresses": [address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3")]}
    after = {"addresses": [address("192.0.2.3"), address("192.0.2.1", 5), address("192.0.2.4")]}
    assert told(before, after) == [
        "addresses[192.0.2.1].weight: 1 -> 5",
        'addresses[192.0.2.2]: removed {"address": "192.0.2.2", "weight": 1}',
        'addresses[192.0.2.4]: added {"address": "192.0.2.4", "weight": 1}',
        'addresses (order): ["192.0.2.1", "192.0.2.3"] -> ["192.0.2.3", "192.0.2.1"]',
    ]


def test_policies_sets_and_members_are_compared_by_their_names() -> None:
    def policies(weight: int, failback: str) -> Any:
        sets = [{"name": "default", "pools": [{"pool": "a", "weight": weight}]}]
        return {"policies": [{"name": "world", "pool_sets": sets, "failback": failback}]}

    assert told(policies(1, "auto"), policies(3, "manual")) == [
        "policies[world].pool_sets[default].pools[a].weight: 1 -> 3",
        "policies[world].failback: auto -> manual",
    ]


def test_a_list_with_a_name_twice_is_compared_as_a_whole() -> None:
    twice = {"addresses": [address("192.0.2.1"), address("192.0.2.1", 2)]}
    (found,) = differences({"addresses": [address("192.0.2.1")]}, twice)
    assert found.path == "addresses"


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Difference("labels.site", ABSENT, "hz"), "labels.site: added hz"),
        (Difference("http", ABSENT, None), "http: added null"),
        (Difference("max_answers", None, 2), "max_answers: null -> 2"),
        (Difference("enabled", True, False), "enabled: true -> false"),
        (Difference("host", "", "a"), 'host: "" -> a'),
        (Difference("reason", "a", "b\x1b[31m\nc"), "reason: a -> b\\x1b[31m c"),
        (Difference("lines", ["a"], ["a", "b"]), 'lines: ["a"] -> ["a", "b"]'),
        (Difference("members", list("abcdefgh"), list("bcdefghi")), 'members: added ["i"], removed ["a"]'),
        (Difference("members", list("abcdefgh"), list("hgfedcba")), None),
    ],
)
def test_sentences(difference: Difference, said: str | None) -> None:
    text = sentence(difference)
    assert text == said if said is not None else text.endswith('"b", "a"]')


def plain(text: str, colour: str) -> str:
    return text


def change(action: str, kind: str, identifier: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "kind": kind, "id": identifier, "before": None, "after": None, **more}


def test_a_new_object_is_told_with_what_it_has() -> None:
    after = {
        "id": "a",
        "labels": {},
        "max_answers": None,
        "weight": 0,
        "enabled": False,
        "addresses": [address("192.0.2.1")],
    }
    assert list(change_lines(change("create", "pools", "a", after=after), plain)) == [
        "+ pool a",
        "    id: a",
        "    weight: 0",
        "    enabled: false",
        "    addresses:",
        "    - {address: 192.0.2.1, weight: 1}",
    ]


@pytest.mark.parametrize(
    ("given_change", "first"),
    [
        (change("delete", "health-checks", "web"), "- health check web"),
        (change("update", "instances", "gtm1", name="shop", before={}, after={}), "~ instance shop (gtm1)"),
        (change("create", "instances", None, name="shop", after={}), "+ instance shop"),  # type: ignore[arg-type]
        (
            change("delete", "rrsets", "z|www.z|A", before={"name": "www.z", "type": "A"}),
            "- record set www.z A",
        ),
        (change("explode", "things", "x"), "? things x"),
    ],
)
def test_an_object_is_called_as_operators_call_it(given_change: dict[str, Any], first: str) -> None:
    assert next(iter(change_lines(given_change, plain))) == first


def test_what_is_named_comes_before_what_names_it_and_goes_after_it() -> None:
    kinds = ["instances", "zones", "pools", "health-checks", "rrsets", "lines"]
    changes = [change(action, kind, kind) for action in ("delete", "create") for kind in kinds]
    ordered = [(one["action"], one["kind"]) for one in in_order(changes)]
    up = ["health-checks", "lines", "zones", "rrsets", "pools", "instances"]
    assert ordered == [*(("create", kind) for kind in up), *(("delete", kind) for kind in reversed(up))]


def test_a_summary_counts() -> None:
    changes = [change("create", "pools", "a"), change("delete", "pools", "b"), change("delete", "pools", "c")]
    assert summary(changes, 7) == "1 to create, 0 to change, 2 to delete; 7 stay as they are"
    assert summary(changes, past=True) == "1 created, 0 changed, 2 deleted"
