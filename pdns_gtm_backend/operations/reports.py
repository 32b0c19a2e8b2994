"""Results that scripts and monitoring systems push for the addresses of `external` checks."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from redis.exceptions import RedisError

from pdns_gtm_backend.domain.document import document
from pdns_gtm_backend.domain.health_check import ExternalCheck, HealthCheck, Report
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations.errors import ForeignStore, NotFound, NotNow, Unavailable
from pdns_gtm_backend.operations.operator import Operator, foreign
from pdns_gtm_backend.operations.parsing import Parsed, parse
from pdns_gtm_backend.store.reports import Reports
from pdns_gtm_backend.store.repository import Conflict, unavailable_reason
from pdns_gtm_backend.store.snapshot import Snapshot

Status = Literal["up", "down"]
Ttl = Annotated[float, Ge(1), Le(604_800)]
Reason = Annotated[str, MaxLen(500)]


@document
class NewReport:
    """What is reported of one address. ttl: seconds for which it holds. reason: a sentence for operators."""

    status: Status
    ttl: Ttl
    reason: Reason = ""


@document
class AddressReport:
    """What is reported of one address among others; as NewReport."""

    address: Annotated[str, MinLen(1), MaxLen(254)]
    status: Status
    ttl: Ttl
    reason: Reason = ""


@document
class ReportBatch:
    """What is reported of many addresses of a check at once."""

    items: Annotated[tuple[AddressReport, ...], MinLen(1), MaxLen(1000)]


@dataclass(frozen=True, slots=True)
class ReportStatus:
    """The last report on an address. time: RFC 3339. age, ttl: seconds.

    expired: is its time over? counts_as: what the check takes the address for now, by `when_expired` if it is. Neither
    knows of time in which healthd did not reach Redis, which does not count.
    """

    check: str
    address: str
    status: Status
    reason: str
    ttl: float
    time: str
    age: float
    expired: bool
    counts_as: Status


def every(operator: Operator, check_id: str) -> Sequence[ReportStatus]:
    """The last report on each address of an external check, those that there are.

    Raises NotFound, NotNow where the check is none, Unavailable.
    """
    snapshot = operator.writer.reading().snapshot
    check = _check(snapshot, check_id)
    return _read(operator, check, sorted(_addresses(snapshot, check)))


def one(operator: Operator, check_id: str, address: str) -> ReportStatus:
    """The last report on an address. Raises what `every` does, NotFound also where there is none."""
    snapshot = operator.writer.reading().snapshot
    check = _check(snapshot, check_id)
    name = _canonical(address)
    if name not in _addresses(snapshot, check):
        raise NotFound(_unknown(address, check))
    found = _read(operator, check, [name])
    if not found:
        raise NotFound(f"nothing was reported of {name} for health check {check.id} yet")
    return found[0]


def push(operator: Operator, check_id: str, address: str, raw: object, *, dry_run: bool = False) -> ReportStatus:
    """Report one address. Raises InvalidConfiguration, NotFound, NotNow, NotPermitted, Unavailable."""
    check, addresses = _reported(operator, check_id, [address])
    name = _canonical(address)
    if name not in addresses:
        raise NotFound(_unknown(address, check))
    parsed: Parsed[NewReport] = parse(NewReport, raw)
    if parsed.value is None or parsed.violations:
        raise InvalidConfiguration(parsed.violations)
    given = parsed.value
    report = Report(ok=given.status == "up", at=0, ttl=given.ttl, detail=given.reason)
    return _push(operator, check, {name: report}, dry_run=dry_run)[0]


def push_many(operator: Operator, check_id: str, raw: object, *, dry_run: bool = False) -> Sequence[ReportStatus]:
    """Report many addresses of a check, all or none. Raises what `push` does."""
    parsed: Parsed[ReportBatch] = parse(ReportBatch, raw)
    items = parsed.value.items if parsed.value is not None else ()
    check, addresses = _reported(operator, check_id, [item.address for item in items])
    reports: dict[str, Report] = {}
    violations = list(parsed.violations)
    for index, item in enumerate(items):
        name = _canonical(item.address)
        if name not in addresses:
            violations.append(Violation(pointer("items", index, "address"), _unknown(item.address, check)))
        elif name in reports:
            violations.append(Violation(pointer("items", index, "address"), f"{shown(item.address)} is reported twice"))
        reports[name] = Report(ok=item.status == "up", at=0, ttl=item.ttl, detail=item.reason)
    if violations:
        raise InvalidConfiguration(violations)
    return _push(operator, check, reports, dry_run=dry_run)


def _reported(operator: Operator, check_id: str, addresses: Sequence[str]) -> tuple[HealthCheck, Collection[str]]:
    """A check that takes reports, and its addresses; as the store has it where this server does not know it yet."""
    operator.require_unrestricted("reports")
    snapshot = operator.writer.reading().snapshot
    known = snapshot.health_checks.get(check_id)
    if known is None or not _addresses(snapshot, known).issuperset(map(_canonical, addresses)):
        snapshot = operator.writer.newest().snapshot
    check = _check(snapshot, check_id)
    return check, _addresses(snapshot, check)


def _check(snapshot: Snapshot, identifier: str) -> HealthCheck:
    check = snapshot.health_checks.get(identifier)
    if check is None:
        raise NotFound(f"there is no health check {shown(identifier)}")
    if check.protocol != "external":
        raise NotNow(f"health check {check.id} is {check.protocol}: only an external one is reported")
    return check


def _addresses(snapshot: Snapshot, check: HealthCheck) -> frozenset[str]:
    return frozenset(
        address.address
        for pool in snapshot.pools.values()
        if check.id in pool.health_checks
        for address in pool.addresses
    )


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return canonical(address)


def _unknown(address: str, check: HealthCheck) -> str:
    return f"{shown(address)} is in no pool with health check {check.id}"


def _push(
    operator: Operator, check: HealthCheck, reports: Mapping[str, Report], *, dry_run: bool
) -> Sequence[ReportStatus]:
    repository = operator.writer.follower.repository
    store_id = operator.writer.reading().snapshot.position.store_id
    try:
        if dry_run:
            now = repository.time()
        else:
            pushed = {(check.id, address): report for address, report in reports.items()}
            now = Reports(repository.client).push(store_id, pushed)
    except Conflict as conflict:
        raise ForeignStore(foreign(str(conflict))) from None
    except RedisError as error:
        raise Unavailable(f"the store cannot be written: {unavailable_reason(error)}") from error
    return [_status(check, address, report, now, now) for address, report in reports.items()]


def _read(operator: Operator, check: HealthCheck, addresses: Sequence[str]) -> Sequence[ReportStatus]:
    repository = operator.writer.follower.repository
    try:
        found = Reports(repository.client).read([(check.id, address) for address in addresses])
        now = repository.time()
    except RedisError as error:
        raise Unavailable(f"the store does not answer: {unavailable_reason(error)}") from error
    return [_status(check, address, report, report.at, now) for (_, address), report in found.items()]


def _status(check: HealthCheck, address: str, report: Report, at: float, now: float) -> ReportStatus:
    held = Report(ok=report.ok, at=at, ttl=report.ttl, detail=report.detail)
    when_expired = (check.external or ExternalCheck()).when_expired
    return ReportStatus(
        check=check.id,
        address=address,
        status="up" if report.ok else "down",
        reason=report.detail,
        ttl=report.ttl,
        time=rfc3339(at),
        age=round(max(0.0, now - at), 3),
        expired=held.expired(now),
        counts_as="up" if held.up(when_expired, now) else "down",
    )
