from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.quorum import (
    HEARTBEAT_LIMIT,
    LEAST_SUSPENDED,
    configured_vantages,
    is_fresh,
    judge,
    needed_vantages,
    next_target_state,
    probes,
    reporting_vantages,
    stale_reason,
    suspensions,
)
from pdns_gtm_backend.domain.state import Heartbeat, TargetState, VantageVerdict
from tests.support.strategies import bounded

NAMES = ("ber", "hkg", "hz", "lax", "sh")
VERDICTS = st.dictionaries(st.sampled_from(NAMES), st.booleans())
REPORTING = st.sets(st.sampled_from(NAMES))
PERCENTS = st.integers(0, 99)
NOW = 1_700_000_000.0


def check_with(
    quorum: float = 0.5, min_vantages: int | None = None, vantages: tuple[str, ...] | None = None
) -> HealthCheck:
    return HealthCheck(id="web", protocol="tcp", port=80, quorum=quorum, min_vantages=min_vantages, vantages=vantages)


def verdicts_of(seen: Mapping[str, bool]) -> dict[str, VantageVerdict]:
    return {name: VantageVerdict(up=up, since=NOW - 60, reason="" if up else "refused") for name, up in seen.items()}


@bounded
@given(VERDICTS, REPORTING, PERCENTS, st.none() | st.integers(1, 5), st.integers(0, 5))
def test_down_is_strictly_more_than_the_quorum_of_those_that_report(
    seen: dict[str, bool], reporting: set[str], percent: int, min_vantages: int | None, configured: int
) -> None:
    check = check_with(percent / 100, min_vantages)
    counted = [seen[name] for name in reporting if name in seen]
    judgement = judge(check, verdicts_of(seen), reporting, configured)
    needed = min_vantages or (1 if configured <= 1 else 2)
    assert judgement.frozen == (len(reporting) < needed)
    assert judgement.vantages == {n: "up" if seen[n] else "down" for n in reporting if n in seen}
    if len(counted) < needed:
        assert judgement.health is None
    else:
        assert judgement.health == ("down" if 100 * counted.count(False) > percent * len(counted) else "up")


@pytest.mark.parametrize(
    ("quorum", "down", "count"),
    [
        *((0.29, 29, 100), (0.57, 57, 100), (0.58, 29, 50), (0.7, 63, 90), (0.5, 1, 2), (0.2, 1, 5)),
        *((1 / 3, 1, 3), (0.3333333333333333, 30, 90), (2 / 3, 2, 3), (0.6666666666666667, 60, 90), (1 / 7, 14, 98)),
    ],
)
def test_a_share_equal_to_the_quorum_is_not_more_than_it(quorum: float, down: int, count: int) -> None:
    for extra, health in ((0, "up"), (1, "down")):
        seen = {f"v{i}": i >= down + extra for i in range(count)}
        assert judge(check_with(quorum), verdicts_of(seen), set(seen), count).health == health


@pytest.mark.parametrize(
    ("quorum", "health"), [(0.0, "down"), (0.2, "down"), (0.33, "down"), (0.34, "up"), (0.5, "up")]
)
def test_quorum_of_one_in_three(quorum: float, health: str) -> None:
    seen = verdicts_of({"ber": False, "hkg": True, "hz": True})
    assert judge(check_with(quorum), seen, set(seen), 3).health == health


def test_two_of_two_must_agree_by_default() -> None:
    def health(ber: bool, hkg: bool) -> str | None:
        return judge(check_with(), verdicts_of({"ber": ber, "hkg": hkg}), {"ber", "hkg"}, 2).health

    assert (health(False, False), health(False, True), health(True, False), health(True, True)) == (
        "down",
        "up",
        "up",
        "up",
    )


STATES = st.none() | st.builds(
    TargetState, health=st.sampled_from(["up", "down", "unknown"]), since=st.just(NOW - 100), reason=st.just("old")
)


@bounded
@given(STATES, VERDICTS.filter(bool), REPORTING, PERCENTS, st.integers(1, 5), st.data())
def test_a_verdict_moves_the_state_only_its_own_way(
    before: TargetState | None,
    seen: dict[str, bool],
    reporting: set[str],
    percent: int,
    configured: int,
    data: st.DataObject,
) -> None:
    changed = data.draw(st.sampled_from(sorted(seen)))
    verdicts = verdicts_of(seen)
    judgement = judge(check_with(percent / 100), verdicts, reporting, configured)
    after = next_target_state(before, verdicts[changed], judgement, verdicts, NOW)
    decided = before.health if before is not None else "unknown"
    if judgement.health is None or judgement.health == decided:
        assert after is None
        return
    own_way = judgement.health == ("up" if seen[changed] else "down")
    assert (after is not None) == (decided == "unknown" or own_way)
    if after is None:
        return
    assert (after.health, after.since, after.vantages) == (judgement.health, NOW, judgement.vantages)
    assert after.reason == "" if after.health == "up" else "refused" in after.reason
    assert next_target_state(after, verdicts[changed], judgement, verdicts, NOW + 1) is None


