"""Names and records of zones in presentation form (RFC 1035 section 5.1), as PowerDNS writes and compares them."""

import re
from typing import Final

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

ONLINE_TYPES: Final = frozenset({"RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"})
"""Types that PowerDNS makes itself while it signs."""
ROOT_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(?<!\S)@(?!\S)')
SPECIAL_OCTETS: Final = b".\\"
KEPT_TYPES: Final = frozenset({"CERT", "SVCB", "HTTPS"})
"""Types whose mnemonics and quotes PowerDNS 4.7 does not read as dnspython writes them: they stay as they were sent."""


def written_name(text: str) -> str:
    """A name in its one form: lower case, no trailing dot, the escapes that PowerDNS writes. The root is "".

    Any octet may be in it (RFC 2181 section 11). Raises ValueError where `text` is no domain name.
    """
    try:
        labels = dns.name.from_text(text).labels[:-1]
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"is no domain name: {error}") from None
    return ".".join("".join(map(_written_octet, label)) for label in labels).lower()


def _written_octet(octet: int) -> str:
    if octet in SPECIAL_OCTETS:
        return "\\" + chr(octet)
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03}"


def name_labels(name: str) -> tuple[bytes, ...]:
    """The labels of a name in its written form, leftmost first, none for the root."""
    if not name:
        return ()
    if "\\" not in name:
        return tuple(name.encode("latin-1").split(b"."))
    return dns.name.from_text(name).labels[:-1]


def canonical_order(name: str) -> tuple[bytes, ...]:
    """What names sort by (RFC 4034 section 6.1): labels from the right, as octets in lower case."""
    return tuple(label.lower() for label in reversed(name_labels(name)))


def record_type_error(rrtype: str) -> str | None:
    """Why records of this type cannot be served, or None."""
    try:
        number = dns.rdatatype.from_text(rrtype)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        return "is no record type"
    if dns.rdatatype.is_metatype(number) or rrtype.upper() in ONLINE_TYPES or not number:
        return "is no type that a zone holds as data"
    return None


def stored_content(rrtype: str, text: str) -> str:
    """A record in the form that PowerDNS compares: names without the trailing dot. Raises ValueError."""
    try:
        record = dns.rdata.from_text(dns.rdataclass.IN, rrtype, text, origin=dns.name.root, relativize=False)
        written = str(record.to_text(origin=dns.name.root, relativize=True))
    except (dns.exception.DNSException, ValueError, UnicodeError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    if rrtype in KEPT_TYPES and "\\#" not in text:
        return " ".join(text.split())
    # The root relative to itself is written "@", which is no name to PowerDNS.
    return ROOT_TOKEN.sub(lambda found: "." if found[0] == "@" else found[0], written)


def content_error(rrtype: str, content: str) -> str | None:
    """Why `content` is no record of this type in presentation form, or None. One such record makes a name SERVFAIL."""
    try:
        dns.rdata.from_text(dns.rdataclass.IN, rrtype, content, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError, UnicodeError) as error:
        return str(error) or type(error).__name__
    return None
