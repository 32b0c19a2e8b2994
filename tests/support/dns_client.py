"""DNS queries to one server, with EDNS client subnet, by dnspython."""

from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. scope: of the reply's EDNS client subnet, None where it has none."""

    message: dns.message.Message
    scope: int | None

    @property
    def code(self) -> str:
        return dns.rcode.to_text(self.message.rcode())

    def values(self, rrtype: str, section: str = "answer") -> list[str]:
        """The sorted contents of the records of a type."""
        wanted = dns.rdatatype.from_text(rrtype)
        sets = [rrset for rrset in getattr(self.message, section) if rrset.rdtype == wanted]
        return sorted(record.to_text() for rrset in sets for record in rrset)

    def types(self, section: str = "answer") -> list[str]:
        """The types of the records of a section, sorted."""
        return sorted(dns.rdatatype.to_text(rrset.rdtype) for rrset in getattr(self.message, section))

    def ttl(self) -> int:
        return int(self.message.answer[0].ttl)


@dataclass(frozen=True, slots=True)
class DnsClient:
    """Asks one server. Raises dns.exception.Timeout."""

    port: int
    address: str = "127.0.0.1"
    timeout: float = 20.0

    def ask(self, name: str, rrtype: str = "A", subnet: str | None = None, *, tcp: bool = False) -> Reply:
        """One query; subnet: of the client, such as 192.0.2.0/24."""
        options = [] if subnet is None else [_subnet(subnet)]
        message = dns.message.make_query(name, rrtype, use_edns=0, options=options)
        carry = dns.query.tcp if tcp else dns.query.udp
        reply = carry(message, self.address, timeout=self.timeout, port=self.port)
        scopes = [option.scopelen for option in reply.options if isinstance(option, dns.edns.ECSOption)]
        return Reply(reply, scopes[0] if scopes else None)

    def a(self, name: str, subnet: str | None = None) -> list[str]:
        """The addresses that a client gets."""
        return self.ask(name, "A", subnet).values("A")


def _subnet(text: str) -> dns.edns.ECSOption:
    address, _, length = text.partition("/")
    return dns.edns.ECSOption(address, int(length))
