"""Instances: one service each, with access policies that lead clients of lines to ordered pool sets."""

from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.document import DisplayName, DomainNameText, Identifier, Labels, Ttl, Weight, document
from pdns_gtm_backend.domain.line import LineText
from pdns_gtm_backend.domain.names import canonical, domain_name_error, identifier_error
from pdns_gtm_backend.domain.pool import Family
from pdns_gtm_backend.domain.violation import Violation, pointer, shown

InstanceKind = Literal["address", "domain"]
FAMILIES: Final[Mapping[InstanceKind, tuple[Family, ...]]] = {"address": ("ipv4", "ipv6"), "domain": ("domain",)}


@document
class SetMember:
    """A pool in a set; of weight 0 it is never drawn while another is available."""

    pool: Identifier
    weight: Weight = 1


@document
class PoolSet:
    """Weighted pools, of which one is drawn for an answer: at random, or by the client's network where `sticky`.

    name: null = "default" for a policy's first set, then "failover", "failover-2" and so on.
    """

    name: Identifier | None = None
    pools: Annotated[tuple[SetMember, ...], MinLen(1), MaxLen(100)]
    sticky: bool = False


@document
class AccessPolicy:
    """Clients of `lines` are answered from the first of `pool_sets` that is available.

    failback: go back to an earlier set when it is available again (`auto`), or when an operator says so (`manual`).
    failback_delay: seconds for which it must have been available before `auto` goes back.
    """

    name: Identifier
    lines: Annotated[tuple[LineText, ...], MinLen(1), MaxLen(1000)]
    pool_sets: Annotated[tuple[PoolSet, ...], MinLen(1), MaxLen(20)]
    failback: Literal["auto", "manual"] = "auto"
    failback_delay: Annotated[float, Ge(0), Le(604_800)] = 0


@document
class Instance:
    """The traffic management of one service.

    id, cname: generated when it is made, then fixed; "" only in a document on its way in.
    service_domains: the users' own names that CNAME here, for checks and display.
    names: extra names in zones that this server hosts.
    when_all_down: what a client gets when none of its policy's sets is available.
    enabled: a disabled instance answers NODATA; its checks go on.
    """

    id: Annotated[str, MaxLen(63)] = ""
    name: DisplayName
    cname: Annotated[str, MaxLen(254)] = ""
    kind: InstanceKind = "address"
    ttl: Ttl = 60
    enabled: bool = True
    service_domains: Annotated[tuple[DomainNameText, ...], MaxLen(100)] = ()
    names: Annotated[tuple[DomainNameText, ...], MaxLen(100)] = ()
    when_all_down: Literal["fail_open", "fail_closed"] = "fail_open"
    labels: Labels = field(default_factory=dict)
    policies: Annotated[tuple[AccessPolicy, ...], MinLen(1), MaxLen(500)]

    def owned_names(self) -> tuple[str, ...]:
        """Every name that is answered for this instance, in canonical form."""
        return tuple(canonical(name) for name in (self.cname, *self.names) if name)

    def pool_ids(self) -> frozenset[str]:
        """The pools that its policies name."""
        return frozenset(member.pool for policy in self.policies for s in policy.pool_sets for member in s.pools)


def default_set_name(index: int) -> str:
    """The name of the set at `index` (from 0) of a policy where none is given."""
    if index == 0:
        return "default"
    return "failover" if index == 1 else f"failover-{index}"


def set_names(policy: AccessPolicy) -> tuple[str, ...]:
    """The names of a policy's sets in order."""
    return tuple([s.name or default_set_name(index) for index, s in enumerate(policy.pool_sets)])


def canonical_instance(instance: Instance) -> Instance:
    """The form that is stored: every set named, every domain name in lower case without its trailing dot."""
    policies = tuple(
        replace(
            policy,
            pool_sets=tuple(replace(s, name=name) for s, name in zip(policy.pool_sets, set_names(policy), strict=True)),
        )
        for policy in instance.policies
    )
    return replace(
        instance,
        cname=canonical(instance.cname),
        names=tuple(canonical(name) for name in instance.names),
        service_domains=tuple(canonical(name) for name in instance.service_domains),
        policies=policies,
    )


def instance_violations(instance: Instance) -> Iterator[Violation]:
    """Every rule of its own that `instance` breaks; `configuration` holds the rules about what it names."""
    if instance.name != instance.name.strip() or not instance.name.isprintable():
        yield Violation("/name", f"{shown(instance.name)} must be printable and not begin or end with a space")
    if instance.id and (error := identifier_error(instance.id)):
        yield Violation("/id", f"{shown(instance.id)} {error}")
    if instance.cname and (error := domain_name_error(instance.cname)):
        yield Violation("/cname", f"{shown(instance.cname)} {error}")
    for field_name in ("service_domains", "names"):
        names: tuple[str, ...] = getattr(instance, field_name)
        for index, name in enumerate(names):
            if error := domain_name_error(name, wildcard=field_name == "names"):
                yield Violation(pointer(field_name, index), f"{shown(name)} {error}")
            elif canonical(name) in map(canonical, names[:index]):
                yield Violation(pointer(field_name, index), f"{shown(name)} is named twice")
    yield from _policy_names(instance)
    for index, policy in enumerate(instance.policies):
        yield from (v.under(pointer("policies", index)) for v in _set_violations(policy))


def _policy_names(instance: Instance) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, policy in enumerate(instance.policies):
        if error := identifier_error(policy.name):
            yield Violation(pointer("policies", index, "name"), f"{shown(policy.name)} {error}")
        if policy.name in seen:
            place = pointer("policies", index, "name")
            yield Violation(place, f"{shown(policy.name)} is the name of an earlier policy")
        seen.add(policy.name)


def _set_violations(policy: AccessPolicy) -> Iterator[Violation]:
    names = set_names(policy)
    for index, pool_set in enumerate(policy.pool_sets):
        if error := identifier_error(names[index]):
            yield Violation(pointer("pool_sets", index, "name"), f"{shown(names[index])} {error}")
        if names[index] in names[:index]:
            yield Violation(pointer("pool_sets", index, "name"), f"{shown(names[index])} is an earlier set's name")
        pools = [member.pool for member in pool_set.pools]
        for position, pool in enumerate(pools):
            if pool in pools[:position]:
                place = pointer("pool_sets", index, "pools", position, "pool")
                yield Violation(place, f"{shown(pool)} is already in this set: raise its weight instead")