@st.composite
def events(draw: st.DrawFn) -> tuple[str, str]:
    return draw(st.sampled_from(["join", "leave", "overdue", "up", "down"])), draw(st.sampled_from(NAMES))


@bounded
@given(st.lists(events(), max_size=40), PERCENTS)
def test_only_a_changed_verdict_changes_a_state(history: list[tuple[str, str]], percent: int) -> None:
    """Vantages come, go and fall silent at will; each state change happens at a verdict, and in its direction."""
    check, now = check_with(percent / 100), NOW
    beats: dict[str, Heartbeat] = {}
    seen: dict[str, bool] = {}
    state: TargetState | None = None
    for event, name in history:
        now += 1
        beats = {n: Heartbeat(time=now, overdue=b.overdue) for n, b in beats.items()}
        if event in ("join", "overdue"):
            beats[name] = Heartbeat(time=now, overdue=("key",) if event == "overdue" else ())
        elif event == "leave":
            beats.pop(name, None)
        if event not in ("up", "down") or name not in beats or seen.get(name) == (event == "up"):
            continue
        seen[name] = event == "up"
        verdicts = verdicts_of(seen)
        reporting = reporting_vantages(check, "key", beats, now)
        judgement = judge(check, verdicts, reporting, len(configured_vantages(check, beats)))
        after = next_target_state(state, verdicts[name], judgement, verdicts, now)
        if after is None:
            continue
        assert not judgement.frozen
        counted = [seen[n] for n in reporting if n in seen]
        assert after.health == ("down" if 100 * counted.count(False) > percent * len(counted) else "up")
        assert state is None or (after.health == event and state.health != event)
        state = after


def test_a_good_verdict_never_takes_an_address_down_because_others_left() -> None:
    check, before = check_with(quorum=0.34), TargetState(health="up", since=1)
    verdicts = verdicts_of({"ber": False, "hkg": True, "hz": True})
    assert judge(check, verdicts, {"ber", "hkg", "hz"}, 3).health == "up"
    without_hz = judge(check, verdicts, {"ber", "hkg"}, 3)
    assert without_hz.health == "down"
    assert next_target_state(before, verdicts["hkg"], without_hz, verdicts, NOW) is None
    after = next_target_state(before, verdicts["ber"], without_hz, verdicts, NOW)
    assert after is not None
    assert after.health == "down"


def test_how_many_vantages_must_report() -> None:
    assert [needed_vantages(check_with(), n) for n in (0, 1, 2, 3, 50)] == [1, 1, 2, 2, 2]
    assert [needed_vantages(check_with(min_vantages=3), n) for n in (1, 2, 50)] == [3, 3, 3]


def test_a_state_is_frozen_when_too_few_report_and_waits_when_too_few_have_a_verdict() -> None:
    verdicts = verdicts_of({"ber": False})
    frozen = judge(check_with(), verdicts, {"ber"}, 2)
    waiting = judge(check_with(), verdicts, {"ber", "hkg"}, 2)
    assert (frozen.health, frozen.frozen) == (None, True)
    assert (waiting.health, waiting.frozen) == (None, False)
    for judgement in (frozen, waiting):
        assert next_target_state(None, verdicts["ber"], judgement, verdicts, NOW) is None


def test_one_vantage_alone_decides_by_itself() -> None:
    verdicts = verdicts_of({"local": False})
    after = next_target_state(None, verdicts["local"], judge(check_with(), verdicts, {"local"}, 1), verdicts, NOW)
    assert after == TargetState(health="down", since=NOW, reason="refused (local)", vantages={"local": "down"})


HEARTBEATS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Heartbeat,
        time=st.sampled_from([NOW, NOW - HEARTBEAT_LIMIT, NOW - HEARTBEAT_LIMIT - 0.01, NOW + 1, float("nan")]),
        overdue=st.lists(st.sampled_from(["t1", "t2"]), unique=True, max_size=1).map(tuple),
        labels=st.sampled_from([{}, {"country": "CN"}, {"country": "DE"}]),
        suspended=st.sampled_from(["", "", "", "its reference targets fail"]),
        reference=st.sampled_from([None, None, True, False]),
    ),
)
SELECTORS = ("ber", "hz", "never-seen", "country=CN", "country=FR")


@bounded
@given(HEARTBEATS, st.none() | st.sets(st.sampled_from(SELECTORS), min_size=1).map(lambda s: tuple(sorted(s))))
def test_who_probes_and_who_reports(beats: dict[str, Heartbeat], wanted: tuple[str, ...] | None) -> None:
    check = check_with(vantages=wanted)
    configured = configured_vantages(check, beats)
    reporting = reporting_vantages(check, "t1", beats, NOW)
    for name in (*NAMES, "never-seen"):
        beat = beats.get(name)
        in_china = beat is not None and beat.labels.get("country") == "CN"
        chosen = wanted is None or name in wanted or ("country=CN" in wanted and in_china)
        named = wanted is not None and name in wanted
        assert (name in configured) == (named or (beat is not None and chosen))
        if beat is None:
            assert name not in reporting
            continue
        assert probes(check, name, beat.labels) == chosen
        fresh = beat.time >= NOW - HEARTBEAT_LIMIT
        assert is_fresh(beat, NOW) == fresh
        assert (name in reporting) == (chosen and fresh and "t1" not in beat.overdue and not beat.suspended)


