"""The `ping` check: ICMP echo (RFC 792, RFC 4443) for any number of targets in one thread.

icmplib's own `ping` opens a socket for each call, and a raw socket gets a copy of every reply that reaches the host.
Here all targets of an IP version share one, and replies are told apart by identifier and sequence number.
"""

import asyncio
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from icmplib import (
    AsyncSocket,
    ICMPError,
    ICMPLibError,
    ICMPRequest,
    ICMPSocketError,
    ICMPv4Socket,
    ICMPv6Socket,
    SocketPermissionError,
    TimeoutExceeded,
)

from healthd.probes.destination import Destinations
from healthd.probes.failure import ProbeFailure
from healthd.probes.result import Attempt, Result
from pdns_gtm_backend.domain.health_check import PingCheck
from pdns_gtm_backend.domain.target import Target

MAX_GAP: Final = 0.1
"""Seconds between two packets to a target, at most; all are sent within the first half of the timeout."""
PAYLOAD: Final = b"pdns-gtm-healthd".ljust(56, b".")
SEQUENCES: Final = 65_536
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
SO_RCVBUFFORCE: Final = 33
FILTERS: Final = {4: (255, 1, 1), 6: (socket.IPPROTO_ICMPV6, 1, 8)}
"""By IP version: level and name of the option that drops ICMP types (linux/icmp.h, RFC 3542 section 3.2), its words."""
WANTED: Final = {4: (0, 3, 11), 6: (129, 1, 3)}
"""By IP version: the types of echo reply, destination unreachable and time exceeded."""
NO_SOCKET: Final = (
    "the prober may not open an ICMP socket: give it CAP_NET_RAW, or let its group use ping sockets "
    "(sysctl net.ipv4.ping_group_range)"
)

log = logging.getLogger(__name__)
Done = Callable[[Result], None]
Packet = tuple[int, int]
"""Identifier and sequence number."""


@dataclass(slots=True)
class _Echoes:
    """The packets of one ping. waiting: when each without an answer was sent. trips: seconds of those with one."""

    waiting: dict[Packet, float] = field(default_factory=dict)
    trips: list[float] = field(default_factory=list)
    complaint: str = ""
    failure: Exception | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, packet: Packet, complaint: str) -> None:
        sent = self.waiting.pop(packet)
        if complaint:
            self.complaint = complaint
        else:
            self.trips.append(time.monotonic() - sent)
        if not self.waiting:
            self.settled.set()

    def fail(self, failure: Exception) -> None:
        self.failure = failure
        self.settled.set()

    async def wait(self, attempt: Attempt) -> None:
        """Return when every packet is answered, or at the deadline. Raises what made waiting pointless."""
        with suppress(TimeoutError):
            async with asyncio.timeout(attempt.remaining()):
                while self.waiting and self.failure is None:
                    self.settled.clear()
                    await self.settled.wait()
        if self.failure is not None:
            raise self.failure


