"""A link to a unix socket on which something happens in the middle of what is sent."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def interrupted(server: Path, place: Callable[[bytes], int | None], act: Callable[[], object]) -> Iterator[Path]:
    """The path of a socket that leads to `server`.

    place: where to stop in a piece of what a client sends, None = nowhere; there `act` is called before the rest.
    """
    path = server.with_name("slow.sock")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        stack.callback(path.unlink)
        listener.bind(str(path))
        listener.listen()
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_serve, args=(listener, server, place, act), daemon=True).start()
        yield path


def _serve(
    listener: socket.socket, server: Path, place: Callable[[bytes], int | None], act: Callable[[], object]
) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(server))
        threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
        threading.Thread(target=_send, args=(client, upstream, place, act), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while data := source.recv(65_536):
        sink.sendall(data)
    sink.close()


def _send(
    client: socket.socket, upstream: socket.socket, place: Callable[[bytes], int | None], act: Callable[[], object]
) -> None:
    while data := client.recv(65_536):
        stop = place(data)
        if stop is not None:
            upstream.sendall(data[:stop])
            act()
            data = data[stop:]
        upstream.sendall(data)
    upstream.close()
