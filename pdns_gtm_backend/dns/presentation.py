"""Domain names and records as PowerDNS writes them."""

from typing import Final

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from pdns_gtm_backend.domain.names import canonical

ONLINE_TYPES: Final = frozenset({"RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"})
"""Types that PowerDNS makes itself while it signs."""


def query_name(text: str) -> str | None:
    """The one form in which a name is looked up: lower case, no trailing dot, the escapes that PowerDNS writes.

    None where `text` is no domain name. Only names with a backslash are read label by label: PowerDNS writes
    everything else in this form already, but for the letter case.
    """
    if "\\" not in text:
        return canonical(text)
    try:
        return written_name(text)
    except ValueError:
        return None


def written_name(text: str) -> str:
    """The same form for a name that anyone wrote (RFC 1035 section 5.1). Raises ValueError where it is none."""
    try:
        labels = dns.name.from_text(text).labels[:-1]
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"is no domain name: {error}") from None
    return ".".join("".join(map(_written_octet, label)) for label in labels).lower()


def _written_octet(octet: int) -> str:
    if octet in b".\\":
        return "\\" + chr(octet)
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03}"


def record_type_error(rrtype: str) -> str | None:
    """Why records of this type cannot be served, or None."""
    try:
        number = dns.rdatatype.from_text(rrtype)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        return "is no record type"
    if dns.rdatatype.is_metatype(number) or rrtype.upper() in ONLINE_TYPES:
        return "is no type that a zone holds as data"
    return None


def content_error(rrtype: str, content: str) -> str | None:
    """Why `content` is no record of this type in presentation form, or None. One such record makes a name SERVFAIL."""
    try:
        dns.rdata.from_text(dns.rdataclass.IN, rrtype, content, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError, UnicodeError) as error:
        return str(error) or type(error).__name__
    return None
