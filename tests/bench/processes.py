"""Servers under measurement: how they are started and stopped, and what processor time they have used."""

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import dns.exception

from tests.support.dns_client import DnsClient
from tests.support.powerdns import wait_for


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor time, user and system, that these processes and all below them have used, every thread counted.

    By each process's own clock (clock_getcpuclockid(3)), which counts nanoseconds where /proc/PID/stat counts ticks.
    """
    return sum(time.clock_gettime(_clock(pid)) for pid in descendants(roots))


def _clock(pid: int) -> int:
    # Linux encodes a process's CPU clock so (clock_getcpuclockid(3); include/linux/posix-timers.h, CPUCLOCK_SCHED).
    return (~pid << 3) | 2


def descendants(roots: Iterable[int]) -> set[int]:
    """These processes and all that they have started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def memory_octets(roots: Iterable[int]) -> int:
    """Proportional set size of these processes and all below them."""
    total = 0
    for pid in descendants(roots):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


class Server:
    """A process whose output is in a file. Raises AssertionError with it where it does not come up."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command, self._log = command, log
        with log.open("ab") as output:
            variables = dict(os.environ if environment is None else environment)
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_answering(self, port: int, name: str, rrtype: str = "A") -> None:
        """Wait until it answers a name."""
        client = DnsClient(port, timeout=0.5)

        def answers() -> bool:
            try:
                return client.ask(name, rrtype).code == "NOERROR"
            except (OSError, dns.exception.DNSException):
                return False

        try:
            wait_for(lambda: self._process.poll() is not None or answers(), f"{name} answered", 30)
            assert self._process.poll() is None, "it has ended"
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{self._command[0]}: {error}: {self._log.read_text()[-3000:]}") from None

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def said(*command: str) -> str:
    """What a program prints, on both of its streams."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    return (done.stdout + done.stderr).strip()
