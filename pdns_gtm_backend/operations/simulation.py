"""What a client would get for a name now, and why: the same function that answers DNS, with every step shown."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pdns_gtm_backend.domain.answer import Choice, Rule, ServedInstance, record_type
from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.explanation import Explanation, SetExplanation, explain, probabilities
from pdns_gtm_backend.domain.names import ancestors, canonical, domain_name_error
from pdns_gtm_backend.domain.pool import Family
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.geo.locator import GeoStatus
from pdns_gtm_backend.operations.errors import InvalidParameters, NotFound
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.store.serving import Serving

FAMILIES: Final[Mapping[str, Family]] = {"A": "ipv4", "AAAA": "ipv6"}
TYPES: Final = ("A", "AAAA", "CNAME")

RULES: Final[Mapping[Rule, str]] = {
    "set": "answers from set {set}",
    "pinned_unavailable": "is pinned to set {set}, which is not available: all its addresses are answered",
    "fail_open": "has no available set: all addresses of set {set} are answered (when_all_down: fail_open)",
    "fail_closed": "has no available set, as no policy of the instance has: no data (when_all_down: fail_closed)",
    "other_policy": "has nothing of this type to give: policy {policy} answers from set {set}",
    "none": "holds no address of this type, and no other policy does: no data",
    "disabled": "is not asked, as the instance is disabled: no data",
}


class Locates(Protocol):
    """Finds places (`geo.locator.Locator`)."""

    def locate(self, network: Network) -> Place: ...

    def refresh(self) -> bool: ...

    def status(self) -> GeoStatus: ...


@dataclass(frozen=True, slots=True)
class PlaceFound:
    """Where the client is, and which database says so; "" and 0 where it says nothing."""

    continent: str
    country: str
    subdivision: str
    asn: int
    source: str


@dataclass(frozen=True, slots=True)
class LineFound:
    """A line that the client is on. expression: as it matched, where `line` is a custom line."""

    line: str
    expression: str
    policy: str


@dataclass(frozen=True, slots=True)
class DrawnChance:
    """An address that answers are drawn from."""

    address: str
    pool: str
    probability: float | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An address that is in no answer now, and why."""

    address: str
    pool: str
    set: str
    reason: str


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """One answer, drawn as DNS would draw it."""

    type: str
    ttl: int
    records: Sequence[str]


