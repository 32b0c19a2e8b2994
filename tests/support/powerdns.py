"""The real backend process and the real pdns_server in front of it, with the configuration of pdns-conf/.

with BackendProcess(settings) as backend, PowerDns(settings, folder) as server:
    server.client.ask("gtm00000001.gtm.example")
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import dns.exception
import requests

from pdns_gtm_backend.dns.listening import LISTENING_ARGUMENT, make
from pdns_gtm_backend.dns.pdns_conf import backend_url, render, socket_path
from pdns_gtm_backend.settings import Settings
from tests.support.dns_client import DnsClient

START_SECONDS = 60.0
EDIT_ANSWERS = {"increase-serial?": b"n", "(a)pply": b"a"}
"""What edit-zone asks, and the key to press."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Look until `condition` holds. Raises AssertionError with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def environment(settings: Settings) -> Mapping[str, str]:
    """The environment that gives a process these settings, whatever this one's environment says."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("GTM_")}
    given = settings.model_dump(mode="json", exclude_none=True)
    return mine | {f"GTM_{name.upper()}": str(value) for name, value in given.items()}


class _Process:
    """A child process, its output in a file; ended by its id."""

    def __init__(
        self, command: list[str], log: Path, variables: Mapping[str, str], descriptors: tuple[int, ...] = ()
    ) -> None:
        self._command, self.log, self._variables, self._descriptors = command, log, variables, descriptors
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, env=dict(self._variables), pass_fds=self._descriptors
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL where that does not help; the exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._process = None

    def started(self, condition: Callable[[], bool]) -> None:
        """Wait until it is up. Raises AssertionError with its output where it ends or does not come up."""
        try:
            wait_for(lambda: not self.running or condition(), "start")
            assert self.running
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{self._command[0]}: {error}: {self.log.read_text()[-3000:]}") from None


class BackendProcess(_Process):
    """`python -m pdns_gtm_backend.dns` with these settings.

    keep: its listening socket is kept while it restarts, as `make run` and systemd keep it.
    """

    def __init__(self, settings: Settings, *, keep: bool = False) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.backend_port}"
        self._kept = make(settings) if keep else None
        command = [sys.executable, "-m", "pdns_gtm_backend.dns"]
        descriptors: tuple[int, ...] = ()
        if self._kept is not None:
            descriptors = (self._kept.fileno(),)
            command += [LISTENING_ARGUMENT, str(self._kept.fileno())]
        super().__init__(command, settings.var / "log" / "backend.log", environment(settings), descriptors)

    def __enter__(self) -> "BackendProcess":
        self.start()
        self.started(lambda: self.get("/livez") is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._kept is not None:
            self._kept.close()

    def get(self, path: str) -> requests.Response | None:
        """The reply to GET, None where nothing answers."""
        try:
            return requests.get(self.url + path, timeout=20)
        except requests.RequestException:
            return None

    def readiness(self) -> dict[str, Any]:
        reply = self.get("/readyz")
        assert reply is not None, "the backend does not answer"
        body: dict[str, Any] = reply.json()
        return body

    def wait_for_revision(self, revision: int) -> None:
        """Wait until answers are made from this revision of the store."""
        wait_for(lambda: self.readiness()["revision"] >= revision, f"revision {revision} at the backend")

    def calls(self, method: str = "lookup") -> int:
        """How many requests of a method PowerDNS has made."""
        reply = self.get("/metrics")
        assert reply is not None, "the backend does not answer"
        found = re.search(rf'^gtm_backend_requests_total{{method="{method}"}} ([0-9.e+]+)$', reply.text, re.MULTILINE)
        assert found is not None, f"no such method: {method}"
        return int(float(found[1]))

    def call(self, method: str, **parameters: object) -> Any:
        """What PowerDNS gets for a call of a method: the `result`. Raises where that is a failure."""
        named = {name.replace("_", "-"): value for name, value in parameters.items()}
        with BackendConnection(self.settings) as connection:
            return connection.call(method, named)


class BackendConnection:
    """One connection to the backend by its transport, as PowerDNS keeps one for all that it does in one go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = requests.Session()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)

    def __enter__(self) -> "BackendConnection":
        if self._settings.transport == "unix":
            self._socket.connect(str(socket_path(self._settings)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        self._socket.close()

    def call(self, method: str, parameters: Mapping[str, object]) -> Any:
        """The `result`. Raises requests.HTTPError, by the unix transport AssertionError, where the call fails."""
        request = {"method": method, "parameters": parameters}
        if self._settings.transport == "unix":
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._socket.makefile("rb").readline())
            assert answer["result"] is not None, answer
            return answer["result"]
        reply = self._session.post(backend_url(self._settings), json=request, timeout=20)
        reply.raise_for_status()
        return reply.json()["result"]


class Programs:
    """PowerDNS's and dnsdist's programs: the installed ones, or those of a root that Debian packages are unpacked in.

    Those of a root run with the libraries and the loader of that root, as Debian's newer ones need a newer libc.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = None if root is None else root.resolve()
        self._libraries = Path()
        if self._root is not None:
            self._libraries = self._one("usr/lib/*-linux-gnu")
            self._loader = self._one("usr/lib*/ld-linux-*.so.*")

    def _one(self, pattern: str) -> Path:
        assert self._root is not None
        found = sorted(self._root.glob(pattern))
        assert found, f"{self._root}: no {pattern} there"
        return found[0]

    def command(self, name: str, *words: str) -> list[str]:
        """How a program is run."""
        if self._root is None:
            return [name, *words]
        return [str(self._loader), "--library-path", str(self._libraries), str(self._one(f"usr/*bin/{name}")), *words]

    @property
    def settings(self) -> Mapping[str, str]:
        """What pdns.conf needs for them."""
        if self._root is None:
            return {}
        return {"module-dir": str(self._one("usr/lib/*-linux-gnu/pdns/libremotebackend.so").parent)}

    def version(self) -> str:
        """What pdns_server says that it is, such as 4.9.17."""
        done = subprocess.run(self.command("pdns_server", "--version"), check=False, capture_output=True, text=True)
        found = re.search(r"Authoritative Server (\S+)", done.stdout + done.stderr)
        assert found is not None, done.stderr
        return found[1]


class PowerDns(_Process):
    """pdns_server with the rendered configuration; `overrides` replace settings in it."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        overrides: Mapping[str, str] | None = None,
        programs: Programs | None = None,
    ) -> None:
        self.folder = folder
        self._programs = programs or Programs()
        self.client = DnsClient(settings.dns_port)
        self._zone = settings.access_zone
        text = render(settings, folder)
        for name, value in {**self._programs.settings, **(overrides or {})}.items():
            text += f"{name}={value}\n"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pdns.conf").write_text(text)
        super().__init__(self._run_by("pdns_server"), folder / "pdns.log", os.environ)

    def __enter__(self) -> "PowerDns":
        self.start()
        self.started(self._answers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            return DnsClient(self.client.port, timeout=0.5).ask(self._zone, "SOA").code == "NOERROR"
        except (OSError, dns.exception.DNSException):
            return False

    def _run_by(self, name: str, *words: str) -> list[str]:
        return self._programs.command(name, f"--config-dir={self.folder}", *words)

    def control(self, *words: str) -> str:
        """What pdns_control says."""
        command = self._run_by("pdns_control", *words)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=START_SECONDS).stdout.strip()

    def util(self, *words: str) -> subprocess.CompletedProcess[str]:
        """pdnsutil with this server's configuration."""
        command = self._run_by("pdnsutil", *words)
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_SECONDS)

    def owner(self, name: str, zone: str) -> str:
        """How this version's pdnsutil takes the name of a record: before 5.0 relative to the zone, then absolute."""
        return f"{name}.{zone}." if int(self._programs.version().partition(".")[0]) >= 5 else name

    def edit(self, zone: str, expression: str) -> str:
        """`pdnsutil edit-zone` at a terminal, with `sed -i EXPRESSION` for an editor; what it shows.

        It keeps the serial as it is, and applies the changes.
        """
        editor = self.folder / "editor"
        editor.write_text(f'#!/bin/sh\nfor file; do :; done\nsed -i -e {shlex.quote(expression)} "$file"\n')
        editor.chmod(0o755)
        command = shlex.join(self._run_by("pdnsutil", "edit-zone", zone))
        terminal = ["script", "-qec", command, "/dev/null"]
        shown = ""
        with subprocess.Popen(
            terminal,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "EDITOR": str(editor)},
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            limit = threading.Timer(START_SECONDS, process.kill)
            limit.start()
            answered = 0
            while data := os.read(process.stdout.fileno(), 4096):
                shown += data.decode(errors="replace")
                unread = shown[answered:]
                for question, answer in EDIT_ANSWERS.items():
                    if question in unread:
                        answered = len(shown)
                        process.stdin.write(answer)
                        process.stdin.flush()
            limit.cancel()
        return shown
