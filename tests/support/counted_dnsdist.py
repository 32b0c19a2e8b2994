"""A dnsdist that counts, with the configuration of a running system's, which only the test tells of changes."""

import re
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import requests

from pdns_gtm_backend.dns.edge_control import DnsdistControl
from pdns_gtm_backend.operations.edge_conf import REGIONS
from tests.support.namespace import Namespace
from tests.support.powerdns import wait_for

DNS_PORT, WEB_PORT = 5301, 8301
"""None of those that the kernel gives out: in a namespace of its own they are free."""
LISTENERS = 2
ANSWER_SECONDS = 20.0
KEY = "counted"


class CountedDnsdist:
    """Started in a namespace, in front of the same PowerDNS.

    edge: the system's folder of that name. regions: a copy of what it knows of them.
    """

    def __init__(self, network: Namespace, edge: Path, dns_port: int, folder: Path) -> None:
        self.port, self.regions = DNS_PORT, folder / REGIONS
        self.regions.write_bytes((edge / REGIONS).read_bytes())
        text = (edge / "dnsdist.conf").read_text()
        text = text.replace(f":{dns_port}", f":{self.port}").replace(str(edge / REGIONS), str(self.regions))
        text = re.sub(r"^for _ = 1, \d+ do", f"for _ = 1, {LISTENERS} do", text, flags=re.MULTILINE)
        text += f'\nwebserver("127.0.0.1:{WEB_PORT}")\nsetWebserverConfig({{apiKey = "{KEY}"}})\n'
        (folder / "dnsdist.conf").write_text(text)
        self.control = DnsdistControl("127.0.0.1", self.port, edge)
        self._log = (folder / "log").open("wb")
        command = ("dnsdist", "--supervised", "--disable-syslog", "-C", str(folder / "dnsdist.conf"))
        self._process = network.start(*command, stdout=self._log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def count(self, name: str) -> int:
        """One of dnsdist's statistics."""
        place = f"http://127.0.0.1:{WEB_PORT}/jsonstat?command=stats"
        found: dict[str, Any] = requests.get(place, headers={"X-API-Key": KEY}, timeout=10).json()
        return int(found[name])

    def wait_until_ready(self, name: str) -> None:
        """Wait until it answers a name."""
        query = dns.message.make_query(name, "A").to_wire()
        wait_for(lambda: self._answers(query), f"dnsdist answers {name}")

    def _answers(self, query: bytes) -> bool:
        try:
            return self.ask(query)[3] & 15 == 0
        except OSError:
            return False

    def ask(self, query: bytes, source: str = "127.0.0.1", *, tcp: bool = False) -> bytes:
        """The octets of the reply to those of a query."""
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind) as channel:
            channel.settimeout(ANSWER_SECONDS)
            channel.bind((source, 0))
            channel.connect(("::1" if ":" in source else "127.0.0.1", self.port))
            if not tcp:
                channel.send(query)
                return channel.recv(65535)
            channel.sendall(struct.pack("!H", len(query)) + query)
            with channel.makefile("rb") as stream:
                return stream.read(struct.unpack("!H", stream.read(2))[0])

    def ask_until_counted(self, name: str, ask: Callable[[], bytes]) -> bytes:
        """Ask until a statistic grows by it, and return that reply."""
        replies: list[bytes] = []

        def counted() -> bool:
            before = self.count(name)
            replies.append(ask())
            return self.count(name) == before + 1

        wait_for(counted, f"{name} counted")
        return replies[-1]
