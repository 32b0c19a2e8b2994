"""State changes at an even pace: an address of a random service goes out, or one that is out comes back."""

import random
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import dns.message
import dns.rdatatype

from tests.bench.contender import Contender
from tests.bench.judge import History, Switch, now
from tests.bench.load import Asker

MOST_OUT = 5
INTERVAL_SECONDS = 1.0
POLL_SECONDS = 0.005


class Changing:
    """While it is entered, switches addresses and looks until the answers follow.

    seen: seconds from the beginning of each switch to the first answer that shows it. A server that answers one of
    several addresses shows only what comes back.
    """

    def __init__(
        self, contender: Contender, history: History, out: deque[Switch], interval: float = INTERVAL_SECONDS
    ) -> None:
        """out: what this contender has out; kept from one use to the next. interval: seconds between two switches."""
        self._contender, self._history, self._out, self._interval = contender, history, out, interval
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        clients = contender.scenario.clients
        self._places = {client.in_china: number for number, client in enumerate(clients)}
        self.seen: list[float] = []

    def _run(self) -> None:
        asker = Asker(self._contender.scenario, self._contender.port)
        waiting: list[Switch] = []
        due = now()
        try:
            while not self._ended.wait(POLL_SECONDS if waiting else max(0.0, due - now())):
                if now() >= due:
                    waiting.append(self._switch())
                    due += self._interval
                waiting = [switch for switch in waiting if not self._shows(asker, switch)]
        finally:
            asker.close()

    def _switch(self) -> Switch:
        if len(self._out) >= MOST_OUT:
            old = self._out.popleft()
            switch = Switch(old.service, old.address, True, now())
        else:
            services = self._contender.scenario.services
            free = [number for number in range(len(services)) if all(number != one.service for one in self._out)]
            number = random.choice(free)
            switch = Switch(number, services[number].addresses(random.random() < 0.5)[0], False, now())
            self._out.append(switch)
        # Told before it is done: from then on the old and the new are both right, until it has settled.
        self._history.add(switch)
        self._contender.change(switch.service, switch.address, switch.available)
        return switch

    def _shows(self, asker: Asker, switch: Switch) -> bool:
        if self._contender.semantics == "one" and not switch.available:
            return True
        in_china = switch.address in self._contender.scenario.services[switch.service].china
        sample = asker.ask(switch.service, self._places[in_china])
        if sample.reply is None:
            return False
        answer = dns.message.from_wire(sample.reply).answer
        held = {record.to_text() for found in answer if found.rdtype == dns.rdatatype.A for record in found}
        if (switch.address in held) != switch.available:
            return False
        self.seen.append(sample.received - switch.told)
        return True

    def __enter__(self) -> "Changing":
        self._done = self._pool.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._pool.shutdown()
        if error is None:
            self._done.result()
