"""Which addresses may be answered, and which pools and sets are available, with the rank up > unknown > down."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from pdns_gtm_backend.domain.client import NOBODY
from pdns_gtm_backend.domain.instance import PoolSet
from pdns_gtm_backend.domain.override import Override, winning_override
from pdns_gtm_backend.domain.pool import Address, Family, Pool
from pdns_gtm_backend.domain.selection import draws_nothing, select
from pdns_gtm_backend.domain.state import Health, TargetState
from pdns_gtm_backend.domain.target import target_key

NO_VERDICT: Final = "no verdict yet"
"""The reason of an address or a check of which nothing is known."""


class Availability(IntEnum):
    """Greater is better; an OFFLINE address is never answered, a DOWN one only when an all-down rule acts."""

    OFFLINE = 0
    DOWN = 1
    UNKNOWN = 2
    UP = 3


@dataclass(frozen=True, slots=True)
class AddressView:
    """An address and what it is worth now, with the sentence that an operator reads."""

    address: Address
    availability: Availability
    health: Health | None
    reason: str
    override: str | None = None


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool and what it can answer now.

    availability: UP or UNKNOWN where the pool is available, else DOWN.
    candidates: the addresses that are drawn from while the pool is available.
    remaining: every address that is not offline, for the all-down rule; none where the pool is disabled.
    constant: what every answer holds while nothing changes; none where it is drawn anew for each.
    """

    pool: Pool
    addresses: tuple[AddressView, ...]
    availability: Availability
    candidates: tuple[Address, ...]
    remaining: tuple[Address, ...]
    reason: str
    constant: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if draws_nothing(self.pool):
            chosen = select(self.pool, self.answerable, NOBODY, float)
            object.__setattr__(self, "constant", tuple(address.address for address in chosen))

    @property
    def answerable(self) -> tuple[Address, ...]:
        """The addresses that an answer is selected from."""
        return self.candidates or self.remaining

    @property
    def available(self) -> bool:
        """May this pool be drawn?"""
        return self.availability >= Availability.UNKNOWN


@dataclass(frozen=True, slots=True)
class SetView:
    """The pools of one set that hold addresses of one family, with their weights.

    drawn: the pools that an answer is drawn from, with their weights; none where the set is not available.
    """

    name: str
    sticky: bool
    members: tuple[tuple[PoolView, int], ...]
    drawn: tuple[tuple[PoolView, int], ...]

    @property
    def available(self) -> bool:
        """Is one of its pools of weight above 0 available?"""
        return bool(self.drawn)

    @property
    def verified(self) -> bool:
        """Is one of them available by addresses that are known to be up?"""
        return any(view.availability == Availability.UP for view, _ in self.drawn)

    @property
    def empty(self) -> bool:
        """Has it no address but offline ones?"""
        return not any(view.remaining for view, _ in self.members)


def address_health(
    pool: Pool, address: Address, states: Mapping[str, TargetState]
) -> tuple[Health | None, TargetState | None]:
    """The health of an address over all checks of its pool, and the state that decided it; None without checks."""
    if not pool.health_checks:
        return None, None
    found = [states.get(target_key(check, address.address, pool.host, pool.sni)) for check in pool.health_checks]
    order: tuple[Health, ...] = ("down", "unknown", "up") if pool.require == "all" else ("up", "unknown", "down")
    for health in order:
        for state in found:
            if (state.health if state else "unknown") == health:
                return health, state
    return "unknown", None


def view_address(
    pool: Pool, address: Address, states: Mapping[str, TargetState], overrides: Collection[Override] = ()
) -> AddressView:
    """What `address` is worth now: an override decides, else its mode, else its health."""
    health, state = address_health(pool, address, states)
    override = winning_override(pool.id, address, overrides)
    if override is not None:
        worth = {"offline": Availability.OFFLINE, "online": Availability.UP, "failed": Availability.DOWN}
        said = f"override {override.id}: {override.effect}" + (f" ({override.reason})" if override.reason else "")
        return AddressView(address, worth[override.effect], health, said, override.id)
    if address.mode == "offline":
        return AddressView(address, Availability.OFFLINE, health, "mode offline")
    if address.mode == "online":
        return AddressView(address, Availability.UP, health, "mode online")
    if health is None:
        return AddressView(address, Availability.UP, health, "not monitored")
    if health == "up":
        return AddressView(address, Availability.UP, health, "up")
    if health == "down":
        return AddressView(address, Availability.DOWN, health, f"down: {state.reason}" if state else "down")
    return AddressView(address, Availability.UNKNOWN, health, NO_VERDICT)


def view_pool(pool: Pool, states: Mapping[str, TargetState], overrides: Iterable[Override] = ()) -> PoolView:
    """What `pool` can answer now. An unknown address is used only where the pool would be unavailable without it."""
    chosen = tuple(overrides)
    views = tuple(view_address(pool, address, states, chosen) for address in pool.addresses)
    if not pool.enabled:
        return PoolView(pool, views, Availability.DOWN, (), (), "disabled")
    remaining = tuple(v.address for v in views if v.availability != Availability.OFFLINE)
    needed = pool.needed()
    for least in (Availability.UP, Availability.UNKNOWN):
        candidates = tuple(v.address for v in views if v.availability >= least)
        if len(candidates) >= needed:
            reason = f"{len(candidates)} of {len(views)} addresses available, {needed} needed"
            return PoolView(pool, views, least, _positive(candidates), remaining, reason)
    usable = sum(v.availability >= Availability.UNKNOWN for v in views)
    reason = f"{usable} of {len(views)} addresses available, {needed} needed"
    return PoolView(pool, views, Availability.DOWN, (), remaining, reason)


def _positive(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """Without those of weight 0, which are never drawn while another is available."""
    return tuple(address for address in addresses if address.weight) or addresses


def view_set(pool_set: PoolSet, name: str, family: Family, pools: Callable[[str], PoolView | None]) -> SetView:
    """The part of a set that holds addresses of `family`; a pool that does not exist is left out."""
    members, drawn = [], []
    for member in pool_set.pools:
        view = pools(member.pool)
        if view is None or view.pool.type != family:
            continue
        members.append((view, member.weight))
        if member.weight and view.available:
            drawn.append((view, member.weight))
    return SetView(name, pool_set.sticky, tuple(members), tuple(drawn))
