"""Regions: one answer for all of a region is right for each of its clients."""

from bisect import bisect_right
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.edge import (
    ALONE,
    BITS,
    MAX_REGIONS,
    NO_REGION,
    TRANSLATED,
    Pieces,
    Places,
    finer_terms,
    is_regional,
    overlaid,
    plan_regions,
    region_of,
    terms_of,
)
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import SCOPES
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import empty
from tests.support.documents import instance, policy, pool, written
from tests.support.strategies import bounded, distinct_lines, examples, hosts, networks, places

UNIT_2400 = 0x2400 << 40
CHINA, AMERICA = Place("AS", "CN"), Place("NA", "US")


def unit(client: Network) -> int:
    return client.bits >> (BITS[client.version] - SCOPES[client.version])


def at(pieces: Pieces[Place], number: int) -> Place:
    return pieces[bisect_right(pieces, number, key=lambda piece: piece[0]) - 1][1]


@st.composite
def geographies(draw: st.DrawFn) -> Places:
    """Places that begin at some clients of the small world."""
    starts = {version: {0: NOWHERE} for version in (4, 6)}
    for client in draw(st.lists(hosts(), max_size=12)):
        starts[client.version][unit(client)] = draw(places())
    return Places(tuple(sorted(starts[4].items())), tuple(sorted(starts[6].items())))


def served(*lines: str, strategy: str = "all"):  # type: ignore[no-untyped-def]
    policies = [policy(f"p{number}", line, "pool") for number, line in enumerate(lines)]
    held = pool("pool", "ipv4", "192.0.2.1", "192.0.2.2")
    return _serving(instance("one", *policies), replace(held, strategy=strategy)).instances["one"]  # type: ignore[arg-type]


def _serving(*documents: Instance | Pool):  # type: ignore[no-untyped-def]
    return prepare(empty().changed([written(document) for document in documents]))


@examples(150)
@given(
    st.lists(distinct_lines(5), min_size=1, max_size=3),
    geographies(),
    st.lists(st.one_of(hosts(), networks()), max_size=8),
)
def test_all_clients_of_a_region_are_on_the_same_lines(
    lines: list[list[str]], geography: Places, clients: list[Network]
) -> None:
    held = [served(*texts, "default") for texts in lines]
    regions = plan_regions(frozenset().union(*(terms_of(one, {}) for one in held)), geography)

    def decides(one, client: Network) -> object:  # type: ignore[no-untyped-def]
        cut = client.truncated(one.scope(client))
        return one.match(cut, at(geography.of(client.version), unit(cut)))

    for client in clients:
        if client.length < SCOPES[client.version]:
            continue
        region = region_of(regions, client)
        if region == ALONE:
            assert any(one.scope(client) > SCOPES[client.version] for one in held)
            continue
        if region == NO_REGION:
            assert any(network.holds(client) for network in TRANSLATED)
            continue
        assert region < len(regions.canonical)
        for one in held:
            expected = decides(one, client)
            assert all(decides(one, network) == expected for network in regions.canonical[region].values())
        assert region_of(regions, regions.canonical[region][client.version]) == region


@bounded
@given(distinct_lines(6), geographies())
def test_neighbours_have_different_regions(lines: list[str], geography: Places) -> None:
    regions = plan_regions(terms_of(served(*lines, "default"), {}), geography)
    for pieces in (regions.ipv4, regions.ipv6):
        assert pieces[0][0] == 0
        assert all(before[0] < after[0] and before[1] != after[1] for before, after in pairwise(pieces))


def test_regions_are_no_finer_than_lines_in_use() -> None:
    geography = Places(((0, NOWHERE), (10, CHINA), (20, AMERICA), (30, CHINA)), ((0, NOWHERE), (UNIT_2400, CHINA)))
    assert plan_regions(frozenset(), geography).ipv4 == [(0, 0)]
    regions = plan_regions(terms_of(served("AS-CN", "default"), {}), geography)
    assert regions.ipv4 == [(0, 1), (10, 0), (20, 1), (30, 0)]
    assert {
        version: str(n) for version, n in regions.canonical[region_of(regions, parse_network("0.0.10.9"))].items()
    } == {
        4: "0.0.10.0/24",
        6: "2400::/56",
    }


def test_a_finer_network_leaves_its_unit_alone() -> None:
    lines = ("cidr:198.51.100.16/28", "cidr:198.51.0.0/16", "cidr:2001:db8::/64", "default")
    regions = plan_regions(terms_of(served(*lines), {}), Places())
    assert region_of(regions, parse_network("198.51.100.200")) == ALONE
    assert region_of(regions, parse_network("2001:db8::1")) == ALONE
    same = {region_of(regions, parse_network(text)) for text in ("198.51.99.1", "198.51.101.1")}
    assert len(same) == 1 and same != {region_of(regions, parse_network("8.8.8.8"))}
    assert [str(value) for _, value in finer_terms(regions.terms)] != []


def test_what_is_too_much_has_no_region() -> None:
    terms = frozenset(("cidr", Network(4, number << 8, 24)) for number in range(1, MAX_REGIONS + 10))
    regions = plan_regions(terms, Places())
    assert len(regions.canonical) == MAX_REGIONS
    assert NO_REGION in {cell for _, cell in regions.ipv4}


@bounded
@given(st.data())
def test_overlaid_says_both(data: st.DataObject) -> None:
    first, second = (
        [(0, data.draw(st.integers())), *((start, data.draw(st.integers())) for start in sorted(starts))]
        for starts in data.draw(st.tuples(*[st.sets(st.integers(1, 30), max_size=5)] * 2))
    )
    both = dict(overlaid(first, second))
    for number in range(32):
        index = max(start for start in both if start <= number)
        assert both[index] == (at(first, number), at(second, number))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "regional"), [("all", True), ("sequence", True), ("weighted", False), ("sticky", False)]
)
def test_a_draw_is_not_shared(strategy: str, regional: bool) -> None:
    assert is_regional(served("AS", "default", strategy=strategy)) == regional


def test_neither_is_a_name_that_leads_elsewhere_nor_a_choice_of_pools() -> None:
    target = pool("t", "domain", "a.example")
    assert not is_regional(
        _serving(instance("one", policy("p", "default", "t"), kind="domain"), target).instances["one"]
    )
    two = [pool(name, "ipv4", "192.0.2.1") for name in "ab"]
    assert not is_regional(_serving(instance("one", policy("p", "default", "a b")), *two).instances["one"])
    assert is_regional(_serving(instance("one", policy("p", "default", "a", "b")), *two).instances["one"])
    capped = replace(pool("a", "ipv4", "192.0.2.1", "192.0.2.2"), max_answers=1)
    assert not is_regional(_serving(instance("one", policy("p", "default", "a")), capped).instances["one"])


def test_ipv4_within_ipv6_has_no_region() -> None:
    regions = plan_regions(frozenset(), Places())
    for text in ("2002:102:400::", "2001:0:102:400::", "::102:400"):
        assert region_of(regions, parse_network(text)) == NO_REGION
    for text in ("2001:db8::", "2003::", "240e::"):
        assert region_of(regions, parse_network(text)) == 0
