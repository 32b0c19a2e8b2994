import sys
import threading

import pytest

from pdns_gtm_backend import fairness
from pdns_gtm_backend.fairness import REST_SECONDS, SWITCH_SECONDS, WORK_SECONDS, answers_first


def test_the_usual_interval_comes_back_when_the_last_work_ends() -> None:
    usual = sys.getswitchinterval()
    inside, done = threading.Event(), threading.Event()

    def longer() -> None:
        with answers_first():
            inside.set()
            done.wait()

    with answers_first():
        other = threading.Thread(target=longer)
        other.start()
        inside.wait()
    during = sys.getswitchinterval()
    done.set()
    other.join()
    assert during == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_long_work_rests_after_each_short_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(fairness.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(fairness.time, "sleep", sleep)
    with answers_first() as rest:
        for _ in range(100):
            now[0] += WORK_SECONDS / 10
            rest()
    assert set(slept) == {REST_SECONDS}
    assert 8 <= len(slept) <= 10
