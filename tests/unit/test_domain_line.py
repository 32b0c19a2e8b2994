import ipaddress
import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.line import Line, LineTable, Match, expand_line, line_violations, parse_line
from tests.support.strategies import (
    COUNTRIES,
    bounded,
    clients,
    custom_lines,
    distinct_lines,
    hosts,
    identity,
    line_texts,
    networks,
    places,
)

COARSE = {4: 24, 6: 56}
Specificity = list[tuple[int, int]]


def term_specificity(term: str, client: Network, place: Place) -> tuple[int, int] | None:
    """An independent reading of one term: how specific it is, or None where the client does not meet it."""
    if term.startswith("cidr:"):
        wanted, given_network = ipaddress.ip_network(term[5:]), ipaddress.ip_network(str(client))
        inside = wanted.version == given_network.version and given_network.subnet_of(wanted)  # type: ignore[arg-type]
        return (5, wanted.prefixlen) if inside else None
    if term.startswith("asn:"):
        return (4, 0) if place.asn == int(term[4:]) else None
    parts = term.split("-")
    if len(parts) == 3:
        return (3, 0) if (place.country, place.subdivision) == (parts[1], parts[2]) else None
    if len(parts) == 2:
        return (2, 0) if place.country == parts[1] else None
    return (1, 0) if place.continent == term else None


def specificity(text: str, client: Network, place: Place) -> Specificity | None:
    """How specific a line is for a client that is on it: its terms, the most specific first."""
    if text == "default":
        return []
    found = [term_specificity(term, client, place) for term in text.split("&")]
    return sorted((f for f in found if f), reverse=True) if all(found) else None


def oracle(written: Sequence[tuple[str, str]], client: Network, place: Place) -> tuple[str, str] | None:
    """Looks at every line: which (written, expanded) pair is the most specific that the client is on?"""
    ranked = [(s, pair) for pair in written if (s := specificity(pair[1], client, place)) is not None]
    return max(ranked, default=(None, None))[1]


def expanded(texts: Sequence[str], custom: Mapping[str, Line]) -> list[tuple[str, str]]:
    return [
        (text, member)
        for text in texts
        for member in (custom[text[5:]].members if text.startswith("line:") else [text])
    ]


def table(texts: Sequence[str], custom: Mapping[str, Line]) -> LineTable:
    return LineTable(
        (expression, Match(owner, text, expression.text))
        for owner, text in enumerate(texts)
        for expression in expand_line(text, custom)
    )


@st.composite
def line_sets(draw: st.DrawFn) -> tuple[list[str], dict[str, Line]]:
    """Lines of an instance that do not overlap, in any order, some of them custom."""
    line = draw(custom_lines("telecom"))
    taken = {identity(member) for member in line.members}
    plain = [text for text in draw(distinct_lines(8)) if identity(text) not in taken]
    with_default = ["default"] if draw(st.booleans()) else []
    return draw(st.permutations([*plain, "line:telecom", *with_default])), {"telecom": line}


@bounded
@given(line_sets(), st.lists(st.tuples(clients(), places()), min_size=1, max_size=12))
def test_most_specific_line_wins_whatever_the_order(
    lines: tuple[list[str], dict[str, Line]], asked: list[tuple[Network, Place]]
) -> None:
    texts, custom = lines
    made = table(texts, custom)
    reordered = table(texts[::-1], custom)
    for client, place in asked:
        expected = oracle(expanded(texts, custom), client, place)
        match, other = made.match(client, place), reordered.match(client, place)
        assert (match and match.written) == (other and other.written) == (expected and expected[0])
        assert (match and texts[match.owner]) == (expected and expected[0])
        if match is not None and expected is not None:
            assert identity(match.matched) == identity(expected[1])


