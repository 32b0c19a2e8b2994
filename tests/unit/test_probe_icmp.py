"""ICMP packets as octets: what is sent, and what is made of anything that comes back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icmplib import ICMPv4Socket

from healthd.probes.icmp import PAYLOAD, Message, echo_request, parse
from tests.support.strategies import examples

numbers = st.integers(0, 65535)
packets = st.tuples(numbers, numbers)


class Reference(ICMPv4Socket):
    """icmplib's own packets, without a socket."""

    def __init__(self) -> None:
        self._sock = None


@given(packets)
def test_requests_are_those_of_icmplib(packet: tuple[int, int]) -> None:
    assert echo_request(4, packet) == Reference()._create_packet(*packet, PAYLOAD)


@given(packets)
def test_the_checksum_of_icmpv6_is_left_to_the_kernel(packet: tuple[int, int]) -> None:
    assert echo_request(6, packet) == struct.pack("!BBHHH", 128, 0, 0, *packet) + PAYLOAD


def ipv4(data: bytes, options: bytes = b"", protocol: int = 1) -> bytes:
    first = 0x40 | 5 + len(options) // 4
    return bytes((first,)) + bytes(8) + bytes((protocol,)) + bytes(10) + options + data


def ipv6(data: bytes, following: int = 58) -> bytes:
    return b"\x60" + bytes(5) + bytes((following,)) + bytes(33) + data


def icmp(kind: int, code: int = 0, packet: tuple[int, int] = (0, 0), data: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, *packet) + data


@given(packets, st.sampled_from([b"", b"\x01" * 4, b"\x01" * 40]))
def test_replies(packet: tuple[int, int], options: bytes) -> None:
    assert parse(4, ipv4(icmp(0, 0, packet), options), with_ip_header=True) == Message(0, 0, packet)
    assert parse(4, icmp(0, 0, packet), with_ip_header=False) == Message(0, 0, packet)
    assert parse(6, icmp(129, 0, packet), with_ip_header=False) == Message(129, 0, packet)


@given(packets, st.sampled_from([b"", b"\x01" * 4]), st.integers(0, 15))
def test_what_routers_say_is_of_the_packet_that_they_quote(packet: tuple[int, int], options: bytes, code: int) -> None:
    quoted = ipv4(icmp(8, 0, packet), options)
    assert parse(4, ipv4(icmp(3, code, data=quoted)), with_ip_header=True) == Message(3, code, packet)
    assert parse(4, ipv4(icmp(11, code, data=quoted), options), with_ip_header=True) == Message(11, code, packet)
    quoted = ipv6(icmp(128, 0, packet))
    assert parse(6, icmp(1, code, data=quoted), with_ip_header=False) == Message(1, code, packet)
    assert parse(6, icmp(3, code, data=quoted), with_ip_header=False) == Message(3, code, packet)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x45",
        ipv4(b""),
        ipv4(icmp(0))[:27],
        ipv4(icmp(8)),
        ipv4(icmp(5)),
        ipv4(icmp(3)),
        ipv4(icmp(3, data=ipv4(icmp(8), protocol=17))),
        ipv4(icmp(3, data=ipv4(icmp(0)))),
        ipv4(icmp(3, data=ipv4(icmp(8))[:27])),
        b"\x4f" + ipv4(icmp(0))[1:],
    ],
)
def test_what_says_nothing_of_a_request(data: bytes) -> None:
    assert parse(4, data, with_ip_header=True) is None


@given(st.binary(max_size=120), st.sampled_from([(4, True), (4, False), (6, False)]))
@examples(300)
def test_no_octets_surprise_the_parser(data: bytes, how: tuple[int, bool]) -> None:
    version, with_ip_header = how
    for start in (b"", ipv4(b""), ipv4(icmp(3)), icmp(1), icmp(129)):
        message = parse(version, start + data, with_ip_header=with_ip_header)
        assert message is None or all(0 <= number <= 65535 for number in message.packet)
