"""Queries: dnsperf for rates and latencies, and a client of our own that keeps the answers for the oracle."""

import random
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.bench.scenario import Scenario

CLIENTS: Final = 8
OUTSTANDING: Final = 100
TIMEOUT: Final = 3


@dataclass(frozen=True, slots=True)
class Load:
    """One run of dnsperf. seconds: that it lasted; codes: answers by rcode; latencies in seconds, sorted."""

    seconds: float
    codes: Mapping[str, int]
    lost: int
    latencies: Sequence[float]

    @property
    def answers(self) -> int:
        return sum(self.codes.values())

    @property
    def failed(self) -> int:
        """Queries without a NOERROR answer."""
        return self.lost + self.answers - self.codes.get("NOERROR", 0)

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)


def percentile(found: Sequence[float], share: float) -> float:
    """The value that so large a share of sorted values does not exceed; NaN of none."""
    return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


def dnsperf(port: int, queries: Path, seconds: float, rate: float | None = None) -> Load:
    """Ask as fast as answers come (100 outstanding), or at a rate, by which the latencies are kept."""
    rated = () if rate is None else ("-Q", rate, "-v")
    done = subprocess.run(_command(port, queries, "-l", seconds, *rated), check=True, capture_output=True, text=True)
    return parsed(done.stdout)


def dnsperf_once(port: int, queries: Path, during: Callable[[], object]) -> Load:
    """Ask every query of a file once, and do something meanwhile."""
    with subprocess.Popen(_command(port, queries, "-n", 1), stdout=subprocess.PIPE, text=True) as process:
        try:
            during()
            text, _ = process.communicate()
        finally:
            process.kill()
    return parsed(text)


def _command(port: int, queries: Path, *options: object) -> list[str]:
    fixed = ("-B", "-W", "-s", "127.0.0.1", "-c", CLIENTS, "-q", OUTSTANDING, "-t", TIMEOUT)
    return [str(word) for word in ("dnsperf", *fixed, "-p", port, "-d", queries, *options)]


def parsed(text: str) -> Load:
    """What dnsperf 2.10 prints; with -v one line for each answer, its latency last."""
    codes = re.search(r"Response codes:\s+(.*)", text)
    took = re.search(r"Run time \(s\):\s+([\d.]+)", text)
    lost = re.search(r"Queries lost:\s+(\d+)", text)
    assert took is not None and lost is not None, text[-2000:]
    counts = {name: int(count) for name, count in re.findall(r"([A-Z0-9]+) (\d+)", codes[1] if codes else "")}
    latencies = sorted(float(found) for found in re.findall(r"^> \S+ binary input (\d+\.\d+)$", text, re.MULTILINE))
    return Load(float(took[1]), counts, int(lost[1]), latencies)


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer as it came (None: none came), and what was asked when. client: None = without client subnet."""

    service: int
    client: int | None
    sent: float
    received: float
    reply: bytes | None


class Asker:
    """One socket, one question at a time."""

    def __init__(self, scenario: Scenario, port: int) -> None:
        self._scenario = scenario
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(TIMEOUT)
        self._number = random.randrange(65536)

    def ask(self, service: int, client: int | None) -> Sample:
        self._number = (self._number + 1) % 65536
        number = struct.pack("!H", self._number)
        sent = time.monotonic()
        self._socket.send(self._scenario.query(service, client, self._number))
        reply: bytes | None = None
        try:
            while reply is None or reply[:2] != number:
                reply = self._socket.recv(4096)
        except OSError:
            reply = None
        return Sample(service, client, sent, time.monotonic(), reply)

    def close(self) -> None:
        self._socket.close()


class Sampler:
    """Asks at a pace beside dnsperf, from its own thread, and keeps every answer.

    of_interest: the services whose state has changed lately; every other question is about one of them.
    """

    def __init__(
        self, scenario: Scenario, port: int, pace: float, of_interest: Callable[[], Sequence[int]], *, subnets: bool
    ) -> None:
        self._scenario, self._pace, self._of_interest, self._subnets = scenario, pace, of_interest, subnets
        self._asker = Asker(scenario, port)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[Sample] = []

    def _run(self) -> None:
        chosen = random.Random()
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self._pace, time.monotonic())
            changed = self._of_interest()
            service = chosen.randrange(len(self._scenario.services))
            if changed and len(self.samples) % 2:
                service = chosen.choice(changed)
            client = chosen.randrange(len(self._scenario.clients)) if self._subnets else None
            self.samples.append(self._asker.ask(service, client))

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._asker.close()
