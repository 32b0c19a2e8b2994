"""A Docker engine of the tests' own: its files and its socket are in one folder, the machine's engine is not touched.

It runs in one of two ways. To build, it shares the machine's network, with no bridge and no firewall rule. To run
containers, it has a network namespace with nothing but a loopback interface: what the containers send cannot leave it,
whatever addresses they use.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.namespace import CLONE_NEWNET, unavailable

PROGRAMS: Final = ("dockerd", "docker", "docker-compose", "debootstrap", "unshare", "setpriv", "ip", "iptables")
TOP: Final = Path(__file__).parents[2]
BASE: Final = "debian:bookworm-20260824-slim"
"""The name, without its digest, of the base that deploy/Dockerfile pins: an imported image has no such digest."""
IMAGES: Final[Mapping[str, str]] = {
    "gtm": "pdns-gtm",
    "powerdns": "pdns-gtm-powerdns",
    "redis": "pdns-gtm-redis",
    "dnsdist": "pdns-gtm-dnsdist",
}
"""Target of deploy/Dockerfile -> name of the image."""
VERSION: Final = "test"
START_SECONDS: Final = 30.0


class NoEngine(Exception):
    """No engine runs here; the message says why."""


def missing() -> str | None:
    """Why no engine can run here, as far as can be told without starting one."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (make test-compose installs them)"
    return unavailable()


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Engine:
    """dockerd and its containers. folder: keeps images between runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder / 'docker.sock'}", "DOCKER_BUILDKIT": "0"}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def start(self, *, isolated: bool) -> None:
        """Start dockerd. Raises NoEngine with the last lines of its log where it does not come up."""
        self._take()
        words = [
            "dockerd",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.folder / 'docker.pid'}",
            f"--host={self.environment['DOCKER_HOST']}",
        ]
        if isolated:
            words = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words]
        else:
            words += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        with (self.folder / "dockerd.log").open("wb") as log:
            # It ends with the tests, however they end.
            words = ["setpriv", "--pdeathsig=TERM", *words]
            self._process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while self.docker("info", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join((self.folder / "dockerd.log").read_text(errors="replace").splitlines()[-5:])
                self.stop()
                raise NoEngine(f"dockerd does not start here: {tail}")
            time.sleep(0.2)

    def _take(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise NoEngine(f"another run uses {self.folder}") from None
        (self.folder / "docker.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop dockerd, and with it its containers."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        # dockerd leaves this behind, and with it the network namespace.
        for mounted in (self.folder / "exec" / "netns").glob("*"):
            subprocess.run(["umount", str(mounted)], capture_output=True, check=False)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Puts this thread, and those that it starts, into the isolated network, where ports are published."""
        assert self._process is not None
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        other = os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_network(other)
            yield
        finally:
            _set_network(home)
            os.close(home)
            os.close(other)

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the docker command. Raises RuntimeError with what it said where it fails."""
        return self._run(["docker", *words], check=check)

    def compose(self, *words: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run docker-compose on the project's file. settings: more environment."""
        return self._run(["docker-compose", "--project-name", "gtm", *words], check=check, **settings)

    def inspect(self, container: str) -> Mapping[str, Any]:
        """What the engine knows of a container."""
        found: Sequence[Mapping[str, Any]] = json.loads(self.docker("inspect", container).stdout)
        return found[0]

    def import_base(self) -> None:
        """Put the stand-in for the base image in, made from Debian's packages the first time."""
        archive = self.folder / "base.tar"
        if not archive.exists():
            subprocess.run([Path(__file__).parent / "stand-in-base", archive], check=True, capture_output=True)
        if self.docker("image", "inspect", BASE, check=False).returncode:
            self.docker("import", str(archive), BASE)

    def build(self, target: str) -> None:
        """Build the image of a target of deploy/Dockerfile."""
        words = ["build", "--quiet", "--network=host", f"--build-arg=BASE={BASE}", f"--target={target}"]
        self.docker(*words, "--file=deploy/Dockerfile", f"--tag={IMAGES[target]}:{VERSION}", ".")

    def _run(self, words: Sequence[str], *, check: bool, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "GTM_VERSION": VERSION, **settings}
        done = subprocess.run(words, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr[-3000:]}{done.stdout[-1000:]}")
        return done
