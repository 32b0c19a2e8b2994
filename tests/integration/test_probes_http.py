"""The http probe against a real origin that fails in every way, by both engines."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck as Hypothesis
from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.http import USER_AGENT
from healthd.probes.result import Probe
from tests.support.origins import (
    Behaviour,
    Origin,
    answer,
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
from tests.support.probing import LATE, descriptors, http_probes, http_target, probed, settle
from tests.support.strategies import examples


@pytest.fixture(scope="module", params=["loop", "requests"])
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    with http_probes(request.param) as made:
        yield made


def test_up(probe: Probe) -> None:
    result = probed(probe, answer(200))
    assert result.ok
    assert (result.reason, result.detail, result.phase) == (None, "status 200", "status")
    assert set(result.timings) == {"resolve", "connect", "request", "status"}
    assert sum(result.timings.values()) == pytest.approx(result.duration)
    assert 0 < result.duration < 2


def test_what_the_origin_sees(probe: Probe) -> None:
    with Origin(answer(200)) as origin:
        check = {"path": "/health/z?deep=1&x=%2F", "headers": {"X-Probe": "gtm", "accept": "text/plain"}}
        assert probe(http_target(origin.port, host="www.shop.example", **check)).ok
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
def test_the_path_is_sent_as_it_is_written(probe: Probe, path: str) -> None:
    with Origin(answer(200)) as origin:
        assert probe(http_target(origin.port, path=path)).ok
    assert origin.requests[0].target.lower() == path.lower()


@pytest.mark.parametrize(("address", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_without_a_host_the_address_is_sent(probe: Probe, address: str, shown: str) -> None:
    with Origin(answer(200), host=address) as origin:
        assert probe(http_target(origin.port, address=address)).ok
    assert origin.requests[0].headers["host"] == f"{shown}:{origin.port}"


def test_head_has_no_body_and_is_not_followed_by_one(probe: Probe) -> None:
    with Origin(answer(200, b"x" * 1000)) as origin:
        assert probe(http_target(origin.port, method="HEAD")).ok
    assert origin.requests[0].method == "HEAD"


def test_the_environments_proxies_are_not_used(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert probed(probe, answer(200)).ok


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
def test_status(probe: Probe, status: int, expected: str, ok: bool) -> None:
    result = probed(probe, answer(status), expect_status=expected)
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
def test_body(probe: Probe, body: bytes, expected: str, ok: bool) -> None:
    result = probed(probe, answer(200, body), expect_body=expected)
    assert result.ok is ok
    if not ok:
        assert (result.reason, result.phase) == ("body", "body")
        assert repr(expected) in result.detail
        assert str(min(len(body), 65_536)) in result.detail


def test_a_chunked_body_is_searched_across_its_chunks(probe: Probe) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nready\r\n"
    assert probed(
        probe, raw(chunked.replace(b"4\r\nready", b"2\r\nre\r\n3\r\nady") + b"0\r\n\r\n"), expect_body="ready"
    ).ok


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\nready",
        OK + b"\r\nready",
        b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nready",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nready",
        b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" * 3 + OK + b"Content-Length: 5\r\n\r\nready",
        OK + b"content-length:   5  \r\n\r\nready and more",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nready",
        CHUNKED + b"Content-Length: 1\r\n\r\n5;a=b\r\nready\r\n0\r\nTrailer: x\r\n\r\n",
        OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n",
    ],
)
def test_ways_to_give_a_body(probe: Probe, data: bytes) -> None:
    result = probed(probe, raw(data), expect_body="ready")
    assert result.ok, result


@pytest.mark.parametrize(
    ("data", "octets"),
    [
        (OK + b"Content-Length: 2\r\n\r\nready", 2),
        (OK + b"Content-Length: 0\r\n\r\nready", 0),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nready", 0),
        (b"HTTP/1.1 304 Not Modified\r\n\r\nready", 0),
        (CHUNKED + b"\r\n0\r\n\r\nready", 0),
        (CHUNKED + b"\r\n2\r\nre\r\n0\r\n\r\nready", 2),
    ],
)
def test_what_is_behind_the_body_does_not_belong_to_it(probe: Probe, data: bytes, octets: int) -> None:
    result = probed(probe, raw(data), expect_body="ready")
    assert (result.reason, result.phase) == ("body", "body")
    assert f"the first {octets} octets" in result.detail


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (OK, "the connection ended within the headers"),
        (OK + b"Server: x\r\n", "the connection ended within the headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the connection ended within the headers"),
        (OK + b"Content-Length: 50\r\n\r\nshort", "the connection ended within the body"),
        (CHUNKED + b"\r\n5\r\nre", "the connection ended within the body"),
        (OK + b"Content-Length: 1, 2\r\n\r\nready", "more than one Content-Length"),
        (OK + b"Content-Length: -5\r\n\r\nready", "Content-Length '-5'"),
        (OK + b"Content-Length: 5\xb2\r\n\r\nready", "Content-Length '5\xb2'"),
    ],
)
def test_half_answers_and_no_length_are_no_answers(data: bytes, told: str) -> None:
    with http_probes("loop") as probe:
        result = probed(probe, raw(data), expect_body="ready")
    assert (result.ok, result.reason) == (False, "protocol")
    assert told in result.detail


def test_early_hints_are_not_the_answer() -> None:
    """http.client takes 103 (RFC 8297) for it."""
    with http_probes("loop") as probe:
        result = probed(probe, raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"\r\n"))
    assert (result.ok, result.detail) == (True, "status 200")


def test_a_body_is_not_waited_for_once_it_matched(probe: Probe) -> None:
    early = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nready"
    result = probed(probe, raw(early, stay=True), expect_body="ready")
    assert result.ok
    assert result.duration < 1


def test_a_body_is_not_waited_for_where_none_is_expected(probe: Probe) -> None:
    assert probed(probe, slow_body()).ok


def test_refused(probe: Probe) -> None:
    with refusing_port() as port:
        result = probe(http_target(port))
    assert (result.reason, result.phase) == ("refused", "connect")
    assert result.detail == f"connection refused by 127.0.0.1:{port}"


def test_reset(probe: Probe) -> None:
    result = probed(probe, reset)
    assert (result.reason, result.phase) == ("reset", "status")
    assert "connection reset by 127.0.0.1:" in result.detail


def test_closed_without_an_answer(probe: Probe) -> None:
    result = probed(probe, closed)
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
def test_the_timeout_is_for_the_whole_probe(probe: Probe, behaviour: Behaviour, phase: str) -> None:
    result = probed(probe, behaviour, timeout=0.5, expect_body="never")
    assert (result.reason, result.phase) == ("timeout", phase)
    assert "within 0.5 s" in result.detail
    assert 0.5 <= result.duration < 0.5 + LATE


def test_one_octet_a_second_ends_at_the_timeout(probe: Probe) -> None:
    result = probed(probe, slow_headers(1.0), timeout=2.2)
    assert (result.reason, result.phase) == ("timeout", "status")
    assert 2.2 <= result.duration < 2.2 + LATE


def test_no_answer_to_the_connection(probe: Probe) -> None:
    with unanswering_port() as port:
        result = probe(http_target(port, timeout=0.4))
    assert (result.reason, result.phase) == ("timeout", "connect")
    assert 0.4 <= result.duration < 0.4 + LATE


def test_ten_gigabytes_are_not_read(probe: Probe) -> None:
    with Origin(endless_body()) as origin:
        assert probe(http_target(origin.port)).ok
        result = probe(http_target(origin.port, expect_body="never"))
        assert (result.reason, result.phase) == ("body", "body")
        assert origin.sent < 100_000_000


def test_endless_headers_are_not_read(probe: Probe) -> None:
    with Origin(endless_headers()) as origin:
        result = probe(http_target(origin.port))
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
def test_what_is_not_http(probe: Probe, data: bytes) -> None:
    result = probed(probe, raw(data), expect_body="never")
    assert result.reason == "protocol"
    assert len(result.detail) < 200
    assert result.detail.isprintable()


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 x\r\nLocation: "]))
@examples(150, Hypothesis.function_scoped_fixture)
def test_no_answer_surprises_the_probe(probe: Probe, garbage_origin: Origin, data: bytes, start: bytes) -> None:
    garbage_origin.behaviour = raw(start + data)
    result = probe(http_target(garbage_origin.port, follow_redirects=True, expect_body="never"))
    assert not result.ok
    assert result.reason in {"protocol", "redirect", "status", "body", "reset"}
    assert result.detail.isprintable()
    assert len(result.detail) < 300


@pytest.fixture(scope="module")
def garbage_origin() -> object:
    with Origin(closed) as origin:
        yield origin


def test_headers_that_cannot_be_read_are_not_logged(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    assert probed(probe, raw(b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n")).ok
    assert caplog.records == []


def test_redirects_are_not_followed_unless_asked_for(probe: Probe) -> None:
    result = probed(probe, redirect("http://other.example/"))
    assert (result.ok, result.detail) == (True, "status 302")


def test_what_no_check_may_hold_is_the_probers_trouble(probe: Probe) -> None:
    with Origin(answer(200)) as origin:
        split = probe(http_target(origin.port, headers={"X-Bad": "a\r\nX-Other: b"}))
        assert origin.requests == []
        ranges = probe(http_target(origin.port, expect_status="2xx"))
    for result in (split, ranges, probe(http_target(70_000))):
        assert (result.reason, result.conclusive) == ("internal", False)


@pytest.mark.parametrize(
    "behaviour",
    [answer(200), answer(503), reset, closed, raw(b"junk\r\n\r\n"), endless_body(), endless_headers(), redirect("/x")],
    ids=["200", "503", "reset", "closed", "junk", "endless body", "endless headers", "redirect"],
)
def test_no_descriptor_is_left_open(probe: Probe, behaviour: Behaviour) -> None:
    with Origin(behaviour) as origin:
        aim = http_target(origin.port, expect_body="never", follow_redirects=True)
        probe(aim)
        settle(lambda: origin.active == 0)
        before = descriptors()
        for _ in range(50):
            probe(aim)
        settle(lambda: origin.active == 0 and descriptors() <= before)
        assert descriptors() <= before


@pytest.mark.parametrize("kind", ["loop", "requests"])
def test_a_private_target_is_refused_before_anything_is_sent(kind: str) -> None:
    with http_probes(kind, allow_private=False) as guarded, Origin(answer(200)) as origin:
        result = guarded(http_target(origin.port))
        assert (result.reason, result.phase) == ("unreachable", "resolve")
        assert "GTM_ALLOW_PRIVATE_TARGETS=1" in result.detail
        assert origin.connections == 0
