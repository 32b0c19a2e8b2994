"""Fixtures that tests of every kind use, and how Hypothesis looks for examples."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests.support.powerdns import Programs
from tests.support.stack import Stack

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile("repeatable")


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Repeatable examples do not depend on which of our modules have been imported for other tests.

    Hypothesis draws constants that it finds in them. Comes after Hypothesis has loaded the profile that is asked for.
    """
    if settings().derandomize:
        assert callable(providers.is_local_module_file)
        cast(Any, providers).is_local_module_file = lambda _path: False


@pytest.fixture(scope="session", autouse=True)
def _unpacked_dnsdist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """GTM_TEST_DNSDIST_ROOT: a folder that Debian packages of another dnsdist are unpacked in, which is found first."""
    root = os.environ.get("GTM_TEST_DNSDIST_ROOT")
    if not root:
        yield
        return
    script = tmp_path_factory.mktemp("programs") / "dnsdist"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(Programs(Path(root)).command("dnsdist"))} "$@"\n')
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(script.parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system without its demo, one for the tests of a module."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is short enough for unix sockets, whatever the test is called."""
    return tmp_path_factory.mktemp("s")
