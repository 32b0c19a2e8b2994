from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import Choice, ServedInstance, serve
from pdns_gtm_backend.domain.availability import Availability, SetView
from pdns_gtm_backend.domain.client import Network, Place
from pdns_gtm_backend.domain.explanation import explain
from pdns_gtm_backend.domain.instance import FAMILIES
from pdns_gtm_backend.domain.pool import Family
from tests.support.strategies import Configuration, bounded_few, clients, configurations, hosts, places

NODATA = frozenset({"none", "fail_closed", "disabled"})


def every_choice(served: ServedInstance) -> Iterator[tuple[Family, int, Choice]]:
    for family in FAMILIES[served.instance.kind]:
        for index, choice in enumerate(served.answers.choices[family]):
            yield family, index, choice


def source_set(served: ServedInstance, family: Family, choice: Choice) -> SetView:
    """The set that a choice says its addresses belong to."""
    assert choice.source is not None
    policy, name = choice.source
    views = next(view for view in served.answers.views[family] if view.policy.name == policy)
    return next(view for view in views.sets if view.name == name)


def worth(view: SetView, address: str) -> Availability:
    """The best that an address is worth in a pool of a set; one of a disabled pool is worth nothing."""
    return max(
        (
            seen.availability if pool.pool.enabled else Availability.OFFLINE
            for pool, _ in view.members
            for seen in pool.addresses
            if seen.address.address == address
        ),
        default=Availability.OFFLINE,
    )


def some_answers(choice: Choice, client: Network) -> Iterator[Sequence[str]]:
    for seed in range(6):
        yield choice.draw(client, Random(seed).random)


@bounded_few
@given(configurations(), clients())
def test_what_is_answered_was_available_or_an_all_down_rule_acted(
    configuration: Configuration, client: Network
) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        for answer in some_answers(choice, client):
            assert bool(answer) == (choice.rule not in NODATA)
            assert len(set(answer)) == len(answer)
            if not answer:
                continue
            view = source_set(served, family, choice)
            if choice.rule in ("set", "other_policy"):
                assert view.available
                assert all(worth(view, address) >= Availability.UNKNOWN for address in answer)
            else:
                assert choice.rule in ("fail_open", "pinned_unavailable")
                assert not view.available
                assert all(worth(view, address) > Availability.OFFLINE for address in answer)
            own = choice.source is not None and choice.source[0] == served.instance.policies[index].name
            assert own == (choice.rule == "set") or choice.rule in ("fail_open", "pinned_unavailable")


@bounded_few
@given(configurations(), st.lists(st.tuples(clients(), places()), min_size=1, max_size=8), st.integers())
def test_types_at_a_name_are_the_same_for_every_client(
    configuration: Configuration, asked: list[tuple[Network, Place]], seed: int
) -> None:
    served = configuration.served()
    for family in ("ipv4", "ipv6", "domain"):
        for client, place in asked:
            match = served.match(client.truncated(served.scope(client)), place)
            answer = served.answers.addresses(family, match, client, Random(seed).random)
            assert bool(answer) == (family in served.answers.families)
        for choice in served.answers.choices.get(family, ()):
            assert (choice.rule not in NODATA) == (family in served.answers.families)


@bounded_few
@given(configurations(), clients(), places(), st.integers())
def test_fail_open_is_never_empty_while_an_address_is_not_offline(
    configuration: Configuration, client: Network, place: Place, seed: int
) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_open"))
    served = configuration.served()
    for family in FAMILIES[served.instance.kind]:
        pools = [configuration.pool_view(name) for name in served.instance.pool_ids()]
        exists = any(
            seen.availability != Availability.OFFLINE
            for view in pools
            if view is not None and view.pool.enabled and view.pool.type == family
            for seen in view.addresses
        )
        answer = served.answers.addresses(family, served.match(client, place), client, Random(seed).random)
        assert bool(answer) == exists


