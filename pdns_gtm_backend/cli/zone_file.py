"""Zone files (RFC 1035 section 5) as sets of records, and what is to be done to bring them into a zone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
import dns.zonefile

from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.zone import MAX_SERIAL

MADE_BY_SIGNING: Final = frozenset({"RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "ZONEMD"})
"""Of another signer's keys: PowerDNS makes its own."""
SOA: Final = "SOA"
SERIAL: Final = 2

Key = tuple[str, str]
"""Name and type."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one name and type, in presentation form with absolute names."""

    name: str
    type: str
    ttl: int
    records: tuple[str, ...]

    @property
    def key(self) -> Key:
        return self.name, self.type


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with one set of records. replaces: the zone holds other records of this name and type."""

    action: Literal["create", "update", "delete"]
    records: Records


def parse_zone_file(text: str, zone: str) -> tuple[Sequence[Records], Sequence[str]]:
    """The sets of records in a zone file, and the types that are left out. Raises ValueError with the line."""
    try:
        origin = dns.name.from_text(zone)
        parsed = dns.zone.from_text(text, origin, relativize=False, check_origin=False, allow_include=False)
    except dns.zonefile.CNAMEAndOtherData:
        raise ValueError("a CNAME is beside other records at its name (RFC 1034 section 3.6.2)") from None
    except dns.exception.DNSException as error:
        # The parser counts a line when it has read its end.
        text = re.sub(r"^<string>:([0-9]+): ", r"line \1 or the one before: ", str(error))
        raise ValueError(text or type(error).__name__) from None
    found, left_out = [], set()
    for name, dataset in parsed.iterate_rdatasets():
        rrtype = dns.rdatatype.to_text(dataset.rdtype)
        if rrtype in MADE_BY_SIGNING:
            left_out.add(rrtype)
            continue
        records = tuple(sorted(record.to_text(origin=None, relativize=False) for record in dataset))
        found.append(Records(canonical(name.to_text()), rrtype, dataset.ttl, records))
    return sorted(found, key=lambda records: records.key), sorted(left_out)


def steps(held: Sequence[Records], wanted: Sequence[Records], *, replace: bool) -> Sequence[Step]:
    """How to bring `wanted` into a zone that holds `held`, in an order that no rule forbids.

    Deletions go first, since a CNAME is alone at its name; the SOA goes last, as every write raises the serial.
    """
    before = {records.key: records for records in held}
    after = {records.key: with_serial(records, before.get(records.key)) for records in wanted}
    gone = [Step("delete", records) for key, records in before.items() if replace and key not in after]
    kept = [step for step in gone if step.records.type != SOA]
    return [*kept, *sorted(_writes(before, after), key=lambda step: (step.records.type == SOA, step.records.key))]


def _writes(before: Mapping[Key, Records], after: Mapping[Key, Records]) -> Iterator[Step]:
    for key, records in after.items():
        there = before.get(key)
        if there is None:
            yield Step("create", records)
        elif not same(there, records):
            yield Step("update", records)


def same(one: Records, other: Records) -> bool:
    """Do both hold the same, however it is written?"""
    return one.ttl == other.ttl and _contents(one) == _contents(other)


def _contents(records: Records) -> frozenset[object]:
    return frozenset(_content(records.type, text) for text in records.records)


def _content(rrtype: str, text: str) -> object:
    try:
        return dns.rdata.from_text(dns.rdataclass.IN, rrtype, text, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError):
        return text


def with_serial(wanted: Records, held: Records | None) -> Records:
    """An SOA with the later one of both serials (RFC 1982): one that goes back stops the zone's secondaries."""
    if wanted.type != SOA or held is None:
        return wanted
    ours, theirs = wanted.records[0].split(), held.records[0].split()
    if is_later(int(ours[SERIAL]), int(theirs[SERIAL])):
        return wanted
    fields = [*ours[:SERIAL], theirs[SERIAL], *ours[SERIAL + 1 :]]
    return Records(wanted.name, wanted.type, wanted.ttl, (" ".join(fields),))


def is_later(serial: int, than: int) -> bool:
    """Is one serial later than another (RFC 1982 section 3.2)?"""
    return serial != than and (serial - than) % (MAX_SERIAL + 1) < 2**31
