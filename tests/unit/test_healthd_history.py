"""What a vantage remembers of a target's probes."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from healthd.history import KEPT, PHASES, REASONS, History, Ring, record
from healthd.probes.result import Result
from healthd.requests import lines
from pdns_gtm_backend.domain.health_check import HealthCheck, HttpCheck
from pdns_gtm_backend.domain.target import Target
from tests.support.strategies import NOW, bounded

SECONDS = st.floats(0, 60, width=32)


@st.composite
def results(draw: st.DrawFn) -> Result:
    reason = draw(st.sampled_from(REASONS))
    timings = draw(st.dictionaries(st.sampled_from(PHASES), SECONDS))
    detail = draw(st.sampled_from(["status 200", "status 503, expected 200-399", "refused", "x" * 2000]))
    return Result(reason is None, reason, detail, draw(st.sampled_from(PHASES)), draw(SECONDS), timings)


@bounded
@given(st.lists(results(), max_size=3 * KEPT))
def test_the_latest_results_and_separately_the_latest_failures(made: list[Result]) -> None:
    history = History()
    for number, result in enumerate(made):
        history.add(NOW + number, result)
    numbered = list(enumerate(made))
    assert list(history.results) == [record(NOW + n, r) for n, r in numbered[-KEPT:]]
    failed = [(n, r) for n, r in numbered if not r.ok]
    assert list(history.failures or ()) == [record(NOW + n, r) for n, r in failed[-KEPT:]]
    copy = history.copy()
    history.add(NOW, made[0] if made else Result(True, None, "", "connect", 0, {}))
    assert list(copy.results) == [record(NOW + n, r) for n, r in numbered[-KEPT:]]


def test_a_million_results_fit_into_a_process() -> None:
    ring = Ring()
    for number in range(10 * KEPT):
        ring.add(NOW + number, Result(True, None, f"status {200}", "status", 0.01, {"connect": 0.001}))
    details = {id(detail) for detail in ring._details}
    assert len(details) == 1
    assert sys.getsizeof(ring._records) + sys.getsizeof(ring._details) < 6000


def told(target: Target, result: Result) -> list[str]:
    return list(lines(target, record(NOW, result)))


def test_what_happened_in_a_probe_for_reading() -> None:
    https = HealthCheck(id="web", protocol="https", timeout=2, http=HttpCheck(path="/healthz"))
    result = Result(
        False, "status", "status 503, expected 200-399", "status", 0.0121, {"connect": 0.0004, "status": 0.01}
    )
    assert told(Target(https, "2001:db8::1", "ipv6", "www.shop.example", "shop.example"), result) == [
        "GET https://[2001:db8::1]:443/healthz, host www.shop.example, sni shop.example, timeout 2 s",
        "connect: 0.4 ms",
        "status: 10.0 ms",
        "failed in status (status) after 12.1 ms: status 503, expected 200-399",
    ]
    ping = HealthCheck(id="ping", protocol="ping")
    assert told(Target(ping, "192.0.2.1", "ipv4"), Result(True, None, "answered", "status", 0.001, {})) == [
        "ping 192.0.2.1, timeout 3 s",
        "passed after 1.0 ms: answered",
    ]
