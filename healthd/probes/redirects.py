"""The `http` and `https` checks that follow redirects, by requests, each in a thread.

requests has no total deadline and loads the certificate authorities anew for every connection, so the connections are
made by `stream` and given to it.
"""

import http.client
import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from healthd.probes.destination import Destinations, authority
from healthd.probes.failure import ProbeFailure
from healthd.probes.http import (
    MAX_BODY_OCTETS,
    NO_SETTINGS,
    SCHEMES,
    Ranges,
    Url,
    accepted_ranges,
    first_url,
    judge_status,
    request_fields,
    server_name,
)
from healthd.probes.result import Attempt, Probe, probing
from healthd.probes.stream import Stream, TlsStream, TooMuchReceived, connect, start_tls
from pdns_gtm_backend.domain.health_check import DEFAULT_PORTS, HttpCheck
from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.domain.violation import shown

MAX_REDIRECTS: Final = 5
MAX_HEADER_OCTETS: Final = 65_536
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(slots=True)
class _Exchange:
    """One request on a connection of its own. context: for https. stream: the connection, once open."""

    attempt: Attempt
    address: str
    url: Url
    server_name: str
    context: ssl.SSLContext | None
    stream: Stream | TlsStream | None = field(default=None)

    def open(self) -> Stream | TlsStream:
        self.stream = connect(self.address, self.url.port, self.attempt)
        if self.context is not None:
            self.stream = start_tls(self.stream, self.context, self.server_name, self.attempt)
        self.attempt.enter("request")
        self.stream.allowance = MAX_HEADER_OCTETS
        return self.stream


class _Connection(urllib3.connection.HTTPConnection):
    exchange: _Exchange

    def connect(self) -> None:
        self.sock = self.exchange.open()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        self.exchange.attempt.enter("status")
        return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    """Makes the one connection of an exchange; TLS is inside it, so http and https are alike here."""

    ConnectionCls = _Connection

    def __init__(self, exchange: _Exchange) -> None:
        super().__init__(exchange.address, exchange.url.port)
        self._exchange = exchange

    def _new_conn(self) -> _Connection:
        connection = _Connection(self.host, self.port)
        connection.exchange = self._exchange
        connection.connect()  # not by the first send, where urllib3 takes a reset for an early answer
        return connection


class _Request(PreparedRequest):
    exchange: _Exchange


class _Adapter(HTTPAdapter):
    """Sends a request on its exchange's own connection: no pool, no proxy from the environment, no retry."""

    def get_connection_with_tls_context(self, request: PreparedRequest, *_args: Any, **_kwargs: Any) -> _Pool:
        assert isinstance(request, _Request)  # noqa: S101 - nothing else is sent
        return _Pool(request.exchange)

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """The exchange's context verifies."""

    def request_url(self, request: PreparedRequest, _proxies: Any) -> str:
        assert isinstance(request, _Request)  # noqa: S101 - nothing else is sent
        return request.exchange.url.target


def redirects_probe(destinations: Destinations, contexts: Mapping[bool, ssl.SSLContext]) -> Probe:
    """A Probe for targets of protocol `http` and `https`, like `http_work` but for redirects, which it follows to the
    same service only (its name or its address, any scheme and port) and always on the probed address.
    """
    adapter = _Adapter()
    # It would log, with a traceback, what any server likes to write into its headers.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

    def work(target: Target, attempt: Attempt) -> str:
        address = destinations.address(target, attempt)
        check, url = target.check.http or NO_SETTINGS, first_url(target)
        accepted = accepted_ranges(check.expect_status)
        for _ in range(MAX_REDIRECTS + 1):
            context = contexts[check.tls_verify] if url.scheme == "https" else None
            exchange = _Exchange(attempt, address, url, server_name(target), context)
            with _answered(adapter, _request(exchange, target, check)) as response:
                location = response.headers.get("location")
                if not check.follow_redirects or location is None or response.status_code not in REDIRECTS:
                    return _judged(response, exchange, check, accepted)
            url = _redirected(url, location, target, address)
        raise ProbeFailure("redirect", f"{attempt.peer} redirects more than {MAX_REDIRECTS} times")

    return probing(work)


