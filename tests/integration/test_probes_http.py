"""The http probe against a real origin that fails in every way."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck as Hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st

from healthd.probes.destination import Destinations
from healthd.probes.http import USER_AGENT, http_probe
from healthd.probes.result import Result
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import (
    Behaviour,
    Connection,
    Origin,
    answer,
    by_path,
    closed,
    endless_body,
    endless_headers,
    raw,
    redirect,
    refusing_port,
    reset,
    silent,
    slow_body,
    slow_headers,
    trickle,
    unanswering_port,
)

probe = http_probe(Destinations(allow_private=True))


def target(
    port: int, timeout: float = 2.0, address: str = "127.0.0.1", host: str | None = None, **http: object
) -> Target:
    check = HealthCheck(id="web", protocol="http", port=port, timeout=timeout, http=HttpCheck(**http))  # type: ignore[arg-type]
    return Target(check, address, "ipv6" if ":" in address else "ipv4", host)


def probed(behaviour: Behaviour, **settings: object) -> Result:
    with Origin(behaviour) as origin:
        return probe(target(origin.port, **settings))  # type: ignore[arg-type]


def test_up() -> None:
    result = probed(answer(200))
    assert result.ok
    assert (result.reason, result.detail, result.phase) == (None, "status 200", "status")
    assert set(result.timings) == {"resolve", "connect", "request", "status"}
    assert sum(result.timings.values()) == pytest.approx(result.duration)
    assert 0 < result.duration < 2


def test_what_the_origin_sees() -> None:
    with Origin(answer(200)) as origin:
        check = {"path": "/health/z?deep=1&x=%2F", "headers": {"X-Probe": "gtm", "accept": "text/plain"}}
        assert probe(target(origin.port, host="www.shop.example", **check)).ok  # type: ignore[arg-type]
    (seen,) = origin.requests
    assert (seen.method, seen.target) == ("GET", "/health/z?deep=1&x=%2F")
    assert seen.headers == {
        "host": "www.shop.example",
        "user-agent": USER_AGENT,
        "accept": "text/plain",
        "accept-encoding": "identity",
        "connection": "close",
        "x-probe": "gtm",
    }
    assert USER_AGENT.startswith("pdns-gtm-healthd/0.")


@pytest.mark.parametrize("path", ["/a/../b", "//double", "/a//b", "/;p=1", "/%7euser", "/?", "/*'()!$"])
def test_the_path_is_sent_as_it_is_written(path: str) -> None:
    with Origin(answer(200)) as origin:
        assert probe(target(origin.port, path=path)).ok
    assert origin.requests[0].target.lower() == path.lower()


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_without_a_host_the_address_is_sent(address: str, shown: str) -> None:
    with Origin(answer(200), host=address) as origin:
        assert probe(target(origin.port, address=address)).ok
    assert origin.requests[0].headers["host"] == f"{shown}:{origin.port}"


def test_head_has_no_body_and_is_not_followed_by_one() -> None:
    with Origin(answer(200, b"x" * 1000)) as origin:
        assert probe(target(origin.port, method="HEAD")).ok
    assert origin.requests[0].method == "HEAD"


def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert probed(answer(200)).ok


@pytest.mark.parametrize(
    ("status", "expected", "ok"),
    [
        (200, "200-399", True),
        (399, "200-399", True),
        (404, "200-399", False),
        (503, "200-399", False),
        (204, "200,204", True),
        (201, "200,204", False),
        (503, "503", True),
    ],
)
def test_status(status: int, expected: str, ok: bool) -> None:
    result = probed(answer(status), expect_status=expected)
    assert result.ok is ok
    if not ok:
        assert (result.reason, result.phase) == ("status", "status")
        assert result.detail == f"status {status}, expected {expected}"


@pytest.mark.parametrize(
    ("body", "expected", "ok"),
    [
        (b"all fine: ok", "ok", True),
        (b"failed", "ok", False),
        (b"", "ok", False),
        ("größer".encode(), "größer", True),
        (b"x" * 65_534 + b"ok", "ok", True),
        (b"x" * 65_535 + b"ok", "ok", False),
    ],
)
def test_body(body: bytes, expected: str, ok: bool) -> None:
    result = probed(answer(200, body), expect_body=expected)
    assert result.ok is ok
    if not ok:
        assert (result.reason, result.phase) == ("body", "body")
        assert repr(expected) in result.detail
        assert str(min(len(body), 65_536)) in result.detail


def test_a_chunked_body_is_searched_across_its_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nready\r\n"
    assert probed(raw(chunked.replace(b"4\r\nready", b"2\r\nre\r\n3\r\nady") + b"0\r\n\r\n"), expect_body="ready").ok


def test_a_body_is_not_waited_for_once_it_matched() -> None:
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nready"
    result = probed(raw(early, stay=True), expect_body="ready")
    assert result.ok
    assert result.duration < 1


def test_a_body_is_not_waited_for_where_none_is_expected() -> None:
    assert probed(slow_body()).ok


def test_refused() -> None:
    with refusing_port() as port:
        result = probe(target(port))
    assert (result.reason, result.phase) == ("refused", "connect")
    assert result.detail == f"connection refused by 127.0.0.1:{port}"


def test_reset() -> None:
    result = probed(reset)
    assert (result.reason, result.phase) == ("reset", "status")
    assert "connection reset by 127.0.0.1:" in result.detail


def test_closed_without_an_answer() -> None:
    result = probed(closed)
    assert (result.reason, result.phase) == ("reset", "status")
    assert "closed the connection without an answer" in result.detail


@pytest.mark.parametrize(
    ("behaviour", "phase"),
    [
        (silent, "status"),
        (slow_headers(0.1), "status"),
        (slow_body(interval=0.1), "body"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", stay=True), "body"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n", stay=True), "status"),
        (trickle(b"1000\r\n" + b"x" * 600, 0.1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "body"),
    ],
    ids=["silent", "headers trickle", "body trickles", "body is missing", "100 and nothing", "chunks trickle"],
)
def test_the_timeout_is_for_the_whole_probe(behaviour: Behaviour, phase: str) -> None:
    result = probed(behaviour, timeout=0.5, expect_body="never")
    assert (result.reason, result.phase) == ("timeout", phase)
    assert "within 0.5 s" in result.detail
    assert 0.5 <= result.duration < 1.2


def test_one_octet_a_second_ends_at_the_timeout() -> None:
    result = probed(slow_headers(1.0), timeout=2.2)
    assert (result.reason, result.phase) == ("timeout", "status")
    assert 2.2 <= result.duration < 2.9


def test_no_answer_to_the_connection() -> None:
    with unanswering_port() as port:
        result = probe(target(port, timeout=0.4))
    assert (result.reason, result.phase) == ("timeout", "connect")
    assert 0.4 <= result.duration < 1.1


def test_ten_gigabytes_are_not_read() -> None:
    with Origin(endless_body()) as origin:
        assert probe(target(origin.port)).ok
        result = probe(target(origin.port, expect_body="never"))
        assert (result.reason, result.phase) == ("body", "body")
        assert result.duration < 1
        assert origin.sent < 100_000_000


def test_endless_headers_are_not_read() -> None:
    with Origin(endless_headers()) as origin:
        result = probe(target(origin.port))
        assert (result.reason, result.phase) == ("protocol", "status")
        assert "65536 octets of headers" in result.detail
        assert origin.sent < 100_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x01\x02\xff" * 100,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http(data: bytes) -> None:
    result = probed(raw(data), expect_body="never")
    assert result.reason == "protocol"
    assert len(result.detail) < 200
    assert result.detail.isprintable()


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 x\r\nLocation: "]))
@settings(max_examples=150, deadline=None, suppress_health_check=[Hypothesis.function_scoped_fixture])
def test_no_answer_surprises_the_probe(garbage_origin: Origin, data: bytes, start: bytes) -> None:
    garbage_origin.behaviour = raw(start + data)
    result = probe(target(garbage_origin.port, follow_redirects=True, expect_body="never"))
    assert not result.ok
    assert result.reason in {"protocol", "redirect", "status", "body", "reset"}
    assert result.detail.isprintable()
    assert len(result.detail) < 300


@pytest.fixture(scope="module")
def garbage_origin() -> object:
    with Origin(closed) as origin:
        yield origin


FOLLOW = {"follow_redirects": True, "host": "www.shop.example"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "/other?x=1#part",
        "other?x=1",
        "//www.shop.example:{port}/other?x=1",
        "?x=1",
        "http://WWW.shop.example.:{port}/other?x=1",
        "http://127.0.0.1:{port}/other?x=1",
    ],
)
def test_redirects_to_the_service_are_followed(status: int, location: str) -> None:
    with Origin(answer(404)) as origin:
        first = redirect(location.format(port=origin.port), status)

        def behave(connection: Connection) -> None:
            (first if not origin.requests else answer(200))(connection)

        origin.behaviour = behave
        result = probe(target(origin.port, **FOLLOW))  # type: ignore[arg-type]
    assert result.ok, result
    assert [seen.headers["host"] for seen in origin.requests] == ["www.shop.example"] * 2
    assert origin.requests[1].target in ("/other?x=1", "/?x=1")


def test_redirects_to_another_port_of_the_service_are_followed_on_the_probed_address() -> None:
    with Origin(answer(200), host="127.0.0.7") as there:
        with Origin(redirect(f"http://www.shop.example:{there.port}/"), host="127.0.0.7") as here:
            assert probe(target(here.port, address="127.0.0.7", **FOLLOW)).ok  # type: ignore[arg-type]
        assert there.connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example/",
        "http://127.0.0.2/",
        "//other.example/",
        "http://www.shop.example.evil.example/",
        "http://www.shop.example@other.example/",
        "ftp://www.shop.example/",
        "file:///etc/passwd",
        "http://www.shop.example:99999/",
        "http://[::1/",
        "http://\x01\xff/",
    ],
)
def test_redirects_elsewhere_fail(location: str) -> None:
    with Origin(redirect(location)) as origin:
        result = probe(target(origin.port, **FOLLOW))  # type: ignore[arg-type]
    assert result.reason == "redirect"
    assert result.detail.isprintable()
    assert origin.connections == 1


def test_five_redirects_are_followed_and_not_six() -> None:
    def counted(limit: int) -> Result:
        with Origin(answer(404)) as origin:
            origin.behaviour = lambda c: (redirect("/x") if len(origin.requests) < limit else answer(200))(c)
            result = probe(target(origin.port, follow_redirects=True))
            assert origin.connections == min(limit, 5) + 1
            return result

    assert counted(5).ok
    result = counted(6)
    assert (result.reason, result.ok) == ("redirect", False)
    assert "more than 5" in result.detail


def test_redirects_share_one_timeout() -> None:
    def behave(connection: Connection) -> None:
        connection.wait(0.3)
        redirect("/x")(connection)

    result = probed(behave, timeout=0.8, follow_redirects=True)
    assert result.reason == "timeout"
    assert 0.8 <= result.duration < 1.5


def test_headers_that_cannot_be_read_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert probed(raw(b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n")).ok
    assert caplog.records == []


def test_redirects_are_not_followed_unless_asked_for() -> None:
    result = probed(redirect("http://other.example/"))
    assert (result.ok, result.detail) == (True, "status 302")


def test_a_redirects_target_is_judged() -> None:
    result = probed(by_path(gone=answer(410), other=redirect("/gone")), follow_redirects=True)
    assert (result.reason, result.detail) == ("status", "status 410, expected 200-399")


def test_what_no_check_may_hold_is_the_probers_trouble() -> None:
    with Origin(answer(200)) as origin:
        split = probe(target(origin.port, headers={"X-Bad": "a\r\nX-Other: b"}))
        assert origin.requests == []
        ranges = probe(target(origin.port, expect_status="2xx"))
    for result in (split, ranges, probe(target(70_000))):
        assert (result.reason, result.conclusive) == ("internal", False)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "behaviour",
    [answer(200), answer(503), reset, closed, raw(b"junk\r\n\r\n"), endless_body(), endless_headers(), redirect("/x")],
    ids=["200", "503", "reset", "closed", "junk", "endless body", "endless headers", "redirect"],
)
def test_no_descriptor_is_left_open(behaviour: Behaviour) -> None:
    with Origin(behaviour) as origin:
        aim = target(origin.port, expect_body="never", follow_redirects=True)
        probe(aim)
        settle(lambda: origin.active == 0)
        before = descriptors()
        for _ in range(50):
            probe(aim)
        settle(lambda: origin.active == 0 and descriptors() <= before)
        assert descriptors() <= before


def settle(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_private_target_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    guarded = http_probe(Destinations(allow_private=False))
    with Origin(answer(200)) as origin:
        result = guarded(target(origin.port))
        assert (result.reason, result.phase) == ("unreachable", "resolve")
        assert "GTM_ALLOW_PRIVATE_TARGETS=1" in result.detail
        assert origin.connections == 0
