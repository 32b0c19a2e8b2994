"""Redis, the backend and PowerDNS together, with documents written straight into the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from tests.support.dns_client import DnsClient
from tests.support.documents import Document, written
from tests.support.ports import free_port
from tests.support.powerdns import BackendProcess, PowerDns
from tests.support.redis_server import RedisServer


class DnsSystem:
    """The three processes of one running system."""

    def __init__(self, redis: RedisServer, backend: BackendProcess, powerdns: PowerDns) -> None:
        self.redis, self.backend, self.powerdns = redis, backend, powerdns

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
def running_system(folder: Path, *, geo: bool = True) -> Iterator[DnsSystem]:
    """A system from an empty store."""
    with RedisServer(folder / "r") as redis:
        settings = system_settings(folder, redis.url, geo=geo)
        with BackendProcess(settings) as backend, PowerDns(settings, folder / "p") as powerdns:
            yield DnsSystem(redis, backend, powerdns)
