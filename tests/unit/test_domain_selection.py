import math
from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import Network
from pdns_gtm_backend.domain.pool import Address, Pool, Strategy
from pdns_gtm_backend.domain.selection import Random as Chance
from pdns_gtm_backend.domain.selection import (
    client_key,
    draw_pool,
    draw_weighted,
    rendezvous_order,
    select,
    stable_key,
)
from tests.support.strategies import STRATEGIES, WEIGHTS, bounded, hosts, networks

UNITS = st.floats(0, 1, exclude_max=True)
NEARLY_ONE = math.nextafter(1.0, 0.0)
CLIENT = Network(4, 203 << 24, 24)


@st.composite
def candidate_lists(draw: st.DrawFn, min_size: int = 1) -> list[Address]:
    weights = draw(st.lists(WEIGHTS, min_size=min_size, max_size=8))
    return [Address(address=f"192.0.2.{index + 1}", weight=weight) for index, weight in enumerate(weights)]


def pool(strategy: Strategy, candidates: Sequence[Address], max_answers: int | None = None) -> Pool:
    return Pool(id="p", type="ipv4", strategy=strategy, addresses=tuple(candidates), max_answers=max_answers)


def always(unit: float) -> Chance:
    return lambda: unit


def clients_of(count: int) -> list[Network]:
    """`count` networks of both families, as a resolver's clients are spread."""
    random = Random(7)
    return [
        Network(4, random.getrandbits(24) << 8, 24) if index % 2 else Network(6, random.getrandbits(56) << 72, 56)
        for index in range(count)
    ]


CLIENTS = clients_of(8000)


def within(count: int, total: int, share: float, sigmas: float = 6) -> bool:
    """Is `count` of `total` what a share gives, but for what chance explains?"""
    return abs(count - total * share) <= sigmas * math.sqrt(total * share * (1 - share)) + 1


@bounded
@given(st.lists(WEIGHTS, min_size=1, max_size=8), st.integers(1, 5))
def test_weighted_draws_are_exactly_proportional(weights: list[int], fineness: int) -> None:
    total = sum(weights)
    steps = (total or len(weights)) * fineness
    drawn = Counter(draw_weighted(range(len(weights)), weights, always((i + 0.5) / steps)) for i in range(steps))
    assert drawn == {i: (w if total else 1) * fineness for i, w in enumerate(weights) if w or not total}


@bounded
@given(st.lists(WEIGHTS, min_size=1, max_size=8), st.sampled_from([0.0, 0.5, NEARLY_ONE]) | UNITS)
def test_weight_zero_is_never_drawn_beside_another(weights: list[int], unit: float) -> None:
    drawn = draw_weighted(weights, weights, always(unit))
    assert drawn > 0 or not any(weights)


def test_weighted_converges_to_its_weights() -> None:
    candidates = [Address(address=f"192.0.2.{w}", weight=w) for w in (1, 2, 5, 92)]
    random = Random(1).random
    drawn = Counter(select(pool("weighted", candidates), candidates, CLIENT, random)[0].weight for _ in range(20_000))
    assert all(within(drawn[w], 20_000, w / 100) for w in (1, 2, 5, 92))


@bounded
@given(STRATEGIES, candidate_lists(), st.none() | st.integers(1, 10), networks(), st.integers())
def test_selection_is_of_candidates_without_repetition(
    strategy: Strategy, candidates: list[Address], limit: int | None, client: Network, seed: int
) -> None:
    chosen = select(pool(strategy, candidates, limit), candidates, client, Random(seed).random)
    default = len(candidates) if strategy == "all" else 1
    assert len(chosen) == min(limit or default, len(candidates))
    assert len({a.address for a in chosen}) == len(chosen)
    assert {a.address for a in chosen} <= {a.address for a in candidates}


@bounded
@given(st.sampled_from(["weighted", "sticky"]), candidate_lists(), st.integers(1, 8), networks(), st.integers())
def test_weight_zero_comes_after_every_other(
    strategy: Strategy, candidates: list[Address], limit: int, client: Network, seed: int
) -> None:
    chosen = select(pool(strategy, candidates, limit), candidates, client, Random(seed).random)
    positive = [bool(a.weight) for a in chosen]
    assert positive == sorted(positive, reverse=True)
    assert sum(positive) == min(limit, sum(a.weight > 0 for a in candidates))


@bounded
@given(candidate_lists(), st.none() | st.integers(1, 8), networks())
def test_sequence_is_the_first_in_order(candidates: list[Address], limit: int | None, client: Network) -> None:
    assert (
        list(select(pool("sequence", candidates, limit), candidates, client, always(0.9)))
        == (candidates[: 1 if limit is None else limit])
    )


@bounded
@given(candidate_lists(), st.integers(1, 8))
def test_a_capped_all_is_one_of_the_ring_windows_each_as_often(candidates: list[Address], limit: int) -> None:
    count, held = len(candidates), pool("all", candidates, limit)
    answers = [select(held, candidates, CLIENT, always((start + 0.5) / count)) for start in range(count)]
    windows = Counter(tuple(a.address for a in answer) for answer in answers)
    ring = [a.address for a in candidates] * 2
    if limit >= count:
        assert windows == {tuple(ring[:count]): count}
    else:
        assert windows == {tuple(ring[start : start + limit]): 1 for start in range(count)}


@bounded
@given(STRATEGIES, st.integers(2, 5), networks(), st.integers())
def test_a_domain_pool_answers_one_name(strategy: Strategy, count: int, client: Network, seed: int) -> None:
    names = tuple(Address(address=f"origin{i}.cdn.example") for i in range(count))
    held = Pool(id="p", type="domain", strategy=strategy, addresses=names)
    assert len(select(held, names, client, Random(seed).random)) == 1


