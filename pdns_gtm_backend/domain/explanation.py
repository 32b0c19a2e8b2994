"""Why a client gets what it gets: the same steps as the answer, each with its reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pdns_gtm_backend.domain.answer import Choice, PolicyView, Rule, ServedInstance
from pdns_gtm_backend.domain.availability import PoolView
from pdns_gtm_backend.domain.client import Network, Place
from pdns_gtm_backend.domain.line import Match
from pdns_gtm_backend.domain.pool import Address, Family
from pdns_gtm_backend.domain.selection import rendezvous_order, select


@dataclass(frozen=True, slots=True)
class AddressExplanation:
    """An address of a set: what it is worth, why, and the probability (0 to 1) that an answer holds it.

    probability is None where several weighted draws without replacement make it no simple share.
    """

    address: str
    pool: str
    weight: int
    availability: str
    reason: str
    probability: float | None


@dataclass(frozen=True, slots=True)
class SetExplanation:
    """A set of the policy for this family, and its addresses."""

    name: str
    available: bool
    effective: bool
    addresses: tuple[AddressExplanation, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a client would get from an instance for one family, and why.

    client: its network, cut to the scope. lines: that it belongs to, the first decides. rule: how the answer came
    about. source: the policy and set of the addresses.
    """

    family: Family
    client: Network
    scope: int
    place: Place
    lines: tuple[Match, ...]
    policy: str | None
    pinned: str | None
    rule: Rule
    source: tuple[str, str] | None
    sets: tuple[SetExplanation, ...]


def explain(served: ServedInstance, family: Family, client: Network, place: Place) -> Explanation:
    """Explain the answer to `client`, which must be truncated to its scope already."""
    matches = served.lines.all_matches(client, place)
    owner = matches[0].owner if matches else 0
    view = served.answers.views[family][owner]
    choice = served.choice(family, owner)
    chances = probabilities(choice, client)
    sets = tuple(
        SetExplanation(
            name=s.name,
            available=s.available,
            effective=index == view.effective,
            addresses=tuple(_addresses(s.members, chances if _is_source(choice, view, s.name) else {})),
        )
        for index, s in enumerate(view.sets)
    )
    return Explanation(
        family=family,
        client=client,
        scope=served.scope(client),
        place=place,
        lines=matches,
        policy=view.policy.name,
        pinned=view.pinned,
        rule=choice.rule,
        source=choice.source,
        sets=sets,
    )


def _is_source(choice: Choice, view: PolicyView, name: str) -> bool:
    return choice.source == (view.policy.name, name)


def _addresses(
    members: Sequence[tuple[PoolView, int]], chances: Mapping[tuple[str, str], float | None]
) -> Sequence[AddressExplanation]:
    return [
        AddressExplanation(
            address=seen.address.address,
            pool=view.pool.id,
            weight=seen.address.weight,
            availability=seen.availability.name.lower() if view.pool.enabled else "offline",
            reason=seen.reason if view.pool.enabled else "pool disabled",
            probability=chances.get((view.pool.id, seen.address.address), 0.0),
        )
        for view, _ in members
        for seen in view.addresses
    ]


def probabilities(choice: Choice, client: Network) -> dict[tuple[str, str], float | None]:
    """The probability that an answer to `client` holds an address, by pool and address."""
    chances: dict[tuple[str, str], float | None] = {}
    if choice.fixed:
        return {(view.pool.id, a.address): 1.0 for view in choice.pools for a in view.remaining}
    for view, share in zip(choice.pools, _pool_shares(choice, client), strict=True):
        for address, chance in _address_chances(view, client):
            chances[view.pool.id, address.address] = None if chance is None else share * chance
    return chances


def _pool_shares(choice: Choice, client: Network) -> list[float]:
    if choice.sticky:
        first = rendezvous_order(choice.pools, choice.keys, choice.weights, client)[0]
        return [float(view is first) for view in choice.pools]
    total = sum(choice.weights)
    return [weight / total if total else 1 / len(choice.weights) for weight in choice.weights]


def _address_chances(view: PoolView, client: Network) -> list[tuple[Address, float | None]]:
    pool, candidates = view.pool, view.answerable
    limit = 1 if pool.type == "domain" else pool.max_answers
    if pool.strategy == "all":
        share = 1.0 if limit is None else min(1.0, limit / len(candidates))
        return [(address, share) for address in candidates]
    if pool.strategy == "weighted":
        return _weighted_chances(candidates, limit or 1)
    chosen = select(pool, candidates, client, lambda: 0.0)
    return [(address, float(address in chosen)) for address in candidates]


def _weighted_chances(candidates: Sequence[Address], limit: int) -> list[tuple[Address, float | None]]:
    total = sum(address.weight for address in candidates)
    if limit >= len(candidates):
        return [(address, 1.0) for address in candidates]
    if limit > 1:
        return [(address, None) for address in candidates]
    return [(a, a.weight / total if total else 1 / len(candidates)) for a in candidates]
