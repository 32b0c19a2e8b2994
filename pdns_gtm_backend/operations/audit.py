"""What the audit stream keeps of a change: who, from where, what, before and after, and never a secret."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.operations.parsing import to_json

SECRET_HEADER: Final = re.compile(r"authorization|cookie|token|secret|password|api-?key|credential|signature", re.I)
HIDDEN: Final = "(hidden)"


def entry(action: str, kind: str, identifier: str, before: Any | None, after: Any | None) -> Mapping[str, Any]:
    """An audit entry of a change of one object; actor and origin are added where it is written."""
    return {"action": action, "kind": kind, "object": identifier, "before": _shown(before), "after": _shown(after)}


def _shown(value: Any | None) -> Any:
    """An object as JSON data without what nobody may read."""
    if value is None or isinstance(value, dict):
        return value
    data = to_json(value)
    if isinstance(value, Token):
        del data["hash"]
    if isinstance(value, HealthCheck) and value.http is not None:
        headers = data["http"]["headers"]
        data["http"]["headers"] = {
            name: HIDDEN if SECRET_HEADER.search(name) else text for name, text in headers.items()
        }
    return data
