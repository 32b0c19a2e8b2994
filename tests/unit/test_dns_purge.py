"""Names go to PowerDNS in one command, and then on to whatever keeps its answers."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pdns_gtm_backend.dns.purge import (
    EVERYTHING,
    MAX_NAMES,
    REPEAT_SECONDS,
    ControlError,
    PowerDnsControl,
    Purger,
)
from tests.support.powerdns import wait_for


class Control:
    """A control socket that writes down what it is told."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.answer = "1\n"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.said.append(connection.recv(4096).decode().strip())
                connection.sendall(self.answer.encode())

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "c")
    yield made
    made.stop()


@contextmanager
def purging(path: Path, then: Callable[[Iterable[str]], None] | None = None) -> Iterator[Purger]:
    """A purger that runs, over the control socket at `path`."""
    purger = Purger(PowerDnsControl(path), then)
    purger.start()
    try:
        yield purger
    finally:
        purger.stop()


def test_many_names_are_one_command(control: Control, tmp_path: Path) -> None:
    PowerDnsControl(tmp_path / "c").purge("a.example", "b.example$")
    PowerDnsControl(tmp_path / "c").purge()
    assert control.said == ["purge a.example b.example$", "purge"]


def test_nonsense_is_an_error(control: Control, tmp_path: Path) -> None:
    control.answer = "what?"
    with pytest.raises(ControlError, match=r"purge a\.example: 'what\?'"):
        PowerDnsControl(tmp_path / "c").purge("a.example")


def test_what_was_purged_is_passed_on_and_everything_where_that_fails(control: Control, tmp_path: Path) -> None:
    passed: list[tuple[str, ...]] = []
    with purging(tmp_path / "c", lambda names: passed.append(tuple(names))) as purger:
        wait_for(lambda: purger.working and passed, "the first purge")
        assert passed[0] == (EVERYTHING,)
        purger.purge(["a.example"])
        wait_for(lambda: ("a.example",) in passed, "passed on")
        assert "purge a.example" in control.said
        control.answer = "no\n"
        wait_for(lambda: not purger.working, "the failure is noticed")
        passed.clear()
        wait_for(lambda: passed, "passed on although it fails")
        assert set(passed) == {(EVERYTHING,)}


def test_names_of_which_powerdns_keeps_nothing_are_only_passed_on(control: Control, tmp_path: Path) -> None:
    passed: list[tuple[str, ...]] = []
    with purging(tmp_path / "c", lambda names: passed.append(tuple(names))) as purger:
        wait_for(lambda: purger.working and passed, "the first purge")
        purger.purge(["kept.example"], ["scoped.example", "both.example"])
        purger.purge(["both.example"])
        wait_for(lambda: sum("scoped.example" in names for names in passed) == 1 + len(REPEAT_SECONDS), "and again")
        assert any("both.example" in said for said in control.said)
        assert any("kept.example" in said for said in control.said)
        assert not any("scoped.example" in said for said in control.said)


def test_very_many_of_them_are_passed_on_as_everything_and_powerdns_is_left_alone(
    control: Control, tmp_path: Path
) -> None:
    passed: list[tuple[str, ...]] = []
    with purging(tmp_path / "c", lambda names: passed.append(tuple(names))) as purger:
        wait_for(lambda: control.said.count("purge") > 1 + len(REPEAT_SECONDS), "everything, and again")
        before = control.said.count("purge")
        passed.clear()
        purger.purge(["kept.example"], [f"scoped{number}.example" for number in range(2 * MAX_NAMES)])
        wait_for(lambda: sum("kept.example" in names for names in passed) == 1 + len(REPEAT_SECONDS), "and again")
        assert all(EVERYTHING in names for names in passed if "kept.example" in names)
        # What is repeated of the start may still come; of these names nothing does.
        assert control.said.count("purge") <= before + 2
        assert "purge kept.example" in control.said


def test_without_anybody_to_pass_them_on_to_they_are_forgotten(control: Control, tmp_path: Path) -> None:
    with purging(tmp_path / "c") as purger:
        wait_for(lambda: purger.working, "the first purge")
        purger.purge([], [f"scoped{number}.example" for number in range(2 * MAX_NAMES)])
        purger.purge(["kept.example"])
        wait_for(lambda: any("kept.example" in said for said in control.said), "purged")
        assert not any("scoped" in said for said in control.said)


def test_what_is_purged_again_is_purged_together(control: Control, tmp_path: Path) -> None:
    with purging(tmp_path / "c") as purger:
        wait_for(lambda: control.said.count("purge") > 1 + len(REPEAT_SECONDS), "everything, and again")
        for number in range(100):
            purger.purge([f"n{number}.example"])
        wait_for(lambda: sum("n99.example" in said for said in control.said) >= len(REPEAT_SECONDS), "and again")
        naming = [said for said in control.said if ".example" in said]
        assert all(sum(f"n{number}.example" in said for said in naming) >= 2 for number in range(100))
        assert max(len(said.split()) for said in naming) > 10
        assert len(naming) < 150


def test_very_many_names_together_are_purged_as_everything(control: Control, tmp_path: Path) -> None:
    with purging(tmp_path / "c") as purger:
        wait_for(lambda: control.said.count("purge") > 1 + len(REPEAT_SECONDS), "everything, and again")
        before = control.said.count("purge")
        for part in range(3):
            purger.purge([f"n{part}-{number}.example" for number in range(MAX_NAMES - 1)])
        wait_for(lambda: control.said.count("purge") >= before + len(REPEAT_SECONDS), "everything, again")
        assert max(len(said.split()) for said in control.said) <= 1 + MAX_NAMES
