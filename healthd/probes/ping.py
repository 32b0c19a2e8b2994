"""The `ping` check: ICMP echo for any number of targets, over one socket for each IP version.

icmplib opens the sockets and words the errors. Its own `ping` opens a socket for each call, of which each gets a copy
of every reply that reaches the host, and makes three system calls to send a packet; here replies are told apart by
their numbers, and all that have arrived are read in one go.
"""

import ipaddress
import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from icmplib import ICMPError, ICMPReply, ICMPSocketError, ICMPv4Socket, ICMPv6Socket, SocketPermissionError

from healthd.probes import icmp
from healthd.probes.destination import Destinations
from healthd.probes.failure import ProbeFailure
from healthd.probes.loop import READABLE, Loop, Task, Work
from pdns_gtm_backend.domain.health_check import PingCheck
from pdns_gtm_backend.domain.target import Target

MAX_GAP: Final = 0.1
"""Seconds between two packets to a target, at most; all are sent within the first half of the timeout."""
MAX_WAITING: Final = 32_768
MAX_READ: Final = 512
"""Packets read before others on the loop have their turn."""
MAX_PACKET: Final = 2_048
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
SO_RCVBUFFORCE: Final = 33
FILTERS: Final = {4: (255, 1, 1), 6: (socket.IPPROTO_ICMPV6, 1, 8)}
"""By IP version: level and name of the option that drops ICMP types (linux/icmp.h, RFC 3542 section 3.2), its words."""
NO_SETTINGS: Final = PingCheck()
NO_SOCKET: Final = (
    "the prober may not open an ICMP socket: give it CAP_NET_RAW, or let its group use ping sockets "
    "(sysctl net.ipv4.ping_group_range)"
)

log = logging.getLogger(__name__)


class _Echoes:
    """The packets of one ping to `address`. waiting: when each without an answer was sent. trips: seconds of those
    with one. complaint: what a router says of one."""

    __slots__ = ("_awaited", "_task", "address", "complaint", "failure", "trips", "waiting")

    def __init__(self, task: Task, address: str) -> None:
        self._task = task
        self._awaited = False
        self.address = address
        self.waiting: dict[icmp.Packet, float] = {}
        self.trips: list[float] = []
        self.complaint = ""
        self.failure: ProbeFailure | None = None

    def settle(self, packet: icmp.Packet, complaint: str) -> None:
        sent = self.waiting.pop(packet)
        if complaint:
            self.complaint = complaint
        else:
            self.trips.append(time.monotonic() - sent)
        if self._awaited and not self.waiting:
            self._task.wake()

    def fail(self, failure: ProbeFailure) -> None:
        self.failure = failure
        if self._awaited:
            self._task.wake()

    async def answered(self) -> None:
        """Return when every packet is answered. Raises what makes waiting pointless."""
        self._awaited = True
        if self.waiting and self.failure is None:
            await self._task.asleep()
        if self.failure is not None:
            raise self.failure


