import math
from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import serve
from pdns_gtm_backend.domain.availability import view_pool
from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.explanation import explain, probabilities
from pdns_gtm_backend.domain.instance import FAMILIES, AccessPolicy, Instance, PoolSet, SetMember
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import TargetState
from pdns_gtm_backend.domain.target import target_key
from tests.support.strategies import Configuration, bounded_few, clients, configurations, places

SAMPLES = 1500
CLIENT = parse_network("198.51.100.0/24")


@bounded_few
@given(configurations(), clients(), places(), st.integers())
def test_probabilities_agree_with_sampling(
    configuration: Configuration, client: Network, place: Place, seed: int
) -> None:
    served = configuration.served()
    random = Random(seed).random
    match = served.match(client, place)
    assert match is not None
    for family in FAMILIES[served.instance.kind]:
        choice = served.answers.choices[family][match.owner]
        told = probabilities(choice, client)
        drawn: Counter[str] = Counter()
        for _ in range(SAMPLES):
            drawn.update(served.answers.addresses(family, match, client, random))
        if not drawn:
            assert not any(told.values())
            continue
        assert set(drawn) <= {address for _, address in told}
        for address in {address for _, address in told}:
            parts = [chance for (_, name), chance in told.items() if name == address]
            if None in parts:
                continue
            expected = min(1.0, sum(chance for chance in parts if chance is not None))
            deviation = math.sqrt(expected * (1 - expected) / SAMPLES)
            assert abs(drawn[address] / SAMPLES - expected) <= 6.5 * deviation + 1e-9


@bounded_few
@given(configurations(), clients(), places())
def test_the_explanation_is_of_the_answer(configuration: Configuration, client: Network, place: Place) -> None:
    served = configuration.served()
    match = served.match(client, place)
    assert match is not None
    for family in FAMILIES[served.instance.kind]:
        told = explain(served, family, client, place)
        view = served.answers.views[family][match.owner]
        choice = served.answers.choices[family][match.owner]
        assert (told.lines[0], told.policy, told.pinned) == (match, view.policy.name, view.pinned)
        assert (told.rule, told.source, told.scope) == (choice.rule, choice.source, served.scope(client))
        assert [(s.name, s.available) for s in told.sets] == [(s.name, s.available) for s in view.sets]
        assert [s.name for s in told.sets if s.effective] == ([view.set_name] if view.set_name else [])
        for told_set, seen_set in zip(told.sets, view.sets, strict=True):
            assert [(a.pool, a.address) for a in told_set.addresses] == [
                (pool.pool.id, seen.address.address) for pool, _ in seen_set.members for seen in pool.addresses
            ]
            possible = {a.address for a in told_set.addresses if a.probability != 0}
            if told.source != (told.policy, told_set.name):
                assert possible == set()
        answer = set(served.answers.addresses(family, match, client, Random(1).random))
        if told.source is not None and told.source[0] == told.policy:
            shown = next(s for s in told.sets if s.name == told.source[1])
            assert answer <= {a.address for a in shown.addresses if a.probability != 0}
        assert bool(answer) == (told.source is not None)


@bounded_few
@given(configurations(), clients(), places())
def test_a_disabled_instance_says_so(configuration: Configuration, client: Network, place: Place) -> None:
    served = replace(configuration, instance=replace(configuration.instance, enabled=False)).served()
    for family in FAMILIES[served.instance.kind]:
        told = explain(served, family, client, place)
        assert (told.rule, told.source) == ("disabled", None)
        assert not any(a.probability for s in told.sets for a in s.addresses)


