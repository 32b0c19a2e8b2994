"""The `http` and `https` checks: one request to the address under the service's name, judged by status and body."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Final

from healthd.probes.connection import Connection, connect, start_tls
from healthd.probes.destination import Destinations, authority
from healthd.probes.failure import ProbeFailure
from healthd.probes.http1 import BadAnswer, Body, read_head
from healthd.probes.loop import Task, Work
from pdns_gtm_backend.domain.health_check import DEFAULT_PORTS, HttpCheck, status_ranges
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.domain.violation import shown

MAX_BODY_OCTETS: Final = 65_536
SCHEMES: Final = ("http", "https")
USER_AGENT: Final = f"pdns-gtm-healthd/{version('pdns-gtm')}"
NO_SETTINGS: Final = HttpCheck()

Ranges = tuple[tuple[int, int], ...]
accepted_ranges = lru_cache(maxsize=1024)(status_ranges)


@dataclass(frozen=True, slots=True)
class Url:
    """Where one request goes on the probed address. target: as in the request line (RFC 9112 section 3.2.1)."""

    scheme: str
    port: int
    target: str


def first_url(target: Target) -> Url:
    """What the check asks for."""
    port = target.check.effective_port
    check = target.check.http or NO_SETTINGS
    return Url(target.check.protocol, port or DEFAULT_PORTS[target.check.protocol], check.path)


def server_name(target: Target) -> str:
    """The TLS server name, for which the certificate must be."""
    return (target.sni or target.host or target.address).rstrip(".")


def request_fields(target: Target, url: Url) -> dict[str, str]:
    """The headers of a request; those of the check take the place of ours."""
    fields = {
        "Host": _host(target, url),
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    check = target.check.http or NO_SETTINGS
    for name, value in check.headers.items():
        fields.pop(name.title(), None)
        fields[name] = value
    return fields


def _host(target: Target, url: Url) -> str:
    """The Host header: `host` as it is configured, else the address, with the port where it is not the scheme's."""
    if target.host is not None:
        return target.host.rstrip(".")
    return authority(target.address, None if url.port == DEFAULT_PORTS[url.scheme] else url.port)


def judge_status(status: int, check: HttpCheck, accepted: Ranges) -> None:
    """Raises ProbeFailure where `status` is none of those that the check accepts."""
    if not any(first <= status <= last for first, last in accepted):
        raise ProbeFailure("status", f"status {status}, expected {check.expect_status}")


def http_work(destinations: Destinations, contexts: Mapping[bool, ssl.SSLContext]) -> Work:
    """The work of targets of protocol `http` and `https` that follow no redirects.

    It connects to the target's address and sends `host` (else the address) as Host, and `sni`, else the same name, as
    the TLS server name, which is also what the certificate must be for. The status decides; a body is only waited for
    where the check expects one. contexts: for checks that verify the server and for those that do not.
    """

    async def work(target: Target, task: Task) -> str:
        check, url = target.check.http or NO_SETTINGS, first_url(target)
        request, accepted = _request(target, url, check), accepted_ranges(check.expect_status)
        connection = await connect(await destinations.address_of(target, task), url.port, task)
        try:
            if url.scheme == "https":
                connection = await start_tls(connection, contexts[check.tls_verify], server_name(target), task)
            task.enter("request")
            await connection.send(request)
            task.enter("status")
            return await _answer(connection, check, accepted, task)
        except BadAnswer as error:
            raise ProbeFailure("protocol", f"bad HTTP from {task.peer}: {error}") from None
        finally:
            connection.close()

    return work


async def _answer(connection: Connection, check: HttpCheck, accepted: Ranges, task: Task) -> str:
    head = await read_head(connection)
    judge_status(head.status, check, accepted)
    if check.expect_body is not None:
        task.enter("body")
        await _search(Body(connection, head, has_one=check.method != "HEAD"), check.expect_body)
    return f"status {head.status}"


def _request(target: Target, url: Url, check: HttpCheck) -> bytes:
    fields = request_fields(target, url)
    lines = [f"{check.method} {url.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join(lines)
    if request.count("\n") != len(lines) - 1 or request.count("\r") != len(lines) - 1:
        raise ProbeFailure("internal", f"check {target.check.id} has a line break in its path or headers")
    return f"{request}\r\n\r\n".encode("ascii")


async def _search(body: Body, expected: str) -> None:
    wanted = expected.encode()
    found = bytearray()
    while len(found) < MAX_BODY_OCTETS and body.octets < 2 * MAX_BODY_OCTETS:
        part = await body.part()
        if not part:
            break
        start = max(0, len(found) - len(wanted) + 1)
        found += part[: MAX_BODY_OCTETS - len(found)]
        if found.find(wanted, start) >= 0:
            return
    raise ProbeFailure("body", f"{shown(expected)} is not in the first {len(found)} octets of the body")
