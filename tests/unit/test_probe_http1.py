"""The HTTP/1 reader without a network: what it makes of answers in pieces of any size."""

import http.client
import io
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.probes.http1 import MAX_CHUNK_LINE, MAX_FIELDS, MAX_HEAD_OCTETS, BadAnswer, Chunks, Head, HeadParser
from tests.support.strategies import examples

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FIELDS = st.lists(
    st.sampled_from([b"Server: x", b"X-Empty:", b"no colon", b": no name", b"X: " + b"y" * 50]), max_size=5
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def parsed(pieces: list[bytes]) -> Head | None:
    """The head, with the pieces after it put behind its rest."""
    parser = HeadParser()
    for number, piece in enumerate(pieces):
        head = parser.feed(piece)
        if head is not None:
            return Head(head.status, head.octets, head.rest + b"".join(pieces[number + 1 :]))
    return None


@given(
    st.integers(200, 599),
    FIELDS,
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_a_head_is_the_same_however_it_is_cut(
    status: int, fields: list[bytes], newline: bytes, before: bytes, body: bytes, places: list[int]
) -> None:
    head = newline.join([b"HTTP/1.1 %d x" % status, *fields, b"", b""])
    assert parsed(cut(before + head + body, places)) == Head(status, head, body)


def test_octet_by_octet() -> None:
    assert parsed([bytes((octet,)) for octet in PLAIN]) == Head(200, PLAIN[:-2], b"ok")


def test_an_answer_that_is_not_complete_is_none_yet() -> None:
    assert HeadParser().feed(PLAIN[:-4]) is None
    assert HeadParser().empty
    parser = HeadParser()
    parser.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert not parser.empty


def test_switching_protocols_is_an_answer() -> None:
    head = parsed([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
    assert head is not None
    assert head.status == 101


@pytest.mark.parametrize("line", ["HTTP/1.0 200 OK", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.9 200 \xff\x00"])
def test_status_lines(line: str) -> None:
    head = parsed([line.encode("latin-1") + b"\r\n\r\n"])
    assert head is not None
    assert head.status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"H2",
        b"SSH-2.0-OpenSSH_9.2",
        b"\x00",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 -20 OK\r\n",
        b"HTTP/1.1\t200 OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nSSH",
    ],
)
def test_what_is_no_answer_is_refused_at_once(data: bytes) -> None:
    """Without waiting for an end that may never come."""
    with pytest.raises(BadAnswer) as raised:
        parsed([data])
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("size", [1, 1000, 65_536])
def test_a_head_has_a_limit_in_octets(size: int) -> None:
    flood = b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 * MAX_HEAD_OCTETS)
    parser = HeadParser()
    with pytest.raises(BadAnswer, match="65536 octets of headers"):
        for at in range(0, len(flood), size):
            assert at <= MAX_HEAD_OCTETS
            parser.feed(flood[at : at + size])


def test_answers_before_the_answer_count_too() -> None:
    informational = b"HTTP/1.1 100 Continue\r\n\r\n"
    parser = HeadParser()
    with pytest.raises(BadAnswer, match="octets of headers"):
        for _ in range(MAX_HEAD_OCTETS // len(informational) + 1):
            parser.feed(informational)


@pytest.mark.parametrize("whole", [True, False])
def test_a_head_has_a_limit_in_fields(whole: bool) -> None:
    start = b"HTTP/1.1 200 OK\r\n"
    allowed, refused = (start + b"X: 1\r\n" * count + b"\r\n" for count in (MAX_FIELDS, MAX_FIELDS + 1))
    pieces = (lambda data: [data]) if whole else (lambda data: [bytes((octet,)) for octet in data])
    assert parsed(pieces(allowed)) is not None
    with pytest.raises(BadAnswer, match="more than 100 headers"):
        parsed(pieces(refused))


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=8))
@examples(300)
def test_no_octets_surprise_the_parser(data: bytes, places: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        whole = outcome([start + data])
        assert outcome(cut(start + data, places)) == whole


def outcome(pieces: list[bytes]) -> str:
    try:
        head = parsed(pieces)
    except BadAnswer:
        return "bad"
    return "none yet" if head is None else f"{head.status}"


@given(st.integers(200, 599), FIELDS)
def test_it_agrees_with_http_client(status: int, fields: list[bytes]) -> None:
    data = b"\r\n".join([b"HTTP/1.1 %d x" % status, *fields, b"", b""])

    class Canned:
        def makefile(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    response = http.client.HTTPResponse(Canned())  # type: ignore[arg-type]
    response.begin()
    head = parsed([data])
    assert head is not None
    assert head.status == response.status


def chunked(body: bytes, sizes: list[int], extension: bytes = b"", newline: bytes = b"\r\n") -> bytes:
    pieces = cut(body, sizes)
    framed = b"".join(b"%x%s%s%s%s" % (len(p), extension, newline, p, newline) for p in pieces)
    return framed + b"0" + newline + b"Trailer: x" + newline + newline


@given(
    st.binary(max_size=300),
    st.lists(st.integers(0, 300), max_size=5),
    st.lists(st.integers(0, 500), max_size=10),
    st.sampled_from([b"", b";name=value", b' ; a="b"']),
    st.sampled_from([b"\r\n", b"\n"]),
)
def test_chunks_are_put_together_however_they_are_cut(
    body: bytes, sizes: list[int], places: list[int], extension: bytes, newline: bytes
) -> None:
    chunks = Chunks()
    decoded = b"".join(chunks.feed(piece) for piece in cut(chunked(body, sizes, extension, newline), places))
    assert decoded == body
    assert chunks.ended


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=5))
@examples(300)
def test_no_chunks_surprise_the_parser(data: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, bool] | None:
        chunks = Chunks()
        try:
            return b"".join(chunks.feed(piece) for piece in pieces), chunks.ended
        except BadAnswer:
            return None

    for start in (b"", b"5\r\nhello\r\n"):
        assert outcome(cut(start + data, places)) == outcome([start + data])


@pytest.mark.parametrize(
    "data",
    [b"zz\r\n", b"\r\n", b"-1\r\n", b"0x5\r\n", b"1_0\r\n", b"5\r\nhelloX", b"5\r\nhello\rX", b"f" * 16 + b"\r\n"],
)
def test_what_is_no_chunk(data: bytes) -> None:
    with pytest.raises(BadAnswer) as raised:
        Chunks().feed(data)
    assert str(raised.value).isprintable()


def test_the_line_before_a_chunk_has_a_limit() -> None:
    chunks = Chunks()
    with pytest.raises(BadAnswer):
        for fed in range(2 * MAX_CHUNK_LINE):
            assert fed <= MAX_CHUNK_LINE
            chunks.feed(b"5" if fed == 0 else b";")


def test_an_endless_chunk_is_given_out_as_it_comes() -> None:
    chunks, sizes = Chunks(), random.Random(1)
    assert chunks.feed(b"fffffffffffffff\r\n") == b""
    for _ in range(100):
        part = b"x" * sizes.randrange(1, 5000)
        assert chunks.feed(part) == part
    assert not chunks.ended
