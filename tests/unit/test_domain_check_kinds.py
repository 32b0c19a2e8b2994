"""The rules of dns and external checks."""

from dataclasses import replace
from typing import Any

import pytest

from pdns_gtm_backend.domain.health_check import (
    DnsCheck,
    ExternalCheck,
    HealthCheck,
    HttpCheck,
    PingCheck,
    health_check_violations,
)
from pdns_gtm_backend.store.kinds import HEALTH_CHECKS, KINDS

DNS = HealthCheck(id="dns", protocol="dns", dns=DnsCheck(name="shop.example"))
EXTERNAL = HealthCheck(id="script", protocol="external")


def told(check: HealthCheck) -> dict[str, str]:
    return {violation.pointer: violation.detail for violation in health_check_violations(check)}


def with_dns(**question: Any) -> HealthCheck:
    return replace(DNS, dns=DnsCheck(**{"name": "shop.example"} | question))


@pytest.mark.parametrize(
    "check",
    [
        DNS,
        replace(DNS, port=5300),
        with_dns(type="MX", expect_answer=("10 mail.shop.example", "20 mail.shop.example.")),
        with_dns(type="TXT", expect_answer=('"v=spf1 -all" "x"', "one-word")),
        with_dns(type="AAAA", expect_answer=("2001:db8::1",)),
        with_dns(type="CNAME", expect_answer=("www.shop.example",)),
        EXTERNAL,
        replace(EXTERNAL, external=ExternalCheck(when_expired="down")),
    ],
)
def test_valid_checks(check: HealthCheck) -> None:
    assert told(check) == {}
    adapter = KINDS[HEALTH_CHECKS].adapter
    assert adapter.validate_json(adapter.dump_json(check)) == check


@pytest.mark.parametrize(
    ("check", "pointer", "named"),
    [
        (replace(DNS, dns=None), "/dns", "'name'"),
        (replace(DNS, http=HttpCheck()), "/http", "http and https"),
        (replace(DNS, external=ExternalCheck()), "/external", "this one is dns"),
        (replace(EXTERNAL, dns=DnsCheck(name="x")), "/dns", "this one is external"),
        (replace(EXTERNAL, ping=PingCheck()), "/ping", "this one is external"),
        (replace(EXTERNAL, port=80), "/port", "external check has no port"),
        (with_dns(name="-x.example"), "/dns/name", "'-x.example'"),
        (with_dns(expect_answer=("192.0.2.1", "192.0.2.256")), "/dns/expect_answer/1", "'192.0.2.256' is no A record"),
        (with_dns(type="AAAA", expect_answer=("192.0.2.1",)), "/dns/expect_answer/0", "no AAAA record"),
        (with_dns(type="MX", expect_answer=("mail.shop.example",)), "/dns/expect_answer/0", "no MX record"),
        (with_dns(expect_answer=("192.0.2.1 192.0.2.2",)), "/dns/expect_answer/0", "'192.0.2.1 192.0.2.2'"),
    ],
)
def test_rules(check: HealthCheck, pointer: str, named: str) -> None:
    found = told(check)
    assert set(found) == {pointer}
    assert named in found[pointer]


def test_ports() -> None:
    assert [check.effective_port for check in (DNS, replace(DNS, port=5300), EXTERNAL)] == [53, 5300, None]
