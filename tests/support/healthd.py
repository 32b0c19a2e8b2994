"""A real Redis, real healthd processes and real origins, and what tests ask of them.

with Site(folder) as site, Origins("127.0.9.1", "127.0.9.2") as origins:
    site.configure(site.check(port=origins.port), pool("a", "127.0.9.1", health_checks=("web",)))
    hz = site.healthd("hz")
    site.until_health("a", "127.0.9.1", "up")
    hz.signal(signal.SIGKILL)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.state import TargetState
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from pdns_gtm_backend.store.vantages import Vantages
from tests.support.namespace import Namespace
from tests.support.origins import Origin, answer
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.store import configured, eventually

SECONDS = 60.0
"""How long a test waits for what takes a second or two on an idle machine."""


class Origins:
    """One HTTP origin at each of some addresses of loopback, all on the same port. namespace: where they are."""

    def __init__(self, *addresses: str, port: int = 0, namespace: Namespace | None = None) -> None:
        self.port = port or free_port()
        self._addresses = addresses
        self._namespace = namespace
        self._running: dict[str, Origin] = {}

    def __enter__(self) -> "Origins":
        for address in self._addresses:
            self.start(address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for address in list(self._running):
            self.stop(address)

    def start(self, address: str) -> None:
        """Answer with 200 there."""
        if self._namespace is None:
            self._running[address] = Origin(answer(), host=address, port=self.port)
        else:
            self._running[address] = self._namespace.call(Origin, answer(), host=address, port=self.port)

    def stop(self, address: str) -> None:
        """Refuse connections from now on."""
        self._running.pop(address).close()

    def connections(self, address: str) -> int:
        """How many there were since it was started."""
        return self._running[address].connections


class Healthd:
    """One `python -m healthd`. words: of its command line. settings: of its environment."""

    def __init__(
        self,
        site: "Site",
        vantage: str,
        words: Sequence[str],
        namespace: Namespace | None,
        settings: Mapping[str, str],
    ) -> None:
        self.vantage = vantage
        self.port = free_port()
        self.output = site.folder / f"{vantage}-{self.port}.log"
        self._namespace = namespace
        self._command = [sys.executable, "-m", "healthd", "--vantage", vantage, *words]
        mine = {name: value for name, value in os.environ.items() if not name.startswith("GTM_")}
        self._environment = mine | {
            "GTM_REDIS_URL": site.redis.url,
            "GTM_VAR": str(site.folder / f"var-{self.port}"),
            "GTM_HEALTHD_PORT": str(self.port),
            "GTM_ALLOW_PRIVATE_TARGETS": "1",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its folder is kept from the last time."""
        with self.output.open("ab") as output:
            command = self._command if self._namespace is None else self._namespace.command(*self._command)
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2]
            )

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None, f"{self.vantage} is not started"
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it in order; its exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its status server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=SECONDS) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self) -> dict[str, Any]:
        """The body of /readyz; that of one that does nothing while there is no answer."""
        try:
            body: dict[str, Any] = json.loads(self.get("/readyz")[1])
        except urllib.error.URLError:
            return {"ready": False, "degraded": True, "leader": False, "vantage": {"probing": False, "targets": 0}}
        return body

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Site:
    """Redis, a follower of it such as every backend has, and the healthds that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder / "redis")
        self._stack = ExitStack()
        self._healthds: list[Healthd] = []

    def __enter__(self) -> "Site":
        with ExitStack() as stack:
            stack.enter_context(self.redis)
            self.client = self.redis.connect()
            stack.callback(self.client.close)
            self.repository = Repository(self.client)
            self.vantages = Vantages(self.client)
            self.follower = Follower(self.redis.connect())
            self.follower.start()
            stack.callback(self.follower.stop)
            stack.callback(self._kill_healthds)
            assert self.follower.wait_until_following(SECONDS), self.follower.status
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _kill_healthds(self) -> None:
        for healthd in self._healthds:
            healthd.kill()

    def healthd(
        self,
        vantage: str,
        *words: str,
        namespace: Namespace | None = None,
        start: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> Healthd:
        """Another healthd, started; it ends with the site. settings: of its environment."""
        made = Healthd(self, vantage, words, namespace, settings or {})
        self._healthds.append(made)
        if start:
            made.start()
        return made

    def redis_signal(self, number: int) -> None:
        """Freeze Redis (SIGSTOP), or let it go on (SIGCONT)."""
        os.kill(self.redis.pid, number)

    def save_copy(self) -> Path:
        """A copy of what Redis has on disk now."""
        return Path(shutil.copytree(self.redis.folder / "appendonlydir", self.folder / "copy"))

    def restore_copy(self, copy: Path) -> None:
        """Let Redis crash, and start it again with an older copy of its data."""
        self.redis.kill()
        shutil.rmtree(self.redis.folder / "appendonlydir")
        shutil.copytree(copy, self.redis.folder / "appendonlydir")
        self.redis.start()

    @property
    def store_id(self) -> str:
        return self.follower.serving.snapshot.position.store_id

    def configure(self, *documents: Any) -> int:
        """Write documents; returns the revision once the follower holds it."""
        revision = configured(self.repository, self.store_id, *documents)
        assert self.follower.wait_for(revision, SECONDS)
        return revision

    def remove(self, kind: str, identifier: str) -> None:
        """Delete a document of the configuration."""
        at = self.repository.load().configuration_revision
        self.repository.commit(Commit([Change(kind, identifier, None)], configuration_revision=at), self.store_id)

    def override(self, override: Override) -> None:
        """Set what an operator sets at run time; the follower holds it then."""
        revision = self.repository.commit(Commit([Change(kinds.OVERRIDES, override.id, override)]), self.store_id)
        assert self.follower.wait_for(revision, SECONDS)

    def remove_override(self, identifier: str) -> None:
        """Take an override back."""
        self.repository.commit(Commit([Change(kinds.OVERRIDES, identifier, None)]), self.store_id)

    @staticmethod
    def check(port: int, **fields: Any) -> HealthCheck:
        """A check of HTTP origins that decides fast."""
        quick: Any = {"protocol": "http", "interval": 1, "timeout": 5, "fall": 1, "rise": 1}
        return HealthCheck(**{"id": "web", "port": port} | quick | fields)

    def state(self, address: str, check: str = "web", host: str | None = None) -> TargetState | None:
        """The state of a target as the follower has it."""
        return self.follower.serving.snapshot.target_states.get(target_key(check, address, host, None))

    def health(self, address: str, check: str = "web") -> str:
        """The health of a target as the follower has it."""
        state = self.state(address, check)
        return state.health if state is not None else "unknown"

    def until_health(self, health: str, *addresses: str, seconds: float = SECONDS) -> float:
        """Wait until the follower has all of these so; returns the seconds that it took."""
        return self.until(
            lambda: all(self.health(address) == health for address in addresses),
            lambda: f"{ {address: self.health(address) for address in addresses} }, not {health}",
            seconds,
        )

    def effective(self, instance: str = "gtm00000001") -> str | None:
        """The set that the first policy of an instance answers from, for IPv4."""
        return self.follower.serving.instances[instance].answers.views["ipv4"][0].set_name

    def until(
        self, holds: Callable[[], object], said: Callable[[], object] = lambda: "", seconds: float = SECONDS
    ) -> float:
        """Wait until something holds; returns the seconds that it took."""
        try:
            return eventually(holds, seconds)
        except AssertionError as error:
            logs = "\n".join(f"{h.output.name}:\n{h.output.read_text()[-3000:]}" for h in self._healthds)
            raise AssertionError(f"{error}: {said()}\n{logs}") from None

    def events(self, *kinds_of: str) -> list[dict[str, Any]]:
        """The events so far, oldest first; those of some kinds, or all."""
        found: Any = self.client.xrange(keys.EVENTS)
        events = [json.loads(fields["event"]) for _, fields in found]
        return [event for event in events if not kinds_of or event["kind"] in kinds_of]

    def writes(self) -> list[dict[str, str | None]]:
        """What each write so far has changed: documents by `kind/id`, None where it was deleted."""
        found: Any = self.client.xrange(keys.CHANGES)
        return [
            {f"{kind}/{identifier}": text or None for kind, identifier, text in json.loads(fields["change"])}
            for _, fields in found
        ]

    def leader(self) -> str:
        """The name of the healthd that leads, as it has noted it."""
        return self.vantages.leadership().name
