"""Lists of objects, page by page in the order of their ids, with filters."""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pdns_gtm_backend.domain.configuration import closest_zone
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.statuses import health_check_status, pool_status, request_status
from pdns_gtm_backend.domain.token import has_label
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.documents import covers
from pdns_gtm_backend.operations.errors import InvalidParameters
from pdns_gtm_backend.operations.instance_status import pools_of
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.operations.overrides import visible
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Snapshot

Filter = Callable[[Serving, Any, str], bool]


@dataclass(frozen=True, slots=True)
class Page:
    """Objects, and where the next page begins; None = there is none."""

    items: Sequence[Any]
    next: str | None


def page(operator: Operator, kind: str, filters: Mapping[str, str], cursor: str | None, limit: int) -> Page:
    """The next `limit` objects of a kind behind `cursor` for which all `filters` hold.

    Raises InvalidParameters, and Unavailable where there is no snapshot.
    """
    known = FILTERS[kind]
    wrong = [(name, _wrong(name, text)) for name, text in filters.items() if _wrong(name, text)]
    if wrong:
        raise InvalidParameters(wrong)
    serving = operator.writer.reading()

    def wanted(value: Any) -> bool:
        return all(known[key](serving, value, text) for key, text in filters.items()) and _sees(
            operator, serving, value
        )

    held = serving.snapshot.documents[kind]
    indexed = [INDEXED[kind, key](serving.snapshot, text) for key, text in filters.items() if (kind, key) in INDEXED]
    names = sorted(name for name in min(indexed, key=len) if name in held) if indexed else _ordered(kind, held)
    return _page(names, held, cursor, limit, wanted)


def page_of(held: Mapping[str, Any], cursor: str | None, limit: int) -> Page:
    """The next `limit` of what `held` holds by id. Raises InvalidParameters."""
    return _page(sorted(held), held, cursor, limit, lambda _: True)


def _page(
    names: list[str], held: Mapping[str, Any], cursor: str | None, limit: int, wanted: Callable[[Any], bool]
) -> Page:
    found: list[tuple[str, Any]] = []
    for name in _behind(names, cursor):
        if wanted(held[name]):
            found.append((name, held[name]))
        if len(found) > limit:
            break
    more = len(found) > limit
    return Page([value for _, value in found[:limit]], encode_cursor(found[limit - 1][0]) if more else None)


_orders: Final[dict[str, tuple[Mapping[str, Any], list[str]]]] = {}
"""The ids of a kind in order, with the immutable mapping that they are of: sorting them all costs more than a page."""


def _ordered(kind: str, held: Mapping[str, Any]) -> list[str]:
    known = _orders.get(kind)
    if known is None or known[0] is not held:
        known = _orders[kind] = held, sorted(held)
    return known[1]


def encode_cursor(identifier: str) -> str:
    """The cursor of what follows an id."""
    return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The id that a cursor follows. Raises InvalidParameters."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidParameters([("cursor", f"{shown(cursor)} is no cursor of this list")]) from None


def _behind(names: list[str], cursor: str | None) -> Iterator[str]:
    start = 0 if cursor is None else bisect_right(names, decode_cursor(cursor))
    return islice(names, start, None)


def _sees(operator: Operator, serving: Serving, value: Any) -> bool:
    if operator.actor.label is None:
        return True
    if hasattr(value, "selector"):
        return visible(operator, serving.snapshot, value)
    return covers(operator, value)


def _wrong(name: str, text: str) -> str:
    """Why a filter's value cannot be meant; "" where it can."""
    if name == "label" and not all(text.partition("=")):
        return f"{shown(text)} is not of the form key=value"
    allowed = ALLOWED.get(name)
    if allowed is not None and text not in allowed:
        return f"{shown(text)} is not allowed: must be one of {', '.join(allowed)}"
    return ""


STATUSES: Final = ("normal", "warning", "exception", "unmonitored")
ALLOWED: Final[Mapping[str, Sequence[str]]] = {
    "health_check_status": STATUSES,
    "status": STATUSES,
    "request_status": ("normal", "error", "unavailable"),
    "enabled": ("true", "false"),
    "state": ("unexecuted", "executed", "rolled_back"),
}


