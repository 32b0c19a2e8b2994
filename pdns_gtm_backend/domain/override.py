"""Overrides: what an operator sets at run time, layered over configuration and no part of it."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

from annotated_types import MaxLen

from pdns_gtm_backend.domain.document import DomainNameText, Identifier, document
from pdns_gtm_backend.domain.pool import Address
from pdns_gtm_backend.domain.violation import Violation, shown

Effect = Literal["offline", "online", "failed", "pin", "failback"]


@document
class Selector:
    """What an override acts on: an address of a pool, an address wherever it is, a pool, every address with a label
    (`site=hz`), or a policy of an instance (for `pin` and `failback`).
    """

    pool: Identifier | None = None
    address: DomainNameText | None = None
    label: Annotated[str, MaxLen(320)] | None = None
    instance: Identifier | None = None
    policy: Identifier | None = None

    def selects(self, pool_id: str, address: Address) -> bool:
        """Does this select `address` as a member of the pool `pool_id`?"""
        if self.instance is not None or (self.pool is None and self.address is None and self.label is None):
            return False
        if self.pool not in (None, pool_id) or self.address not in (None, address.address):
            return False
        if self.label is None:
            return True
        key, _, value = self.label.partition("=")
        return address.labels.get(key) == value

    @property
    def specificity(self) -> int:
        """A selector of an address wins over one of a pool, and that over one of a label."""
        return 4 * (self.address is not None) + 2 * (self.pool is not None) + (self.label is not None)


@document
class Override:
    """One thing that an operator set.

    effect: `offline` = never answered, `online` = always, `failed` = treated as down (drills), `pin` = the policy
    answers from `set`, `failback` = the policy goes back to its first available set now (done once, then removed).
    until: when it undoes itself; None = when it is deleted. drill: the id of the drill that set it.
    """

    id: Annotated[str, MaxLen(63)] = ""
    selector: Selector
    effect: Effect
    set: Identifier | None = None
    reason: Annotated[str, MaxLen(1000)] = ""
    owner: Annotated[str, MaxLen(128)] = ""
    until: datetime | None = None
    created: datetime | None = None
    drill: Annotated[str, MaxLen(63)] | None = None


STRENGTH: Final[Mapping[str, int]] = {"offline": 2, "failed": 1, "online": 0}


def winning_override(pool_id: str, address: Address, overrides: Collection[Override]) -> Override | None:
    """The override that decides over `address`: the most specific selector; among equals offline > failed > online."""
    if not overrides:
        return None
    found = [o for o in overrides if o.effect in STRENGTH and o.selector.selects(pool_id, address)]
    return max(found, key=lambda o: (o.selector.specificity, STRENGTH[o.effect], o.id), default=None)


def policy_override(instance_id: str, policy: str, effect: Effect, overrides: Collection[Override]) -> Override | None:
    """The override of that effect on a policy, the latest where there are several."""
    if not overrides:
        return None
    found = [
        o
        for o in overrides
        if o.effect == effect and o.selector.instance == instance_id and o.selector.policy == policy
    ]
    return max(found, key=lambda o: (o.created is not None, o.created, o.id), default=None)


def override_violations(override: Override) -> Iterator[Violation]:
    """Every rule of its own that an override breaks."""
    selector = override.selector
    of_policy = override.effect in ("pin", "failback")
    if of_policy and (selector.instance is None or selector.policy is None):
        yield Violation("/selector", f"{override.effect} acts on a policy: give 'instance' and 'policy'")
    if of_policy and (selector.pool or selector.address or selector.label):
        yield Violation("/selector", f"{override.effect} acts on a policy, not on pools, addresses or labels")
    if not of_policy and (selector.instance or selector.policy):
        yield Violation("/selector", f"{override.effect} acts on a pool, an address or a label, not on a policy")
    if not of_policy and selector.pool is None and selector.address is None and selector.label is None:
        yield Violation("/selector", "selects nothing: give a pool, an address or a label")
    if selector.label is not None and not all(selector.label.partition("=")):
        yield Violation("/selector/label", f"{shown(selector.label)} is not of the form key=value")
    if (override.effect == "pin") != (override.set is not None):
        yield Violation("/set", "names the set to pin; needed for 'pin' and for no other effect")
    for name in ("until", "created"):
        moment: datetime | None = getattr(override, name)
        if moment is not None and moment.tzinfo is None:
            yield Violation(f"/{name}", "needs a time zone: write it as 2030-01-31T12:00:00Z")
