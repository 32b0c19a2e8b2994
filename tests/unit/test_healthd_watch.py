"""What is told of vantages that fall silent or are suspended, and of states that are frozen by that."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from healthd.events import Event
from healthd.watch import LOST_SECONDS, SUSPENSION_SECONDS, Watch, recalled, watch
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import Heartbeat
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot, empty
from tests.support.strategies import NOW


def snapshot() -> Snapshot:
    policy = AccessPolicy(name="world", lines=("default",), pool_sets=(PoolSet(pools=(SetMember(pool="a"),)),))
    documents = (
        HealthCheck(id="web", protocol="tcp", port=80),
        HealthCheck(id="unused", protocol="tcp", port=80, min_vantages=9),
    )
    pool = Pool(id="a", type="ipv4", health_checks=("web",), addresses=(Address(address="192.0.2.1"),))
    instance = Instance(id="gtm1", name="shop", cname="gtm1.gtm.example", policies=(policy,))
    return empty().changed(
        [
            *(Change(kinds.HEALTH_CHECKS, check.id, check) for check in documents),
            Change(kinds.POOLS, "a", pool),
            Change(kinds.INSTANCES, "gtm1", instance),
        ]
    )


class Watching:
    """A leader. since: when it looked first, long ago unless told otherwise."""

    def __init__(self, since: float | None = NOW - 3600) -> None:
        self.state = Watch(since=since)
        self.snapshot = snapshot()

    def replace(self) -> None:
        """Another leads from now on, and knows what this one wrote."""
        self.state = recalled(self.state.record())

    def look(self, beats: dict[str, float], now: float = NOW, suspended: dict[str, str] | None = None) -> list[Event]:
        heartbeats = {name: Heartbeat(time=time) for name, time in beats.items()}
        self.state, events = watch(self.state, self.snapshot, heartbeats, suspended or {}, now)
        return events


def kinds_of(events: list[Event]) -> list[tuple[str, str]]:
    return [(event["kind"], event.get("vantage") or event["check"]) for event in events]


def test_a_vantage_that_falls_silent_and_the_checks_that_are_frozen_by_it() -> None:
    watching = Watching()
    assert watching.look({"ber": NOW, "hz": NOW}) == []
    assert watching.look({"ber": NOW, "hz": NOW}, NOW + LOST_SECONDS) == []
    later = NOW + LOST_SECONDS + 1
    events = watching.look({"ber": later, "hz": NOW}, later)
    assert kinds_of(events) == [("vantage.lost", "hz"), ("state.stale", "web")]
    assert events[1]["instances"] == ["gtm1"]
    assert events[1]["pools"] == ["a"]
    assert "1 of 2 needed vantages report: hz is silent since" in events[1]["reason"]
    assert watching.look({"ber": later, "hz": NOW}, later) == []
    events = watching.look({"ber": later, "hz": later}, later)
    assert kinds_of(events) == [("vantage.back", "hz"), ("state.fresh", "web")]


def test_a_vantage_that_is_forgotten_is_needed_no_longer() -> None:
    watching = Watching()
    watching.look({"ber": NOW, "hz": NOW - 60})
    assert watching.state.stale == {"web"}
    assert kinds_of(watching.look({"ber": NOW})) == [("vantage.forgotten", "hz"), ("state.fresh", "web")]


def test_a_new_leader_gives_vantages_the_time_to_be_heard_of() -> None:
    """While there was no leader or no Redis, no heartbeat could come."""
    watching = Watching(since=None)
    assert watching.look({"ber": NOW, "hz": NOW - 60}) == []
    almost, then = NOW + LOST_SECONDS - 0.1, NOW + LOST_SECONDS
    assert watching.look({"ber": almost, "hz": NOW - 60}, almost) == []
    assert kinds_of(watching.look({"ber": then, "hz": NOW - 60}, then)) == [
        ("vantage.lost", "hz"),
        ("state.stale", "web"),
    ]


def test_a_new_leader_goes_on_from_what_the_last_one_told() -> None:
    watching, doubt = Watching(), {"bj": "sees all 2 targets down, of which ber sees 2 up"}
    beats = {"ber": NOW, "bj": NOW, "hz": NOW - 60}
    watching.look(beats, NOW - SUSPENSION_SECONDS, doubt)
    told = [("vantage.lost", "hz"), ("vantage.suspended", "bj"), ("state.stale", "web")]
    assert kinds_of(watching.look(beats, NOW, doubt)) == told[1:]
    watching.replace()
    assert watching.look(beats, NOW, doubt) == []
    watching.replace()
    events = watching.look({"ber": NOW, "bj": NOW, "hz": NOW}, NOW)
    assert kinds_of(events) == [("vantage.back", "hz"), ("vantage.resumed", "bj"), ("state.fresh", "web")]


Step = tuple[str, float, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "look", "leader", "forget"]),
        st.floats(0, 3 * LOST_SECONDS),
        st.sampled_from(["", "ber", "hz", "bj", "all"]),
    ),
    max_size=60,
)
OPPOSITES = {"vantage.lost": "lost", "state.stale": "lost", "vantage.suspended": "lost"}


@settings(max_examples=150)
@given(STEPS)
def test_over_any_leaders_each_loss_and_each_return_is_told_once(steps: Sequence[Step]) -> None:
    """A step: somebody may beat, time goes by, then the leader looks, is replaced, or a vantage is forgotten."""
    watching, now, told = Watching(since=None), NOW, []
    beats = dict.fromkeys(("ber", "hz", "bj"), NOW)
    for what, seconds, beating in steps:
        now += seconds
        beats |= {name: now for name in beats if beating in (name, "all")}
        if what == "leader":
            watching.replace()
        elif what == "forget" and len(beats) > 1:
            beats.pop(beating, None)
        else:
            told += watching.look(beats, now)
    # The last leader stays for long enough to see what is so.
    told += watching.look(beats, now)
    told += watching.look(beats, now + LOST_SECONDS + 1)
    about: dict[str, list[str]] = {}
    for kind, subject in kinds_of(told):
        about.setdefault(subject, []).append(OPPOSITES.get(kind, "back"))
    for found in about.values():
        assert found[0] == "lost" and all(one != other for one, other in pairwise(found))
    missing = {name for name in about if name != "web" and about[name][-1] == "lost"}
    assert missing == set(beats), "nobody beats at the end"
    assert about["web"][-1] == "lost"


def test_a_store_that_no_vantage_has_seen_has_nothing_that_could_be_stale() -> None:
    watching = Watching()
    assert watching.look({}) == []
    assert watching.state.stale == frozenset()
    assert watching.look({"ber": NOW}) == []


def test_a_suspension_is_told_when_it_lasts() -> None:
    watching, doubt = Watching(), {"hz": "sees all 3 targets down, of which ber sees 3 up"}

    def look(after: float, suspended: dict[str, str]) -> list[Event]:
        return watching.look({"ber": NOW + after, "hz": NOW + after}, NOW + after, suspended)

    assert look(0, {}) == []
    assert look(1, doubt) == []
    assert look(2, {}) == []
    assert look(3, doubt) == []
    assert look(3 + SUSPENSION_SECONDS - 0.1, doubt) == []
    assert watching.state.suspended == {}
    events = look(3 + SUSPENSION_SECONDS, doubt)
    assert kinds_of(events) == [("vantage.suspended", "hz"), ("state.stale", "web")]
    assert events[0]["reason"] == doubt["hz"]
    assert watching.state.suspended == doubt
    assert look(10, doubt) == []
    events = look(11, {})
    assert kinds_of(events) == [("vantage.resumed", "hz"), ("state.fresh", "web")]


def test_one_that_suspends_itself_is_told_at_once() -> None:
    state, events = watch(Watch(), snapshot(), {"hz": Heartbeat(time=NOW, suspended="isolated")}, {}, NOW)
    assert kinds_of(events) == [("vantage.suspended", "hz")]
    assert (state.suspended, state.told) == ({}, {"hz"})