def _field(name: str) -> Filter:
    def holds(_serving: Serving, value: Any, text: str) -> bool:
        return str(getattr(value, name)) == text

    return holds


def _enabled(_serving: Serving, value: Any, text: str) -> bool:
    return bool(value.enabled) == (text == "true")


def _labelled(_serving: Serving, instance: Instance, text: str) -> bool:
    return has_label(instance.labels, text)


def _in_zone(serving: Serving, instance: Instance, text: str) -> bool:
    zones = (closest_zone(name, serving.snapshot.zones) for name in instance.owned_names())
    return any(zone is not None and zone.name == canonical(text) for zone in zones)


def _answers_at(_serving: Serving, instance: Instance, text: str) -> bool:
    return canonical(text) in (*instance.owned_names(), *instance.service_domains)


def _uses_pool(_serving: Serving, instance: Instance, text: str) -> bool:
    return text in instance.pool_ids()


def _health_check_status(serving: Serving, instance: Instance, text: str) -> bool:
    served = serving.instances.get(instance.id)
    return served is not None and health_check_status(pools_of(served, serving)) == text


def _request_status(serving: Serving, instance: Instance, text: str) -> bool:
    served = serving.instances.get(instance.id)
    return served is not None and request_status(served) == text


def _pool_status(serving: Serving, pool: Pool, text: str) -> bool:
    view = serving.pools.get(pool.id)
    return view is not None and pool_status(view) == text


def _checked_by(_serving: Serving, pool: Pool, text: str) -> bool:
    return text in pool.health_checks


def _holds_address(_serving: Serving, pool: Pool, text: str) -> bool:
    return any(address.address == canonical(text) for address in pool.addresses)


def _holds_label(_serving: Serving, pool: Pool, text: str) -> bool:
    return any(has_label(address.labels, text) for address in pool.addresses)


def _used_by(serving: Serving, pool: Pool, text: str) -> bool:
    return text in serving.snapshot.instances_using_pool(pool.id)


def _selects(name: str) -> Filter:
    def holds(_serving: Serving, override: Any, text: str) -> bool:
        return bool(getattr(override.selector, name) == text)

    return holds


INDEXED: Final[Mapping[tuple[str, str], Callable[[Snapshot, str], Collection[str]]]] = {
    (kinds.INSTANCES, "name"): lambda snapshot, text: snapshot.members("instance-names", text),
    (kinds.INSTANCES, "pool"): lambda snapshot, text: snapshot.instances_using_pool(text),
    (kinds.POOLS, "address"): lambda snapshot, text: snapshot.pools_with_address(canonical(text)),
    (kinds.POOLS, "label"): lambda snapshot, text: snapshot.pools_with_label(text),
    (kinds.POOLS, "health_check"): lambda snapshot, text: snapshot.pools_using_check(text),
}
"""Filters for which the snapshot knows the ids without a search."""

FILTERS: Final[Mapping[str, Mapping[str, Filter]]] = {
    kinds.INSTANCES: {
        "name": _field("name"),
        "kind": _field("kind"),
        "enabled": _enabled,
        "label": _labelled,
        "zone": _in_zone,
        "domain": _answers_at,
        "pool": _uses_pool,
        "health_check_status": _health_check_status,
        "request_status": _request_status,
    },
    kinds.POOLS: {
        "type": _field("type"),
        "enabled": _enabled,
        "status": _pool_status,
        "health_check": _checked_by,
        "address": _holds_address,
        "label": _holds_label,
        "instance": _used_by,
    },
    kinds.HEALTH_CHECKS: {"protocol": _field("protocol")},
    kinds.LINES: {},
    kinds.ZONES: {"kind": _field("kind")},
    kinds.OVERRIDES: {
        "effect": _field("effect"),
        "owner": _field("owner"),
        "pool": _selects("pool"),
        "address": _selects("address"),
        "label": _selects("label"),
        "instance": _selects("instance"),
        "drill": _field("drill"),
    },
    kinds.ALERTS: {"channel": _field("channel"), "enabled": _enabled},
    kinds.DRILLS: {"name": _field("name"), "state": _field("state")},
    kinds.TOKENS: {"role": _field("role"), "name": _field("name")},
}