SEEN = st.dictionaries(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), st.booleans()))


@bounded
@given(HEARTBEATS, SEEN, st.sets(st.sampled_from(NAMES)))
def test_a_vantage_that_sees_everything_down_is_suspended_when_another_sees_some_of_it_up(
    beats: dict[str, Heartbeat], seen: dict[str, dict[str, bool]], before: set[str]
) -> None:
    verdicts = {name: verdicts_of(of_targets) for name, of_targets in seen.items()}
    found = suspensions(dict.fromkeys(before, "as before"), beats, verdicts, NOW)
    assert set(found) <= set(beats)
    for name, beat in beats.items():
        own = {target: up for target, up in seen.get(name, {}).items() if target not in beat.overdue}
        all_down = len(own) >= LEAST_SUSPENDED and not any(own.values())
        others = [
            seen.get(other, {})[target]
            for other, b in beats.items()
            for target in own
            if other != name and b.time >= NOW - HEARTBEAT_LIMIT and not b.suspended and target in seen.get(other, {})
        ]
        kept = name in before and not others
        assert (name in found) == (all_down and beat.reference is not True and len(beats) > 1 and (any(others) or kept))
        if name in found and not any(others):
            assert found[name] == "as before"


def test_a_suspension_tells_who_sees_what_else() -> None:
    beats = {name: Heartbeat(time=NOW) for name in ("ber", "hkg", "hz")}
    verdicts = {
        "ber": verdicts_of({"t1": False, "t2": False}),
        "hkg": verdicts_of({"t1": True, "t2": True}),
        "hz": verdicts_of({"t1": True}),
    }
    found = suspensions({}, beats, verdicts, NOW)
    assert found == {"ber": "sees all 2 targets down, of which hkg sees 2 up, hz sees 1 up"}
    alone = {"ber": beats["ber"]}
    assert suspensions(found, alone, verdicts, NOW) == {}
    without_others = {"ber": beats["ber"], "hkg": Heartbeat(time=NOW - 60), "hz": Heartbeat(time=NOW - 60)}
    assert suspensions(found, without_others, verdicts, NOW) == found
    agreeing = verdicts | {"hkg": verdicts_of({"t1": False, "t2": False}), "hz": {}}
    assert suspensions(found, beats, agreeing, NOW) == {}
    single = {"ber": verdicts_of({"t1": False}), "hkg": verdicts_of({"t1": True})}
    assert suspensions({}, beats, single, NOW) == {}


def test_why_states_are_frozen() -> None:
    check = check_with()
    beats = {
        "ber": Heartbeat(time=NOW),
        "hkg": Heartbeat(time=1_700_000_000 - 10),
        "hz": Heartbeat(time=NOW, suspended="sees all down"),
    }
    assert stale_reason(check, beats, NOW) == (
        "1 of 2 needed vantages report: hkg is silent since 2023-11-14T22:13:10.000Z, hz is suspended (sees all down)"
    )
    named = check_with(vantages=("ber", "lax"))
    assert stale_reason(named, beats, NOW) == "1 of 2 needed vantages report: lax was never seen"
    assert stale_reason(check, {}, NOW) == "0 of 1 needed vantages report"
    late = {"ber": Heartbeat(time=NOW), "hkg": Heartbeat(time=NOW, overdue=("web|192.0.2.1||", "web2|192.0.2.1||"))}
    assert stale_reason(check, late, NOW) == "of 1 targets fewer than 2 vantages know the state: probes are overdue"
    enough = late | {"hz": Heartbeat(time=NOW)}
    assert stale_reason(check, enough, NOW) is None
    assert stale_reason(check_with(min_vantages=1), beats, NOW) is None


def test_a_reason_names_each_sentence_once_with_its_vantages() -> None:
    verdicts = {
        "ber": VantageVerdict(up=False, since=1, reason="status", detail="status 503, expected 200-399"),
        "hkg": VantageVerdict(up=False, since=1, reason="timeout"),
        "hz": VantageVerdict(up=False, since=1, reason="status", detail="status 503, expected 200-399"),
        "lax": VantageVerdict(up=True, since=1, detail="status 500 before"),
        "sh": VantageVerdict(up=False, since=1),
    }
    judgement = judge(check_with(), verdicts, set(verdicts), 5)
    state = next_target_state(None, verdicts["ber"], judgement, verdicts, NOW)
    assert state is not None
    assert state.reason == "status 503, expected 200-399 (ber, hz); timeout (hkg); failed (sh)"
    long = {n: VantageVerdict(up=False, since=1, detail="x" * 900 + n) for n in NAMES}
    state = next_target_state(None, long["ber"], judge(check_with(), long, set(long), 5), long, NOW)
    assert state is not None
    assert len(state.reason) == 1000
