"""Terminal, recursive resolver, root, TLD, the service's own DNS, CNAME, GTM, address: every link a real server."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.support.figure import POOLS, Origins, load_figure
from tests.support.namespace import AuthoritativeServer, Namespace, Resolver, unavailable
from tests.support.ports import free_port
from tests.support.powerdns import wait_for
from tests.support.stack import Stack

ROOT, TLD, OWN, RESOLVER = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.53"
HINTS = f". 300 NS a.rootns.\na.rootns. 300 A {ROOT}\n"


def zone(server: str, records: str) -> str:
    return f"$TTL 300\n@ SOA {server} hostmaster.example. 1 3600 600 86400 60\n@ NS {server}\n{records}"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if reason := unavailable():
        pytest.skip(reason)
    with Namespace() as made:
        yield made


def answers(message: dns.message.Message) -> dict[str, list[str]]:
    return {
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}": sorted(record.to_text() for record in rrset)
        for rrset in message.answer
    }


def test_the_whole_chain(namespace: Namespace, tmp_path: Path) -> None:
    """Runs in the namespace, so that every server has port 53 and its own address."""
    namespace.call(_walk_the_chain, namespace, tmp_path)


def _walk_the_chain(namespace: Namespace, folder: Path) -> None:
    with ExitStack() as running:
        origins = running.enter_context(Origins(free_port()))
        settings = {"GTM_DNS_PORT": "53", "GTM_ALLOW_PRIVATE_TARGETS": "1"}
        stack = running.enter_context(Stack(folder, settings))
        cname = load_figure(stack.api, origins.port)["cname"]
        zones = {
            ROOT: {
                ".": zone(
                    "a.rootns.",
                    f"a.rootns. A {ROOT}\ncom. NS ns.nic.com.\nns.nic.com. A {TLD}\n"
                    f"example. NS ns.nic.example.\nns.nic.example. A {TLD}\n",
                )
            },
            TLD: {
                "com": zone("ns.nic.com.", f"ns.nic A {TLD}\nexample NS ns.example.com.\nns.example A {OWN}\n"),
                "example": zone("ns.nic.example.", f"ns.nic A {TLD}\ngtm NS ns1.gtm\nns1.gtm A 127.0.0.1\n"),
            },
            OWN: {"example.com": zone("ns.example.com.", f"ns A {OWN}\nwww CNAME {cname}.\n")},
        }
        for number, (address, served) in enumerate(zones.items()):
            server = AuthoritativeServer(namespace, folder / f"authoritative-{number}", address, served)
            running.callback(server.stop)
        resolver = Resolver(namespace, folder / "resolver", RESOLVER, HINTS)
        running.callback(resolver.stop)
        for address in (*zones, RESOLVER):
            wait_for(lambda address=address: _listens(address), f"a server at {address}")

        def ask() -> dns.message.Message:
            return dns.query.udp(dns.message.make_query("www.example.com", "A"), RESOLVER, timeout=30)

        wait_for(lambda: stack.api.get("/instances")["items"], "the instance")
        expected = {"www.example.com. CNAME": [f"{cname}."], f"{cname}. A": sorted(POOLS["pool-b"])}
        first = ask()
        assert answers(first) == expected
        asked = _queries(stack)
        second = ask()
        assert answers(second) == expected
        assert _queries(stack) == asked, "the second answer comes from the resolver's cache"
        assert second.answer[-1].ttl <= first.answer[-1].ttl <= 60


def _listens(address: str) -> bool:
    try:
        dns.query.udp(dns.message.make_query(".", "SOA"), address, timeout=0.3)
    except dns.exception.Timeout:
        return False
    except OSError:
        return False
    return True


def _queries(stack: Stack) -> int:
    """How many queries our pdns_server has had."""
    command = ["pdns_control", f"--config-dir={stack.layout.var / 'pdns'}", "show", "udp-queries"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
