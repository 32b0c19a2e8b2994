"""Search over all records, for PowerDNS's API (`search-data`)."""

import re
from collections.abc import Iterator
from fnmatch import translate
from itertools import islice
from typing import Final

from pdns_gtm_backend.dns.answers import Record, View, list_zone

MAX_RESULTS: Final = 10_000


def search(view: View, pattern: str, limit: int) -> list[Record]:
    """Records whose name or content matches a pattern, in which `*` is any text and `?` any character.

    At names of instances they are those that a client of the default line gets.
    """
    # Brackets mean themselves to PowerDNS.
    wanted = re.compile(translate(pattern.removesuffix(".").replace("[", "[[]")), re.IGNORECASE)
    return list(islice(_matching(view, wanted), max(0, min(limit, MAX_RESULTS))))


def _matching(view: View, wanted: re.Pattern[str]) -> Iterator[Record]:
    for zone in view.zones.by_name.values():
        for record in list_zone(view, zone):
            if record["qtype"] and (wanted.match(record["qname"]) or wanted.match(record["content"])):
                yield record
