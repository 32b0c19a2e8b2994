"""Fixtures of tests that start processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.store import follower
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.repository import Repository
from tests.support.dns_system import DnsSystem, running_system
from tests.support.healthd import Site
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    """Redis, the backend and PowerDNS, one system for the tests of a module."""
    with running_system(tmp_path_factory.mktemp("d")) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A Redis, and the healthds that a test starts."""
    with Site(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the tests of a module."""
    with RedisServer(tmp_path_factory.mktemp("s"), "--enable-debug-command", "yes") as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[Client]:
    """A client of it, which is empty."""
    with server.connect() as made:
        made.flushall()
        yield made


@pytest.fixture
def repository(client: Client) -> Repository:
    """The documents in it."""
    return Repository(client)


@pytest.fixture
def store(repository: Repository) -> str:
    """Its id as a store."""
    return repository.identify()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers look more often; the faults suite has the real waits."""
    monkeypatch.setattr(follower, "BLOCK_MILLISECONDS", 40)
    monkeypatch.setattr(follower, "GAP_SECONDS", 0.1)