@bounded_few
@given(configurations())
def test_fail_closed_acts_only_without_any_available_set_and_then_for_all(configuration: Configuration) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_closed"))
    served = configuration.served()
    for family in FAMILIES[served.instance.kind]:
        sets = [view for policy in served.answers.views[family] for view in policy.sets]
        acted = [choice.rule in ("fail_closed", "none") for choice in served.answers.choices[family]]
        assert all(acted) == any(acted) == (not any(view.available for view in sets))
        assert (family in served.answers.families) == any(view.available for view in sets)


@bounded_few
@given(configurations(), clients())
def test_fail_closed_never_answers_an_unavailable_address_but_of_a_pinned_set(
    configuration: Configuration, client: Network
) -> None:
    configuration = replace(configuration, instance=replace(configuration.instance, when_all_down="fail_closed"))
    served = configuration.served()
    for family, index, choice in every_choice(served):
        pinned = served.answers.views[family][index].pinned
        for answer in some_answers(choice, client):
            if not answer:
                continue
            view = source_set(served, family, choice)
            available = all(worth(view, address) >= Availability.UNKNOWN for address in answer)
            assert available or choice.source == (served.instance.policies[index].name, pinned)


@bounded_few
@given(configurations(max_overrides=6))
def test_a_pin_wins_wherever_the_pinned_set_holds_anything(configuration: Configuration) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        policy = served.instance.policies[index]
        pins = [o for o in configuration.overrides if o.effect == "pin" and o.selector.policy == policy.name]
        assert served.answers.views[family][index].pinned in ([o.set for o in pins] or [None])
        pinned = next(
            (
                s
                for s in served.answers.views[family][index].sets
                if s.name == served.answers.views[family][index].pinned
            ),
            None,
        )
        if pinned is None or pinned.empty or choice.rule == "fail_closed":
            continue
        assert choice.source == (policy.name, pinned.name)
        assert choice.rule == ("set" if pinned.available else "pinned_unavailable")


@bounded_few
@given(configurations())
def test_a_policy_answers_from_its_own_sets_while_it_can(configuration: Configuration) -> None:
    served = configuration.served()
    for family, index, choice in every_choice(served):
        view = served.answers.views[family][index]
        own = (view.policy.name, view.set_name)
        if view.effective is not None and view.sets[view.effective].available:
            assert (choice.rule, choice.source) == ("set", own)
        elif any(not s.empty for s in view.sets) and served.instance.when_all_down == "fail_open":
            assert choice.source is not None
            assert choice.source[0] == view.policy.name
        if choice.rule == "fail_open":
            first = next(p for p in served.answers.views[family] if choice.source and p.policy.name == choice.source[0])
            assert choice.source == (first.policy.name, next(s.name for s in first.sets if not s.empty))
            assert not any(s.available for s in first.sets)


@bounded_few
@given(configurations())
def test_a_policy_without_an_answer_takes_one_that_is_available_the_default_policys_first(
    configuration: Configuration,
) -> None:
    served = configuration.served()
    default = next(p.name for p in served.instance.policies if "default" in p.lines)
    for family in FAMILIES[served.instance.kind]:
        views = served.answers.views[family]
        of_default = served.answers.choices[family][[v.policy.name for v in views].index(default)]
        for choice in served.answers.choices[family]:
            if choice.rule != "other_policy":
                continue
            assert any(s.available for view in views for s in view.sets)
            if of_default.rule == "set":
                assert choice.source == of_default.source


@bounded_few
@given(configurations(), clients())
def test_fail_open_gives_every_address_of_the_set_but_the_offline_ones(
    configuration: Configuration, client: Network
) -> None:
    served = configuration.served()
    for family, _, choice in every_choice(served):
        if choice.rule not in ("fail_open", "pinned_unavailable"):
            continue
        view = source_set(served, family, choice)
        every = {seen.address.address for pool, _ in view.members for seen in pool.addresses}
        left = {address for address in every if worth(view, address) > Availability.OFFLINE}
        if family == "domain":
            assert all(len(answer) == 1 and set(answer) <= left for answer in some_answers(choice, client))
        else:
            assert all(set(answer) == left for answer in some_answers(choice, client))


