"""pdns-gtm beside its peers: the same names, the same geo question, the same clients, one run.

`make bench ARGS="-k comparison"`; GTM_BENCH_CONTENDERS=unix,gdnsd picks some, GTM_BENCH_ROUNDS and GTM_BENCH_SECONDS
make it longer. The servers and the load share the machine's processors: CPU per query depends on that least.
"""

import os
import random
import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.bench.changing import Changing
from tests.bench.contender import Contender
from tests.bench.contenders import CONTENDERS
from tests.bench.judge import History, Judge, Switch
from tests.bench.load import Load, Sample, Sampler, dnsperf, percentile
from tests.bench.processes import cpu_seconds, said
from tests.bench.scenario import Scenario, make_scenario
from tests.bench.table import conditions, markdown

ROUNDS: Final = int(os.environ.get("GTM_BENCH_ROUNDS", "5"))
SECONDS: Final = float(os.environ.get("GTM_BENCH_SECONDS", "1"))
CHOSEN: Final = os.environ.get("GTM_BENCH_CONTENDERS", ",".join(CONTENDERS)).split(",")
RATE: Final = 1000
QUERIES: Final = 200_000
CHECKED: Final = 100
"""One answer in so many is checked."""
WARM_SECONDS: Final = 0.5
MOST_WARMING: Final = 10
FILLED: Final = 0.01
UNCACHED: Final = 0.9
"""Calls of the backend a query: below the one a cache in front is full, above the other there is none."""


@dataclass(frozen=True)
class Mode:
    """subnets: queries carry the client's network. changing: a state change every second. rated: latencies too."""

    name: str
    subnets: bool
    changing: bool
    rated: bool


MODES: Final = (
    Mode("ECS, quiet", subnets=True, changing=False, rated=True),
    Mode("ECS, changing", subnets=True, changing=True, rated=True),
    Mode("plain, quiet", subnets=False, changing=False, rated=False),
    Mode("plain, changing", subnets=False, changing=True, rated=False),
)


@dataclass(frozen=True)
class Measured:
    """What one round of one contender in one mode gave.

    cpu: seconds a query. calls: of our backend, a query. rate: answers a second. seen: seconds to each change.
    """

    cpu: float
    calls: float | None
    rate: float
    rated: Load | None
    seen: Sequence[float]
    checked: int
    wrong: Sequence[str]
    failed: int


