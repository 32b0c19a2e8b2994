"""Lines: where a client comes from, written as octoDNS writes geos, and the most specific one that a client is on.

`default`, `AS` (continent), `AS-CN` (country), `NA-US-CA` (subdivision), `asn:4134`, `cidr:203.0.113.0/24`, terms
joined by `&` (all must hold), and `line:telecom`, a custom line, which stands for its members at their own specificity.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal

from annotated_types import MaxLen, MinLen

from pdns_gtm_backend.domain.client import Network, Place, parse_network
from pdns_gtm_backend.domain.document import DisplayName, Identifier, document
from pdns_gtm_backend.domain.names import identifier_error
from pdns_gtm_backend.domain.violation import Violation, pointer, shown

Kind = Literal["cidr", "asn", "subdivision", "country", "continent"]
RANKS: Final[Mapping[Kind, int]] = {"cidr": 5, "asn": 4, "subdivision": 3, "country": 2, "continent": 1}
CONTINENTS: Final = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
MAX_ASN: Final = 2**32 - 1
CUSTOM_PREFIX: Final = "line:"
FORMS: Final = (
    "default, a geo like AS, AS-CN or NA-US-CA, asn:4134, cidr:203.0.113.0/24, line:NAME, or terms joined by &"
)

GEO: Final = re.compile(r"([A-Z]{2})(?:-([A-Z]{2})(?:-([A-Z0-9]{1,3}))?)?")

LineText = Annotated[str, MinLen(1), MaxLen(200)]
TermValue = str | int | Network | tuple[str, str]


@document
class Line:
    """A named custom line: the clients of any of its members."""

    id: Identifier
    name: DisplayName | None = None
    members: Annotated[tuple[LineText, ...], MinLen(1), MaxLen(5000)]


@dataclass(frozen=True, slots=True)
class Term:
    """One condition on a client. `value` is what `client_value` gives for a client that meets it."""

    kind: Kind
    value: TermValue
    text: str


@dataclass(frozen=True, slots=True)
class Expression:
    """A line without custom lines: every term must hold; no term is the default line. Terms are most specific first."""

    terms: tuple[Term, ...]

    @property
    def text(self) -> str:
        """The canonical form of its terms. A country keeps the continent that it was written with."""
        return "&".join(term.text for term in self.terms) or "default"

    @property
    def identity(self) -> tuple[tuple[Kind, TermValue], ...]:
        """Equal for two lines exactly when they match the same clients at the same specificity."""
        return tuple((term.kind, term.value) for term in self.terms)


@lru_cache(maxsize=16_384)
def parse_line(text: str) -> Expression:
    """Read a line that is no custom one. Raises ValueError with a sentence that says what is allowed."""
    if text == "default":
        return Expression(())
    terms = [_parse_term(part) for part in text.split("&")]
    kinds = [term.kind for term in terms]
    twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if twice:
        raise ValueError(f"has two {twice} terms, of which no client can meet both: join different kinds only")
    return Expression(tuple(sorted(terms, key=lambda term: -RANKS[term.kind])))


def _parse_term(text: str) -> Term:
    if text.startswith("asn:"):
        number = text[4:]
        if not (number.isascii() and number.isdecimal() and len(number) <= 10 and 1 <= int(number) <= MAX_ASN):
            raise ValueError(f"{shown(text)} needs a number from 1 to {MAX_ASN}")
        return Term("asn", int(number), f"asn:{int(number)}")
    if text.startswith("cidr:"):
        return _parse_cidr(text)
    match = GEO.fullmatch(text)
    if match is None or match[1] not in CONTINENTS:
        raise ValueError(f"{shown(text)} is no line; allowed are {FORMS} (continents: {', '.join(CONTINENTS)})")
    if match[3]:
        return Term("subdivision", (match[2], match[3]), text)
    if match[2]:
        return Term("country", match[2], text)
    return Term("continent", match[1], text)


def _parse_cidr(text: str) -> Term:
    try:
        ipaddress.ip_network(text[5:])
        value = parse_network(text[5:])
    except ValueError as error:
        raise ValueError(f"{shown(text)} is no network: {error}") from None
    return Term("cidr", value, f"cidr:{value}")


def expand_line(text: str, lines: Mapping[str, Line]) -> tuple[Expression, ...]:
    """The expressions that `text` stands for: the members of a custom line, else itself. Raises ValueError."""
    if not text.startswith(CUSTOM_PREFIX):
        return (parse_line(text),)
    line = lines.get(text.removeprefix(CUSTOM_PREFIX))
    if line is None:
        raise ValueError(f"there is no custom line {shown(text.removeprefix(CUSTOM_PREFIX))}")
    return tuple(parse_line(member) for member in line.members)


def line_violations(line: Line) -> Iterator[Violation]:
    """Every rule of its own that a custom line breaks."""
    if error := identifier_error(line.id):
        yield Violation("/id", f"{shown(line.id)} {error}")
    seen: dict[tuple[tuple[Kind, TermValue], ...], int] = {}
    for index, member in enumerate(line.members):
        place = pointer("members", index)
        if member.startswith(CUSTOM_PREFIX) or member == "default":
            yield Violation(place, f"{shown(member)}: a custom line is made of geos, asn: and cidr: lines only")
            continue
        try:
            identity = parse_line(member).identity
        except ValueError as error:
            yield Violation(place, str(error))
            continue
        if identity in seen:
            yield Violation(place, f"{shown(member)} is already at /members/{seen[identity]}")
        seen.setdefault(identity, index)


@dataclass(frozen=True, slots=True)
class Match:
    """What a client's line leads to: the owner's number and the line as it was written and as it matched."""

    owner: int
    written: str
    matched: str


ClientKey = Callable[[Network, Place], object]
Signature = tuple[tuple[Kind, int, int], ...]
"""The kinds of an expression's terms with version and length of a network: all that its specificity depends on."""