@bounded_few
@given(configurations(), st.lists(clients(), min_size=1, max_size=6), st.booleans())
def test_scope_follows_from_configuration_alone(
    configuration: Configuration, asked: list[Network], enabled: bool
) -> None:
    without = serve(
        replace(configuration.instance, enabled=enabled, when_all_down="fail_closed"),
        configuration.catalog.lines,
        lambda _: None,
        {},
    )
    served = configuration.served()
    assert [served.scope(client) for client in asked] == [without.scope(client) for client in asked]


@bounded_few
@given(configurations(), st.lists(st.tuples(clients(), places(), st.integers()), min_size=2, max_size=8))
def test_what_is_uniform_is_the_same_for_all_at_every_time(
    configuration: Configuration, asked: list[tuple[Network, Place, int]]
) -> None:
    one_policy = replace(configuration.instance, policies=configuration.instance.policies[:1])
    for made in (configuration, replace(configuration, instance=one_policy)):
        served = made.served()
        without_states = replace(made, target_states={}, policy_states={}).served()
        assert served.answers.uniform == without_states.answers.uniform
        if not served.answers.uniform:
            continue
        for family in FAMILIES[served.instance.kind]:
            given_out = {
                tuple(served.answers.addresses(family, served.match(client, place), client, Random(seed).random))
                for client, place, seed in asked
            }
            assert len(given_out) == 1


@bounded_few
@given(configurations(), hosts(), places(), st.integers(0, 2**72 - 1))
def test_every_client_of_a_scope_network_gets_the_same_distribution(
    configuration: Configuration, client: Network, place: Place, noise: int
) -> None:
    served = configuration.served()
    scope = served.scope(client)
    neighbour = replace(client, bits=client.bits ^ (noise & ((1 << (client.length - scope)) - 1)))
    one, other = client.truncated(scope), neighbour.truncated(served.scope(neighbour))
    for family in FAMILIES[served.instance.kind]:
        assert explain(served, family, one, place) == explain(served, family, other, place)
        for seed in range(3):
            answers = [
                list(served.answers.addresses(family, served.match(c, place), c, Random(seed).random))
                for c in (one, other)
            ]
            assert answers[0] == answers[1]


@bounded_few
@given(configurations(), clients(), places())
def test_the_policy_of_the_clients_line_answers(configuration: Configuration, client: Network, place: Place) -> None:
    served = configuration.served()
    match = served.match(client, place)
    assert match is not None
    policy = served.instance.policies[match.owner]
    assert match.written in policy.lines
    for family in served.answers.families:
        choice = served.answers.choices[family][match.owner]
        for seed in range(3):
            drawn = served.answers.addresses(family, match, client, Random(seed).random)
            assert drawn == choice.draw(client, Random(seed).random)


@bounded_few
@given(configurations(), clients(), places())
def test_a_disabled_instance_holds_no_data(configuration: Configuration, client: Network, place: Place) -> None:
    disabled = replace(configuration, instance=replace(configuration.instance, enabled=False)).served()
    assert disabled.answers.families == ()
    for family in FAMILIES[disabled.instance.kind]:
        assert list(disabled.answers.addresses(family, disabled.match(client, place), client, lambda: 0.0)) == []


@bounded_few
@given(configurations(), clients(), places())
def test_what_the_store_has_lost_is_left_out(configuration: Configuration, client: Network, place: Place) -> None:
    """Half of the pools and every custom line are gone; the rest is answered."""
    kept = {name: pool for index, (name, pool) in enumerate(configuration.catalog.pools.items()) if index % 2 == 0}
    broken = replace(configuration, catalog=replace(configuration.catalog, pools=kept, lines={}))
    served = broken.served()
    for family in served.answers.families:
        answer = served.answers.addresses(family, served.match(client, place), client, lambda: 0.5)
        assert answer
        assert set(answer) <= {a.address for pool in kept.values() for a in pool.addresses}
