"""Is an answer right? Known from the scenario and from what the benchmark itself changed; no server is asked."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from tests.bench.contender import Semantics
from tests.bench.load import Sample
from tests.bench.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Switch:
    """An address was taken out or put back: told at `told` (monotonic clock)."""

    service: int
    address: str
    available: bool
    told: float


class History:
    """What was switched when; one thread writes, others read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._switches: dict[str, list[Switch]] = {}
        self._recent: list[int] = []

    def add(self, switch: Switch) -> None:
        with self._lock:
            self._switches.setdefault(switch.address, []).append(switch)
            self._recent = [*self._recent[-9:], switch.service]

    def recent(self) -> Sequence[int]:
        """The services of the last ten switches."""
        return self._recent

    def always(self, address: str, available: bool, since: float, until: float) -> bool:
        """Was it in (or out) during all of the time between two moments?"""
        state = True
        for switch in self._switches.get(address, ()):
            if switch.told <= since:
                state = switch.available
            elif switch.told <= until and switch.available != available:
                return False
        return state == available


@dataclass(frozen=True, slots=True)
class Judge:
    """settle: seconds after a switch in which the old and the new are both right."""

    scenario: Scenario
    semantics: Semantics
    settle: float

    def wrong(self, sample: Sample, history: History) -> str | None:
        """Why an answer is wrong, or None."""
        if sample.reply is None:
            return "no answer"
        try:
            message = dns.message.from_wire(sample.reply)
        except dns.exception.DNSException as error:
            return f"not readable: {error}"
        if message.rcode() != dns.rcode.NOERROR:
            return dns.rcode.to_text(message.rcode())
        service = self.scenario.services[sample.service]
        sets = [found for found in message.answer if found.rdtype == dns.rdatatype.A]
        if any(found.name.to_text(omit_final_dot=True) != service.name for found in sets):
            return "another name"
        return self._wrong_addresses({record.to_text() for found in sets for record in found}, sample, history)

    def _wrong_addresses(self, answered: set[str], sample: Sample, history: History) -> str | None:
        if not answered:
            return "empty"
        if self.semantics == "fixed":
            return None
        in_china = sample.client is not None and self.scenario.clients[sample.client].in_china
        allowed = self.scenario.services[sample.service].addresses(in_china)
        if not answered <= set(allowed):
            return f"{sorted(answered)} for a client of {allowed}"
        since = sample.sent - self.settle
        if gone := [a for a in answered if history.always(a, False, since, sample.received)]:
            return f"{gone} are out since more than {self.settle} s"
        if self.semantics == "one":
            return None if len(answered) == 1 else "more than one"
        missing = [a for a in allowed if a not in answered and history.always(a, True, since, sample.received)]
        return f"{missing} are in and missing" if missing else None


def now() -> float:
    """The clock of switches and samples."""
    return time.monotonic()
