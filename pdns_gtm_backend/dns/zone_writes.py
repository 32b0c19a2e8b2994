"""Methods that write records: transactions of PowerDNS's tools, its API, DNS UPDATE and incoming transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pdns_gtm_backend.dns.request import BadRequest, Parameters, Request, domain_name
from pdns_gtm_backend.dns.transactions import Named, Transaction
from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.instance import FAMILIES
from pdns_gtm_backend.domain.names import is_below
from pdns_gtm_backend.domain.pool import RECORD_TYPES
from pdns_gtm_backend.domain.record import record_type_error, stored_content
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.operations.records import soa_serial, with_serial
from pdns_gtm_backend.operations.zone_edits import ZoneEdit, apply

MAX_TTL: Final = 2**31 - 1
IGNORED_TYPES: Final = frozenset({"", "ENT", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"})
"""What is made from the zone itself: empty non-terminals, and what signing adds."""


def start_transaction(request: Request) -> Any:
    """startTransaction: a domain id of -1 changes records, another one replaces the zone."""
    zone = request.zone("domain")
    if zone is None:
        return False
    transactions = request.backend.administration.transactions
    replaces = request.number("domain_id", -1) >= 0
    transactions.start(request.connection, request.number("trxid"), zone.zone.name, replaces=replaces)
    return True


def replace_rrset(request: Request) -> Any:
    """replaceRRSet: all records of a name and type, none = delete; of type ANY all records of the name."""
    transaction = _transaction(request)
    zone = _zone(request, transaction)
    name, rrtype = _name_in(zone, request.name("qname")), request.text("qtype").upper()
    if rrtype == "ANY":
        return _delete_name(transaction, zone, name)
    if rrtype in IGNORED_TYPES:
        return True
    if refusal := _owned(request, zone, name, rrtype):
        request.say(refusal)
        return False
    records = request.objects("rrset")
    transaction.put(name, rrtype, _rrset(zone, name, rrtype, records) if records else None)
    return True


def feed_record(request: Request) -> Any:
    """feedRecord: one more record."""
    transaction = _transaction(request)
    zone = _zone(request, transaction)
    record = request.parameters.get("rr")
    if not isinstance(record, dict):
        raise BadRequest(f"parameters/rr: {shown(record)} is no object")
    name, rrtype = _name_in(zone, domain_name("rr/qname", record.get("qname"))), str(record.get("qtype", "")).upper()
    if rrtype in IGNORED_TYPES:
        return True
    if refusal := _owned(request, zone, name, rrtype):
        # A listed zone holds what instances answered: it may be loaded again.
        request.say(refusal)
        return True
    fed = _rrset(zone, name, rrtype, [record])
    held = transaction.held(zone, name, rrtype)
    if held is not None:
        kept = tuple(dict.fromkeys((*held.records, *fed.records)))
        fed = RRset(zone=fed.zone, name=name, type=rrtype, ttl=fed.ttl, records=kept)
    transaction.put(name, rrtype, fed)
    return True


def feed_empty_names(request: Request) -> Any:
    """feedEnts, feedEnts3: empty non-terminals, which follow from the names here."""
    _transaction(request)
    return True


def commit_transaction(request: Request) -> Any:
    """commitTransaction: write everything at once, or nothing. Raises BadRequest, OperationError."""
    transactions, number = request.backend.administration.transactions, request.number("trxid")
    transaction = transactions.get(request.connection, number)
    transactions.end(request.connection, number)
    zone = request.view.zones.by_name.get(transaction.zone)
    if zone is None:
        raise BadRequest(f"zone {transaction.zone} is gone")
    if transaction.failed:
        raise BadRequest(f"nothing was written to zone {transaction.zone}: {transaction.failed}")
    apply(request.backend.administration.operator, edit_of(transaction, zone))
    return True


def abort_transaction(request: Request) -> Any:
    """abortTransaction: forget it; one that is not open is forgotten already."""
    request.backend.administration.transactions.end(request.connection, request.number("trxid"))
    return True


def edit_of(transaction: Transaction, zone: ServedZone) -> ZoneEdit:
    """What a transaction writes. Records that the zone has from settings anyway are left out."""
    sets: dict[Named, RRset | None] = dict(transaction.sets)
    apex = zone.zone.name
    given = sets.get((apex, "SOA"))
    for name, defaults in zone.defaults.items():
        for default in defaults:
            held = sets.get((name, default.type))
            if held is not None and _same(held, default):
                sets[name, default.type] = None
    return ZoneEdit(apex, sets, transaction.replaces, None if given is None else soa_serial(given))


def _same(given: RRset, default: RRset) -> bool:
    """Is this what settings say? An SOA record may have another serial."""
    if given.type == "SOA" and soa_serial(given) is not None:
        given = with_serial(given, soa_serial(default) or 0)
    contents = {stored_content(default.type, text) for text in default.records}
    return given.ttl == default.ttl and set(given.records) == contents


def _transaction(request: Request) -> Transaction:
    """The open transaction of a request. What is refused in it makes it fail as a whole."""
    return request.backend.administration.transactions.get(request.connection, request.number("trxid"))


def _zone(request: Request, transaction: Transaction) -> ServedZone:
    zone = request.backend.view.zones.by_name.get(transaction.zone)
    if zone is None:
        raise BadRequest(f"zone {transaction.zone} is gone")
    return zone


def _name_in(zone: ServedZone, name: str) -> str:
    if not is_below(name, zone.zone.name):
        raise BadRequest(f"{shown(name)} is not in zone {zone.zone.name}")
    return name


def _delete_name(transaction: Transaction, zone: ServedZone, name: str) -> bool:
    types = {rrset.type for rrset in zone.static.get(name, ())}
    types |= {rrtype for named, rrtype in transaction.sets if named == name}
    for rrtype in types:
        transaction.put(name, rrtype, None)
    return True


def _owned(request: Request, zone: ServedZone, name: str, rrtype: str) -> str:
    """Why records are not written: an instance answers there. "" where none does."""
    served = request.backend.view.serving.names.get(name) if name in zone.owned else None
    if served is None or rrtype not in {RECORD_TYPES[family] for family in FAMILIES[served.instance.kind]}:
        return ""
    instance = served.instance
    return (
        f"{rrtype} of {name} is answered by instance {instance.name} ({instance.id}): it is changed there, "
        "and was left as it is"
    )


def _rrset(zone: ServedZone, name: str, rrtype: str, records: Sequence[Parameters]) -> RRset:
    """Records as PowerDNS sends them, in the form that is stored. Raises BadRequest."""
    if error := record_type_error(rrtype):
        raise BadRequest(f"type {shown(rrtype)} {error}")
    contents = tuple(dict.fromkeys(_content(name, rrtype, record) for record in records))
    return RRset(zone=zone.zone.name, name=name, type=rrtype, ttl=_ttl(records[0]), records=contents)


def _content(name: str, rrtype: str, record: Mapping[str, Any]) -> str:
    text = record.get("content")
    if not isinstance(text, str):
        raise BadRequest(f"content of {name} {rrtype}: {shown(text)} is no string")
    try:
        return stored_content(rrtype, text)
    except ValueError as error:
        raise BadRequest(f"{shown(text)} at {name} is no {rrtype} record: {error}") from None


def _ttl(record: Mapping[str, Any]) -> int:
    ttl = record.get("ttl")
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 <= ttl <= MAX_TTL:
        raise BadRequest(f"ttl: {shown(ttl)} is no number from 0 to {MAX_TTL}")
    return int(ttl)
