"""The `dns` check: one question to a server, over UDP and again over TCP where the answer does not fit (RFC 1035)."""

import socket
from functools import lru_cache
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass

from healthd.probes.connection import Connection, connect
from healthd.probes.destination import Destinations, authority
from healthd.probes.failure import ProbeFailure
from healthd.probes.loop import READABLE, Task, Work
from pdns_gtm_backend.domain.health_check import DnsCheck
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.domain.violation import shown

MAX_MESSAGE: Final = 65_535
MAX_STRAYS: Final = 16
"""Datagrams that answer another question before a server is taken for broken."""
LENGTH: Final = 2
UNREADABLE: Final = (dns.exception.DNSException, ValueError, LookupError)


@lru_cache(maxsize=1024)
def _expected(rrtype: str, contents: tuple[str, ...]) -> frozenset[dns.rdata.Rdata]:
    """As `content_error` reads them: names are whole ones."""
    return frozenset(
        dns.rdata.from_text(dns.rdataclass.IN, rrtype, content, origin=dns.name.root, relativize=False)
        for content in contents
    )


def dns_work(destinations: Destinations) -> Work:
    """The work of targets of protocol `dns`. A truncated answer is asked for again over TCP (RFC 7766 section 5)."""

    async def work(target: Target, task: Task) -> str:
        check, port = target.check.dns, target.check.effective_port
        if check is None or port is None:
            raise ProbeFailure("internal", f"check {target.check.id} has no question")
        address = await destinations.address_of(target, task)
        query = dns.message.make_query(check.name, check.type)
        answer = await _over_udp(query, address, port, task)
        if answer.flags & dns.flags.TC:
            answer = await _over_tcp(query, address, port, task)
        return _judged(answer, check)

    return work


async def _over_udp(query: dns.message.Message, address: str, port: int, task: Task) -> dns.message.Message:
    task.peer = authority(address, port)
    task.enter("request")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        stream.connect((address, port))
        stream.send(query.to_wire())
        task.enter("answer")
        for _ in range(MAX_STRAYS):
            await task.ready(stream, READABLE)
            data = stream.recv(MAX_MESSAGE)
            # Somebody who forges answers has to guess the number; what he sends must not count as the server's.
            if data[:2] == query.id.to_bytes(2):
                return _parsed(data, query, task)
    finally:
        task.close(stream)
    raise ProbeFailure("protocol", f"{MAX_STRAYS} answers from {task.peer} to no question of ours")


async def _over_tcp(query: dns.message.Message, address: str, port: int, task: Task) -> dns.message.Message:
    connection = await connect(address, port, task)
    try:
        task.enter("request")
        wire = query.to_wire()
        await connection.send(len(wire).to_bytes(LENGTH) + wire)
        task.enter("answer")
        length = int.from_bytes(await _exactly(connection, LENGTH, task))
        return _parsed(await _exactly(connection, length, task), query, task)
    finally:
        connection.close()


async def _exactly(connection: Connection, length: int, task: Task) -> bytes:
    data = b""
    while len(data) < length:
        part = await connection.receive(length - len(data))
        if not part:
            raise ProbeFailure("protocol", f"{task.peer} closed the connection within its answer")
        data += part
    return data


def _parsed(data: bytes, query: dns.message.Message, task: Task) -> dns.message.Message:
    try:
        answer = dns.message.from_wire(data)
    except UNREADABLE as error:
        raise ProbeFailure("protocol", f"bad DNS message from {task.peer}: {shown(str(error))}") from None
    if not query.is_response(answer):
        raise ProbeFailure("protocol", f"{task.peer} answered another question")
    return answer


def _judged(answer: dns.message.Message, check: DnsCheck) -> str:
    code = dns.rcode.to_text(answer.rcode())
    asked = f"{check.name} {check.type}"
    if answer.rcode() != dns.rcode.NOERROR:
        raise ProbeFailure("answer", f"{code} for {asked}")
    if check.expect_answer is None:
        return f"{code} for {asked}"
    expected = _expected(check.type, check.expect_answer)
    given = _asked_for(answer)
    found = next((rdata for rdata in given if rdata in expected), None)
    if found is None:
        told = shown(", ".join(rdata.to_text() for rdata in given[:5]) or "nothing")
        raise ProbeFailure("answer", f"{asked} is {told}, expected {shown(', '.join(check.expect_answer))}")
    return f"{asked} is {shown(found.to_text())}"


def _asked_for(answer: dns.message.Message) -> list[dns.rdata.Rdata]:
    """The records of the name and type that were asked for, at the end of a chain of CNAMEs too."""
    assert isinstance(answer, dns.message.QueryMessage)  # noqa: S101 - `is_response` compares the kinds
    try:
        found = answer.resolve_chaining().answer
    except dns.exception.DNSException as error:
        raise ProbeFailure("protocol", f"no sense in the answer: {shown(str(error))}") from None
    return list(found or ())
