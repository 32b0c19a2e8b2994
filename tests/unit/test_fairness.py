import sys
import threading

import pytest

from pdns_gtm_backend.fairness import SWITCH_SECONDS, answers_first


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
