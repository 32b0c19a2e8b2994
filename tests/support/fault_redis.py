"""Redis as the fault suite breaks it: one server, or three that three sentinels watch; and links that can be cut."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from redis.exceptions import RedisError

from pdns_gtm_backend.store.connection import Client, connect
from tests.support.ports import accepts, free_port
from tests.support.powerdns import wait_for
from tests.support.redis_server import RedisServer

LOCAL = ("--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
MASTER = "gtm"
DOWN_AFTER_MILLISECONDS = 1000
FAILOVER_SECONDS = 25.0


class Server(RedisServer):
    """A redis-server that is reached by TCP. master: the port that it replicates from at first."""

    def __init__(self, folder: Path, master: int | None = None) -> None:
        self.port = free_port()
        following = () if master is None else ("--replicaof", f"127.0.0.1 {master}")
        super().__init__(folder, *LOCAL, "--port", str(self.port), *following)

    def __enter__(self) -> "Server":
        self.start()
        return self

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def command(self, *words: str | int) -> Any:
        """One command, and what Redis says."""
        with self.connect() as opened:
            client: Any = opened
            return client.execute_command(*words)

    def replication(self) -> dict[str, Any]:
        """What INFO says about replication; nothing where the server does not answer."""
        try:
            with self.connect() as client:
                found: Any = client.info("replication")
                return dict(found)
        except RedisError:
            return {}


class Trio:
    """A master, two replicas and three sentinels, all on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        first = Server(folder / "r0")
        self.servers = (first, *(Server(folder / f"r{number}", first.port) for number in (1, 2)))
        self.sentinels = tuple(free_port() for _ in range(3))
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}"

    def connect(self) -> Client:
        return connect(self.url)

    def __enter__(self) -> "Trio":
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            for number, port in enumerate(self.sentinels):
                process = self._sentinel(number, port)
                stack.callback(process.wait)
                stack.callback(process.kill)
            self.wait_until_whole()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sentinel(self, number: int, port: int) -> Popen[bytes]:
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {self._folder}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MILLISECONDS}",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        file = self._folder / f"sentinel{number}.conf"
        file.write_text("\n".join(lines) + "\n")
        process = Popen(["redis-sentinel", str(file)], stdout=DEVNULL)
        wait_for(lambda: accepts(port), f"sentinel {number}")
        return process

    def master_port(self) -> int:
        """The port of the master as most sentinels name it."""
        ports = [self._named(port)["port"] for port in self.sentinels]
        return int(max(ports, key=ports.count))

    def _named(self, sentinel: int) -> dict[str, Any]:
        with connect(f"redis://127.0.0.1:{sentinel}") as client:
            found: Any = client.sentinel_master(MASTER)
            return dict(found)

    @property
    def master(self) -> Server:
        port = self.master_port()
        return next(server for server in self.servers if server.port == port)

    def wait_for_another(self, old: Server) -> Server:
        """Wait until the sentinels have made another server the master, and it takes writes."""

        def another() -> bool:
            return self.master is not old and self.master.replication().get("role") == "master"

        wait_for(another, "a new master", FAILOVER_SECONDS)
        return self.master

    def rejoin(self, server: Server) -> None:
        """Start a server that was killed, as a replica of the present master."""
        server.start()
        server.command("REPLICAOF", "127.0.0.1", self.master.port)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until two replicas follow the master and every sentinel knows all of them."""

        def whole() -> bool:
            named = [self._named(port) for port in self.sentinels]
            known = all(n["num-slaves"] == 2 and n["num-other-sentinels"] == 2 for n in named)
            one = len({n["port"] for n in named}) == 1
            healthy = all("down" not in str(n["flags"]) and "failover" not in str(n["flags"]) for n in named)
            followed = [s for s in self.servers if s.replication().get("master_link_status") == "up"]
            return known and one and healthy and len(followed) == 2

        wait_for(whole, "a master with two replicas", FAILOVER_SECONDS)


class Link:
    """A TCP port that leads to another one until it is cut: then what is sent waits, as on a network that is parted."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, name=f"link {self.port}", daemon=True).start()

    def cut(self) -> None:
        """Nothing gets through; connections stay."""
        self._open.clear()

    def mend(self) -> None:
        """What waits gets through, late."""
        self._open.set()

    def close(self) -> None:
        """End it and every connection."""
        self._open.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.wait()
            upstream = socket.socket()
            if upstream.connect_ex(("127.0.0.1", self._target)):
                client.close()
                upstream.close()
                continue
            self._sockets += (client, upstream)
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._open.wait()
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def links(port: int, names: tuple[str, ...]) -> Iterator[dict[str, Link]]:
    """A link to a port for each name."""
    made = {name: Link(port) for name in names}
    try:
        yield made
    finally:
        for link in made.values():
            link.close()


def pause(seconds: float) -> None:
    """How long a fault lasts: the one thing that cannot be looked for."""
    time.sleep(seconds)