class _Channel:
    """The ICMP socket of an IP version. Raises ProbeFailure where none may be opened, and OSError."""

    def __init__(self, loop: Loop, version: icmp.Version) -> None:
        self._loop = loop
        self._version = version
        self._opened, self._raw = _open(version)
        self._socket: socket.socket = self._opened.sock
        self._identifier = None if self._raw else self._socket.getsockname()[1]
        self._echoes: dict[icmp.Packet, _Echoes] = {}
        self.alive = True
        loop.watch(self._socket.fileno(), READABLE, self._read)
        loop.endings.append(self.close)

    def send(self, echoes: _Echoes) -> None:
        """Send one packet. Raises OSError, or ProbeFailure where too many wait for an answer."""
        if echoes.failure is not None:
            raise echoes.failure
        if len(self._echoes) >= MAX_WAITING:
            raise ProbeFailure("internal", f"{MAX_WAITING} pings wait for an answer")
        packet = self._unused()
        sent = time.monotonic()
        self._socket.sendto(icmp.echo_request(self._version, packet), (echoes.address, 0))
        echoes.waiting[packet] = sent
        self._echoes[packet] = echoes

    def _unused(self) -> icmp.Packet:
        """Numbers that nobody waits for and nobody can guess, lest one target answer for another."""
        while True:
            identifier, sequence = divmod(secrets.randbits(32), icmp.MAX_NUMBER + 1)
            packet = (identifier if self._identifier is None else self._identifier, sequence)
            if packet not in self._echoes:
                return packet

    def forget(self, echoes: _Echoes) -> None:
        for packet in echoes.waiting:
            self._echoes.pop(packet, None)

    def close(self) -> None:
        self.alive = False
        self._loop.endings.remove(self.close)
        self._loop.forget(self._socket.fileno())
        self._opened.close()

    def _read(self, _events: int) -> None:
        for _ in range(MAX_READ):
            try:
                data, source = self._socket.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)
                return
            message = icmp.parse(self._version, data, with_ip_header=self._raw and self._version == 4)
            if message is not None:
                self._settle(message, source[0])

    def _settle(self, message: icmp.Message, source: str) -> None:
        echoes = self._echoes.get(message.packet)
        reply = message.type == icmp.ECHO_REPLY[self._version]
        if echoes is None or (reply and source != echoes.address.partition("%")[0]):
            return
        del self._echoes[message.packet]
        echoes.settle(message.packet, "" if reply else _worded(self._version, message, source))

    def _fail(self, error: OSError) -> None:
        log.error("the ICMP socket for IPv%d failed, the next ping opens another: %s", self._version, error)
        self.close()
        for echoes in set(self._echoes.values()):
            echoes.fail(ProbeFailure("internal", f"the prober's ICMP socket failed: {error}"))


def _worded(version: icmp.Version, message: icmp.Message, source: str) -> str:
    """What an error says. Raises nothing."""
    identifier, sequence = message.packet
    try:
        ICMPReply(source, version, identifier, sequence, message.type, message.code, 0, 0).raise_for_status()
    except ICMPError as error:
        return str(error).lower()
    return f"icmp type {message.type}, code {message.code}"


def _open(version: icmp.Version) -> tuple[Any, bool]:
    """The socket, and whether it is a raw one."""
    make: Callable[..., Any] = ICMPv4Socket if version == 4 else ICMPv6Socket
    for raw in (True, False):
        try:
            opened = make(privileged=raw)
        except SocketPermissionError:
            continue
        except ICMPSocketError as error:
            raise error.__context__ or error from None
        opened.blocking = False
        if raw:
            level, option, words = FILTERS[version]
            wanted = sum(1 << kinds[version] for kinds in (icmp.ECHO_REPLY, icmp.UNREACHABLE, icmp.TIME_EXCEEDED))
            dropped = [~(wanted >> 32 * word) & 0xFFFF_FFFF for word in range(words)]
            opened.sock.setsockopt(level, option, struct.pack(f"{words}I", *dropped))
        else:
            opened.sock.bind(("", 0))
        with suppress(PermissionError):
            opened.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        return opened, raw
    raise ProbeFailure("internal", NO_SOCKET)


def ping_work(destinations: Destinations, loop: Loop) -> Work:
    """The work of targets of protocol `ping`, all on `loop`.

    The socket is raw where the process may open one (CAP_NET_RAW), else a ping socket (net.ipv4.ping_group_range);
    with a ping socket what routers answer is not seen, so that `unreachable` shows as `loss`.
    """
    channels: dict[icmp.Version, _Channel] = {}

    def channel(version: icmp.Version) -> _Channel:
        opened = channels.get(version)
        if opened is None or not opened.alive:
            opened = channels[version] = _Channel(loop, version)
        return opened

    async def work(target: Target, task: Task) -> str:
        address = await destinations.address_of(target, task)
        version = 6 if ":" in address else 4
        # Replies come from the address in its shortest form.
        task.peer = address = str(ipaddress.ip_address(address)) if version == 6 else address
        task.enter("request")
        check = target.check.ping or NO_SETTINGS
        used = channel(version)
        echoes = _Echoes(task, address)
        try:
            await _send(used, echoes, check, task)
            task.enter("status")
            await echoes.answered()
        except TimeoutError:
            pass
        finally:
            used.forget(echoes)
        return _judged(address, check, echoes)

    return work


async def _send(channel: _Channel, echoes: _Echoes, check: PingCheck, task: Task) -> None:
    gap = min(MAX_GAP, task.timeout / 2 / check.count)
    first = time.monotonic()
    for index in range(check.count):
        if index:
            await task.sleep_until(first + index * gap)
        channel.send(echoes)


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
