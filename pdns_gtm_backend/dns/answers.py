"""The answer to a lookup: one function from the state, a question and the client's network to records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import random
from typing import Any, Final, NamedTuple

from pdns_gtm_backend.dns.presentation import query_name
from pdns_gtm_backend.dns.zones import ServedZone, Zones
from pdns_gtm_backend.domain.answer import ServedInstance
from pdns_gtm_backend.domain.client import NOBODY, NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.line import SCOPES
from pdns_gtm_backend.domain.pool import RECORD_TYPES
from pdns_gtm_backend.domain.zone import RRset
from pdns_gtm_backend.store.serving import Prepared

Record = dict[str, Any]
"""A record as PowerDNS reads it: qname, qtype, content, and ttl, auth, domain_id, scopeMask as numbers."""

EMPTY_NON_TERMINAL: Final = RRset(zone="", name="", type="", ttl=0, records=("",))
"""The record that says: this name exists and holds nothing."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that an answer is made from; one value, so that no answer mixes two states.

    purged: is PowerDNS told of every change? Then it may keep an answer that is the same for all.
    """

    serving: Prepared
    zones: Zones
    locate: Callable[[Network], Place]
    purged: Callable[[], bool] = lambda: False


class Question(NamedTuple):
    """A lookup. remote: address of the peer. real_remote: the client's network (EDNS client subnet), or the peer's
    address; both "" where unknown. zone_id: PowerDNS's id of the zone, -1 = not known.
    """

    name: str
    type: str
    remote: str = ""
    real_remote: str = ""
    zone_id: int = -1


def lookup(view: View, question: Question) -> list[Record]:
    """The records of one name that a client gets; none where the name does not exist.

    A name that exists and has no record of its own answers ANY with an empty non-terminal.
    """
    name = query_name(question.name)
    zone = None if name is None else view.zones.find(name, question.zone_id)
    if name is None or zone is None:
        return []
    served = view.serving.names.get(name) if name in zone.owned else None
    if served is None:
        if not (zone.exists(name) or name in zone.below):
            return []
        records, scope = _static(zone, name, question, 0), 0
    else:
        client, cut = _client(question.remote, question.real_remote)
        scope = served.scope(client)
        if scope != cut.length:
            cut = client.truncated(scope)
        if served.answers.uniform and view.purged():
            scope = 0
        # PowerDNS keeps an answer to ANY for everybody, unless a record in it is scoped.
        records = _static(zone, name, question, scope if question.type == "ANY" else 0)
        records += _dynamic(view, served, cut, zone, name, question, scope)
    if not records and question.type == "ANY":
        return list(_records(EMPTY_NON_TERMINAL, zone, name, question.name, scope))
    return records


def client_network(remote: str, real_remote: str) -> Network:
    """The network that the answer is for: the client's where it tells (EDNS), else its resolver's; NOBODY where none.

    A subnet of length 0 means that the client does not want to be told apart (RFC 7871 section 7.1.2).
    """
    try:
        client = parse_network(real_remote or remote)
        if not client.length:
            client = parse_network(remote)
    except ValueError:
        return NOBODY
    return client if client.bits else NOBODY


@lru_cache(maxsize=65_536)
def _client(remote: str, real_remote: str) -> tuple[Network, Network]:
    """The client's network, whole and cut to the scope that nearly every answer has."""
    client = client_network(remote, real_remote)
    return client, client.truncated(SCOPES[client.version])


def list_zone(view: View, zone: ServedZone) -> Iterator[Record]:
    """Every record of a zone; at the names of instances those that a client of the default line gets."""
    for name in zone.names():
        question = Question(name, "ANY")
        yield from _static(zone, name, question, 0)
        if name in zone.owned:
            yield from _dynamic(view, view.serving.names[name], NOBODY, zone, name, question, 0)


def _static(zone: ServedZone, name: str, question: Question, scope: int) -> list[Record]:
    if name not in zone.static and name not in zone.defaults:
        return []
    return [
        record
        for rrset in zone.sets(name)
        if question.type in ("ANY", rrset.type)
        for record in _records(rrset, zone, name, question.name, scope)
    ]


def _records(rrset: RRset, zone: ServedZone, name: str, asked: str, scope: int) -> Iterator[Record]:
    auth = int(zone.authoritative(name, rrset.type))
    for content in rrset.records:
        yield _record(asked, rrset.type, content, rrset.ttl, auth, zone.zone.number, scope)


def _dynamic(
    view: View, served: ServedInstance, client: Network, zone: ServedZone, name: str, question: Question, scope: int
) -> list[Record]:
    """The records of an instance. `client` is cut to the scope already, so that nothing finer can decide."""
    answers = served.answers
    families = answers.asked.get(question.type)
    if not families:
        return []
    match = served.match(client, NOWHERE if client is NOBODY else view.locate(client))
    ttl, number = served.instance.ttl, zone.zone.number
    auth = int(zone.authoritative(name, "A"))
    return [
        _record(question.name, RECORD_TYPES[family], address, ttl, auth, number, scope)
        for family in families
        for address in answers.addresses(family, match, client, random)
    ]


def _record(name: str, rrtype: str, content: str, ttl: int, auth: int, zone: int, scope: int) -> Record:
    return {
        "qname": name,
        "qtype": rrtype,
        "content": content,
        "ttl": ttl,
        "auth": auth,
        "domain_id": zone,
        "scopeMask": scope,
    }
