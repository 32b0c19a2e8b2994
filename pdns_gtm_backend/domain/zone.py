"""Zones that this server answers for, and their static records."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.document import DomainNameText, document
from pdns_gtm_backend.domain.names import domain_name_error
from pdns_gtm_backend.domain.violation import Violation, shown

MAX_SERIAL: Final = 2**32 - 1


@document
class Zone:
    """A zone.

    kind: an `access` zone holds the CNAME domain names of instances and takes NS and SOA from settings; a `hosted`
    zone holds static records, and names of instances beside them.
    number: PowerDNS's domain id, from a counter; 0 only in a document on its way in.
    serial: of the SOA; moves with static records only.
    """

    name: DomainNameText
    kind: Literal["access", "hosted"] = "hosted"
    number: Annotated[int, Ge(0), Le(2**31 - 1)] = 0
    serial: Annotated[int, Ge(0), Le(MAX_SERIAL)] = 1


@document
class RRset:
    """The static records of one name and type.

    name: in the form of `record.written_name`, in which an octet may take four characters.
    records: contents in presentation form, without the trailing dot on names of targets (as PowerDNS compares them).
    """

    zone: DomainNameText
    name: Annotated[str, MinLen(1), MaxLen(1016)]
    type: Annotated[str, MinLen(1), MaxLen(16)]
    ttl: Annotated[int, Ge(0), Le(2**31 - 1)] = 3600
    records: Annotated[tuple[Annotated[str, MaxLen(65_535)], ...], MinLen(1), MaxLen(5000)]

    @property
    def key(self) -> str:
        """Names this set in the store."""
        return rrset_key(self.zone, self.name, self.type)


def rrset_key(zone: str, name: str, rrtype: str) -> str:
    """The key of the records of one name and type in a zone."""
    return f"{zone}|{name}|{rrtype}"


def zone_violations(zone: Zone) -> Iterator[Violation]:
    """Every rule of its own that a zone breaks."""
    if error := domain_name_error(zone.name):
        yield Violation("/name", f"{shown(zone.name)} {error}")
