"""Tells dnsdist what has changed, by DNS queries to it from this machine that `pdns-conf/dnsdist.conf` understands."""

import socket
from pathlib import Path
from typing import Final, Literal

import dns.exception
import dns.message
import dns.name
import dns.rcode

from pdns_gtm_backend.operations.edge_conf import edge_secret

Verb = Literal["name", "tree", "all", "load"]

ZONE: Final = "gtm-edge.invalid."
ATTEMPTS: Final = 2
TIMEOUT_SECONDS: Final = 0.5


class EdgeError(Exception):
    """dnsdist could not be told, or did not understand."""


class DnsdistControl:
    """One dnsdist. folder: of the secret that it and this process share."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._place = (host, port)
        self._folder = folder

    def send(self, verb: Verb, target: str = "") -> None:
        """Have it purge a `name`, a `tree` of names or `all`, or `load` its regions; returns when it has.

        Raises EdgeError, also where no query can hold the name.
        """
        try:
            question = dns.name.from_text(f"{target}{target and '.'}{verb}.{edge_secret(self._folder)}.{ZONE}")
        except dns.exception.DNSException as error:
            raise EdgeError(f"{verb} {target}: {error}") from None
        query = dns.message.make_query(question, "A", use_edns=False)
        answer = self._asked(query)
        if answer.rcode() != dns.rcode.NXDOMAIN:
            raise EdgeError(f"dnsdist at {self._place[0]} port {self._place[1]}: {dns.rcode.to_text(answer.rcode())}")

    def _asked(self, query: dns.message.Message) -> dns.message.Message:
        family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
        wire, reason = query.to_wire(), "no answer"
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.settimeout(TIMEOUT_SECONDS)
            for _ in range(ATTEMPTS):
                try:
                    channel.connect(self._place)
                    channel.send(wire)
                    answer = dns.message.from_wire(channel.recv(4096))
                except (OSError, dns.exception.DNSException) as error:
                    reason = str(error) or reason
                    continue
                if query.is_response(answer):
                    return answer
        raise EdgeError(f"dnsdist at {self._place[0]} port {self._place[1]}: {reason}")
