"""One address of a pool, for autoscalers and for people: the pool around it stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pdns_gtm_backend.domain.pool import Address, Pool, canonical_address
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.documents import READ_ONLY, beside
from pdns_gtm_backend.operations.errors import NotFound
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import Parsed, adapter, merge_patch, parse, to_json
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.operations.quotas import require_quotas
from pdns_gtm_backend.operations.resources import RESOURCES
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot


@dataclass(frozen=True, slots=True)
class FoundAddress:
    """An address of a pool. version: changes whenever it does, and with nothing else."""

    value: Address
    version: str


def get(operator: Operator, pool_id: str, address: str) -> FoundAddress:
    """Raises NotFound."""
    _, found = found_address(operator.writer.reading().snapshot, pool_id, address)
    return FoundAddress(found, version_of(found))


def found_address(snapshot: Snapshot, pool_id: str, address: str) -> tuple[Pool, Address]:
    """A pool and its address of that text. Raises NotFound."""
    pool = _pool(snapshot, pool_id)
    found = _find(pool, address)
    if found is None:
        raise NotFound(f"pool {pool_id} has no address {shown(address)}")
    return pool, found


def version_of(address: Address) -> str:
    """The version of an address, made from what it holds: a pool has one version for all of its addresses."""
    return sha256(adapter(Address).dump_json(address)).hexdigest()[:16]


def put(
    operator: Operator,
    pool_id: str,
    address: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Add an address to a pool, or replace it; where nothing changes no precondition is needed.

    Raises InvalidConfiguration, NotFound, NotPermitted, PreconditionFailed, PreconditionRequired, Unavailable.
    """
    return _write(operator, pool_id, address, precondition, dry_run, lambda _: raw)


def patch(
    operator: Operator,
    pool_id: str,
    address: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Change some fields of an address (RFC 7396). Raises what `put` does."""
    if not isinstance(raw, dict):
        raise InvalidConfiguration([Violation("", "a merge patch is an object of the fields to change (RFC 7396)")])

    def merged(before: Address | None) -> object:
        if before is None:
            raise NotFound(f"pool {pool_id} has no address {shown(address)}")
        return merge_patch(to_json(before), raw)

    return _write(operator, pool_id, address, precondition, dry_run, merged)


def delete(
    operator: Operator,
    pool_id: str,
    address: str,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Take an address out of a pool. Raises what `put` does."""
    operator.require_unrestricted("pools")

    def decide(serving: Serving) -> Plan:
        pool, before = found_address(serving.snapshot, pool_id, address)
        precondition.check(f"address {before.address}", version_of(before))
        left = tuple(held for held in pool.addresses if held is not before)
        after = replace(pool, addresses=left)
        return _plan(operator, serving.snapshot, after, before, None, _violations(operator, serving.snapshot, after))

    return operator.write(decide, dry_run=dry_run)


def _write(
    operator: Operator,
    pool_id: str,
    text: str,
    precondition: Precondition,
    dry_run: bool,
    raw: Any,
) -> Outcome:
    operator.require_unrestricted("pools")

    def decide(serving: Serving) -> Plan:
        pool = _pool(serving.snapshot, pool_id)
        before = _find(pool, text)
        given = raw(before)
        if isinstance(given, dict):
            given = {"address": text} | {name: value for name, value in given.items() if name != READ_ONLY}
        parsed: Parsed[Address] = parse(Address, given)
        if parsed.value is None:
            precondition.check(f"address {text}", version_of(before) if before else "")
            raise InvalidConfiguration(parsed.violations)
        value = _canonical(pool, parsed.value)
        if value != before:
            precondition.check(f"address {text}", version_of(before) if before else "")
        after, index = _with(pool, before, value)
        known = [*parsed.violations, *_renamed(pool, text, value)]
        known += beside(known, _of_address(_violations(operator, serving.snapshot, after), index))
        return _plan(operator, serving.snapshot, after, before, value, known)

    return operator.write(decide, dry_run=dry_run)


def _pool(snapshot: Snapshot, pool_id: str) -> Pool:
    pool = snapshot.pools.get(pool_id)
    if pool is None:
        raise NotFound(f"there is no pool {shown(pool_id)}")
    return pool


def _find(pool: Pool, text: str) -> Address | None:
    try:
        wanted = canonical_address(text, pool.type)
    except ValueError:
        return None
    return next((address for address in pool.addresses if address.address == wanted), None)


def _canonical(pool: Pool, address: Address) -> Address:
    try:
        return replace(address, address=canonical_address(address.address, pool.type))
    except ValueError:
        return address


def _with(pool: Pool, before: Address | None, value: Address) -> tuple[Pool, int]:
    """The pool with `value` in the place of `before`, or at its end; and the index there."""
    index = pool.addresses.index(before) if before is not None else len(pool.addresses)
    return replace(pool, addresses=(*pool.addresses[:index], value, *pool.addresses[index + 1 :])), index


def _renamed(pool: Pool, text: str, value: Address) -> Sequence[Violation]:
    if value.address == _canonical(pool, replace(value, address=text)).address:
        return ()
    return [Violation("/address", f"{shown(value.address)} is not the address in the path, {shown(text)}")]


def _violations(operator: Operator, snapshot: Snapshot, pool: Pool) -> Sequence[Violation]:
    parsed: Parsed[Pool] = parse(Pool, to_json(pool))
    if parsed.violations:
        return parsed.violations
    candidate = snapshot.changed([Change(kinds.POOLS, pool.id, pool)])
    return tuple(RESOURCES[kinds.POOLS].check(pool, candidate, operator.rules))


def _of_address(violations: Sequence[Violation], index: int) -> Sequence[Violation]:
    """Violations of a pool as seen from one of its addresses."""
    own = pointer("addresses", index)
    return [
        Violation(v.pointer.removeprefix(own), v.detail)
        if v.pointer.startswith(own + "/")
        else Violation("", f"of the pool, {v.pointer or '/'}: {v.detail}")
        for v in violations
    ]


def _plan(
    operator: Operator,
    snapshot: Snapshot,
    pool: Pool,
    before: Address | None,
    after: Address | None,
    violations: Sequence[Violation],
) -> Plan:
    if violations:
        raise InvalidConfiguration(violations)
    require_quotas(operator.rules.quotas, snapshot, snapshot, [(snapshot.pools[pool.id], pool)])
    version = snapshot.version(kinds.POOLS, pool.id)
    address = after or before
    name = f"{pool.id}/addresses/{address.address if address else ''}"
    action = "delete" if after is None else "create" if before is None else "replace"
    noted = audit.entry(action, kinds.POOLS, name, before, after)
    if before == after:
        return Plan(after, (), noted, version=version)
    warnings = tuple(RESOURCES[kinds.POOLS].warnings(pool, snapshot, None))
    return Plan(after, [Change(kinds.POOLS, pool.id, pool)], noted, warnings, version=version)
