"""Taking leave of a vantage that is gone for good."""

from dataclasses import asdict

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.errors import ForeignStore, NotFound, NotNow, Unavailable
from pdns_gtm_backend.operations.observation import vantages
from pdns_gtm_backend.operations.operator import Operator, audited, foreign
from pdns_gtm_backend.store.repository import Conflict, unavailable_reason
from pdns_gtm_backend.store.vantages import VantageInUse, Vantages


def forget(operator: Operator, name: str, *, dry_run: bool = False) -> None:
    """Remove what is held of a vantage whose healthd has ended: heartbeat, verdicts, suspension. No state changes.

    Raises NotFound, NotNow while a healthd has the name, NotPermitted, Unavailable.
    """
    operator.require_unrestricted("vantages")
    snapshot = operator.writer.newest().snapshot
    found = next((vantage for vantage in vantages(operator) if vantage.name == name), None)
    if found is None:
        raise NotFound(f"there is no vantage {shown(name)}")
    if found.reporting:
        raise NotNow(_in_use(name))
    if dry_run:
        return
    noted = {**audit.entry("delete", "vantages", name, asdict(found), None), **audited(operator.actor)}
    try:
        gone = Vantages(operator.writer.follower.repository.client).forget(name, snapshot.position.store_id, noted)
    except VantageInUse:
        raise NotNow(_in_use(name)) from None
    except Conflict as conflict:
        raise ForeignStore(foreign(str(conflict))) from None
    except RedisError as error:
        raise Unavailable(f"the store cannot be written: {unavailable_reason(error)}") from error
    if not gone:
        raise NotFound(f"there is no vantage {shown(name)}")


def _in_use(name: str) -> str:
    return f"vantage {name} reports: a healthd has this name. Stop that one first"