def _request(exchange: _Exchange, target: Target, check: HttpCheck) -> _Request:
    request = _Request()
    request.exchange = exchange
    request.method = check.method
    request.url = f"{exchange.url.scheme}://{authority(exchange.address, exchange.url.port)}/"
    request.headers = CaseInsensitiveDict(request_fields(target, exchange.url))
    return request


@contextmanager
def _answered(adapter: _Adapter, request: _Request) -> Iterator[Response]:
    exchange = request.exchange
    exchange.attempt.enter("request")
    response: Response | None = None
    try:
        response = adapter.send(request, stream=True, timeout=exchange.attempt.timeout)
        yield response
    except (RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, ValueError) as error:
        raise _cause(error, exchange.attempt) from error
    except TooMuchReceived:
        peer = exchange.attempt.peer
        raise ProbeFailure("protocol", f"{peer} sent more than {MAX_HEADER_OCTETS} octets of headers") from None
    finally:
        if response is not None:
            response.close()
        if exchange.stream is not None:
            exchange.stream.close()


def _cause(error: BaseException, attempt: Attempt) -> Exception:
    """What was raised below requests and urllib3, which wrap it; a ProbeFailure where the answer was not understood."""
    if isinstance(error, ValueError) and not isinstance(error, RequestException) and attempt.phase == "request":
        return error
    innermost, at = error, _below(error)
    while at is not None:
        if isinstance(at, OSError) and not isinstance(at, RequestException):
            return at
        if not isinstance(innermost, http.client.HTTPException):
            innermost = at
        at = _below(at)
    return ProbeFailure("protocol", f"bad HTTP from {attempt.peer}: {shown(str(innermost))}")


def _below(error: BaseException) -> BaseException | None:
    """What `error` wraps; urllib3 keeps some as an argument only."""
    given = (argument for argument in error.args if isinstance(argument, BaseException))
    return error.__cause__ or error.__context__ or next(given, None)


def _judged(response: Response, exchange: _Exchange, check: HttpCheck, accepted: Ranges) -> str:
    judge_status(response.status_code, check, accepted)
    if check.expect_body is not None:
        _search_body(response, exchange, check.expect_body)
    return f"status {response.status_code}"


def _search_body(response: Response, exchange: _Exchange, expected: str) -> None:
    assert exchange.stream is not None  # noqa: S101 - there is a response
    exchange.attempt.enter("body")
    exchange.stream.allowance = 2 * MAX_BODY_OCTETS
    body, wanted = bytearray(), expected.encode()
    try:
        while len(body) < MAX_BODY_OCTETS:
            part = response.raw.read1(MAX_BODY_OCTETS - len(body), decode_content=False)
            body += part
            if wanted in body:
                return
            if not part:
                break
    except TooMuchReceived:
        pass
    raise ProbeFailure("body", f"{shown(expected)} is not in the first {len(body)} octets of the body")


def _redirected(url: Url, location: str, target: Target, address: str) -> Url:
    """Where `location` leads on the probed address. Raises ProbeFailure where that is another service or no URL."""
    name = target.host or target.address
    try:
        quoted = quote(location.strip().encode("latin-1"), safe=PRINTABLE)
        base = f"{url.scheme}://{authority(name, url.port)}{url.target}"
        parts = urlsplit(urljoin(base, quoted))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ProbeFailure("redirect", f"redirects to {shown(location)}, which is no URL") from None
    if parts.scheme not in SCHEMES:
        raise ProbeFailure("redirect", f"redirects to {shown(location)}, which is neither http nor https")
    if canonical(host) not in {canonical(name), canonical(target.address), address}:
        raise ProbeFailure("redirect", f"redirects to {shown(location)}, which is not {name}")
    query = f"?{parts.query}" if parts.query else ""
    return Url(parts.scheme, port or DEFAULT_PORTS[parts.scheme], (parts.path or "/") + query)
