"""Lines, logs and the console of the supervisor."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.standalone import output
from pdns_gtm_backend.standalone.output import Console, Lines, LogFile


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_lines_do_not_depend_on_how_the_stream_is_cut(pieces: list[bytes]) -> None:
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)] + lines.end()
    expected = b"".join(pieces).split(b"\n")
    assert found == (expected if expected[-1] else expected[:-1])


def test_an_endless_line_is_cut() -> None:
    lines = Lines()
    found = lines.feed(b"x" * (2 * output.LONGEST_LINE + 5))
    assert [len(line) for line in found] == [output.LONGEST_LINE, output.LONGEST_LINE]
    assert lines.end() == [b"xxxxx"]


def test_a_log_keeps_one_file_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LOG_BYTES", 20)
    log = LogFile(tmp_path / "redis.log")
    for text in (b"first line", b"second line", b"third line"):
        log.write([text])
    log.close()
    assert (tmp_path / "redis.log").read_bytes() == b"third line\n"
    assert (tmp_path / "redis.log.1").read_bytes() == b"second line\n"


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        log = LogFile(tmp_path / "redis.log")
        log.write([text])
        log.close()
    assert (tmp_path / "redis.log").read_bytes() == b"one\ntwo\n"


def test_a_log_that_cannot_be_written_is_no_error_and_goes_on_when_it_can(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log" / "redis.log")
    log.write([b"lost"])
    (tmp_path / "log").mkdir()
    log.write([b"kept"])
    log.close()
    assert (tmp_path / "log" / "redis.log").read_bytes() == b"kept\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_lines_carry_the_name_of_their_part(pipe: tuple[int, int]) -> None:
    Console(pipe[1], width=9).show("redis", [b"ready", b"colour \x1b[31m\xff\x00"])
    assert os.read(pipe[0], 1000).decode() == "redis     | ready\nredis     | colour ?[31m\ufffd?\n"


def test_a_console_that_takes_nothing_holds_nothing_up_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    console = Console(pipe[1], width=1)
    began = time.monotonic()
    for _ in range(200):
        console.show("x", [b"y" * 1000])
    assert time.monotonic() - began < 30
    while len(os.read(pipe[0], 65536)) == 65536:
        pass
    console.show("x", [b"back"])
    assert "pieces of output did not reach this terminal" in (said := os.read(pipe[0], 65536).decode())
    assert said.endswith("x | back\n")


def test_a_console_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    console = Console(pipe[1], width=1)
    console.show("x", [b"lost"])
    console.show("x", [b"lost too"])