class Course:
    """One contender, running, and what was measured of it so far."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.history = History()
        self.out: deque[Switch] = deque()
        self.pace = float(RATE) / CHECKED
        self.rounds: defaultdict[Mode, list[Measured]] = defaultdict(list)

    def warm(self, queries: Path) -> None:
        """Fill what fills, and see how fast it is."""
        for _ in range(MOST_WARMING):
            calls = self.contender.calls()
            warmed = dnsperf(self.contender.port, queries, WARM_SECONDS)
            self._keep_pace(warmed.answers / WARM_SECONDS)
            called = self.contender.calls()
            if calls is None or called is None or not FILLED < (called - calls) / warmed.answers < UNCACHED:
                return

    def _keep_pace(self, rate: float) -> None:
        self.pace = max(self.pace, 1.5 * rate / CHECKED)

    def run(self, mode: Mode, saturating: Path, rated: Path) -> None:
        """One round of a mode, after a moment of the same load: caches have run out while the others were measured."""
        contender = self.contender
        dnsperf(contender.port, saturating, WARM_SECONDS)
        changing = Changing(contender, self.history, self.out) if mode.changing else None
        calls = contender.calls()
        before = cpu_seconds(contender.processes())
        with changing or nullcontext():
            fast, samples = self._asked(mode, saturating, None)
            used = cpu_seconds(contender.processes()) - before
            called = contender.calls()
            slow, more = self._asked(mode, rated, RATE) if mode.rated else (None, ())
        self._keep_pace(fast.answers / fast.seconds)
        judge = Judge(contender.scenario, contender.semantics, contender.settle)
        wrong = [reason for sample in (*samples, *more) if (reason := judge.wrong(sample, self.history))]
        self.rounds[mode].append(
            Measured(
                cpu=used / (fast.answers + len(samples)),
                calls=None if calls is None or called is None else (called - calls) / (fast.answers + len(samples)),
                rate=fast.answers / fast.seconds,
                rated=slow,
                seen=changing.seen if changing else (),
                checked=len(samples) + len(more),
                wrong=wrong,
                failed=fast.failed + (slow.failed if slow else 0),
            )
        )

    def _asked(self, mode: Mode, queries: Path, rate: int | None) -> tuple[Load, Sequence[Sample]]:
        contender, pace = self.contender, self.pace if rate is None else rate / CHECKED
        sampler = Sampler(contender.scenario, contender.port, pace, self.history.recent, subnets=mode.subnets)
        with sampler:
            load = dnsperf(contender.port, queries, SECONDS, rate)
        return load, sampler.samples

    def modes(self) -> Sequence[Mode]:
        return [mode for mode in MODES if self.contender.changes or not mode.changing]

    def cost(self, mode: Mode) -> float:
        """CPU in seconds a query."""
        return statistics.median(one.cpu for one in self.rounds[mode])

    def row(self, mode: Mode) -> Sequence[object]:
        rounds = self.rounds[mode]
        rated = [one.rated for one in rounds if one.rated is not None]
        calls = [one.calls for one in rounds if one.calls is not None]
        seen = sorted(moment for one in rounds for moment in one.seen)
        return [
            self.contender.name,
            mode.name,
            1e6 * self.cost(mode),
            statistics.median(calls) if calls else None,
            round(statistics.median(one.rate for one in rounds)),
            1e3 * statistics.median(one.percentile(0.5) for one in rated) if rated else None,
            1e3 * statistics.median(one.percentile(0.99) for one in rated) if rated else None,
            1e3 * percentile(seen, 0.5),
            f"{sum(len(one.wrong) for one in rounds)} of {sum(one.checked for one in rounds):,}"
            if self.contender.semantics != "fixed"
            else "-",
            sum(one.failed for one in rounds),
        ]


RATIOS: Final = (("http", "flask", 1.15), ("edge", "gdnsd", 1.0))
"""What one may cost in terms of another: ECS, quiet."""
HEADS: Final = (
    "server",
    "queries",
    "CPU us/query",
    "calls/query",
    "q/s",
    "p50 ms",
    "p99 ms",
    "change seen ms",
    "wrong",
    "failed",
)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return make_scenario()


@pytest.mark.timeout(ROUNDS * len(CHOSEN) * (SECONDS * 8 + 10) + 120)
def test_comparison(tmp_path: Path, scenario: Scenario) -> None:
    database = scenario.write_mmdb(tmp_path / "country.mmdb")
    queries = _queries(tmp_path, scenario)
    with ExitStack() as stack:
        courses = []
        for key in CHOSEN:
            folder = tmp_path / key
            folder.mkdir()
            courses.append(Course(CONTENDERS[key](folder, scenario, database, stack)))
        for course in courses:
            for subnets in (False, True):
                course.warm(queries[subnets][0])
        for number in range(ROUNDS):
            for course in random.Random(number).sample(courses, len(courses)):
                for mode in course.modes():
                    files = queries[mode.subnets]
                    course.run(mode, files[2 * mode.changing], files[2 * mode.changing + 1])
        _print(courses)
    ours = [course for course in courses if course.contender.name.startswith("pdns-gtm")]
    assert [one.wrong for course in ours for rounds in course.rounds.values() for one in rounds if one.wrong] == []
    assert sum(one.failed for course in ours for rounds in course.rounds.values() for one in rounds) == 0


def _queries(folder: Path, scenario: Scenario) -> Mapping[bool, Sequence[Path]]:
    """Four files with and four without client subnets, so that no phase of a round finds another's answers cached."""
    chosen = random.Random(2)
    return {
        subnets: [
            scenario.write_queries(folder / f"queries-{subnets}-{part}", QUERIES, chosen, subnets=subnets)
            for part in range(4)
        ]
        for subnets in (True, False)
    }


def _print(courses: Sequence[Course]) -> None:
    print(f"\n{conditions()}; median of {ROUNDS} rounds of {SECONDS:g} s; {said('dnsperf', '-h').splitlines()[1]}")
    for course in courses:
        print(f"* {course.contender.name} {course.contender.version()}: {course.contender.options}")
    rows = [course.row(mode) for mode in MODES for course in courses if mode in course.rounds]
    print(f"\n{markdown(HEADS, rows)}\n")
    costs = {key: course.cost(MODES[0]) for key, course in zip(CHOSEN, courses, strict=True)}
    for one, other, most in RATIOS:
        if one in costs and other in costs:
            names = CONTENDERS[one].name, CONTENDERS[other].name
            print(
                f"{names[0]}: {costs[one] / costs[other]:.2f} times the CPU of {names[1]} (wanted: {most:.2f} at most)"
            )
    for course in courses:
        reasons = Counter(reason for rounds in course.rounds.values() for one in rounds for reason in one.wrong)
        for reason, count in reasons.most_common(3):
            print(f"{course.contender.name}: wrong {count} times: {reason}")