class LineTable:
    """Finds the most specific line of a client at a cost that does not depend on the number of lines.

    Lines are grouped by signature; a client is looked up once for each group, the most specific first.
    """

    __slots__ = ("_groups", "_scopes")

    def __init__(self, lines: Iterable[tuple[Expression, Match]]) -> None:
        groups: dict[Signature, dict[object, Match]] = {}
        scopes: dict[tuple[int, int], int] = {}
        for expression, match in lines:
            signature = tuple(_signature(term) for term in expression.terms)
            key = tuple(term.value for term in expression.terms)
            groups.setdefault(signature, {}).setdefault(key if len(key) != 1 else key[0], match)
            for term in expression.terms:
                if isinstance(term.value, Network):
                    _note_scope(scopes, term.value)
        ordered = sorted(groups.items(), key=lambda item: _specificity(item[0]), reverse=True)
        self._groups = tuple((_client_key(signature), group) for signature, group in ordered)
        self._scopes = scopes

    def scope(self, client: Network) -> int:
        """Prefix length that answers to `client` hold for: /24 or /56, finer where a finer cidr line lies inside.

        It may be longer than the client's own: then that was too coarse to tell its line (RFC 7871 section 7.2.1).
        """
        coarse = SCOPES[client.version]
        if not self._scopes or client.length < coarse:
            return coarse
        return self._scopes.get((client.version, client.truncated(coarse).bits), coarse)

    def match(self, client: Network, place: Place) -> Match | None:
        """The most specific line that `client` at `place` belongs to; None where there is not even a default."""
        for key, group in self._groups:
            found = group.get(key(client, place))
            if found is not None:
                return found
        return None

    def all_matches(self, client: Network, place: Place) -> tuple[Match, ...]:
        """Every line that the client belongs to, most specific first: the first wins, the others lost."""
        found = (group.get(key(client, place)) for key, group in self._groups)
        return tuple(match for match in found if match is not None)


SCOPES: Final[Mapping[int, int]] = {4: 24, 6: 56}


def _note_scope(scopes: dict[tuple[int, int], int], network: Network) -> None:
    coarse = SCOPES[network.version]
    if network.length > coarse:
        key = (network.version, network.truncated(coarse).bits)
        scopes[key] = max(network.length, scopes.get(key, coarse))


def _signature(term: Term) -> tuple[Kind, int, int]:
    if isinstance(term.value, Network):
        return term.kind, term.value.version, term.value.length
    return term.kind, 0, 0


def _specificity(signature: Signature) -> tuple[tuple[int, int], ...]:
    return tuple((RANKS[kind], length) for kind, _, length in signature)


@lru_cache(maxsize=1024)
def _client_key(signature: Signature) -> ClientKey:
    """What gives the key of a client in the group of a signature; the tables of many instances share few."""
    values = [_client_value(*part) for part in signature]
    if len(values) == 1:
        return values[0]
    if not values:
        return lambda _client, _place: ()
    return lambda client, place: tuple(value(client, place) for value in values)


def _client_value(kind: Kind, version: int, length: int) -> ClientKey:
    if kind == "country":
        return lambda _client, place: place.country
    if kind == "continent":
        return lambda _client, place: place.continent
    if kind == "asn":
        return lambda _client, place: place.asn
    if kind == "subdivision":
        return lambda _client, place: (place.country, place.subdivision)
    return lambda client, _place: (
        client.truncated(length) if client.version == version and client.length >= length else None
    )
