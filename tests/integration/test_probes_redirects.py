"""Checks that follow redirects, against real origins."""

from collections.abc import Iterator

import pytest

from healthd.probes.result import Probe, Result
from tests.support.origins import Connection, Origin, answer, by_path, redirect
from tests.support.probing import LATE, http_probes, http_target, probed


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with http_probes("requests") as made:
        yield made


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
def test_redirects_to_the_service_are_followed(probe: Probe, status: int, location: str) -> None:
    with Origin(answer(404)) as origin:
        first = redirect(location.format(port=origin.port), status)

        def behave(connection: Connection) -> None:
            (first if not origin.requests else answer(200))(connection)

        origin.behaviour = behave
        result = probe(http_target(origin.port, **FOLLOW))
    assert result.ok, result
    assert [seen.headers["host"] for seen in origin.requests] == ["www.shop.example"] * 2
    assert origin.requests[1].target in ("/other?x=1", "/?x=1")


def test_redirects_to_another_port_of_the_service_are_followed_on_the_probed_address(probe: Probe) -> None:
    with Origin(answer(200), host="127.0.0.7") as there:
        with Origin(redirect(f"http://www.shop.example:{there.port}/"), host="127.0.0.7") as here:
            assert probe(http_target(here.port, address="127.0.0.7", **FOLLOW)).ok
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
def test_redirects_elsewhere_fail(probe: Probe, location: str) -> None:
    with Origin(redirect(location)) as origin:
        result = probe(http_target(origin.port, **FOLLOW))
    assert result.reason == "redirect"
    assert result.detail.isprintable()
    assert origin.connections == 1


def test_five_redirects_are_followed_and_not_six(probe: Probe) -> None:
    def counted(limit: int) -> Result:
        with Origin(answer(404)) as origin:
            origin.behaviour = lambda c: (redirect("/x") if len(origin.requests) < limit else answer(200))(c)
            result = probe(http_target(origin.port, follow_redirects=True))
            assert origin.connections == min(limit, 5) + 1
            return result

    assert counted(5).ok
    result = counted(6)
    assert (result.reason, result.ok) == ("redirect", False)
    assert "more than 5" in result.detail


def test_redirects_share_one_timeout(probe: Probe) -> None:
    def behave(connection: Connection) -> None:
        connection.wait(0.3)
        redirect("/x")(connection)

    result = probed(probe, behave, timeout=0.8, follow_redirects=True)
    assert result.reason == "timeout"
    assert 0.8 <= result.duration < 0.8 + LATE


def test_a_redirects_target_is_judged(probe: Probe) -> None:
    result = probed(probe, by_path(gone=answer(410), other=redirect("/gone")), follow_redirects=True)
    assert (result.reason, result.detail) == ("status", "status 410, expected 200-399")