@dataclass(frozen=True, slots=True)
class InstanceNamed:
    """The instance that a name leads to. by: `cname`, `names` or `service_domains`."""

    id: str
    name: str
    cname: str
    by: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a client gets and why. client: its network as far as answers depend on it; scope: its length in bits.

    matched, lost: the line that decides, and the less specific ones that the client is on too. why: the same in
    sentences.
    """

    name: str
    type: str
    instance: InstanceNamed
    client: str
    scope: int
    place: PlaceFound
    ttl: int
    matched: LineFound | None
    lost: Sequence[LineFound]
    policy: str | None
    pinned_set: str | None
    rule: str
    source_policy: str | None
    source_set: str | None
    sets: Sequence[SetExplanation]
    drawn_from: Sequence[DrawnChance]
    left_out: Sequence[LeftOut]
    answer: DrawnAnswer
    why: Sequence[str]


def simulate(operator: Operator, locator: Locates, name: str, rrtype: str, client: str) -> Simulation:
    """Raises InvalidParameters, NotFound, Unavailable where there is no snapshot.

    client: an address or a network. rrtype: A, AAAA or CNAME; an instance of domain pools answers all with a CNAME.
    """
    network = _parameters(name, rrtype, client)
    serving = operator.writer.reading()
    served, found_by = _find(operator, serving, canonical(name))
    family = _family(served, rrtype)
    locator.refresh()
    scope = served.scope(network)
    truncated = network.truncated(scope)
    place = NOWHERE if network.bits == 0 and network.version == 4 else locator.locate(truncated)
    explanation = explain(served, family, truncated, place)
    owner = explanation.lines[0].owner if explanation.lines else 0
    choice = served.choice(family, owner)
    match = explanation.lines[0] if explanation.lines else None
    records = served.answers.addresses(family, match, truncated, random.random)
    instance = served.instance
    return Simulation(
        name=canonical(name),
        type=rrtype.upper(),
        instance=InstanceNamed(instance.id, instance.name, instance.cname, found_by),
        client=str(truncated),
        scope=scope,
        place=PlaceFound(place.continent, place.country, place.subdivision, place.asn, _source(locator.status())),
        ttl=instance.ttl,
        matched=_lines(served, explanation)[0] if explanation.lines else None,
        lost=_lines(served, explanation)[1:],
        policy=explanation.policy,
        pinned_set=explanation.pinned,
        rule=explanation.rule,
        source_policy=explanation.source[0] if explanation.source else None,
        source_set=explanation.source[1] if explanation.source else None,
        sets=explanation.sets,
        drawn_from=_drawn_from(choice, truncated),
        left_out=_left_out(explanation),
        answer=DrawnAnswer(record_type(family), instance.ttl, list(records)),
        why=_why(served, explanation, place, found_by),
    )


def _parameters(name: str, rrtype: str, client: str) -> Network:
    errors = []
    network = None
    if error := domain_name_error(name):
        errors.append(("name", f"{shown(name)} {error}"))
    if rrtype.upper() not in TYPES:
        errors.append(("type", f"{shown(rrtype)} is not allowed: must be one of {', '.join(TYPES)}"))
    try:
        network = parse_network(client)
    except ValueError:
        errors.append(("client", f"{shown(client)} is neither an address nor a network like 192.0.2.0/24"))
    if errors or network is None:
        raise InvalidParameters(errors)
    return network


def _find(operator: Operator, serving: Serving, name: str) -> tuple[ServedInstance, str]:
    served = _answering(serving, name)
    found_by = "cname" if served is not None and served.instance.cname == name else "names"
    if served is None:
        found_by = "service_domains"
        users = (s for s in serving.instances.values() if name in s.instance.service_domains)
        served = min(users, key=lambda s: s.instance.id, default=None)
    if served is None or not operator.sees(served.instance.labels):
        raise NotFound(f"{shown(name)} is no CNAME domain name, no name and no service domain of an instance")
    return served, found_by


def _answering(serving: Serving, name: str) -> ServedInstance | None:
    """The instance that is answered at a name, also by a wildcard (RFC 4592): the closest name that exists decides."""
    found = serving.names.get(name)
    if found is not None:
        return found
    for parent in ancestors(name):
        wildcard = serving.names.get("*." + parent)
        if wildcard is not None or parent in serving.names or serving.snapshot.static_types(parent):
            return wildcard
    return None


def _family(served: ServedInstance, rrtype: str) -> Family:
    if served.instance.kind == "domain":
        return "domain"
    family = FAMILIES.get(rrtype.upper())
    if family is None:
        detail = f"'CNAME' is not answered by instance {served.instance.name}, which is of addresses: give A or AAAA"
        raise InvalidParameters([("type", detail)])
    return family


def _lines(served: ServedInstance, explanation: Explanation) -> Sequence[LineFound]:
    policies = served.instance.policies
    return [LineFound(match.written, match.matched, policies[match.owner].name) for match in explanation.lines]


def _drawn_from(choice: Choice, client: Network) -> Sequence[DrawnChance]:
    chances = probabilities(choice, client)
    return [DrawnChance(address, pool, chance) for (pool, address), chance in chances.items()]


def _left_out(explanation: Explanation) -> Sequence[LeftOut]:
    found = []
    for one in explanation.sets:
        is_source = explanation.source == (explanation.policy, one.name)
        for address in one.addresses:
            if address.probability != 0:
                continue
            reason = address.reason if is_source else _silent(one.name, explanation.rule)
            if is_source and address.availability in ("up", "unknown"):
                reason = _not_drawn(address.weight, address.availability)
            found.append(LeftOut(address.address, address.pool, one.name, reason))
    return found


def _silent(name: str, rule: Rule) -> str:
    return "the instance is disabled" if rule == "disabled" else f"set {name} does not answer"


def _not_drawn(weight: int, availability: str) -> str:
    if weight == 0:
        return "weight 0 while others are available"
    if availability == "unknown":
        return "no verdict yet, and enough others are up"
    return "another address or pool is drawn for this client"


def _source(status: GeoStatus) -> str:
    return status.country.kind or "none"


def _why(served: ServedInstance, explanation: Explanation, place: Place, found_by: str) -> Sequence[str]:
    instance = served.instance
    code = "-".join(part for part in (place.continent, place.country, place.subdivision) if part) or "nowhere known"
    said = [f"the name is in {found_by} of instance {instance.name} ({instance.id})"]
    system = f", AS{place.asn}" if place.asn else ""
    said.append(
        f"client {explanation.client} is in {code}{system}; the answer holds for the whole /{explanation.scope}"
    )
    for number, match in enumerate(explanation.lines):
        policy = instance.policies[match.owner].name
        through = f" (as {match.matched})" if match.matched != match.written else ""
        verb = "decides" if number == 0 else "is less specific"
        said.append(f"line {match.written}{through} of policy {policy} {verb}")
    policy, chosen = explanation.source or ("", "")
    said.append(f"policy {explanation.policy} " + RULES[explanation.rule].format(policy=policy, set=chosen))
    return said
