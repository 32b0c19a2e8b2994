"""The `tcp` check: a connection within the timeout. Nothing is sent."""

from healthd.probes.destination import Destinations
from healthd.probes.failure import ProbeFailure
from healthd.probes.result import Attempt, Probe, probing
from healthd.probes.stream import connect
from pdns_gtm_backend.domain.target import Target


def tcp_probe(destinations: Destinations) -> Probe:
    """A Probe for targets of protocol `tcp`."""

    def work(target: Target, attempt: Attempt) -> str:
        address = destinations.address(target, attempt)
        port = target.check.effective_port
        if port is None:
            raise ProbeFailure("internal", f"check {target.check.id} has no port")
        connect(address, port, attempt).close()
        return f"connected to {attempt.peer}"

    return probing(work)
