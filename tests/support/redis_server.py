"""A real redis-server on a unix socket in a folder of its own.

with RedisServer(folder) as server:
    client = server.connect()
"""

import subprocess
import time
from pathlib import Path
from types import TracebackType

import redis

from pdns_gtm_backend.store.connection import Client, connect

START_SECONDS = 60.0


class RedisServer:
    """`start` and `kill` may be repeated: what was written is kept in the folder's append-only file."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def connect(self, timeout: float = START_SECONDS) -> Client:
        """A client that is patient, for a busy machine, unless another time-out of commands is given."""
        return connect(self.url, timeout=timeout)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "redis.log"
        fixed = ["--port", "0", "--unixsocket", self.socket, "--dir", self.folder, "--logfile", log, "--save", ""]
        # Written before it is acknowledged, which outlives the process; a sync would wait for the machine's disk.
        durable = ["--appendonly", "yes", "--appendfsync", "no"]
        self._process = subprocess.Popen(["redis-server", *map(str, fixed), *durable, *self._options])
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text() if log.exists() else ""
                self.kill()
                raise RuntimeError(f"redis-server did not start: {said[-2000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with connect(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None, "redis-server is not started"
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
