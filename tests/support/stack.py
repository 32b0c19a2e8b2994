"""The whole system as `make run` starts it, in a folder and on ports of its own; real processes only.

with Stack(folder) as stack:
    stack.api.post("/pools", {...})
    stack.dns.a(cname, "1.2.4.0/24")
    stack.kill("backend")
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from pdns_gtm_backend.standalone import process
from pdns_gtm_backend.standalone.layout import Layout
from tests.support.dns_client import DnsClient
from tests.support.ports import free_port
from tests.support.powerdns import wait_for

START_SECONDS = 90.0
STOP_SECONDS = 60.0
RUNNING = "pdns-gtm is running"


class Api:
    """The admin API with a token. Each verb returns the body and raises AssertionError with the answer's problem."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def request(
        self, verb: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """The answer, whatever its status."""
        return self._session.request(verb, self.url + path, json=body, headers=headers, timeout=30)

    def get(self, path: str) -> Any:
        return self._body(self.request("GET", path))

    def post(self, path: str, body: object) -> Any:
        return self._body(self.request("POST", path, body))

    def put(self, path: str, body: object) -> Any:
        return self._body(self.request("PUT", path, body, {"If-Match": "*"}))

    def patch(self, path: str, body: object) -> Any:
        return self._body(self.request("PATCH", path, body, {"If-Match": "*"}))

    def delete(self, path: str) -> None:
        self._body(self.request("DELETE", path, headers={"If-Match": "*"}))

    @staticmethod
    def _body(answer: requests.Response) -> Any:
        request = answer.request
        assert answer.ok, f"{request.method} {request.url} answered {answer.status_code}: {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._session.close()


class Stack:
    """One `python -m pdns_gtm_backend.standalone`. environment: settings beside those that this class chooses.

    edge: with dnsdist in front; `dns` asks it then.

    `start` and `stop` may be repeated: the data stay in the folder.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None, *, edge: bool = False) -> None:
        self.folder = folder
        self.layout = Layout((folder / "var").absolute())
        self.dns_port, self.admin_port, self.backend_port, self.healthd_port = (free_port() for _ in range(4))
        self.dns = DnsClient(self.dns_port)
        chosen = {
            "GTM_VAR": str(self.layout.var),
            "GTM_DNS_PORT": str(self.dns_port),
            "GTM_ADMIN_PORT": str(self.admin_port),
            "GTM_BACKEND_PORT": str(self.backend_port),
            "GTM_HEALTHD_PORT": str(self.healthd_port),
            "GTM_DEMO": "0",
            **({"GTM_EDGE": "1", "GTM_PDNS_PORT": str(free_port())} if edge else {}),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GTM_")}
        self.environment = {**inherited, **chosen, **(environment or {})}
        self._output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self._api: Api | None = None

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def api(self) -> Api:
        """The admin API with the first admin token."""
        if self._api is None:
            self._api = Api(f"http://127.0.0.1:{self.admin_port}/api/v1", self.layout.admin_token.read_text().strip())
        return self._api

    @property
    def output(self) -> str:
        """What the supervisor has shown since its last start."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def log(self, part: str) -> str:
        """Everything that a part has written."""
        path = self.layout.logs / f"{part}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def launch(self) -> None:
        """Start the supervisor and wait for nothing."""
        with self._output.open("wb") as output:
            command = [sys.executable, "-m", "pdns_gtm_backend.standalone"]
            self._process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    def start(self, seconds: float = START_SECONDS) -> None:
        """Start the system and wait until all of it does its work."""
        self.launch()
        try:
            self.wait_until(lambda: RUNNING in self.output or not self.running, "the whole system", seconds)
            assert self.running, f"the supervisor has ended: {self.output[-5000:]}"
            assert "not ready yet" not in self.output, self.output[-8000:]
        except BaseException:
            self.stop()
            raise

    @property
    def running(self) -> bool:
        """Does the supervisor run?"""
        return self._process is not None and self._process.poll() is None

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Stop all of it; returns the supervisor's exit status and the seconds that it took."""
        if self._api is not None:
            self._api.close()
            self._api = None
        if self._process is None:
            return 0, 0.0
        began = time.monotonic()
        self._process.send_signal(number)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            process.sweep(self.layout.var)
            raise AssertionError(f"not stopped within {STOP_SECONDS} s: {self.output[-5000:]}") from None
        finally:
            self._process = None
        return status, time.monotonic() - began

    def pid(self, part: str) -> int:
        """The process that one would kill to stop a part; waits for it to be started."""
        path = self.layout.pid_file(part)
        self.wait_until(path.exists, f"a process id of {part}")
        return int(path.read_text())

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a part; returns the id of the process that got it."""
        pid = self.pid(part)
        os.kill(pid, number)
        return pid

    def wait_until_restarted(self, part: str, old_pid: int, seconds: float = 60.0) -> int:
        """Wait until the supervisor has started a part again and found it ready; returns the new process id."""

        def again() -> bool:
            path = self.layout.pid_file(part)
            text = path.read_text() if path.exists() else ""
            return (
                bool(text)
                and int(text) != old_pid
                and f"{part} is ready" in self.output.partition(f"pid {old_pid})")[2]
            )

        self.wait_until(again, f"{part} started again", seconds)
        return self.pid(part)

    def health(self, pool: str) -> dict[str, str | None]:
        """The health of each address of a pool."""
        addresses = self.api.get(f"/pools/{pool}/status")["addresses"]
        return {address["address"]: address["health"] for address in addresses}

    def wait_until_up(self, *pools: str) -> None:
        """Wait until every address of these pools is known to be up."""
        self.wait_until(
            lambda: {health for pool in pools for health in self.health(pool).values()} == {"up"},
            f"every address of {', '.join(pools)} up",
        )

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Look until `condition` holds. Raises AssertionError with the supervisor's output."""
        try:
            wait_for(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-6000:]}") from None

    def left_behind(self) -> Mapping[int, str]:
        """Processes of this system that run though its supervisor does not."""
        return process.left_behind(self.layout.var)
