"""Quotas: what a server is set to hold at the most. What is over one already may stay, and become less."""

from collections.abc import Iterable
from typing import Any

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.operations.errors import QuotaReached
from pdns_gtm_backend.operations.operator import Quotas
from pdns_gtm_backend.store.snapshot import Snapshot


def require_quotas(
    quotas: Quotas, before: Snapshot, candidate: Snapshot, changes: Iterable[tuple[Any | None, Any | None]]
) -> None:
    """Raises QuotaReached where a change, of objects from before to after, goes over a quota or further over it."""
    _require_number(quotas.instances, "instances", len(before.instances), len(candidate.instances))
    _require_number(quotas.alerts, "alerts", len(before.alerts), len(candidate.alerts))
    for old, new in changes:
        if isinstance(new, Instance):
            _require_pools(quotas.pools_per_instance, old, new)
        elif isinstance(new, Pool):
            _require_addresses(quotas.addresses_per_pool, old, new)
        elif isinstance(new, HealthCheck):
            _require_interval(quotas.shortest_interval, old, new)


def _require_number(limit: int | None, what: str, held: int, wanted: int) -> None:
    if limit is not None and wanted > max(limit, held):
        detail = f"this server holds {held} {what} and may hold {limit}: {wanted} are too many"
        raise QuotaReached(detail, f"GTM_QUOTA_{what.upper()}", limit, wanted)


def _require_pools(limit: int | None, before: Instance | None, after: Instance) -> None:
    held, wanted = len(before.pool_ids()) if before else 0, len(after.pool_ids())
    if limit is not None and wanted > max(limit, held):
        detail = f"instance {after.name} would use {wanted} pools, one may use {limit}"
        raise QuotaReached(detail, "GTM_QUOTA_POOLS_PER_INSTANCE", limit, wanted)


def _require_addresses(limit: int | None, before: Pool | None, after: Pool) -> None:
    held, wanted = len(before.addresses) if before else 0, len(after.addresses)
    if limit is not None and wanted > max(limit, held):
        detail = f"pool {after.id} would hold {wanted} addresses, one may hold {limit}"
        raise QuotaReached(detail, "GTM_QUOTA_ADDRESSES_PER_POOL", limit, wanted)


def _require_interval(limit: float | None, before: HealthCheck | None, after: HealthCheck) -> None:
    wanted = _chosen_interval(after)
    if limit is not None and wanted < limit and (before is None or wanted < _chosen_interval(before)):
        detail = f"health check {after.id} would probe every {wanted:g} s, every {limit:g} s is the most often"
        raise QuotaReached(detail, "GTM_SHORTEST_INTERVAL", limit, wanted)


def _chosen_interval(check: HealthCheck) -> float:
    """The shorter of both intervals; the one while undecided counts where it was chosen."""
    return min(check.interval, check.fast_interval or check.interval)
