"""What is particular to each kind of object that operators configure: one entry of a table for each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pdns_gtm_backend.domain.alert import Alert, alert_violations
from pdns_gtm_backend.domain.configuration import (
    below_access_zone,
    check_health_check,
    check_instance,
    check_line,
    check_pool,
    check_zone,
    closest_zone,
    pool_warnings,
)
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import FAMILIES, Instance, canonical_instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.pool import Pool, canonical_pool
from pdns_gtm_backend.domain.state import policy_state_key
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.geo.database import Capabilities
from pdns_gtm_backend.operations.alert_secrets import check_alert, settle
from pdns_gtm_backend.operations.errors import User
from pdns_gtm_backend.operations.line_warnings import line_warnings
from pdns_gtm_backend.operations.operator import Rules
from pdns_gtm_backend.operations.sealing import Sealer
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot


def _same(value: Any) -> Any:
    return value


def _nothing(*_: Any) -> Sequence[Any]:
    return ()


def _settled(_sealer: Sealer, _before: Any | None, after: Any) -> tuple[Any, Sequence[Violation]]:
    return after, ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object.

    noun: for people. identity: the field that names it. generated: fields that operators cannot choose. fixed: those
    that they choose once.
    canonical: the form that is stored, of an object that keeps its own rules.
    check: every rule that it breaks among the other objects of a snapshot, which holds it already.
    warnings: what is allowed and probably not meant.
    users: what would break without it.
    settle: the form that is stored, by what is there already, and the rules that are broken on the way.
    companions: what changes with it, from the object before (None = new) to the one after (None = deleted).
    """

    kind: str
    noun: str
    document: type
    check: Callable[[Any, Snapshot, Rules], Iterable[Violation]]
    identity: str = "id"
    generated: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    canonical: Callable[[Any], Any] = _same
    settle: Callable[[Sealer, Any | None, Any], tuple[Any, Sequence[Violation]]] = _settled
    warnings: Callable[[Any, Snapshot, Capabilities | None], Iterable[Violation]] = _nothing
    users: Callable[[Snapshot, str], Sequence[User]] = _nothing
    companions: Callable[[Snapshot, Any | None, Any | None], Sequence[Change]] = _nothing

    def identifier(self, text: str) -> str:
        """The id that `text` of a path means: names of zones are compared in their canonical form."""
        return canonical(text) if self.identity == "name" else text

    def called(self, identifier: str) -> str:
        """An object of this kind, for people."""
        return f"{self.noun} {shown(identifier)}"


def _check_instance(instance: Instance, snapshot: Snapshot, _rules: Rules) -> Iterator[Violation]:
    # Without itself, since the snapshot names one owner of a name only and that might be this instance.
    return check_instance(instance, snapshot.changed([Change(kinds.INSTANCES, instance.id, None)]))


def _instance_warnings(
    instance: Instance, snapshot: Snapshot, capabilities: Capabilities | None
) -> Iterator[Violation]:
    if capabilities is not None:
        yield from line_warnings(instance, snapshot.lines, capabilities)


def _instance_companions(snapshot: Snapshot, before: Instance | None, after: Instance | None) -> Sequence[Change]:
    """The states of policies that are no more, and the pins of policies and sets that are no more."""
    if before is None:
        return ()
    kept = {} if after is None else {policy.name: {s.name for s in policy.pool_sets} for policy in after.policies}
    families = FAMILIES[before.kind]
    same_kind = after is not None and after.kind == before.kind
    gone = [
        key
        for policy in before.policies
        for family in families
        if not (same_kind and policy.name in kept)
        and (key := policy_state_key(before.id, policy.name, family)) in snapshot.policy_states
    ]
    pins = [
        override.id
        for override in snapshot.overrides_on_instance(before.id)
        if override.selector.policy not in kept or override.set not in (None, *kept[override.selector.policy])
    ]
    return [
        *(Change(kinds.POLICY_STATES, key, None) for key in gone),
        *(Change(kinds.OVERRIDES, override, None) for override in pins),
    ]


def _check_pool(pool: Pool, snapshot: Snapshot, rules: Rules) -> Iterator[Violation]:
    return check_pool(pool, snapshot, allow_private=rules.allow_private_targets)


def _pool_warnings(pool: Pool, _snapshot: Snapshot, _capabilities: Capabilities | None) -> Iterator[Violation]:
    return pool_warnings(pool)


def _pool_users(snapshot: Snapshot, identifier: str) -> Sequence[User]:
    return _instances(snapshot, snapshot.instances_using_pool(identifier))


def _pool_companions(snapshot: Snapshot, before: Pool | None, after: Pool | None) -> Sequence[Change]:
    if before is None or after is not None:
        return ()
    selecting = [o.id for o in snapshot.overrides_on_pool(before) if o.selector.pool == before.id]
    return [Change(kinds.OVERRIDES, override, None) for override in selecting]