def test_every_address_left_out_says_why() -> None:
    addresses = tuple(
        Address(address=f"192.0.2.{n}", weight=w, mode="offline" if n == 4 else "auto")
        for n, w in ((1, 3), (2, 1), (3, 5), (4, 5), (5, 0), (6, 5))
    )
    pool = Pool(id="web", type="ipv4", strategy="weighted", health_checks=("http",), addresses=addresses)
    disabled = Pool(id="old", type="ipv4", enabled=False, addresses=(Address(address="192.0.2.9"),))
    states = {
        target_key("http", f"192.0.2.{n}", None, None): TargetState(
            health="down" if n == 3 else "up", since=0, reason="refused"
        )
        for n in (1, 2, 3, 4, 5)
    }
    drill = Override(id="o1", selector=Selector(pool="web", address="192.0.2.2"), effect="failed", reason="exercise")
    views = {p.id: view_pool(p, states, [drill]) for p in (pool, disabled)}
    sets = (PoolSet(name="default", pools=(SetMember(pool="web"), SetMember(pool="old"))),)
    policies = (AccessPolicy(name="world", lines=("default",), pool_sets=sets),)
    served = serve(Instance(id="gtm12345678", name="shop", policies=policies), {}, views.get, {}, [drill])
    told = explain(served, "ipv4", CLIENT, NOWHERE)
    assert [(a.address, a.pool, a.availability, a.reason, a.probability) for a in told.sets[0].addresses] == [
        ("192.0.2.1", "web", "up", "up", 1.0),
        ("192.0.2.2", "web", "down", "override o1: failed (exercise)", 0.0),
        ("192.0.2.3", "web", "down", "down: refused", 0.0),
        ("192.0.2.4", "web", "offline", "mode offline", 0.0),
        ("192.0.2.5", "web", "up", "up", 0.0),
        ("192.0.2.6", "web", "unknown", "no verdict yet", 0.0),
        ("192.0.2.9", "old", "offline", "pool disabled", 0.0),
    ]


def test_a_single_pool_and_an_answer_of_all_are_certain() -> None:
    names = tuple(Address(address=f"192.0.2.{n}", weight=0) for n in (1, 2))
    alone = Pool(id="alone", type="ipv4", strategy="weighted", addresses=names)
    every = replace(alone, id="every", max_answers=2)
    for pool, chance in ((alone, 0.5), (every, 1.0)):
        for sticky in (True, False):
            members = PoolSet(name="default", pools=(SetMember(pool=pool.id, weight=3),), sticky=sticky)
            policies = (AccessPolicy(name="world", lines=("default",), pool_sets=(members,)),)
            instance = Instance(id="gtm12345678", name="shop", policies=policies)
            served = serve(instance, {}, {pool.id: view_pool(pool, {})}.get, {})
            told = probabilities(served.answers.choices["ipv4"][0], CLIENT)
            assert set(told.values()) == {chance}
            assert len(told) == 2


def test_probabilities_of_pools_and_addresses_multiply() -> None:
    near = Pool(
        id="near",
        type="ipv4",
        strategy="weighted",
        addresses=(Address(address="192.0.2.1", weight=3), Address(address="192.0.2.2", weight=1)),
    )
    far = Pool(
        id="far", type="ipv4", addresses=tuple(Address(address=f"192.0.2.{n}") for n in (7, 8, 9)), max_answers=2
    )
    several = replace(near, id="several", max_answers=2, addresses=(*near.addresses, Address(address="192.0.2.3")))
    views = {p.id: view_pool(p, {}) for p in (near, far, several)}
    members = (SetMember(pool="near", weight=2), SetMember(pool="far", weight=1), SetMember(pool="several", weight=1))
    policies = (AccessPolicy(name="world", lines=("default",), pool_sets=(PoolSet(name="default", pools=members),)),)
    served = serve(Instance(id="gtm12345678", name="shop", policies=policies), {}, views.get, {})
    assert probabilities(served.answers.choices["ipv4"][0], CLIENT) == {
        ("near", "192.0.2.1"): 0.375,
        ("near", "192.0.2.2"): 0.125,
        ("far", "192.0.2.7"): 0.25 * 2 / 3,
        ("far", "192.0.2.8"): 0.25 * 2 / 3,
        ("far", "192.0.2.9"): 0.25 * 2 / 3,
        ("several", "192.0.2.1"): None,
        ("several", "192.0.2.2"): None,
        ("several", "192.0.2.3"): None,
    }
