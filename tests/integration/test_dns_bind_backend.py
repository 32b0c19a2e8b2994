"""The same zone in this backend and in PowerDNS's own bind backend: every answer must be the same, signed or not."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.rrset
import pytest

from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_client import DnsClient
from tests.support.ports import free_port
from tests.support.powerdns import _Process as Process
from tests.support.powerdns import wait_for
from tests.support.writable_system import util, writable_system

ZONE = "full.example"
MASTER = r"""
$ORIGIN full.example.
$TTL 3600
@ IN SOA ns1.full.example. hostmaster.full.example. 2026010101 10800 3600 604800 300
@ IN NS ns1
@ IN NS ns2.elsewhere.example.
@ IN MX 10 mail
@ IN TXT "v=spf1 -all"
@ IN CAA 0 issue "ca.example"
ns1 IN A 192.0.2.53
ns1 IN AAAA 2001:db8::53
mail 300 IN A 192.0.2.25
mail 300 IN A 192.0.2.26
MiXeD IN A 192.0.2.40
alias IN CNAME mail
chain IN CNAME alias
out IN CNAME www.elsewhere.example.
dangling IN CNAME nothing
*.wild IN A 192.0.2.70
*.wild IN MX 10 mail
x.y.wild IN TXT "closer"
*.alias-wild IN CNAME mail
deep.empty.names IN TXT "deep"
sub IN NS ns.sub
sub IN NS ns1
sub IN DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.sub IN A 192.0.2.77
ns.sub IN AAAA 2001:db8::77
insecure IN NS ns.elsewhere.example.
old IN DNAME new.elsewhere.example.
_sip._tcp IN SRV 10 20 5060 mail
_443._tcp.mail IN TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
svc IN HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.80
svc2 IN SVCB 2 mail.full.example. port=8443
ptr IN PTR mail
naptr IN NAPTR 100 50 "s" "z3950+I2L+I2C" "" _z3950._tcp.full.example.
loc IN LOC 51 56 0.123 N 5 54 0.000 E 4.00m 1.00m 10000.00m 10.00m
info IN HINFO "i486" "Linux"
rp IN RP mail txt
key IN SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
cert IN CERT 1 0 0 MxFcby9k
unknown IN TYPE65226 \# 3 414243
long IN TXT "semi;colon" "quo\"te" "back\\slash" "tab\009octet\255"
a\.b IN TXT "escaped dot"
sp\032ace IN A 192.0.2.41
\195\188 IN A 192.0.2.42
nullmx IN MX 0 .
nosrv IN SRV 0 0 0 .
under_score IN A 192.0.2.43
-hyphen- IN A 192.0.2.44
many 60 IN A 192.0.2.100
many 60 IN A 192.0.2.101
many 60 IN A 192.0.2.102
many 60 IN AAAA 2001:db8::100
"""
ABSENT = (
    *(
        "nothing",
        "a.wild",
        "a.b.wild",
        "y.wild",
        "z.y.wild",
        "empty.names",
        "names",
        "q.alias-wild",
        "host.sub",
        "0",
        "zz",
    ),
    *("x.old", "y.x.old", "b", "x.mail", "_tcp", "x._tcp.mail", "deep.insecure", "*", "*.mail", "x.nothing", "wild"),
)
TYPES = (
    *("A", "AAAA", "NS", "SOA", "MX", "TXT", "CNAME", "SRV", "TLSA", "HTTPS", "SVCB", "PTR", "NAPTR", "LOC", "HINFO"),
    *("RP", "SSHFP", "CERT", "TYPE65226", "DNAME", "DS", "CAA", "DNSKEY"),
)
SIGNED_TYPES = ("A", "NS", "MX", "TXT", "DS", "CNAME", "DNSKEY")
COMMON = {"dname-processing": "yes", "cache-ttl": "0", "query-cache-ttl": "0"}
Pair = tuple[DnsClient, DnsClient]


class BindBackend(Process):
    """pdns_server with its bind backend."""

    def __init__(self, folder: Path, zone: Path) -> None:
        self.folder, self.client = folder, DnsClient(free_port())
        folder.mkdir()
        (folder / "named.conf").write_text(f'zone "{ZONE}" {{ type master; file "{zone}"; }};\n')
        settings = COMMON | {
            "launch": "bind",
            "bind-config": f"{folder}/named.conf",
            "bind-dnssec-db": f"{folder}/dnssec.sqlite3",
            "local-address": "127.0.0.1",
            "local-port": str(self.client.port),
            "socket-dir": str(folder),
            "8bit-dns": "yes",
            "security-poll-suffix": "",
            "daemon": "no",
            "guardian": "no",
            "disable-syslog": "yes",
        }
        (folder / "pdns.conf").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        subprocess.run(
            ["pdnsutil", f"--config-dir={folder}", "create-bind-db", f"{folder}/dnssec.sqlite3"],
            check=True,
            capture_output=True,
        )
        super().__init__(["pdns_server", f"--config-dir={folder}"], folder / "pdns.log", {"PATH": "/usr/sbin:/usr/bin"})

    def util(self, *words: str) -> str:
        command = ["pdnsutil", f"--config-dir={self.folder}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module", params=["unsigned", "nsec", "nsec3"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """This backend and the bind backend, with the same zone and the same key."""
    folder = tmp_path_factory.mktemp("b")
    zone = folder / "zone"
    zone.write_text(MASTER)
    bind = BindBackend(folder / "bind", zone)
    with writable_system(folder / "g", COMMON, Zone(name=ZONE, number=4)) as system:
        util(system, "load-zone", ZONE, str(zone))
        if request.param != "unsigned":
            util(system, "secure-zone", ZONE)
            key = folder / "key"
            key.write_text(util(system, "export-zone-key", ZONE, "1"))
            bind.util("import-zone-key", ZONE, str(key), "active", "ksk")
        if request.param == "nsec3":
            util(system, "set-nsec3", ZONE, "1 0 2 abcd")
            bind.util("set-nsec3", ZONE, "1 0 2 abcd")
        system.powerdns.control("purge")
        bind.start()
        try:
            bind.started(lambda: True)
            wait_for(lambda: _answers(bind.client), "bind backend")
            yield system.client, bind.client
        finally:
            bind.stop()


def _answers(client: DnsClient) -> bool:
    try:
        return DnsClient(client.port, timeout=0.5).ask(ZONE, "SOA").code == "NOERROR"
    except (OSError, dns.exception.DNSException):
        return False


def ask(client: DnsClient, name: dns.name.Name, rrtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rrtype, use_edns=0, want_dnssec=True, payload=4096)
    return dns.query.udp_with_fallback(query, client.address, timeout=client.timeout, port=client.port)[0]


def names() -> list[dns.name.Name]:
    """Every name of the zone file, and names that are not in it."""
    written = [line.split()[0] for line in MASTER.splitlines() if " IN " in line]
    return [dns.name.from_text(name, dns.name.from_text(ZONE)) for name in dict.fromkeys((*written, *ABSENT))] + [
        dns.name.from_text(ZONE)
    ]


def comparable(message: dns.message.Message) -> tuple[object, ...]:
    """All of an answer but for its order and for signatures, of which ECDSA makes another one each time."""
    sections = (message.answer, message.authority, message.additional)
    return (message.rcode(), bool(message.flags & dns.flags.AA), *(_records(section) for section in sections))


def _records(section: list[dns.rrset.RRset]) -> list[str]:
    return sorted(
        f"{rrset.name.canonicalize()} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {_content(record)}"
        for rrset in section
        for record in rrset
    )


def _content(record: object) -> str:
    words = str(record).split()
    if type(record).__name__ == "RRSIG":
        return " ".join(words[:4])
    # The bind backend writes the next name in the case of its file, which says nothing (RFC 4343).
    return str(record).lower() if type(record).__name__ == "NSEC" else str(record)


def test_every_answer_is_that_of_the_bind_backend(pair: Pair, request: pytest.FixtureRequest) -> None:
    signed = request.node.callspec.params["pair"] != "unsigned"
    differences = []
    for rrtype in SIGNED_TYPES if signed else TYPES:
        for name in names():
            ours, theirs = (comparable(ask(client, name, rrtype)) for client in pair)
            if ours != theirs:
                differences.append(f"{name.to_text()} {rrtype}\n  here {ours}\n  bind {theirs}")
    assert not differences, "\n".join(differences[:5])


def test_the_zones_are_not_empty(pair: Pair) -> None:
    """What all answers agree in must not be that both servers refuse."""
    codes = {ask(client, name, "A").rcode() for client in pair for name in names()}
    assert codes == {0, 3}
    assert DnsClient(pair[0].port).a(f"many.{ZONE}") == ["192.0.2.100", "192.0.2.101", "192.0.2.102"]
