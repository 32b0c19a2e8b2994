"""What a probe on demand says that it has asked, protocol by protocol."""

from typing import Any

import pytest

from healthd.requests import lines
from pdns_gtm_backend.domain.health_check import DnsCheck, HealthCheck, HttpCheck
from pdns_gtm_backend.domain.state import ProbeRecord
from pdns_gtm_backend.domain.target import Target

PASSED = ProbeRecord(at=1.0, ok=True, reason=None, detail="fine", phase="answer", duration=0.0012)


@pytest.mark.parametrize(
    ("check", "address", "asked"),
    [
        ({"protocol": "ping"}, "192.0.2.1", "ping 192.0.2.1, timeout 3 s"),
        ({"protocol": "tcp", "port": 25}, "2001:db8::1", "tcp [2001:db8::1]:25, timeout 3 s"),
        (
            {"protocol": "https", "http": HttpCheck(method="HEAD", path="/ready")},
            "192.0.2.1",
            "HEAD https://192.0.2.1:443/ready, host www.shop.example, timeout 3 s",
        ),
        (
            {"protocol": "dns", "dns": DnsCheck(name="shop.example", type="MX"), "timeout": 0.5},
            "192.0.2.1",
            "dns 192.0.2.1:53: shop.example MX, timeout 0.5 s",
        ),
        ({"protocol": "external"}, "192.0.2.1", "last report on 192.0.2.1; nothing is sent to it"),
    ],
)
def test_the_first_line_says_what_was_asked(check: dict[str, Any], address: str, asked: str) -> None:
    family: Any = "ipv6" if ":" in address else "ipv4"
    host = "www.shop.example" if check["protocol"] == "https" else None
    told = list(lines(Target(HealthCheck(id="c", **check), address, family, host), PASSED))
    assert told == [asked, "passed after 1.2 ms: fine"]


def test_a_long_path_leaves_room_for_the_timeout() -> None:
    check = HealthCheck(id="c", protocol="http", http=HttpCheck(path="/" + "a" * 2000))
    first = next(lines(Target(check, "192.0.2.1", "ipv4"), PASSED))
    assert len(first) <= 1000
    assert first.endswith("a, timeout 3 s")