@given(STRATEGIES)
def test_nothing_is_selected_from_nothing(strategy: Strategy) -> None:
    assert list(select(pool(strategy, []), [], CLIENT, always(0.0))) == []


@bounded
@given(candidate_lists(min_size=2), st.integers(1, 4), st.data())
def test_sticky_moves_only_the_clients_of_the_address_that_left(
    candidates: list[Address], limit: int, data: st.DataObject
) -> None:
    left = data.draw(st.sampled_from(candidates))
    rest = data.draw(st.permutations([a for a in candidates if a is not left]))
    for client in CLIENTS[:60]:
        before = select(pool("sticky", candidates, limit), candidates, client, always(0.0))
        after = select(pool("sticky", rest, limit), rest, client, always(0.0))
        kept = [a for a in before if a is not left]
        assert list(after[: len(kept)]) == kept
        if left not in before:
            assert list(after) == list(before)


@bounded
@given(candidate_lists(min_size=2), st.integers(1, 1000), st.data())
def test_sticky_moves_clients_only_to_an_address_that_gains_weight(
    candidates: list[Address], gain: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(candidates) - 1))
    raised = Address(address=candidates[index].address, weight=candidates[index].weight + gain)
    changed = [*candidates[:index], raised, *candidates[index + 1 :]]
    for client in CLIENTS[:60]:
        before = select(pool("sticky", candidates), candidates, client, always(0.0))[0].address
        after = select(pool("sticky", changed), changed, client, always(0.0))[0].address
        assert after in (before, raised.address)


@pytest.mark.parametrize("weights", [(1, 1), (1, 1, 1, 1, 1), (1, 2, 7), (1000, 1), (3, 0, 5)])
def test_sticky_is_proportional_over_all_clients(weights: tuple[int, ...]) -> None:
    candidates = [Address(address=f"192.0.2.{i + 1}", weight=weight) for i, weight in enumerate(weights)]
    held = pool("sticky", candidates)
    for version in (4, 6):
        asked = [client for client in CLIENTS if client.version == version]
        drawn = Counter(select(held, candidates, client, always(0.0))[0].address for client in asked)
        for candidate in candidates:
            assert within(drawn[candidate.address], len(asked), candidate.weight / sum(weights))


def test_sticky_is_proportional_over_neighbouring_networks() -> None:
    candidates = [Address(address=f"192.0.2.{i + 1}") for i in range(3)]
    asked = [Network(4, 203 << 24 | step << 8, 24) for step in range(6000)]
    drawn = Counter(select(pool("sticky", candidates), candidates, client, always(0.0))[0].address for client in asked)
    assert all(within(count, 6000, 1 / 3) for count in drawn.values())
    assert len(drawn) == 3


def test_what_is_drawn_in_a_pool_does_not_follow_from_the_pool_that_was_drawn() -> None:
    candidates = [Address(address=f"192.0.2.{i + 1}") for i in range(2)]
    names = ["pool-a", "pool-b"]
    keys = [stable_key(name) for name in names]
    drawn = Counter(
        (
            draw_pool(names, keys, [1, 1], client, always(0.0)),
            select(pool("sticky", candidates), candidates, client, always(0.0))[0].address,
        )
        for client in CLIENTS
    )
    assert all(within(count, len(CLIENTS), 1 / 4) for count in drawn.values())
    assert len(drawn) == 4


@bounded
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6), st.data())
def test_a_sticky_set_moves_only_the_clients_of_the_pool_that_left(weights: list[int], data: st.DataObject) -> None:
    names = [f"pool-{i}" for i in range(len(weights))]
    left = data.draw(st.integers(0, len(weights) - 1))
    rest = [i for i in range(len(weights)) if i != left]
    keys = [stable_key(name) for name in names]
    for client in CLIENTS[:60]:
        before = draw_pool(names, keys, weights, client, always(0.0))
        after = draw_pool(
            [names[i] for i in rest], [keys[i] for i in rest], [weights[i] for i in rest], client, always(0.0)
        )
        assert after == before or before == names[left]


@bounded
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), hosts())
def test_a_sticky_draw_needs_no_chance(weights: list[int], client: Network) -> None:
    names = [f"pool-{i}" for i in range(len(weights))]
    keys = [stable_key(name) for name in names]
    drawn = {draw_pool(names, keys, weights, client, Random(seed).random) for seed in range(5)}
    assert len(drawn) == 1


@pytest.mark.parametrize("wanted", [0, 1, 2**63, 2**64 - 1025, 2**64 - 2, 2**64 - 1])
def test_no_hash_breaks_the_order(wanted: int) -> None:
    """Undo the mixing to find the key whose hash is `wanted`: the largest once made a logarithm of 1."""
    mask = 2**64 - 1

    def unshift(value: int, step: int) -> int:
        found = value
        for _ in range(64 // step + 1):
            found = value ^ (found >> step)
        return found

    key = unshift(wanted, 31) * pow(0x94D049BB133111EB, -1, 2**64) & mask
    key = unshift(key, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    key = unshift(key, 30) ^ client_key(CLIENT)
    order = rendezvous_order(["a", "b"], [key, stable_key("b")], [1, 1], CLIENT)
    assert sorted(order) == ["a", "b"]
    if wanted in (0, 2**64 - 1):
        assert order[0] == ("a" if wanted else "b")


def test_keys_are_the_same_in_every_process_and_release() -> None:
    assert stable_key("192.0.2.1") == 0xC874FACE288B2811
    assert client_key(CLIENT) == 0x2EB4F9A49E14F924


@bounded
@given(networks(), networks())
def test_clients_have_different_keys(one: Network, other: Network) -> None:
    assert (client_key(one) == client_key(other)) == (one == other)
