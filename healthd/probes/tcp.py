"""The `tcp` check: a connection within the timeout. Nothing is sent."""

from healthd.probes.connection import connect
from healthd.probes.destination import Destinations
from healthd.probes.failure import ProbeFailure
from healthd.probes.loop import Task, Work
from pdns_gtm_backend.domain.target import Target


def tcp_work(destinations: Destinations) -> Work:
    """The work of targets of protocol `tcp`."""

    async def work(target: Target, task: Task) -> str:
        address = await destinations.address_of(target, task)
        port = target.check.effective_port
        if port is None:
            raise ProbeFailure("internal", f"check {target.check.id} has no port")
        (await connect(address, port, task)).close()
        return f"connected to {task.peer}"

    return work
