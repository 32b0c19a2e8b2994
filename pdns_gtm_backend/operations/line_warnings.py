"""Lines that the loaded geo database can never match: allowed, and probably not meant."""

from collections.abc import Iterator, Mapping

from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line, Term, expand_line
from pdns_gtm_backend.domain.violation import Violation, pointer, shown
from pdns_gtm_backend.geo.database import Capabilities


def line_warnings(owner: Instance | Line, lines: Mapping[str, Line], capabilities: Capabilities) -> Iterator[Violation]:
    """A warning for each line of an instance's policies, or member of a custom line, that matches nobody."""
    for place, text in _written(owner):
        try:
            expressions = expand_line(text, lines)
        except ValueError:
            continue
        reasons = [_never(expression.terms, capabilities) for expression in expressions]
        if reasons and all(reasons):
            yield Violation(place, f"{shown(text)} matches no client: {reasons[0]}")


def _written(owner: Instance | Line) -> Iterator[tuple[str, str]]:
    if isinstance(owner, Line):
        yield from ((pointer("members", index), text) for index, text in enumerate(owner.members))
        return
    for index, policy in enumerate(owner.policies):
        yield from ((pointer("policies", index, "lines", number), text) for number, text in enumerate(policy.lines))


def _never(terms: tuple[Term, ...], capabilities: Capabilities) -> str:
    """Why no client meets all `terms`; "" where one might."""
    return next((reason for term in terms if (reason := _term_reason(term, capabilities))), "")


def _term_reason(term: Term, capabilities: Capabilities) -> str:
    if term.kind == "asn":
        return "" if capabilities.has_asn else "no database of autonomous systems is loaded (GTM_GEO_ASN_DATABASE)"
    if term.kind == "subdivision":
        return "" if capabilities.has_subdivision else "the geo database has no subdivisions"
    if term.kind == "cidr":
        return ""
    if not capabilities.has_country:
        return "no geo database is loaded (GTM_GEO_DATABASE)"
    known = capabilities.countries if term.kind == "country" else capabilities.continents
    if known is not None and term.value not in known:
        return f"the geo database has no {term.kind} {term.value}"
    return ""
