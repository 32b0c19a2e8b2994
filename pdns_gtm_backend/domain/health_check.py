"""Health checks: reusable templates that say how an address is probed and when its verdict changes."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.document import DomainNameText, Identifier, Port, document
from pdns_gtm_backend.domain.names import domain_name_error, identifier_error
from pdns_gtm_backend.domain.record import content_error
from pdns_gtm_backend.domain.violation import Violation, pointer, shown

Protocol = Literal["ping", "tcp", "http", "https", "dns", "external"]
DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "dns": 53}
PORTLESS: Final = frozenset({"ping", "external"})
SECTIONS: Final[Mapping[str, tuple[Protocol, ...]]] = {
    "http": ("http", "https"),
    "ping": ("ping",),
    "dns": ("dns",),
    "external": ("external",),
}
"""The settings that are for some protocols only."""
Policy = Literal["up", "down", "keep"]
Headers = Annotated[
    Mapping[Annotated[str, MinLen(1), MaxLen(128)], Annotated[str, MaxLen(1024)]],
    MaxLen(32),
]
VantageSelector = Annotated[str, MinLen(1), MaxLen(319)]
"""The name of a vantage, or a label that it has: `country=CN`."""
RESERVED_HEADERS: Final = frozenset({"host", "connection", "content-length", "transfer-encoding"})


@document
class HttpCheck:
    """The request of an `http` or `https` check and what its answer must be.

    path: sent as the request target.
    headers: sent beside Host, which the pool's `host` gives.
    expect_status: codes and ranges, "200-399" or "200,204,301-302".
    expect_body: text that the first 64 KiB of the body must hold.
    follow_redirects: follow up to five, on the probed address only.
    tls_verify: check the certificate chain and that it is for the service's name.
    """

    method: Literal["GET", "HEAD"] = "GET"
    path: Annotated[str, MinLen(1), MaxLen(2048)] = "/"
    headers: Headers = field(default_factory=dict)
    expect_status: Annotated[str, MinLen(3), MaxLen(255)] = "200-399"
    expect_body: Annotated[str, MinLen(1), MaxLen(1024)] | None = None
    follow_redirects: bool = False
    tls_verify: bool = True


@document
class PingCheck:
    """ICMP echo: `count` packets; lost percentage of `loss_threshold` or more is a failure."""

    count: Annotated[int, Ge(1), Le(20)] = 3
    loss_threshold: Annotated[int, Ge(1), Le(100)] = 50


@document
class DnsCheck:
    """The question of a `dns` check and what its answer must be.

    expect_answer: the answer must hold one of these records, written as in zone files with whole names ("192.0.2.1",
    "10 mail.example", "\\"v=spf1 -all\\""); null = every answer without an error (NOERROR), an empty one too.
    """

    name: DomainNameText
    type: Literal["A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT"] = "A"
    expect_answer: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(1024)], ...], MinLen(1), MaxLen(32)] | None = None


@document
class ExternalCheck:
    """An `external` check is not probed: its results are pushed, each with a time to live.

    when_expired: what an address is once that time is over; `keep` = what the last result said.
    """

    when_expired: Policy = "keep"


@document
class Report:
    """The last result that was pushed for a target of an `external` check.

    at: when, in seconds since the epoch by Redis's clock. ttl: seconds for which it holds.
    detail: a sentence for operators.
    """

    ok: bool
    at: Annotated[float, Ge(0)]
    ttl: Annotated[float, Ge(1), Le(604_800)]
    detail: Annotated[str, MaxLen(500)] = ""

    def expired(self, now: float) -> bool:
        """Is its time over at `now`?"""
        return now >= self.at + self.ttl

    def up(self, when_expired: Policy, now: float) -> bool:
        """Is the target up at `now`, by an ExternalCheck's `when_expired`?"""
        return self.ok if when_expired == "keep" or not self.expired(now) else when_expired == "up"


@document
class HealthCheck:
    """A reusable template: protocol, schedule in seconds, and thresholds.

    port: 80 for http, 443 for https and 53 for dns where none is given; required for tcp; none for ping and external.
    interval, timeout: seconds between probes, and the total deadline of one.
    fast_interval: seconds between probes while a verdict is undecided; null = a quarter of `interval`, at least 1.
    fall, rise: consecutive failures that make a vantage see an address down, successes that make it see it up.
    quorum: an address is down when strictly more than this share of the reporting vantages see it down.
    vantages: the vantages that probe: those named, and those with a label (`country=CN`) that is listed; null = all.
    min_vantages: fewer reporting ones freeze the state; null = 1 where one vantage is configured, else 2.
    """

    id: Identifier
    protocol: Protocol
    port: Port | None = None
    interval: Annotated[float, Ge(1), Le(86400)] = 10
    timeout: Annotated[float, Ge(0.1), Le(60)] = 3
    fast_interval: Annotated[float, Ge(1), Le(86400)] | None = None
    fall: Annotated[int, Ge(1), Le(100)] = 3
    rise: Annotated[int, Ge(1), Le(100)] = 2
    quorum: Annotated[float, Ge(0), Le(0.99)] = 0.5
    vantages: Annotated[tuple[VantageSelector, ...], MinLen(1), MaxLen(100)] | None = None
    min_vantages: Annotated[int, Ge(1), Le(100)] | None = None
    http: HttpCheck | None = None
    ping: PingCheck | None = None
    dns: DnsCheck | None = None
    external: ExternalCheck | None = None

    @property
    def effective_port(self) -> int | None:
        """The port that is probed; None for ping and external."""
        return self.port if self.port is not None else DEFAULT_PORTS.get(self.protocol)

    @property
    def undecided_interval(self) -> float:
        """Seconds between probes while successes or failures are being counted."""
        chosen = self.fast_interval if self.fast_interval is not None else max(1.0, self.interval / 4)
        return min(chosen, self.interval)


