"""Who may tell a real dnsdist that something has changed, where its backend has an address of its own."""

import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from pdns_gtm_backend.operations.edge_conf import edge_folder, edge_secret, render
from pdns_gtm_backend.settings import Settings
from tests.support.namespace import Namespace, unavailable
from tests.support.powerdns import wait_for

DNSDIST, PUBLISHED, BACKEND, OTHER = "192.0.2.21", "192.0.2.121", "192.0.2.31", "192.0.2.32"
PORT = 5300
DONE, NOT_OBEYED = "NXDOMAIN", "SERVFAIL"
"""There is no PowerDNS here: what is not obeyed goes on to it."""


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    if why := unavailable():
        pytest.skip(why)
    with Namespace() as made:
        for address in (DNSDIST, PUBLISHED, BACKEND, OTHER):
            subprocess.run(made.command("ip", "address", "add", f"{address}/32", "dev", "lo"), check=True)
        yield made


@pytest.fixture(scope="module")
def secret(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """That of a dnsdist that runs."""
    folder = tmp_path_factory.mktemp("edge")
    settings = Settings(var=folder, listen="0.0.0.0", dns_port=PORT, edge_address=IPv4Address(DNSDIST))
    made = edge_secret(edge_folder(settings))
    configuration = folder / "dnsdist.conf"
    configuration.write_text(render(settings, backend=BACKEND))
    with (folder / "log").open("wb") as log:
        words = ("dnsdist", "--supervised", "--disable-syslog", "-C", str(configuration))
        process = network.start(*words, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: listens(network), f"dnsdist answers; its log is {folder / 'log'}")
        yield made
    finally:
        process.terminate()
        process.wait(60)


def listens(network: Namespace) -> bool:
    try:
        return ask(network, "x.example", OTHER, PUBLISHED, seconds=0.5) == NOT_OBEYED
    except (OSError, dns.exception.DNSException):
        return False


def ask(network: Namespace, name: str, source: str, target: str, *, seconds: float = 20.0) -> str:
    """The response code that `source` gets."""
    query = dns.message.make_query(name, "A", use_edns=False)
    reply = network.call(dns.query.udp, query, target, timeout=seconds, port=PORT, source=source)
    return dns.rcode.to_text(reply.rcode())


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        (BACKEND, DNSDIST, DONE),
        ("127.0.0.1", "127.0.0.1", DONE),
        (OTHER, DNSDIST, NOT_OBEYED),
        (BACKEND, PUBLISHED, NOT_OBEYED),
        ("127.0.0.1", PUBLISHED, NOT_OBEYED),
    ],
)
def test_only_the_backend_is_obeyed_and_only_where_clients_do_not_ask(
    network: Namespace, secret: str, source: str, target: str, code: str
) -> None:
    """A packet from the backend's address that comes in where clients ask was sent by somebody else."""
    assert ask(network, f"all.{secret}.gtm-edge.invalid", source, target) == code


def test_the_backend_must_know_the_secret(network: Namespace, secret: str) -> None:
    assert ask(network, f"all.{secret[::-1]}.gtm-edge.invalid", BACKEND, DNSDIST) == "REFUSED"