class _Channel:
    """The ICMP socket of an IP version, with a task that reads it. Raises ProbeFailure where none may be opened."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._socket = AsyncSocket(_open_socket(version))
        self._echoes: dict[Packet, _Echoes] = {}
        self._next = random.randrange(SEQUENCES) * SEQUENCES  # noqa: S311 - only to differ from other programs
        self._reader = asyncio.ensure_future(self._read())

    @property
    def alive(self) -> bool:
        return not self._reader.done()

    def send(self, address: str, echoes: _Echoes) -> None:
        """Send one packet. Raises OSError, or ProbeFailure where too many wait for an answer."""
        if len(self._echoes) >= SEQUENCES:
            raise ProbeFailure("internal", f"{SEQUENCES} pings wait for an answer")
        identifier, sequence = divmod(self._next, SEQUENCES)
        self._next = (self._next + 1) % (SEQUENCES * SEQUENCES)
        request = ICMPRequest(destination=address, id=identifier, sequence=sequence, payload=PAYLOAD)
        sent = time.monotonic()
        try:
            self._socket.send(request)
        except ICMPSocketError as error:
            raise error.__context__ or ProbeFailure("internal", f"the prober's ICMP socket failed: {error}") from None
        packet = (request.id, sequence)  # of an unprivileged socket the kernel chooses the identifier
        echoes.waiting[packet] = sent
        self._echoes[packet] = echoes

    def forget(self, echoes: _Echoes) -> None:
        for packet in echoes.waiting:
            self._echoes.pop(packet, None)

    async def _read(self) -> None:
        try:
            while True:
                # icmplib measures this timeout by the wall clock, which may jump: it only has to be long.
                with suppress(TimeoutExceeded):
                    self._settle(await self._socket.receive(None, 3600))
        except ICMPLibError as error:
            log.error("the ICMP socket for IPv%d failed, the next ping opens another: %s", self._version, error)
            for echoes in self._echoes.values():
                echoes.fail(ProbeFailure("internal", f"the prober's ICMP socket failed: {error}"))
        finally:
            self._socket.close()

    def _settle(self, reply: Any) -> None:
        packet = (reply.id, reply.sequence)
        echoes = self._echoes.get(packet) if reply.type in WANTED[self._version] else None
        if echoes is None:
            return
        del self._echoes[packet]
        try:
            reply.raise_for_status()
        except ICMPError as error:
            echoes.settle(packet, str(error).lower())
        else:
            echoes.settle(packet, "")


def _open_socket(version: int) -> Any:
    make = ICMPv4Socket if version == 4 else ICMPv6Socket
    for privileged in (True, False):
        try:
            opened = make(privileged=privileged)
        except SocketPermissionError:
            continue
        except ICMPSocketError as error:
            raise error.__context__ or error from None
        if privileged:
            level, option, words = FILTERS[version]
            wanted = sum(1 << kind for kind in WANTED[version])
            dropped = [~(wanted >> 32 * word) & 0xFFFF_FFFF for word in range(words)]
            opened.sock.setsockopt(level, option, struct.pack(f"{words}I", *dropped))
        with suppress(PermissionError):
            opened.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        return opened
    raise ProbeFailure("internal", NO_SOCKET)


class PingEngine:
    """Pings in a thread of its own, started with the first one; `submit` is a Submit.

    The socket is raw where the process may open one (CAP_NET_RAW), else a ping socket (net.ipv4.ping_group_range);
    with a ping socket what routers answer is not seen, so that `unreachable` shows as `loss`.
    """

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self._channels: dict[int, _Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, target: Target, done: Done) -> None:
        """Start pinging. Raises RuntimeError once the engine is closed."""
        with self._lock:
            self._loop.call_soon_threadsafe(self._start, target, done)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ping", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stop within `timeout` seconds; pings under way are given up without a result."""
        with self._lock:
            if self._loop.is_closed():
                return
            if self._thread is None:
                self._loop.close()
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _start(self, target: Target, done: Done) -> None:
        task = self._loop.create_task(self._probe(target, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, target: Target, done: Done) -> None:
        attempt = Attempt(target.check.timeout, target.address)
        try:
            result = attempt.success(await self._ping(target, attempt))
        except Exception as error:  # noqa: BLE001 - every ping has a result
            result = attempt.failure(error)
        done(result)

    async def _ping(self, target: Target, attempt: Attempt) -> str:
        address = attempt.peer = await self._destinations.address_async(target, attempt)
        attempt.enter("request")
        check = target.check.ping or PingCheck()
        channel = self._channel(6 if ":" in address else 4)
        echoes = _Echoes()
        try:
            gap = min(MAX_GAP, attempt.timeout / 2 / check.count)
            first = time.monotonic()
            for index in range(check.count):
                if index:
                    await asyncio.sleep(first + index * gap - time.monotonic())
                channel.send(address, echoes)
            attempt.enter("status")
            await echoes.wait(attempt)
        finally:
            channel.forget(echoes)
        return _judged(address, check, echoes)

    def _channel(self, version: int) -> _Channel:
        channel = self._channels.get(version)
        if channel is None or not channel.alive:
            channel = self._channels[version] = _Channel(version)
        return channel


def _judged(address: str, check: PingCheck, echoes: _Echoes) -> str:
    answered = len(echoes.trips)
    lost = (check.count - answered) * 100 / check.count
    if lost >= check.loss_threshold:
        if echoes.complaint and not answered:
            raise ProbeFailure("unreachable", f"{address}: {echoes.complaint}")
        raise ProbeFailure(
            "loss",
            f"{address} answered {answered} of {check.count} packets, {lost:g} % lost (limit {check.loss_threshold} %)",
        )
    average = sum(echoes.trips) / answered * 1000
    return f"{address} answered {answered} of {check.count} packets in {average:.1f} ms on average"
