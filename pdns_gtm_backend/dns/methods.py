"""The methods of the remote-backend protocol: one table, whatever carries it.

https://doc.powerdns.com/authoritative/backends/remote.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from pdns_gtm_backend.dns import zone_secrets, zone_writes
from pdns_gtm_backend.dns.answers import Question, list_zone, lookup
from pdns_gtm_backend.dns.backend import Backend
from pdns_gtm_backend.dns.request import BadRequest, Parameters, Request
from pdns_gtm_backend.dns.searching import search
from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.violation import InvalidConfiguration, shown
from pdns_gtm_backend.operations.errors import OperationError

__all__ = ["MAX_REQUEST_BYTES", "METHODS", "BadRequest", "UnknownMethod", "call", "may_wait"]

Method = Callable[[Request], Any]
"""What a method answers with: the `result` of the reply."""

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
LOOKUP_REQUEST: Final = b'{"method": "lookup"'
"""How PowerDNS begins what it asks for each query."""


ANSWERING: Final = frozenset(
    {
        *("initialize", "lookup", "APILookup", "getAllDomains", "getDomainInfo", "getBeforeAndAfterNamesAbsolute"),
        *("getAllDomainMetadata", "getDomainMetadata", "getDomainKeys", "getTSIGKey", "getTSIGKeys"),
    }
)
"""What PowerDNS asks to answer queries and to start. All else wants the whole snapshot, soon after a start too."""


class UnknownMethod(BadRequest):
    """A method that is not in the table: an error to PowerDNS, as "no data" would be an answer."""


class Refused(BadRequest):
    """A write that was refused, or that could not be carried out; nothing of it was written."""


def call(backend: Backend, body: bytes, connection: str = "") -> tuple[str, bytes]:
    """Carry out one request, a JSON object `{"method", "parameters"}`: the method's name and the reply.

    connection: names the connection that it came by, the same for all that comes by it; "" where that is not known:
    then two transactions that began in the same second cannot be told apart, and the second one is refused.
    Raises BadRequest, NotReady, or whatever failed inside: the carrier must then say so, and never `false`, which
    PowerDNS takes for an answer.
    """
    name, parameters = _read(body)
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethod(f"method {shown(name)} is not served; served are {', '.join(METHODS)}")
    if name not in ANSWERING:
        backend.wait_until_whole()
    request = Request(backend, parameters, connection)
    try:
        reply = {"result": method(request)}
    except (BadRequest, OperationError, InvalidConfiguration) as error:
        raise _refused(request, name, error) from None
    if request.log:
        reply["log"] = request.log
    return name, orjson.dumps(reply)


def may_wait(body: bytes) -> bool:
    """May a request wait for the store, or take long? What PowerDNS asks for every query does neither."""
    return not body.startswith(LOOKUP_REQUEST)


def _refused(request: Request, name: str, error: Exception) -> BadRequest:
    """The refusal to raise. A transaction that something was refused in cannot be committed."""
    if name in WRITES:
        request.backend.administration.refused(f"{name}: {error}")
        request.backend.administration.transactions.fail(request.connection, request.parameters.get("trxid"), error)
    return error if isinstance(error, BadRequest) else Refused(str(error))


def _read(body: bytes) -> tuple[str, Parameters]:
    try:
        request = orjson.loads(body)
    except ValueError:
        raise BadRequest(f"the body is no JSON: {shown(body[:40])}") from None
    name = request.get("method") if isinstance(request, dict) else None
    if not isinstance(name, str):
        raise BadRequest('the body is no object like {"method": "lookup", "parameters": {}}')
    parameters = request.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest(f"parameters: {shown(parameters)} is no object")
    return name, parameters


def _yes(_request: Request) -> bool:
    return True


def _no(_request: Request) -> bool:
    return False


def _none(_request: Request) -> list[Any]:
    return []


def _lookup(request: Request) -> Any:
    question = Question(
        name=request.text("qname"),
        type=request.text("qtype"),
        remote=request.text("remote", ""),
        real_remote=request.text("real-remote", ""),
        zone_id=request.number("zone-id", -1),
    )
    return lookup(request.view, question)


def _list(request: Request) -> Any:
    zone = request.zone("zonename")
    return False if zone is None else list(list_zone(request.view, zone))


def _get_all_domains(request: Request) -> Any:
    return [_domain(zone) for zone in request.view.zones.by_name.values()]


def _get_domain_info(request: Request) -> Any:
    zone = request.zone()
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


def _search_records(request: Request) -> Any:
    return search(request.view, request.text("pattern"), request.number("maxResults", 100))


def _direct_backend_command(request: Request) -> Any:
    # It brings many operations along, which answers do not need: a process starts sooner without.
    from pdns_gtm_backend.dns.commands import run_command

    return run_command(request.backend, request.text("query"))


METHODS: Final[Mapping[str, Method]] = {
    "initialize": _yes,
    "lookup": _lookup,
    "APILookup": _lookup,
    "list": _list,
    "getAllDomains": _get_all_domains,
    "getDomainInfo": _get_domain_info,
    "getAllDomainMetadata": zone_secrets.get_all_domain_metadata,
    "getDomainMetadata": zone_secrets.get_domain_metadata,
    "setDomainMetadata": zone_secrets.set_domain_metadata,
    "getDomainKeys": zone_secrets.get_domain_keys,
    "addDomainKey": zone_secrets.add_domain_key,
    "removeDomainKey": zone_secrets.remove_domain_key,
    "activateDomainKey": zone_secrets.switch_domain_key(active=True),
    "deactivateDomainKey": zone_secrets.switch_domain_key(active=False),
    "publishDomainKey": zone_secrets.switch_domain_key(published=True),
    "unpublishDomainKey": zone_secrets.switch_domain_key(published=False),
    "getBeforeAndAfterNamesAbsolute": zone_secrets.get_before_and_after_names,
    "getTSIGKey": zone_secrets.get_tsig_key,
    "getTSIGKeys": zone_secrets.get_tsig_keys,
    "setTSIGKey": zone_secrets.set_tsig_key,
    "deleteTSIGKey": zone_secrets.delete_tsig_key,
    "startTransaction": zone_writes.start_transaction,
    "replaceRRSet": zone_writes.replace_rrset,
    "feedRecord": zone_writes.feed_record,
    "feedEnts": zone_writes.feed_empty_names,
    "feedEnts3": zone_writes.feed_empty_names,
    "commitTransaction": zone_writes.commit_transaction,
    "abortTransaction": zone_writes.abort_transaction,
    # Zones are native: nothing is fetched from or announced to other servers.
    "getUpdatedMasters": _none,
    "getUpdatedPrimaries": _none,
    "getUnfreshSlaveInfos": _none,
    "getUnfreshSecondaryInfos": _none,
    "setNotified": _yes,
    "setFresh": _yes,
    "setStale": _yes,
    "createSlaveDomain": _no,
    "createSecondaryDomain": _no,
    "superMasterBackend": _no,
    "autoPrimaryBackend": _no,
    "searchRecords": _search_records,
    "directBackendCmd": _direct_backend_command,
}

WRITES: Final = frozenset(
    name for name in METHODS if name.startswith(("set", "add", "remove", "delete", "activate", "deactivate"))
) | {"publishDomainKey", "unpublishDomainKey", "startTransaction", "replaceRRSet", "feedRecord", "commitTransaction"}
