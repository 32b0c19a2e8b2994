"""ICMP packets as octets: echo requests, and what comes back, whole or not (RFC 792, RFC 4443)."""

import struct
from dataclasses import dataclass
from typing import Final

Packet = tuple[int, int]
"""Identifier and sequence number."""
Version = int

PAYLOAD: Final = b"pdns-gtm-healthd".ljust(56, b".")
MAX_NUMBER: Final = 0xFFFF
ECHO_REQUEST: Final = {4: 8, 6: 128}
ECHO_REPLY: Final = {4: 0, 6: 129}
UNREACHABLE: Final = {4: 3, 6: 1}
TIME_EXCEEDED: Final = {4: 11, 6: 3}
PROTOCOL: Final = {4: 1, 6: 58}
"""By IP version: the number of ICMP in its header."""
IPV6_HEADER: Final = 40

_HEADER: Final = struct.Struct("!BBHHH")
_PAYLOAD_SUM: Final = sum(struct.unpack(f"!{len(PAYLOAD) // 2}H", PAYLOAD))


@dataclass(frozen=True, slots=True)
class Message:
    """An answer to the echo request `packet`: its reply, or what a router says of it by type and code."""

    type: int
    code: int
    packet: Packet


def echo_request(version: Version, packet: Packet) -> bytes:
    """The message, without an IP header. The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1)."""
    kind = ECHO_REQUEST[version]
    checksum = 0
    if version == 4:
        checksum = (kind << 8) + sum(packet) + _PAYLOAD_SUM
        while checksum > MAX_NUMBER:
            checksum = (checksum & MAX_NUMBER) + (checksum >> 16)
    return _HEADER.pack(kind, 0, ~checksum & MAX_NUMBER if version == 4 else 0, *packet) + PAYLOAD


def parse(version: Version, data: bytes, *, with_ip_header: bool) -> Message | None:
    """What `data` says of an echo request; None where it says nothing. Raw IPv4 sockets give the IP header too."""
    start = (data[0] & 0x0F) * 4 if with_ip_header and data else 0
    found = _header(data, start)
    if found is None:
        return None
    kind, code, packet = found
    if kind == ECHO_REPLY[version]:
        return Message(kind, code, packet)
    if kind not in (UNREACHABLE[version], TIME_EXCEEDED[version]):
        return None
    quoted = _quoted_request(version, data[start + _HEADER.size :])
    return None if quoted is None else Message(kind, code, quoted)


def _quoted_request(version: Version, data: bytes) -> Packet | None:
    """The echo request in the packet that a router quotes."""
    needed, place = (20, 9) if version == 4 else (IPV6_HEADER, 6)
    if len(data) < needed or data[place] != PROTOCOL[version]:
        return None
    found = _header(data, (data[0] & 0x0F) * 4 if version == 4 else IPV6_HEADER)
    return found[2] if found is not None and found[0] == ECHO_REQUEST[version] else None


def _header(data: bytes, start: int) -> tuple[int, int, Packet] | None:
    if len(data) < start + _HEADER.size:
        return None
    kind, code, _checksum, identifier, sequence = _HEADER.unpack_from(data, start)
    return kind, code, (identifier, sequence)