@bounded
@given(line_sets(), clients(), places())
def test_every_line_of_a_client_is_told_in_order(
    lines: tuple[list[str], dict[str, Line]], client: Network, place: Place
) -> None:
    texts, custom = lines
    every = [(s, pair[0]) for pair in expanded(texts, custom) if (s := specificity(pair[1], client, place)) is not None]
    told = table(texts, custom).all_matches(client, place)
    assert [match.written for match in told] == [written for _, written in sorted(every, key=lambda e: e[0])[::-1]]


@bounded
@given(line_sets(), hosts(), places(), st.integers(0, 2**128 - 1))
def test_scope_is_fine_enough_and_the_same_inside(
    lines: tuple[list[str], dict[str, Line]], client: Network, place: Place, noise: int
) -> None:
    made = table(*lines)
    scope = made.scope(client)
    assert made.match(client, place) == made.match(client.truncated(scope), place)
    neighbour = Network(client.version, client.bits ^ (noise & ((1 << (client.length - scope)) - 1)), client.length)
    assert client.truncated(scope).holds(neighbour)
    assert made.scope(neighbour) == scope
    assert made.all_matches(neighbour.truncated(scope), place) == made.all_matches(client.truncated(scope), place)


@bounded
@given(line_sets(), clients())
def test_scope_is_coarse_but_in_a_network_that_holds_a_finer_line(
    lines: tuple[list[str], dict[str, Line]], client: Network
) -> None:
    texts, custom = lines
    coarse = COARSE[client.version]
    terms = [term for _, text in expanded(texts, custom) for term in text.split("&") if term.startswith("cidr:")]
    inside = [
        network.length
        for network in (parse_network(term[5:]) for term in terms)
        if network.version == client.version and client.length >= coarse and client.truncated(coarse).holds(network)
    ]
    assert table(texts, custom).scope(client) == max([coarse, *inside])


@bounded
@given(line_sets(), networks({4: (0, 8, 23), 6: (0, 20, 55)}))
def test_a_client_coarser_than_the_scope_is_answered_for_no_more_than_the_scope(
    lines: tuple[list[str], dict[str, Line]], client: Network
) -> None:
    assert table(*lines).scope(client) == COARSE[client.version]


def test_a_client_of_exactly_the_coarse_length_learns_that_finer_lines_lie_inside() -> None:
    made = table(["cidr:203.0.113.128/28", "default"], {})
    assert made.scope(parse_network("203.0.113.0/24")) == 28
    assert made.scope(parse_network("203.0.113.7/32")) == 28
    assert made.scope(parse_network("203.0.112.0/24")) == 24


def test_cost_of_a_match_does_not_depend_on_the_number_of_lines() -> None:
    class Counting(dict[object, Match]):
        asked = 0

        def get(self, key: object, default: object = None) -> Match | None:  # type: ignore[override]
            Counting.asked += 1
            return super().get(key)

    def lookups(count: int) -> int:
        texts = [f"cidr:10.{n // 256}.{n % 256}.0/24" for n in range(count)] + ["AS-CN", "default"]
        made = table(texts, {})
        made._groups = tuple((signature, Counting(group)) for signature, group in made._groups)
        Counting.asked = 0
        assert made.match(parse_network("192.0.2.0/24"), NOWHERE) is not None
        return Counting.asked

    assert lookups(10) == lookups(5000) == 3