def status_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Parse "200,301-399" into inclusive ranges. Raises ValueError with what is allowed."""
    ranges = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not (part.isascii() and low.isdecimal() and (high.isdecimal() if dash else True)):
            raise ValueError(f"{part.strip()!r} is neither a status code nor a range like 200-399")
        first, last = int(low), int(high or low)
        if not 100 <= first <= last <= 599:
            raise ValueError(f"{part.strip()!r} is outside 100-599 or runs backwards")
        ranges.append((first, last))
    return tuple(ranges)


def health_check_violations(check: HealthCheck) -> Iterator[Violation]:
    """Every rule of its own that `check` breaks."""
    if error := identifier_error(check.id):
        yield Violation("/id", f"{shown(check.id)} {error}")
    if check.protocol == "tcp" and check.port is None:
        yield Violation("/port", "a tcp check needs a port (1 to 65535)")
    if check.protocol in PORTLESS and check.port is not None:
        yield Violation("/port", f"{check.port} is given, but a {check.protocol} check has no port")
    if check.protocol == "dns" and check.dns is None:
        yield Violation("/dns", "a dns check needs the 'name' to ask for")
    for section, protocols in SECTIONS.items():
        if getattr(check, section) is not None and check.protocol not in protocols:
            yield Violation(f"/{section}", f"is for {' and '.join(protocols)} checks, this one is {check.protocol}")
    if check.http is not None:
        yield from (v.under("/http") for v in _http_violations(check.http))
    if check.dns is not None:
        yield from (v.under("/dns") for v in _dns_violations(check.dns))
    yield from _vantage_violations(check)


def _vantage_violations(check: HealthCheck) -> Iterator[Violation]:
    if check.vantages is None:
        return
    for index, selector in enumerate(check.vantages):
        if error := selector_error(selector):
            yield Violation(pointer("vantages", index), f"{shown(selector)} {error}")
        elif selector in check.vantages[:index]:
            yield Violation(pointer("vantages", index), f"{shown(selector)} is named twice")
    by_label = any("=" in selector for selector in check.vantages)
    if check.min_vantages is not None and check.min_vantages > len(check.vantages) and not by_label:
        detail = (
            f"{check.min_vantages} is more than the {len(check.vantages)} in 'vantages': no state would ever change"
        )
        yield Violation("/min_vantages", detail)


def selector_error(selector: str) -> str | None:
    """Why this selects no vantage, neither by name nor by label; None where it may."""
    key, equals, value = selector.partition("=")
    if not equals:
        return identifier_error(selector) or ("is longer than 63 characters" if len(selector) > 63 else None)
    if len(key) > 63 or identifier_error(key):
        return "is no label: before '=' stand 1 to 63 letters, digits, '.', '_' or '-'"
    if not (value and value.isprintable() and value == value.strip() and len(value) <= 255):
        return "is no label: after '=' stand 1 to 255 printable characters, a space not at their ends"
    return None


def _http_violations(http: HttpCheck) -> Iterator[Violation]:
    try:
        status_ranges(http.expect_status)
    except ValueError as error:
        yield Violation("/expect_status", str(error))
    if not http.path.startswith("/"):
        yield Violation("/path", f"{shown(http.path)} must start with '/'")
    if not (http.path.isascii() and http.path.isprintable()) or " " in http.path:
        yield Violation("/path", f"{shown(http.path)} may hold printable ASCII without spaces only (percent-encode)")
    if http.method == "HEAD" and http.expect_body is not None:
        yield Violation("/expect_body", "the answer to HEAD has no body: use GET")
    for name, value in http.headers.items():
        if name.lower() in RESERVED_HEADERS:
            yield Violation(pointer("headers", name), f"{name} cannot be set (Host comes from the pool's 'host')")
        elif not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            yield Violation(pointer("headers", name), f"{shown(name)} is no header name")
        if not value.isprintable() or not value.isascii():
            yield Violation(pointer("headers", name), f"{shown(value)} may hold printable ASCII only")


def _dns_violations(dns: DnsCheck) -> Iterator[Violation]:
    if error := domain_name_error(dns.name):
        yield Violation("/name", f"{shown(dns.name)} {error}")
    for index, content in enumerate(dns.expect_answer or ()):
        if error := content_error(dns.type, content):
            yield Violation(pointer("expect_answer", index), f"{shown(content)} is no {dns.type} record: {error}")
