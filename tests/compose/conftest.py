"""The engine and the system, one of each for all tests here, and the report of what was measured."""

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def system(images: Engine) -> Iterator[System]:
    """The whole system, running; this process is in its network meanwhile."""
    images.start(isolated=True)
    running = System(images)
    try:
        with images.inside():
            try:
                running.down("--volumes")
                REPORT.append(f"docker-compose up of all profiles to the first answer: {running.up():.1f} s")
                yield running
            except BaseException:
                print(running.logs())
                raise
            finally:
                running.down("--volumes")
    finally:
        images.stop()


@pytest.fixture(autouse=True)
def settled(request: pytest.FixtureRequest) -> None:
    """Each test begins with everything as it should be, whatever the one before has left."""
    if "system" in request.fixturenames:
        running: System = request.getfixturevalue("system")
        running.start_all()
        running.until(running.settled, "settled system", 60)
