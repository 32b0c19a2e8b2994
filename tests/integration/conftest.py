"""Fixtures of tests that start processes."""

from collections.abc import Iterator

import pytest

from tests.support.dns_system import DnsSystem, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    """Redis, the backend and PowerDNS, one system for the tests of a module."""
    with running_system(tmp_path_factory.mktemp("d")) as running:
        yield running
