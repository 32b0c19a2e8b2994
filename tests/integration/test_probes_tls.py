"""The https probe against real TLS servers, good and bad."""

import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthd.probes.result import Probe, Result
from healthd.probes.stream import client_context
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.origins import (
    Authority,
    Certificate,
    Connection,
    Origin,
    answer,
    closed,
    endless_body,
    raw,
    redirect,
    reset,
    self_signed,
    silent,
    slow_body,
    slow_headers,
)
from tests.support.probing import LATE, descriptors, http_probes, settle

NAME = "www.shop.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def good(authority: Authority) -> Certificate:
    return authority.issue(NAME)


@pytest.fixture(scope="module", params=["loop", "requests"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def probe(kind: str, authority: Authority) -> Iterator[Probe]:
    with http_probes(kind, ca_file=str(authority.file)) as made:
        yield made


@pytest.fixture(scope="module")
def following(authority: Authority) -> Iterator[Probe]:
    with http_probes("requests", ca_file=str(authority.file)) as made:
        yield made


@pytest.fixture(scope="module")
def system(kind: str) -> Iterator[Probe]:
    """With the system's authorities, who do not vouch for the test's."""
    with http_probes(kind) as made:
        yield made


def target(
    port: int, host: str | None = NAME, sni: str | None = None, address: str = "127.0.0.1", **settings: object
) -> Target:
    timeout = settings.pop("timeout", 2.0)
    check = HealthCheck(id="web", protocol="https", port=port, timeout=timeout, http=HttpCheck(**settings))  # type: ignore[arg-type]
    return Target(check, address, "ipv6" if ":" in address else "ipv4", host, sni)


def test_the_service_is_asked_for_by_name_and_verified(probe: Probe, good: Certificate) -> None:
    with Origin(answer(), certificate=good) as origin:
        result = probe(target(origin.port))
    assert result.ok, result
    assert set(result.timings) == {"resolve", "connect", "tls", "request", "status"}
    (seen,) = origin.requests
    assert (seen.sni, seen.headers["host"]) == (NAME, NAME)


def test_sni_may_differ_from_host_and_is_what_is_verified(probe: Probe, authority: Authority) -> None:
    with Origin(answer(), certificate=authority.issue("origin.shop.example")) as origin:
        assert probe(target(origin.port, sni="origin.shop.example")).ok
        assert probe(target(origin.port, host="origin.shop.example", sni=NAME)).reason == "tls"
    assert (origin.requests[0].sni, origin.requests[0].headers["host"]) == ("origin.shop.example", NAME)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_is_verified_as_one_and_not_sent_as_sni(probe: Probe, authority: Authority, address: str) -> None:
    with Origin(answer(), host=address, certificate=authority.issue(address)) as origin:
        assert probe(target(origin.port, host=None, address=address)).ok
    assert origin.requests[0].sni is None


def failing(probe: Probe, certificate: Certificate, **settings: object) -> Result:
    with Origin(answer(), certificate=certificate) as origin:
        result = probe(target(origin.port, **settings))  # type: ignore[arg-type]
        assert not origin.requests or result.ok, "nothing is sent to a server that is not trusted"
        return result


def test_an_expired_certificate(probe: Probe, authority: Authority) -> None:
    result = failing(probe, authority.issue(NAME, expired=True))
    assert (result.reason, result.phase) == ("tls", "tls")
    assert "certificate has expired" in result.detail


def test_a_certificate_for_another_name(probe: Probe, authority: Authority) -> None:
    result = failing(probe, authority.issue("other.example"))
    assert (result.reason, result.phase) == ("tls", "tls")
    assert NAME in result.detail


def test_a_self_signed_certificate(probe: Probe, folder: Path) -> None:
    result = failing(probe, self_signed(folder, NAME))
    assert (result.reason, result.phase) == ("tls", "tls")
    assert "self-signed certificate" in result.detail


def test_an_unknown_authority(system: Probe, good: Certificate) -> None:
    result = failing(system, good)
    assert (result.reason, result.phase) == ("tls", "tls")


@pytest.mark.parametrize("bad", ["expired", "other name", "self-signed"])
def test_not_verified_where_the_check_says_so(probe: Probe, authority: Authority, folder: Path, bad: str) -> None:
    certificate = {
        "expired": lambda: authority.issue(NAME, expired=True),
        "other name": lambda: authority.issue("other.example"),
        "self-signed": lambda: self_signed(folder, NAME),
    }[bad]()
    assert failing(probe, certificate, tls_verify=False).ok


def test_verifying_and_not_verifying_do_not_disturb_each_other(probe: Probe, folder: Path) -> None:
    with Origin(answer(), certificate=self_signed(folder, NAME)) as origin:
        verdicts = [probe(target(origin.port, tls_verify=number % 2 == 0)).ok for number in range(10)]
    assert verdicts == [False, True] * 5


def test_a_server_without_tls(probe: Probe) -> None:
    def plain(connection: Connection) -> None:
        connection.stream.recv(1000)
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with Origin(plain) as origin:
        result = probe(target(origin.port))
    assert (result.reason, result.phase) == ("tls", "tls")
    assert "wrong version number" in result.detail


def test_closed_in_the_handshake(probe: Probe) -> None:
    with Origin(lambda connection: None) as origin:
        result = probe(target(origin.port))
    assert result.reason in ("tls", "reset")
    assert result.phase == "tls"


def test_no_answer_to_the_handshake(probe: Probe) -> None:
    with Origin(silent) as origin:
        result = probe(target(origin.port, timeout=0.4))
    assert (result.reason, result.phase) == ("timeout", "tls")
    assert 0.4 <= result.duration < 0.4 + LATE


def test_a_handshake_of_one_octet_at_a_time_ends_at_the_timeout(probe: Probe) -> None:
    def trickling(connection: Connection) -> None:
        for octet in b"\x16\x03\x03\x40\x00" + b"\x02" * 600:
            connection.send(bytes((octet,)))
            connection.wait(0.1)

    with Origin(trickling) as origin:
        result = probe(target(origin.port, timeout=0.5))
    assert (result.reason, result.phase) == ("timeout", "tls")
    assert 0.5 <= result.duration < 0.5 + LATE


@pytest.mark.parametrize(("behaviour", "phase"), [(slow_headers(0.1), "status"), (slow_body(interval=0.1), "body")])
def test_slow_answers_end_at_the_timeout(probe: Probe, good: Certificate, behaviour: object, phase: str) -> None:
    with Origin(behaviour, certificate=good) as origin:  # type: ignore[arg-type]
        result = probe(target(origin.port, timeout=0.6, expect_body="never"))
    assert (result.reason, result.phase) == ("timeout", phase)
    assert 0.6 <= result.duration < 0.6 + LATE


def test_ten_gigabytes_are_not_read(probe: Probe, good: Certificate) -> None:
    with Origin(endless_body(), certificate=good) as origin:
        result = probe(target(origin.port, expect_body="never"))
        assert result.reason == "body"
        assert origin.sent < 100_000_000


def test_many_tickets_are_no_trouble(probe: Probe, good: Certificate) -> None:
    with Origin(answer(), certificate=good) as origin:
        assert origin.context is not None
        origin.context.num_tickets = 255
        assert probe(target(origin.port)).ok


def test_tls_has_a_limit_in_octets(authority: Authority, good: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body ends before it; what only the session sees, such as tickets, may go on for ever."""
    monkeypatch.setattr("healthd.probes.connection.MAX_TLS_OCTETS", 40_000)
    with http_probes("loop", ca_file=str(authority.file)) as probe, Origin(endless_body(), certificate=good) as origin:
        result = probe(target(origin.port, expect_body="never"))
    assert (result.ok, result.reason) == (False, "tls")
    assert "more than 40000 octets of TLS" in result.detail


def test_a_server_that_is_not_trusted_is_told_why(probe: Probe, folder: Path) -> None:
    """The alert that we send: otherwise its log only says that somebody went away."""
    told: list[str] = []

    def listening(connection: Connection) -> None:
        raise AssertionError("no handshake")

    with Origin(listening, certificate=self_signed(folder, NAME)) as origin:
        origin.refused = told.append
        assert probe(target(origin.port)).reason == "tls"
        assert settle(lambda: bool(told))
    assert "unknown ca" in told[0].lower()


def test_reset_and_closed_after_the_handshake(probe: Probe, good: Certificate) -> None:
    for behaviour in (reset, closed):
        with Origin(behaviour, certificate=good) as origin:
            result = probe(target(origin.port))
        assert (result.reason, result.phase) == ("reset", "status"), result


def test_a_broken_record_after_the_handshake(probe: Probe, good: Certificate) -> None:
    def breaking(connection: Connection) -> None:
        connection.request()
        assert isinstance(connection.stream, ssl.SSLSocket)
        plain = connection.stream.detach()
        os.write(plain, b"this is no TLS record")
        os.close(plain)

    with Origin(breaking, certificate=good) as origin:
        result = probe(target(origin.port))
    assert (result.reason, result.phase) == ("tls", "status"), result


def test_redirects_between_http_and_https_of_the_service(following: Probe, good: Certificate) -> None:
    with Origin(answer(), certificate=good) as secure:
        with Origin(redirect(f"https://{NAME}:{secure.port}/in")) as plain:
            aim = target(plain.port, follow_redirects=True)
            check = HealthCheck(id="web", protocol="http", port=plain.port, timeout=2, http=aim.check.http)
            result = following(Target(check, "127.0.0.1", "ipv4", NAME))
        assert result.ok, result
    assert (secure.requests[0].sni, secure.requests[0].target) == (NAME, "/in")


def test_the_authorities_are_loaded_once(system: Probe, good: Certificate) -> None:
    """Loading the system's for each connection would cost 15 ms of CPU; a check costs about 1, and so does the origin's
    part of it."""
    with Origin(answer(), certificate=good) as origin:
        for aim in (target(origin.port), target(origin.port, tls_verify=False)):
            system(aim)
            began = time.process_time()
            for _ in range(20):
                system(aim)
            assert (time.process_time() - began) / 20 < 0.006


def test_an_unreadable_file_of_authorities_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        client_context(verify=True, ca_file=str(tmp_path / "missing.pem"))


def test_no_descriptor_is_left_open(probe: Probe, authority: Authority, good: Certificate) -> None:
    before = descriptors()
    for certificate in (good, authority.issue(NAME, expired=True)):
        for behaviour in (answer(), reset, raw(b"junk\r\n\r\n"), endless_body()):
            with Origin(behaviour, certificate=certificate) as origin:
                for _ in range(10):
                    probe(target(origin.port, expect_body="never"))
    with Origin(silent) as origin:
        for _ in range(3):
            probe(target(origin.port, timeout=0.1))
    assert settle(lambda: descriptors() <= before)