def _check_health_check(check: HealthCheck, _snapshot: Snapshot, _rules: Rules) -> Iterator[Violation]:
    return check_health_check(check)


def _check_users(snapshot: Snapshot, identifier: str) -> Sequence[User]:
    return [User("pools", name, name) for name in sorted(snapshot.pools_using_check(identifier))]


def _check_line(line: Line, snapshot: Snapshot, _rules: Rules) -> Iterator[Violation]:
    return check_line(line, snapshot)


def _line_warnings(line: Line, snapshot: Snapshot, capabilities: Capabilities | None) -> Iterator[Violation]:
    if capabilities is not None:
        yield from line_warnings(line, snapshot.lines, capabilities)


def _line_users(snapshot: Snapshot, identifier: str) -> Sequence[User]:
    return _instances(snapshot, snapshot.instances_using_line(identifier))


def _canonical_zone(zone: Zone) -> Zone:
    return Zone(name=canonical(zone.name), kind=zone.kind, number=zone.number, serial=zone.serial)


def _check_zone(zone: Zone, snapshot: Snapshot, rules: Rules) -> Iterator[Violation]:
    yield from check_zone(zone)
    name = canonical(zone.name)
    if zone.kind == "access":
        if name != rules.access_zone:
            detail = f"'access': access zones are made from GTM_ACCESS_ZONE ({rules.access_zone}); give 'hosted'"
            yield Violation("/kind", detail)
        return
    if below_access_zone(name, snapshot.zones):
        yield Violation("/name", f"{shown(zone.name)} is in an access zone, whose names are generated")
    owner = snapshot.name_owner(name)
    if owner is not None and snapshot.instances[owner].kind == "domain":
        detail = f"{shown(zone.name)} is a name of domain instance {owner}, and no CNAME can be at an apex"
        yield Violation("/name", detail)


def _zone_users(snapshot: Snapshot, identifier: str) -> Sequence[User]:
    """The instances with a name for which the zone is the closest one."""
    below = (
        instance.id
        for instance in snapshot.instances.values()
        for name in instance.owned_names()
        if name.endswith(identifier) and (zone := closest_zone(name, snapshot.zones)) and zone.name == identifier
    )
    return _instances(snapshot, set(below))


def _zone_companions(snapshot: Snapshot, before: Zone | None, after: Zone | None) -> Sequence[Change]:
    if before is None or after is not None:
        return ()
    owned = (kinds.RRSETS, kinds.ZONE_METADATA, kinds.ZONE_KEYS)
    return [Change(kind, key, None) for kind in owned for key in snapshot.of_zone(kind, before.name)]


def _check_alert(alert: Alert, _snapshot: Snapshot, rules: Rules) -> Iterator[Violation]:
    yield from alert_violations(alert)
    yield from check_alert(alert, allow_private=rules.allow_private_targets, commands=rules.alert_commands)


def _alert_warnings(alert: Alert, snapshot: Snapshot, _capabilities: Capabilities | None) -> Iterator[Violation]:
    for index, name in enumerate(alert.instances or ()):
        if name not in snapshot.instances and snapshot.instance_named(name) is None:
            yield Violation(pointer("instances", index), f"there is no instance {shown(name)} by id or by name")
    for index, name in enumerate(alert.pools or ()):
        if name not in snapshot.pools:
            yield Violation(pointer("pools", index), f"there is no pool {shown(name)}")


def _instances(snapshot: Snapshot, identifiers: Iterable[str]) -> Sequence[User]:
    return [User("instances", name, snapshot.instances[name].name) for name in sorted(identifiers)]


RESOURCES: Final[Mapping[str, Resource]] = {
    resource.kind: resource
    for resource in (
        Resource(
            kinds.INSTANCES,
            "instance",
            Instance,
            _check_instance,
            generated=("id", "cname"),
            canonical=canonical_instance,
            warnings=_instance_warnings,
            companions=_instance_companions,
        ),
        Resource(
            kinds.POOLS,
            "pool",
            Pool,
            _check_pool,
            canonical=canonical_pool,
            warnings=_pool_warnings,
            users=_pool_users,
            companions=_pool_companions,
        ),
        Resource(kinds.HEALTH_CHECKS, "health check", HealthCheck, _check_health_check, users=_check_users),
        Resource(kinds.LINES, "line", Line, _check_line, warnings=_line_warnings, users=_line_users),
        Resource(
            kinds.ZONES,
            "zone",
            Zone,
            _check_zone,
            identity="name",
            generated=("number", "serial"),
            fixed=("kind",),
            canonical=_canonical_zone,
            users=_zone_users,
            companions=_zone_companions,
        ),
        Resource(
            kinds.ALERTS,
            "alert",
            Alert,
            _check_alert,
            settle=settle,
            warnings=_alert_warnings,
        ),
    )
}
