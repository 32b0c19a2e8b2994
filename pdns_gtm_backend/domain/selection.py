"""Which addresses of a pool, and which pool of a set, one answer takes."""

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import Final, TypeVar

from pdns_gtm_backend.domain.client import Network
from pdns_gtm_backend.domain.pool import Address, Pool, Strategy

T = TypeVar("T")
Random = Callable[[], float]
"""A number from 0 up to, but not including, 1."""

WORD: Final = 2**64 - 1
HASH_STEPS: Final = 2**52


def draw_weighted(choices: Sequence[T], weights: Sequence[int], random: Random) -> T:
    """One of `choices`, each with the probability of its weight; evenly where no weight is above 0."""
    totals = list(accumulate(weights))
    if not totals[-1]:
        return choices[int(random() * len(choices))]
    return choices[bisect(totals, random() * totals[-1])]


def rendezvous_order(choices: Sequence[T], keys: Sequence[int], weights: Sequence[int], client: Network) -> Sequence[T]:
    """`choices` by weighted rendezvous hashing for `client`, the best first.

    Each score depends on one choice and the client alone (weighted by -weight/ln(hash), Schindelhauer and Schomaker
    2005), so a choice that leaves moves only its own clients. Those of weight 0 come last.
    """
    seed = client_key(client)
    scored = [
        (weight > 0, -(weight or 1) / log(_unit(_mix(seed ^ key))), index)
        for index, (key, weight) in enumerate(zip(keys, weights, strict=True))
    ]
    scored.sort(reverse=True)
    return [choices[index] for _, _, index in scored]


@lru_cache(maxsize=65_536)
def stable_key(text: str) -> int:
    """A 64-bit number for `text`, the same in every process and on every machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def client_key(client: Network) -> int:
    """A 64-bit number for a client's network, the same everywhere."""
    return _mix(_mix(client.bits & WORD) ^ (client.bits >> 64) ^ (client.version << 8) ^ client.length)


def _mix(value: int) -> int:
    """The finalizer of splitmix64: every input bit reaches every output bit."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & WORD
    return value ^ (value >> 31)


def _unit(value: int) -> float:
    """A 64-bit number as one strictly between 0 and 1: all of its 64 bits could round up to 1, whose logarithm is 0."""
    return ((value >> 12) + 0.5) / HASH_STEPS


def _all(candidates: Sequence[Address], limit: int | None, client: Network, random: Random) -> Sequence[Address]:
    """Every candidate; where `limit` is smaller, one of the n windows of the ring of n candidates."""
    count = len(candidates)
    if limit is None or limit >= count:
        return candidates
    start = int(random() * count)
    return [candidates[(start + step) % count] for step in range(limit)]


def _weighted(candidates: Sequence[Address], limit: int | None, client: Network, random: Random) -> Sequence[Address]:
    """`limit` candidates (1), drawn one after the other by weight."""
    rest = list(candidates)
    chosen: list[Address] = []
    for _ in range(min(limit or 1, len(rest))):
        drawn = draw_weighted(rest, [address.weight for address in rest], random)
        rest.remove(drawn)
        chosen.append(drawn)
    return chosen


def _sequence(candidates: Sequence[Address], limit: int | None, client: Network, random: Random) -> Sequence[Address]:
    """The first `limit` candidates (1) in the pool's order."""
    return candidates[: limit or 1]


def _sticky(candidates: Sequence[Address], limit: int | None, client: Network, random: Random) -> Sequence[Address]:
    """The `limit` candidates (1) that rendezvous hashing gives this client."""
    keys = [stable_key(address.address) for address in candidates]
    weights = [address.weight for address in candidates]
    return rendezvous_order(candidates, keys, weights, client)[: limit or 1]


Select = Callable[[Sequence[Address], int | None, Network, Random], Sequence[Address]]
STRATEGIES: Final[Mapping[Strategy, Select]] = {
    "all": _all,
    "weighted": _weighted,
    "sequence": _sequence,
    "sticky": _sticky,
}


def select(pool: Pool, candidates: Sequence[Address], client: Network, random: Random) -> Sequence[Address]:
    """The addresses of `pool` that one answer holds, from `candidates`: at least one where there is one."""
    return STRATEGIES[pool.strategy](candidates, _limit(pool), client, random)


def _limit(pool: Pool) -> int | None:
    return 1 if pool.type == "domain" else pool.max_answers


def draws_nothing(pool: Pool) -> bool:
    """Is what `select` gives of `pool` the same for all clients, at every time until a state changes?"""
    if pool.strategy == "sequence":
        return True
    limit = _limit(pool)
    return pool.strategy == "all" and (limit is None or limit >= len(pool.addresses))


def draw_pool(
    pools: Sequence[T], keys: Sequence[int], weights: Sequence[int], client: Network | None, random: Random
) -> T:
    """The pool that one answer takes: by the client's network where it is given (a sticky set), else by weight."""
    if len(pools) == 1:
        return pools[0]
    if client is not None:
        return rendezvous_order(pools, keys, weights, client)[0]
    return draw_weighted(pools, weights, random)
