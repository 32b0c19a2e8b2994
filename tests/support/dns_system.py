"""Redis, the backend and PowerDNS together, with documents written straight into the store."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from tests.support.dns_client import DnsClient
from tests.support.documents import Document, written
from tests.support.ports import free_port
from tests.support.powerdns import BackendProcess, PowerDns, Programs
from tests.support.redis_server import RedisServer


class DnsSystem:
    """The three processes of one running system. api: where PowerDNS's REST API is, "" where it is off."""

    def __init__(self, redis: RedisServer, backend: BackendProcess, powerdns: PowerDns) -> None:
        self.redis, self.backend, self.powerdns = redis, backend, powerdns
        self.api = ""

    @property
    def client(self) -> DnsClient:
        return self.powerdns.client

    def write(self, *documents: Document | Change) -> int:
        """Write at once, and wait until answers are made from it: the revision."""
        repository = Repository(self.redis.connect())
        changes = [document if isinstance(document, Change) else written(document) for document in documents]
        configuration = int(str(repository.client.get(keys.CONFIGURATION_REVISION) or 0))
        commit = Commit(changes, configuration_revision=configuration)
        revision = repository.commit(commit, repository.identify())
        self.backend.wait_for_revision(revision)
        return revision

    def forget(self) -> None:
        """Empty PowerDNS's caches, and have it read the list of zones."""
        self.powerdns.control("rediscover")
        self.powerdns.control("purge")

    def update(self, zone: str, *lines: str) -> str:
        """What nsupdate says of a DNS UPDATE with these lines of its input."""
        given = "\n".join([f"server 127.0.0.1 {self.client.port}", f"zone {zone}", *lines, "send", ""])
        return _said("nsupdate", "-d", given=given)

    def trust(self, zone: str) -> None:
        """Have `delv` trust the first key of a zone."""
        done = self.powerdns.util("export-zone-dnskey", zone, "1")
        key = done.stdout.split("DNSKEY ")[1].split()
        trusted = f'trust-anchors {{ "{zone}." static-key {" ".join(key[:3])} "{key[3]}"; }};\n'
        self._anchors.write_text(trusted)

    def delv(self, zone: str, name: str, rrtype: str) -> str:
        """What BIND's validator says of an answer, starting from the key of the zone (see `trust`)."""
        server = ("@127.0.0.1", "-p", str(self.client.port))
        return _said("delv", "-a", str(self._anchors), f"+root={zone}", *server, name, rrtype)

    @property
    def _anchors(self) -> Path:
        return self.powerdns.folder / "anchors"


def _said(*words: str, given: str = "") -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, input=given)
    return done.stdout + done.stderr


def system_settings(folder: Path, redis_url: str, *, geo: bool = True) -> Settings:
    """Settings of a system on free ports, its files in `folder`; without geo databases it starts faster."""
    return Settings(
        geo_database=None if geo else folder / "none.mmdb",
        redis_url=redis_url,
        var=folder / "var",
        dns_port=free_port(),
        backend_port=free_port(),
        backend_secret="a-secret_1",
    )


@contextmanager
def running_system(
    folder: Path,
    *,
    geo: bool = True,
    decided: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    programs: Programs | None = None,
    keep: bool = False,
) -> Iterator[DnsSystem]:
    """A system from an empty store. decided: settings of ours; overrides: of PowerDNS; programs: PowerDNS's own.

    keep: as of BackendProcess.
    """
    with RedisServer(folder / "r") as redis:
        settings = system_settings(folder, redis.url, geo=geo).model_copy(update=dict(decided or {}))
        with (
            BackendProcess(settings, keep=keep) as backend,
            PowerDns(settings, folder / "p", overrides, programs) as powerdns,
        ):
            yield DnsSystem(redis, backend, powerdns)
