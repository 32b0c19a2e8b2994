"""What an operator sees of a pool: its status, and what is known of each address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pdns_gtm_backend.domain.availability import NO_VERDICT, AddressView, PoolView, address_health
from pdns_gtm_backend.domain.configuration import pool_warnings
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.quorum import stale_reason
from pdns_gtm_backend.domain.statuses import pool_status
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.errors import NotFound
from pdns_gtm_backend.operations.observation import Observation, observe
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store.snapshot import Snapshot
from pdns_gtm_backend.store.vantage_requests import TargetReport


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a probe failed last. reason: one word. detail: a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerdictStatus:
    """How one vantage sees a target. since: RFC 3339.

    latency: seconds that its passed probes took, on average; loss: the share of its probes that failed, 0 to 1; both of
    the latest that it remembers, None where it was not asked or did not reply.
    """

    verdict: str
    since: str
    last_failure: Failure | None
    latency: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """What one check found on an address: the decided health, and what each vantage says."""

    check: str
    health: str
    since: str | None
    reason: str
    vantages: Mapping[str, VerdictStatus]


@dataclass(frozen=True, slots=True)
class AddressStatus:
    """An address of a pool. availability: what it is worth for answers; health: what its checks say, None without.

    since: when its health last changed, or when the override that decides was set.
    """

    address: str
    availability: str
    health: str | None
    reason: str
    since: str | None
    mode: str
    weight: int
    labels: Mapping[str, str]
    override: str | None
    checks: Sequence[CheckStatus]


@dataclass(frozen=True, slots=True)
class PoolPart:
    """A pool as a part of an instance's status."""

    id: str
    type: str
    status: str
    available: bool
    reason: str
    addresses: Sequence[AddressStatus]


@dataclass(frozen=True, slots=True)
class UsedBy:
    """An instance that uses a pool."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class PoolStatusView:
    """The whole status of a pool. stale: too few vantages report, or the store is away; stale_reason says which."""

    id: str
    type: str
    status: str
    available: bool
    reason: str
    stale: bool
    stale_reason: str | None
    addresses: Sequence[AddressStatus]
    used_by: Sequence[UsedBy]
    overrides: Sequence[Override]
    warnings: Sequence[str]


def status_of_pool(operator: Operator, identifier: str) -> PoolStatusView:
    """Raises NotFound, Unavailable where there is no snapshot."""
    serving = operator.writer.reading()
    view = serving.pools.get(identifier)
    if view is None:
        raise NotFound(f"there is no pool {shown(identifier)}")
    snapshot = serving.snapshot
    seen = observe(operator, targets_of_pool(view.pool), ask=True)
    reason = stale(view.pool.health_checks, snapshot, seen)
    part = pool_part(view, snapshot, seen)
    users = [snapshot.instances[name] for name in sorted(snapshot.instances_using_pool(identifier))]
    return PoolStatusView(
        id=part.id,
        type=part.type,
        status=part.status,
        available=part.available,
        reason=part.reason,
        stale=reason is not None,
        stale_reason=reason,
        addresses=part.addresses,
        used_by=[UsedBy(user.id, user.name) for user in users if operator.sees(user.labels)],
        overrides=overrides_of_pools([view.pool], snapshot),
        warnings=[violation.detail for violation in pool_warnings(view.pool)],
    )


def targets_of_pool(pool: Pool) -> list[str]:
    """The keys of everything that is probed for a pool."""
    return [
        target_key(check, address.address, pool.host, pool.sni)
        for check in pool.health_checks
        for address in pool.addresses
    ]


def stale(checks: Sequence[str], snapshot: Snapshot, seen: Observation) -> str | None:
    """Why what is said of these checks may not be so by now; None where it is."""
    if seen.problem:
        return seen.problem
    found = (
        (name, stale_reason(check, seen.heartbeats, seen.now))
        for name in dict.fromkeys(checks)
        if (check := snapshot.health_checks.get(name)) is not None
    )
    return "; ".join(f"check {name}: {reason}" for name, reason in found if reason) or None


def overrides_of_pools(pools: Sequence[Pool], snapshot: Snapshot) -> Sequence[Override]:
    """The overrides that act on an address of `pools`, each once."""
    found = {
        override.id: override
        for pool in pools
        for override in snapshot.overrides_on_pool(pool)
        if any(override.selector.selects(pool.id, address) for address in pool.addresses)
    }
    return [found[name] for name in sorted(found)]


def pool_part(view: PoolView, snapshot: Snapshot, seen: Observation) -> PoolPart:
    """A pool with all that is known of its addresses."""
    return PoolPart(
        id=view.pool.id,
        type=view.pool.type,
        status=pool_status(view),
        available=view.available,
        reason=view.reason,
        addresses=[_address(view, address, snapshot, seen) for address in view.addresses],
    )


def moment(value: datetime | None) -> str | None:
    """A moment as RFC 3339."""
    return None if value is None else rfc3339(value.timestamp())


def _address(pool: PoolView, view: AddressView, snapshot: Snapshot, seen: Observation) -> AddressStatus:
    address = view.address
    checks = [_check(name, pool.pool, view, snapshot, seen) for name in pool.pool.health_checks]
    return AddressStatus(
        address=address.address,
        availability=view.availability.name.lower(),
        health=view.health,
        reason=_unknown_reason(checks) if view.reason == NO_VERDICT else view.reason,
        since=_since(pool.pool, view, snapshot),
        mode=address.mode,
        weight=address.weight,
        labels=address.labels,
        override=view.override,
        checks=checks,
    )


def _unknown_reason(checks: Sequence[CheckStatus]) -> str:
    return next((check.reason for check in checks if check.health == "unknown"), NO_VERDICT)


def _since(pool: Pool, view: AddressView, snapshot: Snapshot) -> str | None:
    if view.override is not None:
        override = snapshot.overrides.get(view.override)
        return moment(override.created) if override is not None else None
    if view.address.mode != "auto":
        return None
    _, state = address_health(pool, view.address, snapshot.target_states)
    return rfc3339(state.since) if state is not None else None


def _check(name: str, pool: Pool, view: AddressView, snapshot: Snapshot, seen: Observation) -> CheckStatus:
    key = target_key(name, view.address.address, pool.host, pool.sni)
    state = snapshot.target_states.get(key)
    said = {vantage: verdicts[key] for vantage, verdicts in sorted(seen.verdicts.items()) if key in verdicts}
    return CheckStatus(
        check=name,
        health=state.health if state is not None else "unknown",
        since=rfc3339(state.since) if state is not None else None,
        reason=state.reason if state is not None else _missing(name, key, snapshot, seen),
        vantages={
            vantage: VerdictStatus(
                verdict.health,
                rfc3339(verdict.since),
                Failure(verdict.reason, verdict.detail) if verdict.reason or verdict.detail else None,
                *_measured(seen.reports.get(vantage, {}).get(key)),
            )
            for vantage, verdict in said.items()
        },
    )


def _missing(check: str, key: str, snapshot: Snapshot, seen: Observation) -> str:
    """Why a target has no verdict, as far as that is known."""
    held = snapshot.health_checks.get(check)
    if held is None or held.protocol != "external" or stale_reason(held, seen.heartbeats, seen.now):
        return NO_VERDICT
    judged = any(key in verdicts for verdicts in seen.verdicts.values())
    return NO_VERDICT if judged else "nothing was reported yet"


def _measured(report: TargetReport | None) -> tuple[float | None, float | None]:
    return (None, None) if report is None else (report.latency, report.loss)
