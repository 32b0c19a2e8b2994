"""The methods of the remote-backend protocol: one table, whatever carries it.

https://doc.powerdns.com/authoritative/backends/remote.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pdns_gtm_backend.dns.answers import Question, list_zone, lookup
from pdns_gtm_backend.dns.backend import Backend
from pdns_gtm_backend.dns.presentation import query_name
from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.violation import shown

Parameters = Mapping[str, Any]
Method = Callable[[Backend, Parameters], Any]
"""What a method answers with: the `result` of the reply."""

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024


class BadRequest(ValueError):
    """What was sent is no request of the protocol."""


class UnknownMethod(BadRequest):
    """A method that is not in the table: an error to PowerDNS, as "no data" would be an answer."""


def call(backend: Backend, body: bytes) -> tuple[str, bytes]:
    """Carry out one request, a JSON object `{"method", "parameters"}`: the method's name and the reply.

    Raises BadRequest, NotReady, or whatever failed inside: the carrier must then say so, and never `false`, which
    PowerDNS takes for an answer.
    """
    name, parameters = _read(body)
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethod(f"method {shown(name)} is not served; served are {', '.join(METHODS)}")
    return name, json.dumps({"result": method(backend, parameters)}, separators=(",", ":")).encode()


def _read(body: bytes) -> tuple[str, Parameters]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(f"the body is no JSON: {shown(body[:40])}") from None
    name = request.get("method") if isinstance(request, dict) else None
    if not isinstance(name, str):
        raise BadRequest('the body is no object like {"method": "lookup", "parameters": {}}')
    parameters = request.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"parameters: {shown(parameters)} is no object")
    return name, parameters


def _text(parameters: Parameters, name: str, default: str | None = None) -> str:
    value = parameters.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"parameters/{name}: {shown(value)} is no string")
    return value


def _number(parameters: Parameters, name: str, default: int) -> int:
    value = parameters.get(name, default)
    if not isinstance(value, int):
        raise BadRequest(f"parameters/{name}: {shown(value)} is no whole number")
    return value


def _initialize(_backend: Backend, _parameters: Parameters) -> bool:
    return True


def _lookup(backend: Backend, parameters: Parameters) -> Any:
    question = Question(
        name=_text(parameters, "qname"),
        type=_text(parameters, "qtype"),
        remote=_text(parameters, "remote", ""),
        real_remote=_text(parameters, "real-remote", ""),
        zone_id=_number(parameters, "zone-id", -1),
    )
    return lookup(backend.view, question)


def _list(backend: Backend, parameters: Parameters) -> Any:
    view = backend.view
    zone = view.zones.by_name.get(query_name(_text(parameters, "zonename")) or "")
    return False if zone is None else list(list_zone(view, zone))


def _get_all_domains(backend: Backend, _parameters: Parameters) -> Any:
    return [_domain(zone) for zone in backend.view.zones.by_name.values()]


def _get_domain_info(backend: Backend, parameters: Parameters) -> Any:
    zone = backend.view.zones.by_name.get(query_name(_text(parameters, "name")) or "")
    return False if zone is None else _domain(zone)


def _domain(zone: ServedZone) -> Mapping[str, Any]:
    return {
        "id": zone.zone.number,
        "zone": zone.zone.name + ".",
        "kind": "native",
        "masters": [],
        "serial": zone.serial,
        "notified_serial": 0,
        "last_check": 0,
    }


def _get_all_domain_metadata(_backend: Backend, _parameters: Parameters) -> Any:
    return {}


def _get_domain_metadata(_backend: Backend, _parameters: Parameters) -> Any:
    return []


METHODS: Final[Mapping[str, Method]] = {
    "initialize": _initialize,
    "lookup": _lookup,
    "list": _list,
    "getAllDomains": _get_all_domains,
    "getDomainInfo": _get_domain_info,
    "getAllDomainMetadata": _get_all_domain_metadata,
    "getDomainMetadata": _get_domain_metadata,
}
