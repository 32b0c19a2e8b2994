"""When a vantage distrusts its own network, and who suspends whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.references import Connectivity, parse_reference
from pdns_gtm_backend.domain.health_check import HealthCheck, health_check_violations
from pdns_gtm_backend.domain.quorum import (
    HEARTBEAT_LIMIT,
    configured_vantages,
    probes,
    reporting_vantages,
    stale_reason,
    suspensions,
)
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from tests.support.strategies import NOW, bounded

FIRST, SECOND = "@reference-53|192.0.2.53||", "@reference-80|192.0.2.80||"


def connectivity(*keys: str) -> Connectivity:
    return Connectivity(dict.fromkeys(keys))


def test_isolated_when_no_reference_answers_and_nothing_else_has_since() -> None:
    seen = connectivity(FIRST, SECOND).after_success(5)
    assert (seen.answering, seen.isolated) == (None, False)
    seen = seen.after_reference(FIRST, False, 10)
    assert (seen.answering, seen.isolated) == (None, False)
    seen = seen.after_reference(SECOND, False, 11)
    assert (seen.answering, seen.isolated, seen.failing_since) == (False, True, 11)
    assert seen.after_reference(FIRST, False, 12).failing_since == 11
    assert not seen.after_success(11.5).isolated, "the references are at fault, not the network"
    assert seen.after_success(10.9).isolated, "that probe was made before"
    back = seen.after_reference(SECOND, True, 13)
    assert (back.answering, back.isolated) == (True, False)
    assert [back.trusts(started) for started in (12.9, 13)] == [False, True]
    assert not seen.trusts(20)
    assert connectivity().trusts(0)


@bounded
@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND, "target"]), st.booleans()), max_size=30))
def test_isolation_needs_every_reference_to_fail(results: list[tuple[str, bool]]) -> None:
    seen = connectivity(FIRST, SECOND)
    last: dict[str, bool] = {}
    for now, (key, ok) in enumerate(results):
        if key == "target":
            seen = seen.after_success(now) if ok else seen
        else:
            seen, last[key] = seen.after_reference(key, ok, now), ok
        if seen.isolated:
            assert last == {FIRST: False, SECOND: False}
        assert (seen.answering is True) == any(last.values())
        if key == "target" and ok:
            assert not seen.isolated


def test_without_references_nobody_isolates_himself() -> None:
    assert not connectivity().isolated
    assert connectivity().answering is None


@pytest.mark.parametrize(
    ("text", "address", "family", "port"),
    [
        ("192.0.2.1:53", "192.0.2.1", "ipv4", 53),
        ("[2001:DB8::1]:443", "2001:db8::1", "ipv6", 443),
        ("probe.example.net:80", "probe.example.net", "domain", 80),
    ],
)
def test_references_as_they_are_written(text: str, address: str, family: str, port: int) -> None:
    target = parse_reference(text)
    assert (target.address, target.family, target.check.effective_port) == (address, family, port)
    assert target.key == f"@reference-{port}|{address}||"
    assert next(iter(health_check_violations(target.check))).pointer == "/id", "no check can be called so"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.1", "port from 1 to 65535"),
        ("192.0.2.1:0", "port from 1 to 65535"),
        ("192.0.2.1:65536", "port from 1 to 65535"),
        ("192.0.2.1:x", "port from 1 to 65535"),
        ("2001:db8::1:80", "in brackets"),
        ("[192.0.2.1]:80", "in brackets"),
        ("[x]:80", "no IPv6 address"),
        (":80", "names no host"),
        ("bad host:80", "names no host"),
    ],
)
def test_references_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_reference(text)
    assert repr(text) in str(caught.value)


def seen(**targets: bool) -> dict[str, VantageVerdict]:
    return {key: VantageVerdict(up=up, since=NOW) for key, up in targets.items()}


def beats(*names: str, **more: object) -> dict[str, Heartbeat]:
    return {name: Heartbeat(time=NOW, **more) for name in names}  # type: ignore[arg-type]


def test_one_that_sees_everything_down_is_suspended_only_if_another_sees_some_of_it_up() -> None:
    board = {"ber": seen(a=False, b=False), "hz": seen(a=True, b=False, c=True)}
    assert set(suspensions({}, beats("ber", "hz"), board, NOW)) == {"ber"}
    assert suspensions({}, beats("ber", "hz"), board | {"hz": seen(a=False, b=False)}, NOW) == {}
    assert suspensions({}, beats("ber", "hz"), board | {"hz": seen(c=True)}, NOW) == {}, "nothing in common"
    assert suspensions({}, beats("ber", "hz"), board | {"ber": seen(a=False, b=True)}, NOW) == {}
    assert suspensions({}, beats("ber", "hz"), board | {"ber": seen(a=False)}, NOW) == {}, "one tells nothing"
    assert suspensions({}, beats("ber"), {"ber": board["ber"]}, NOW) == {}


def test_the_silent_and_those_that_suspend_themselves_accuse_nobody() -> None:
    board = {"ber": seen(a=False, b=False), "hz": seen(a=True)}
    silent = beats("ber") | {"hz": Heartbeat(time=NOW - HEARTBEAT_LIMIT - 1)}
    assert suspensions({}, silent, board, NOW) == {}
    assert suspensions({"ber": "before"}, silent, board, NOW) == {"ber": "before"}
    isolated = beats("ber") | beats("hz", suspended="no reference target answers")
    assert suspensions({}, isolated, board, NOW) == {}


def test_a_suspension_ends_by_what_is_seen() -> None:
    board = {"ber": seen(a=False, b=False), "hz": seen(a=True)}
    before = {"ber": "sees all down"}
    everyone = beats("ber", "hz")
    assert suspensions(before, everyone, board | {"ber": seen(a=True, b=False)}, NOW) == {}
    assert suspensions(before, everyone, board | {"hz": seen(a=False)}, NOW) == {}
    assert suspensions(before, everyone, {"ber": board["ber"]}, NOW) == before
    assert suspensions(before, beats("ber"), board, NOW) == {}, "the other is forgotten: a lone one is never suspended"
    answering = everyone | beats("ber", reference=True)
    assert suspensions(before, answering, board, NOW) == {}


def test_overdue_targets_are_not_seen() -> None:
    board = {"ber": seen(a=False, b=False, c=True), "hz": seen(a=True)}
    assert set(suspensions({}, beats("ber", overdue=("c",)) | beats("hz"), board, NOW)) == {"ber"}
    assert suspensions({}, beats("ber", overdue=("b", "c")) | beats("hz"), board, NOW) == {}


def check(*vantages: str, min_vantages: int | None = None) -> HealthCheck:
    return HealthCheck(id="web", protocol="tcp", port=80, vantages=vantages or None, min_vantages=min_vantages)


def test_checks_select_vantages_by_name_and_by_label() -> None:
    known = {
        "hz": Heartbeat(time=NOW, labels={"country": "CN", "isp": "telecom"}),
        "sh": Heartbeat(time=NOW, labels={"country": "CN"}),
        "ber": Heartbeat(time=NOW, labels={"country": "DE"}),
    }
    assert configured_vantages(check(), known) == {"hz", "sh", "ber"}
    assert configured_vantages(check("country=CN"), known) == {"hz", "sh"}
    assert configured_vantages(check("country=CN", "ber", "never-seen"), known) == {"hz", "sh", "ber", "never-seen"}
    assert configured_vantages(check("country=FR"), known) == frozenset()
    assert probes(check("isp=telecom"), "hz", known["hz"].labels)
    assert not probes(check("isp=telecom"), "isp=telecom", {})
    assert not probes(check("isp="), "sh", known["sh"].labels)
    assert reporting_vantages(check("country=CN"), "x", known | beats("sh", suspended="isolated"), NOW) == {"hz"}


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("country=", "after '='"),
        ("country= CN", "a space not at their ends"),
        ("=CN", "before '='"),
        ("c d=CN", "before '='"),
        ("-hz", "starts and ends with a letter or digit"),
        ("h" * 64, "longer than 63"),
        (f"{'k' * 64}=v", "1 to 63 letters"),
    ],
)
def test_selectors_that_are_none(selector: str, said: str) -> None:
    found = list(health_check_violations(check("hz", selector)))
    assert [violation.pointer for violation in found] == ["/vantages/1"]
    assert said in found[0].detail


def test_selectors_that_are_good_and_how_many_they_may_need() -> None:
    assert list(health_check_violations(check("hz", "country=CN", "isp=a=b c"))) == []
    assert list(health_check_violations(check("country=CN", min_vantages=3))) == []
    assert [v.pointer for v in health_check_violations(check("hz", "sh", min_vantages=3))] == ["/min_vantages"]
    assert [v.pointer for v in health_check_violations(check("a=b", "a=b"))] == ["/vantages/1"]


def test_why_states_are_stale_names_who_is_missing() -> None:
    known = beats("hz", "sh") | {"ber": Heartbeat(time=NOW - 60)}
    assert stale_reason(check(), known, NOW) is None
    reason = stale_reason(check("hz", "ber", "never-seen", min_vantages=2), known, NOW)
    assert reason is not None
    assert reason.startswith("1 of 2 needed vantages report: ber is silent since 2023-")
    assert reason.endswith("; never-seen was never seen") or ", never-seen was never seen" in reason
    suspended = beats("hz") | beats("sh", suspended="no reference target answers")
    assert "sh is suspended (no reference target answers)" in str(stale_reason(check(), suspended, NOW))


def test_overdue_targets_make_a_check_stale_where_too_few_know_the_rest() -> None:
    known = beats("hz", overdue=("web|192.0.2.1||", "other|192.0.2.1||")) | beats("sh")
    assert stale_reason(check(min_vantages=1), known, NOW) is None
    assert stale_reason(check(), known, NOW) == (
        "of 1 targets fewer than 2 vantages know the state: probes are overdue"
    )
