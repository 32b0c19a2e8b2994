"""A catalog in memory, made of documents: what the rules between documents need, found by searching."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pdns_gtm_backend.domain.configuration import (
    check_health_check,
    check_instance,
    check_line,
    check_override,
    check_pool,
    check_zone,
    line_users,
)
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.violation import Violation
from pdns_gtm_backend.domain.zone import RRset, Zone

Document = Instance | Pool | HealthCheck | Line | Zone | RRset | Override


@dataclass(frozen=True)
class MemoryCatalog:
    """A `domain.configuration.Catalog`; the overrides are beside it, as they are no part of configuration."""

    instances: Mapping[str, Instance]
    pools: Mapping[str, Pool]
    health_checks: Mapping[str, HealthCheck]
    lines: Mapping[str, Line]
    zones: Mapping[str, Zone]
    rrsets: Mapping[str, RRset]
    overrides: tuple[Override, ...] = ()

    def without(self, instance: str) -> "MemoryCatalog":
        """This catalog without an instance, as `check_instance` wants it."""
        return replace(self, instances={k: v for k, v in self.instances.items() if k != instance})

    def instance_named(self, name: str) -> str | None:
        return next((i.id for i in self.instances.values() if i.name == name), None)

    def name_owner(self, name: str) -> str | None:
        return next((i.id for i in self.instances.values() if name in i.owned_names()), None)

    def instances_using_pool(self, pool: str) -> list[str]:
        return [i.id for i in self.instances.values() if pool in i.pool_ids()]

    def pools_using_check(self, check: str) -> list[str]:
        return [p.id for p in self.pools.values() if check in p.health_checks]

    def instances_using_line(self, line: str) -> list[str]:
        return [i.id for i in self.instances.values() if line in line_users(i)]

    def static_types(self, name: str) -> list[str]:
        return [r.type for r in self.rrsets.values() if canonical(r.name) == name]


def catalog(*documents: Document) -> MemoryCatalog:
    """The catalog that holds `documents`."""
    return MemoryCatalog(
        instances={d.id: d for d in documents if isinstance(d, Instance)},
        pools={d.id: d for d in documents if isinstance(d, Pool)},
        health_checks={d.id: d for d in documents if isinstance(d, HealthCheck)},
        lines={d.id: d for d in documents if isinstance(d, Line)},
        zones={canonical(d.name): d for d in documents if isinstance(d, Zone)},
        rrsets={d.key: d for d in documents if isinstance(d, RRset)},
        overrides=tuple(d for d in documents if isinstance(d, Override)),
    )


def all_violations(held: MemoryCatalog, *, allow_private: bool = False) -> Iterator[Violation]:
    """Every rule that any document of a catalog breaks."""
    for check in held.health_checks.values():
        yield from check_health_check(check)
    for line in held.lines.values():
        yield from check_line(line, held)
    for pool in held.pools.values():
        yield from check_pool(pool, held, allow_private=allow_private)
    for zone in held.zones.values():
        yield from check_zone(zone)
    for instance in held.instances.values():
        yield from check_instance(instance, held.without(instance.id))
    for override in held.overrides:
        yield from check_override(override, held)
