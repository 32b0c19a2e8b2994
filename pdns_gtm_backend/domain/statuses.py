"""The two statuses that an operator sees on an instance: of its health checks, and of its requests."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pdns_gtm_backend.domain.answer import ServedInstance
from pdns_gtm_backend.domain.availability import Availability, PoolView

HealthCheckStatus = Literal["normal", "warning", "exception", "unmonitored"]
RequestStatus = Literal["normal", "error", "unavailable"]
PoolStatus = Literal["normal", "warning", "exception", "unmonitored"]

ALL_DOWN_RULES = frozenset({"fail_open", "fail_closed", "pinned_unavailable", "none"})


def pool_status(view: PoolView) -> PoolStatus:
    """`exception` = not available, `warning` = available with addresses down, `unmonitored` = no check says so."""
    if not view.available:
        return "exception"
    if not view.pool.health_checks:
        return "unmonitored"
    down = any(address.availability == Availability.DOWN for address in view.addresses)
    return "warning" if down else "normal"


def health_check_status(pools: Iterable[PoolView]) -> HealthCheckStatus:
    """The worst of an instance's pools; `unmonitored` where none of them has a check."""
    views = list(pools)
    if not any(view.pool.health_checks for view in views):
        return "unmonitored"
    found = {pool_status(view) for view in views}
    worst: Sequence[HealthCheckStatus] = ("exception", "warning")
    return next((status for status in worst if status in found), "normal")


def request_status(served: ServedInstance) -> RequestStatus:
    """`unavailable` where an all-down rule answers, `error` where a policy answers from another set than its first.

    A policy that carries no address of a family answers from the default policy for it, which is no switch.
    """
    status: RequestStatus = "normal"
    for family, views in served.answers.views.items():
        if all(not view.sets for view in views):
            continue
        for view, choice in zip(views, served.answers.choices[family], strict=True):
            if not view.sets:
                continue
            if choice.rule in ALL_DOWN_RULES:
                return "unavailable"
            if view.effective != 0 or choice.rule == "other_policy":
                status = "error"
    return status
