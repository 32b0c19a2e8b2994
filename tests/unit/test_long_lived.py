import gc
import threading

from pdns_gtm_backend.long_lived import without_collection


def test_collection_goes_on_when_the_last_of_several_ends() -> None:
    assert gc.isenabled()
    inside, done = threading.Event(), threading.Event()

    def longer() -> None:
        with without_collection():
            inside.set()
            done.wait()

    other = threading.Thread(target=longer)
    with without_collection():
        other.start()
        inside.wait()
    during = gc.isenabled()
    done.set()
    other.join()
    assert not during
    assert gc.isenabled()


def test_it_stays_off_where_it_was() -> None:
    gc.disable()
    try:
        with without_collection(), without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
