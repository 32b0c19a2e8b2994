"""Origins for the probe benchmarks, in a process of their own so that what they cost is not counted.

Everything listens on 0.0.0.0, so that each address of 127.0.0.0/8 is one more target.
"""

import json
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 01 Nov 2025 08:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\nok"
)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ports:
    """plain: HTTP, or a mere connection. tls: HTTPS. dns: UDP. mute: accepts and says nothing. dead: does not answer
    a connection."""

    plain: int
    tls: int
    dns: int
    mute: int
    dead: int


@contextmanager
def origins(chain: Path, key: Path, niceness: int = 0) -> Iterator[Ports]:
    """The ports of a process of origins. chain, key: PEM files of the HTTPS one. niceness: in the ordinary class."""
    command = [
        "chrt",
        "--other",
        "0",
        "nice",
        "-n",
        str(niceness),
        sys.executable,
        "-m",
        "tests.bench.probe_origins",
        str(chain),
        str(key),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Ports(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


def main() -> None:
    """Serve until standard input ends."""
    plain, mute, tls = (socket.create_server(("0.0.0.0", 0), backlog=4096) for _ in range(3))
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("0.0.0.0", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    threads = [(serve_plain, plain, mute), (serve_dns, dns), *[(serve_tls, tls, context)] * 8]
    for function, *arguments in threads:
        threading.Thread(target=function, args=arguments, daemon=True).start()
    dead = [socket.socket() for _ in range(3)]
    dead[0].bind(("0.0.0.0", 0))
    dead[0].listen(0)
    for filler in dead[1:]:
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(("127.0.0.1", dead[0].getsockname()[1]))
    ports = {"plain": plain, "tls": tls, "dns": dns, "mute": mute, "dead": dead[0]}
    print(json.dumps({name: opened.getsockname()[1] for name, opened in ports.items()}), flush=True)
    sys.stdin.read()


def serve_plain(plain: socket.socket, mute: socket.socket) -> None:
    poll, streams, answering = select.epoll(), {}, set()
    listeners = {listener.fileno(): listener for listener in (plain, mute)}
    for listener in listeners.values():
        listener.setblocking(False)
        poll.register(listener, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in listeners:
                with suppress(BlockingIOError):
                    while True:
                        stream, _peer = listeners[descriptor].accept()
                        streams[stream.fileno()] = stream
                        poll.register(stream, select.EPOLLIN)
                        if descriptor == plain.fileno():
                            answering.add(stream.fileno())
                continue
            stream = streams[descriptor]
            with suppress(OSError):
                if stream.recv(4096):
                    if descriptor not in answering:
                        continue
                    stream.send(ANSWER)
            answering.discard(descriptor)
            streams.pop(descriptor).close()


def serve_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        accepted, _ = listener.accept()
        accepted.settimeout(5)
        with suppress(OSError), context.wrap_socket(accepted, server_side=True) as stream:
            stream.recv(4096)
            stream.send(ANSWER)


def serve_dns(listener: socket.socket) -> None:
    """Every name is at 192.0.2.1."""
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
    while True:
        query, peer = listener.recvfrom(512)
        listener.sendto(query[:2] + b"\x85\x00" + query[4:6] + b"\x00\x01" + bytes(4) + query[12:] + record, peer)


if __name__ == "__main__":
    main()