@bounded
@given(line_texts())
def test_canonical_line_reads_back_as_itself(text: str) -> None:
    once = parse_line(text)
    assert parse_line(once.text) == once
    assert parse_line("&".join(reversed(text.split("&")))) == once


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("default", "default"),
        ("AS", "AS"),
        ("AS-CN", "AS-CN"),
        ("NA-US-CA", "NA-US-CA"),
        ("EU-GB-ENG", "EU-GB-ENG"),
        ("asn:4134", "asn:4134"),
        ("asn:004134", "asn:4134"),
        ("asn:4294967295", "asn:4294967295"),
        ("cidr:203.0.113.0/24", "cidr:203.0.113.0/24"),
        ("cidr:203.0.113.0/255.255.255.0", "cidr:203.0.113.0/24"),
        ("cidr:203.0.113.7", "cidr:203.0.113.7/32"),
        ("cidr:2001:DB8:0::/48", "cidr:2001:db8::/48"),
        ("cidr:::ffff:203.0.113.0/120", "cidr:203.0.113.0/24"),
        ("AS-CN&asn:4134", "asn:4134&AS-CN"),
        ("AS&cidr:203.0.113.0/24&asn:1", "cidr:203.0.113.0/24&asn:1&AS"),
    ],
)
def test_lines_have_one_form(text: str, canonical: str) -> None:
    assert parse_line(text).text == canonical


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "''"),
        ("as", "'as'"),
        ("XX", "'XX'"),
        ("XX-CN", "AF, AN, AS, EU, NA, OC, SA"),
        ("AS-", "'AS-'"),
        ("AS-CHN", "'AS-CHN'"),
        ("NA-US-", "'NA-US-'"),
        ("NA-US-CALI", "'NA-US-CALI'"),
        ("Default", "'Default'"),
        ("default&AS", "'default'"),
        ("AS&", "''"),
        ("AS & asn:1", "'AS '"),
        ("asn:", "'asn:'"),
        ("asn:0", "4294967295"),
        ("asn:4294967296", "4294967295"),
        ("asn:00000000004294967296", "4294967295"),
        ("asn:-1", "'asn:-1'"),
        ("asn:+1", "'asn:+1'"),
        ("asn:1_0", "'asn:1_0'"),
        ("asn:４１３４", "'asn:４１３４'"),
        ("cidr:", "'cidr:'"),
        ("cidr:203.0.113.7/24", "host bits"),
        ("cidr:203.0.113.0/33", "'cidr:203.0.113.0/33'"),
        ("cidr:2001:db8::1/64", "host bits"),
        ("AS&EU", "two continent"),
        ("asn:1&asn:2", "two asn"),
        ("cidr:10.0.0.0/8&cidr:2001:db8::/32", "two cidr"),
        ("line:telecom", "'line:telecom'"),
        ("AS&line:telecom", "'line:telecom'"),
    ],
)
def test_what_is_no_line_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_line(text)


def test_a_custom_line_stands_for_its_members() -> None:
    line = Line(id="telecom", members=("asn:4134&AS-CN", "cidr:203.0.113.0/24"))
    assert [e.text for e in expand_line("line:telecom", {"telecom": line})] == ["asn:4134&AS-CN", "cidr:203.0.113.0/24"]
    with pytest.raises(ValueError, match="there is no custom line 'unicom'"):
        expand_line("line:unicom", {"telecom": line})
    with pytest.raises(ValueError, match="there is no custom line"):
        expand_line("line:telecom&AS-CN", {"telecom": line})


@bounded
@given(custom_lines())
def test_generated_custom_lines_are_valid(line: Line) -> None:
    assert list(line_violations(line)) == []


def test_every_violation_of_a_custom_line_is_told() -> None:
    members = ("AS-CN", "default", "line:other", "moon", "cidr:10.0.0.0/8", "AS-CN", "cidr:10.0.0.0/255.0.0.0")
    found = {v.pointer: v.detail for v in line_violations(Line(id="no good", members=members))}
    assert set(found) == {"/id", "/members/1", "/members/2", "/members/3", "/members/5", "/members/6"}
    assert "'no good'" in found["/id"]
    assert "'default'" in found["/members/1"]
    assert "'line:other'" in found["/members/2"]
    assert "'moon'" in found["/members/3"]
    assert "/members/0" in found["/members/5"]
    assert "/members/4" in found["/members/6"]


def test_unknown_places_are_on_no_line_but_default() -> None:
    made = table([*(f"{continent}-{country}" for country, continent in COUNTRIES.items()), "AS", "asn:4134"], {})
    assert made.match(parse_network("203.0.113.0/24"), NOWHERE) is None
    assert made.match(parse_network("203.0.113.0/24"), Place(continent="SA", country="BR", asn=1)) is None
