"""Metadata of zones: what PowerDNS and its tools note of a zone.

https://doc.powerdns.com/authoritative/domainmetadata.html
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from annotated_types import MaxLen, MinLen

from pdns_gtm_backend.domain.document import DomainNameText, document
from pdns_gtm_backend.domain.violation import Violation, shown

KIND: Final = re.compile(r"[A-Z0-9_-]{1,64}", re.ASCII)
AXFR_SWITCH: Final = "X-GTM-AXFR"
"""`1` lets a zone with names of instances go out by AXFR: a secondary would serve what the default line got then."""
AXFR_KINDS: Final = frozenset({"ALLOW-AXFR-FROM", "TSIG-ALLOW-AXFR"})


@document
class ZoneMetadata:
    """The values of one kind of metadata of a zone."""

    zone: DomainNameText
    kind: Annotated[str, MinLen(1), MaxLen(64)]
    values: Annotated[tuple[Annotated[str, MaxLen(4096)], ...], MinLen(1), MaxLen(1000)]

    @property
    def key(self) -> str:
        """Names this document in the store."""
        return metadata_key(self.zone, self.kind)


def metadata_key(zone: str, kind: str) -> str:
    """The key of the values of one kind of metadata of a zone."""
    return f"{zone}|{kind}"


def zone_metadata_violations(metadata: ZoneMetadata) -> Iterator[Violation]:
    """Every rule of its own that metadata breaks."""
    if not KIND.fullmatch(metadata.kind):
        detail = f"{shown(metadata.kind)} is no kind of metadata: 1 to 64 capital letters, digits, '-' and '_'"
        yield Violation("/kind", detail)
