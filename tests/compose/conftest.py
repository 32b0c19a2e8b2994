"""The engine and the system, which the tests of a module share, and the report of what was measured."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compose.engine import IMAGES, VERSION, Engine, NoEngine, missing
from tests.compose.system import System

REPORT: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if REPORT:
        terminalreporter.section("measured")
        for line in REPORT:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report() -> list[str]:
    """Lines to print at the end."""
    return REPORT


@pytest.fixture(scope="session")
def images() -> Iterator[Engine]:
    """An engine, stopped, that has the project's images. Skips where none can run."""
    if os.environ.get("GTM_TEST_COMPOSE") != "1":
        pytest.skip("needs minutes and an engine of its own: make test-compose runs it")
    if why := missing():
        pytest.skip(f"no container engine can run here: {why}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    engine = Engine(cache / "pdns-gtm-compose")
    try:
        engine.start(isolated=False)
    except NoEngine as error:
        pytest.skip(f"no container engine can run here: {error}")
    try:
        engine.import_base()
        for target in IMAGES:
            engine.build(target)
        engine.docker("image", "prune", "--force")
        for name in IMAGES.values():
            size = int(engine.docker("image", "inspect", "--format={{.Size}}", f"{name}:{VERSION}").stdout)
            REPORT.append(f"image {name}: {size / 1e6:.0f} MB")
    finally:
        engine.stop()
    yield engine


@pytest.fixture(scope="module")
def system(images: Engine) -> Iterator[System]:
    """The whole system, running; this process is in its network meanwhile."""
    with started(System(images)) as running:
        yield running


@pytest.fixture(scope="module")
def small_system(images: Engine) -> Iterator[System]:
    """What comes up without a profile, and the demo to have something in it."""
    with started(System(images, "demo")) as running:
        yield running


@pytest.fixture(scope="module")
def edge_system(images: Engine) -> Iterator[System]:
    """What the profile `edge` adds, and the demo."""
    with started(System(images, "demo,edge")) as running:
        yield running


@contextmanager
def started(system: System) -> Iterator[System]:
    """Start a system without data, in an engine of its own network, and take it away again."""
    system.engine.start(isolated=True)
    try:
        with system.engine.inside():
            try:
                system.down("--volumes")
                REPORT.append(f"docker-compose up of {system.profiles} to the first answer: {system.up():.1f} s")
                yield system
            except BaseException:
                print(system.logs())
                raise
            finally:
                system.down("--volumes")
    finally:
        system.engine.stop()


@pytest.fixture(autouse=True)
def settled(request: pytest.FixtureRequest) -> None:
    """Each test begins with everything as it should be, whatever the one before has left."""
    for name in {"system", "small_system", "edge_system"} & set(request.fixturenames):
        running: System = request.getfixturevalue(name)
        running.start_all()
        running.until(running.settled, "settled system", 60)
