"""The rules between documents: references, lines that overlap, families, names. All violations at once."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from pdns_gtm_backend.domain.health_check import HealthCheck, health_check_violations
from pdns_gtm_backend.domain.instance import (
    FAMILIES,
    AccessPolicy,
    Instance,
    PoolSet,
    instance_violations,
    set_names,
)
from pdns_gtm_backend.domain.line import CUSTOM_PREFIX, Line, expand_line, line_violations
from pdns_gtm_backend.domain.names import ancestors, canonical, is_below, parents
from pdns_gtm_backend.domain.override import Override, override_violations
from pdns_gtm_backend.domain.pool import Family, Pool, pool_violations
from pdns_gtm_backend.domain.private_targets import refused_target
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.domain.zone import Zone, zone_violations

MAX_ANSWER_BYTES: Final = 1232
"""A UDP answer that no path fragments (dnsflagday.net/2020)."""


class Catalog(Protocol):
    """All documents as they would be after a change, as the rules between them see them; with what they need to find
    without a search.
    """

    @property
    def instances(self) -> Mapping[str, Instance]:
        """By id."""

    @property
    def pools(self) -> Mapping[str, Pool]:
        """By id."""

    @property
    def health_checks(self) -> Mapping[str, HealthCheck]:
        """By id."""

    @property
    def lines(self) -> Mapping[str, Line]:
        """By id."""

    @property
    def zones(self) -> Mapping[str, Zone]:
        """By name in canonical form."""

    def instance_named(self, name: str) -> str | None:
        """The id of the instance with this name."""

    def name_owner(self, name: str) -> str | None:
        """The id of the instance that is answered at this domain name (canonical form)."""

    def instances_using_pool(self, pool: str) -> Iterable[str]:
        """Ids of the instances whose policies name the pool."""

    def pools_using_check(self, check: str) -> Iterable[str]:
        """Ids of the pools that name the check."""

    def instances_using_line(self, line: str) -> Iterable[str]:
        """Ids of the instances whose policies name the custom line."""

    def static_types(self, name: str) -> Iterable[str]:
        """Types of the static records at this domain name (canonical form)."""


def check_health_check(check: HealthCheck) -> Iterator[Violation]:
    """Every rule that a health check breaks."""
    yield from health_check_violations(check)


def check_line(line: Line, catalog: Catalog) -> Iterator[Violation]:
    """Every rule that a custom line breaks, also in the instances that use it."""
    yield from line_violations(line)
    for user in catalog.instances_using_line(line.id):
        for violation in _line_rules(catalog.instances[user], catalog):
            yield Violation("/members", f"in instance {catalog.instances[user].name!r}: {violation.detail}")


def check_pool(pool: Pool, catalog: Catalog, *, allow_private: bool) -> Iterator[Violation]:
    """Every rule that a pool breaks, also in the instances that use it.

    allow_private: are loopback, link-local and metadata addresses accepted as targets of probes?
    """
    yield from pool_violations(pool)
    for index, name in enumerate(pool.health_checks):
        if name not in catalog.health_checks:
            yield Violation(pointer("health_checks", index), f"there is no health check {shown(name)}")
    if pool.health_checks and not allow_private and pool.type != "domain":
        for index, address in enumerate(pool.addresses):
            if reason := refused_target(address.address):
                detail = f"{shown(address.address)} {reason}: set GTM_ALLOW_PRIVATE_TARGETS=1 to probe it"
                yield Violation(pointer("addresses", index, "address"), detail)
    for user in catalog.instances_using_pool(pool.id):
        instance = catalog.instances[user]
        for violation in _pool_rules(instance, catalog):
            yield Violation("/type", f"in instance {instance.name!r}: {violation.detail}")
        if cycle := name_cycle(instance, catalog):
            yield Violation("/addresses", f"in instance {instance.name!r}: {cycle}")


def check_zone(zone: Zone) -> Iterator[Violation]:
    """Every rule that a zone breaks."""
    yield from zone_violations(zone)


def check_override(override: Override, catalog: Catalog) -> Iterator[Violation]:
    """Every rule that an override breaks."""
    yield from override_violations(override)
    selector = override.selector
    if selector.pool is not None and selector.pool not in catalog.pools:
        yield Violation("/selector/pool", f"there is no pool {shown(selector.pool)}")
    elif selector.address is not None:
        pools = catalog.pools.values() if selector.pool is None else [catalog.pools[selector.pool]]
        if not any(selector.address == address.address for pool in pools for address in pool.addresses):
            where = "any pool" if selector.pool is None else f"pool {selector.pool}"
            yield Violation("/selector/address", f"{shown(selector.address)} is no address of {where}")
    if selector.instance is None:
        return
    instance = catalog.instances.get(selector.instance)
    if instance is None:
        yield Violation("/selector/instance", f"there is no instance {shown(selector.instance)}")
        return
    policy = next((p for p in instance.policies if p.name == selector.policy), None)
    if policy is None:
        named = ", ".join(p.name for p in instance.policies)
        yield Violation("/selector/policy", f"{shown(selector.policy)} is no policy of {instance.name!r} ({named})")
    elif override.set is not None and override.set not in set_names(policy):
        named = ", ".join(set_names(policy))
        yield Violation("/set", f"{shown(override.set)} is no set of policy {policy.name} ({named})")


def check_instance(instance: Instance, catalog: Catalog) -> Iterator[Violation]:
    """Every rule that an instance breaks. `catalog` is without it, so that names are owned by others only."""
    yield from instance_violations(instance)
    owner = catalog.instance_named(instance.name)
    if owner not in (None, instance.id):
        yield Violation("/name", f"{shown(instance.name)} is the name of instance {owner}")
    yield from _line_rules(instance, catalog)
    yield from _pool_rules(instance, catalog)
    yield from _cname_rules(instance, catalog)
    yield from _name_rules(instance, catalog)
    if cycle := name_cycle(instance, catalog):
        yield Violation("/policies", cycle)


def _line_rules(instance: Instance, catalog: Catalog) -> Iterator[Violation]:
    """Lines parse, do not overlap, and exactly one policy has `default`."""
    owners: dict[object, tuple[str, str]] = {}
    for index, policy in enumerate(instance.policies):
        for position, text in enumerate(policy.lines):
            place = pointer("policies", index, "lines", position)
            try:
                expressions = expand_line(text, catalog.lines)
            except ValueError as error:
                yield Violation(place, str(error))
                continue
            for expression in expressions:
                earlier = owners.setdefault(expression.identity, (policy.name, text))
                if earlier != (policy.name, text) or text in policy.lines[:position]:
                    yield Violation(place, _overlap(text, expression.text, earlier))
                    break
    if not any("default" in policy.lines for policy in instance.policies):
        yield Violation("/policies", "no policy has the line 'default': exactly one must, for clients of no other line")


def _overlap(text: str, matched: str, earlier: tuple[str, str]) -> str:
    through = f" (as {matched})" if matched != text else ""
    return f"{shown(text)}{through} overlaps with {shown(earlier[1])} of policy {earlier[0]!r}: it belongs to one"


def _pool_rules(instance: Instance, catalog: Catalog) -> Iterator[Violation]:
    used: dict[Family, str] = {}
    carried: set[Family] = set()
    for index, policy in enumerate(instance.policies):
        for position, pool_set in enumerate(policy.pool_sets):
            place = pointer("policies", index, "pool_sets", position)
            yield from (v.under(place) for v in _set_rules(instance, pool_set, catalog))
        families = _families(policy, catalog).intersection(FAMILIES[instance.kind])
        used.update(dict.fromkeys(families - used.keys(), policy.name))
        if "default" in policy.lines:
            carried |= families
    if not any("default" in policy.lines for policy in instance.policies):
        return
    for family in sorted(used.keys() - carried):
        detail = (
            f"the policy with 'default' has no {family} pool as policy {used[family]!r} has: it must carry all types"
        )
        yield Violation("/policies", detail)


def _families(policy: AccessPolicy, catalog: Catalog) -> set[Family]:
    members = (member.pool for s in policy.pool_sets for member in s.pools)
    return {catalog.pools[name].type for name in members if name in catalog.pools}


def _set_rules(instance: Instance, pool_set: PoolSet, catalog: Catalog) -> Iterator[Violation]:
    drawn: dict[Family, int] = {}
    for index, member in enumerate(pool_set.pools):
        pool = catalog.pools.get(member.pool)
        if pool is None:
            yield Violation(pointer("pools", index, "pool"), f"there is no pool {shown(member.pool)}")
            continue
        if pool.type not in FAMILIES[instance.kind]:
            allowed = " or ".join(FAMILIES[instance.kind])
            detail = (
                f"pool {shown(member.pool)} is of type {pool.type}, an instance of kind {instance.kind} "
                f"takes {allowed}: a name answers addresses or a CNAME, never both"
            )
            yield Violation(pointer("pools", index, "pool"), detail)
            continue
        drawn[pool.type] = max(drawn.get(pool.type, 0), member.weight)
    for family, weight in drawn.items():
        if not weight:
            yield Violation("/pools", f"every {family} pool of this set has weight 0: one must have more")


def _cname_rules(instance: Instance, catalog: Catalog) -> Iterator[Violation]:
    name = canonical(instance.cname)
    if not name:
        return
    owner = catalog.name_owner(name)
    if owner not in (None, instance.id):
        yield Violation("/cname", f"{shown(name)} belongs to instance {owner}")
    zone = closest_zone(name, catalog.zones)
    if zone is None or zone.kind != "access" or name == canonical(zone.name):
        access = ", ".join(sorted(zone.name for zone in catalog.zones.values() if zone.kind == "access"))
        yield Violation("/cname", f"{shown(name)} is below no access zone of this server ({access or 'there is none'})")


def _name_rules(instance: Instance, catalog: Catalog) -> Iterator[Violation]:
    for index, name in enumerate(map(canonical, instance.names)):
        place = pointer("names", index)
        zone = closest_zone(name, catalog.zones)
        if zone is None:
            yield Violation(place, f"{shown(name)} is in no zone that this server hosts ({_known_zones(catalog)})")
            continue
        owner = catalog.name_owner(name)
        if owner not in (None, instance.id):
            yield Violation(place, f"{shown(name)} belongs to instance {owner}")
        if zone.kind == "access":
            yield Violation(place, f"{shown(name)} is in the access zone {zone.name}, whose names are generated")
        if instance.kind == "domain" and name == canonical(zone.name):
            yield Violation(
                place, f"{shown(name)} is the apex of a zone, where no CNAME can be (RFC 1034 section 3.6.2)"
            )
        static = sorted(catalog.static_types(name))
        clash = (
            static
            if instance.kind == "domain"
            else [t for t in static if t in ("A", "AAAA", "CNAME", "DNAME", "ALIAS")]
        )
        if clash:
            yield Violation(place, f"{shown(name)} has static records ({', '.join(clash)}) that would conflict")


def _known_zones(catalog: Catalog) -> str:
    hosted = sorted(zone.name for zone in catalog.zones.values() if zone.kind == "hosted")
    return "hosted: " + ", ".join(hosted[:10]) if hosted else "none is hosted yet"


def closest_zone(name: str, zones: Mapping[str, Zone]) -> Zone | None:
    """The zone of this server that `name` (canonical) is in: the longest that holds it."""
    return next((zones[parent] for parent in parents(name) if parent in zones), None)


def name_cycle(instance: Instance, catalog: Catalog) -> str | None:
    """A sentence naming the CNAME chain by which a domain instance can lead back to itself, or None."""
    if instance.kind != "domain":
        return None
    trail: list[tuple[str, ...]] = [(name,) for name in _targets(instance, catalog)]
    own = {*instance.owned_names(), *map(canonical, instance.service_domains)}
    seen: set[str] = set()
    while trail:
        chain = trail.pop()
        for name in _answering_names(chain[-1], catalog):
            if name in own:
                return f"the CNAME chain {' -> '.join(chain)} leads back to this instance"
            owner = catalog.name_owner(name)
            if owner in (None, instance.id):
                continue
            if name not in seen:
                seen.add(name)
                trail.extend((*chain, target) for target in _targets(catalog.instances[owner], catalog))
            break
    return None


def _answering_names(name: str, catalog: Catalog) -> Iterator[str]:
    """`name`, and where nothing is at it the wildcards that would answer for it, closest first (RFC 4592)."""
    yield name
    if not any(catalog.static_types(name)):
        yield from ("*." + parent for parent in ancestors(name))


def _targets(instance: Instance, catalog: Catalog) -> set[str]:
    if instance.kind != "domain":
        return set()
    pools = (catalog.pools.get(name) for name in instance.pool_ids())
    return {canonical(a.address) for pool in pools if pool and pool.type == "domain" for a in pool.addresses}


def pool_warnings(pool: Pool) -> Iterator[Violation]:
    """What is allowed in a pool and is probably not meant."""
    if pool.addresses and pool.needed() > len(pool.addresses):
        detail = f"{pool.min_available} is more than the pool's {len(pool.addresses)} addresses: it is never available"
        yield Violation("/min_available", detail)
    size = answer_bytes(pool)
    if size > MAX_ANSWER_BYTES:
        detail = f"an answer takes about {size} bytes and goes by TCP over {MAX_ANSWER_BYTES}: set max_answers"
        yield Violation("/addresses", detail)


def answer_bytes(pool: Pool) -> int:
    """About how long the largest answer from `pool` is, in octets: header, question, compressed records, OPT."""
    if pool.type == "domain":
        return 0
    single = pool.max_answers or (1 if pool.strategy != "all" else len(pool.addresses))
    record = 12 + (4 if pool.type == "ipv4" else 16)
    return 12 + 60 + min(single, len(pool.addresses)) * record + 23


def line_users(instance: Instance) -> Iterator[str]:
    """Ids of the custom lines that an instance names."""
    for policy in instance.policies:
        for text in policy.lines:
            if text.startswith(CUSTOM_PREFIX):
                yield text.removeprefix(CUSTOM_PREFIX)


def below_access_zone(name: str, zones: Mapping[str, Zone]) -> bool:
    """Is `name` (canonical) in an access zone?"""
    return any(zone.kind == "access" and is_below(name, zone.name) for zone in zones.values())
