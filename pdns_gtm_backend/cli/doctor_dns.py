"""What DNS says: is the access zone answered here and delegated here, and do service domains point here?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from pdns_gtm_backend.cli.doctor_places import Server
from pdns_gtm_backend.cli.doctor_report import OK, PROBLEM, WARNING, Finding
from pdns_gtm_backend.domain.names import canonical

SECONDS: Final = 3.0
MOST_CNAMES: Final = 10
AT_ONCE: Final = 16
MOST_SHOWN: Final = 50
NO_ERROR: Final = "NOERROR"
PAGE: Final = "docs/delegate-a-zone.md"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server answered: its code, the contents at the name that was asked for. error: why it did not answer."""

    code: str = NO_ERROR
    values: Sequence[str] = ()
    authoritative: bool = False
    error: str = ""


def ask(server: Server, name: str, kind: str, *, recursion: bool = True) -> Answered:
    """Ask a server for the records of a type at a name."""
    try:
        query = dns.message.make_query(name, kind, use_edns=0)
        if not recursion:
            query.flags &= ~dns.flags.RD
        reply, _ = dns.query.udp_with_fallback(query, server.address, timeout=SECONDS, port=server.port)
    except (dns.exception.DNSException, OSError, ValueError) as error:
        return Answered(error=str(error) or type(error).__name__)
    wanted, asked = dns.rdatatype.from_text(kind), query.question[0].name
    found = [record for rrset in reply.answer if rrset.rdtype == wanted and rrset.name == asked for record in rrset]
    return Answered(
        code=dns.rcode.to_text(reply.rcode()),
        values=tuple(sorted(canonical(record.to_text()) for record in found)),
        authoritative=bool(reply.flags & dns.flags.AA),
    )


def judge_soa(zone: str, server: Server, answered: Answered) -> Finding:
    """Does PowerDNS answer for the access zone?"""
    check = f"powerdns {server}"
    if answered.error:
        advice = "start pdns_server, or name its port in GTM_DNS_PORT"
        return Finding(PROBLEM, check, f"does not answer: {answered.error}", advice)
    if answered.code == "SERVFAIL":
        return Finding(PROBLEM, check, f"SERVFAIL for {zone}", "PowerDNS does not reach the backend: see its log")
    if not answered.values or not answered.authoritative:
        found = f"is no authority for {zone} ({answered.code})"
        return Finding(
            PROBLEM, check, found, "set GTM_ACCESS_ZONE as the server has it, and look at launch in pdns.conf"
        )
    return Finding(OK, check, f"answers for {zone}")


def judge_delegation(zone: str, resolver: Server, seen: Answered, ours: Answered) -> Finding:
    """Does the world find the access zone here? seen: its NS records at a resolver. ours: at our own server."""
    check = f"delegation of {zone}"
    if seen.error:
        return Finding(
            PROBLEM, check, f"the resolver {resolver} does not answer: {seen.error}", "name another --resolver"
        )
    if seen.code == "REFUSED":
        return Finding(PROBLEM, check, f"the resolver {resolver} refuses to answer", "name another --resolver")
    if seen.code == "SERVFAIL":
        advice = f"look at the NS and address records in the parent zone, and at port 53 here: {PAGE}"
        return Finding(PROBLEM, check, "its name servers do not answer (SERVFAIL)", advice)
    if not seen.values:
        return Finding(PROBLEM, check, f"there is none ({seen.code})", f"add NS records to the parent zone: {PAGE}")
    if set(seen.values) != set(ours.values):
        advice = "make the parent zone and GTM_NAMESERVERS the same"
        there, here = ", ".join(seen.values), ", ".join(ours.values) or "none"
        return Finding(WARNING, check, f"the resolver finds {there}; this server says {here}", advice)
    return Finding(OK, check, f"to {', '.join(seen.values)}")


def chain(lookup: Callable[[str], Answered], domain: str, goal: str) -> tuple[Sequence[str], Answered]:
    """The targets of CNAMEs from a domain on, until `goal` or the last one; and the answer that ended it."""
    targets: list[str] = []
    answered = lookup(domain)
    while answered.values and len(targets) < MOST_CNAMES:
        targets.append(answered.values[0])
        if targets[-1] == goal:
            break
        answered = lookup(targets[-1])
    return targets, answered


def judge_domain(domain: str, instance: str, goal: str, targets: Sequence[str], last: Answered) -> Finding | None:
    """What is wrong with a service domain; None = it leads to `goal`."""
    check = f"service domain {domain} of {instance}"
    advice = f"in your DNS: {domain}. CNAME {goal}."
    if goal in targets:
        return None
    if last.error:
        return Finding(WARNING, check, f"the resolver does not answer: {last.error}", "name another --resolver")
    if targets:
        return Finding(WARNING, check, f"points elsewhere: CNAME {targets[-1]}", advice)
    if last.code != NO_ERROR:
        return Finding(WARNING, check, f"does not point here: {last.code}", advice)
    return Finding(WARNING, check, "does not point here: it has no CNAME", advice)


def service_domains(instances: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """The domains that should be CNAMEs of an instance: domain, the instance's name, its CNAME domain name.

    A domain that this server itself answers (`names`) needs none.
    """
    for instance in instances:
        names = {canonical(str(name)) for name in instance.get("names") or ()}
        for domain in instance.get("service_domains") or ():
            if canonical(str(domain)) not in names:
                yield canonical(str(domain)), str(instance["name"]), canonical(str(instance["cname"]))


def examine_domains(resolver: Server, instances: Iterable[Mapping[str, Any]]) -> Sequence[Finding]:
    """Follow every service domain at a resolver."""

    def follow(wanted: tuple[str, str, str]) -> Finding | None:
        domain, instance, goal = wanted
        return judge_domain(domain, instance, goal, *chain(partial(ask, resolver, kind="CNAME"), domain, goal))

    wanted = list(service_domains(instances))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [finding for finding in pool.map(follow, wanted) if finding]
    rest = len(wrong) - MOST_SHOWN
    more = [Finding(WARNING, "service domains", f"{rest} more do not point here")] if rest > 0 else []
    right = len(wanted) - len(wrong)
    fine = [Finding(OK, "service domains", f"{right} of {len(wanted)} point here")] if right or not wanted else []
    return [*fine, *wrong[:MOST_SHOWN], *more]
