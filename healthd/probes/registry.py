"""Which probe serves which protocol."""

from collections.abc import Mapping
from dataclasses import dataclass

from healthd.probes.destination import Destinations
from healthd.probes.http import http_probe
from healthd.probes.ping import PingEngine
from healthd.probes.result import Probe, Submit
from healthd.probes.tcp import tcp_probe


@dataclass(frozen=True, slots=True)
class Probes:
    """How each protocol is probed. threads: by a function in a worker. engines: by a thread of their own."""

    threads: Mapping[str, Probe]
    engines: Mapping[str, Submit]
    ping: PingEngine

    def close(self) -> None:
        """Stop the engines' threads."""
        self.ping.close()


def make_probes(*, allow_private: bool, ca_file: str | None = None) -> Probes:
    """The probes of a process; their TLS contexts and lookups are shared, so one set serves all targets.

    allow_private: probe also what `refused_target` refuses. ca_file: PEM file of certificate authorities in place of
    the system's. Raises OSError where it cannot be read.
    """
    destinations = Destinations(allow_private=allow_private)
    http = http_probe(destinations, ca_file=ca_file)
    ping = PingEngine(destinations)
    threads = {"tcp": tcp_probe(destinations), "http": http, "https": http}
    return Probes(threads=threads, engines={"ping": ping.submit}, ping=ping)
