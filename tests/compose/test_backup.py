"""Backup and restore by the commands of docs/upgrade-and-backup.md, and an upgrade by new containers."""

import os
import re
import subprocess
import time
from pathlib import Path

from tests.compose.engine import TOP, VERSION
from tests.compose.system import DEFAULTS, MAINLAND, System

PAGE = (TOP / "docs" / "upgrade-and-backup.md").read_text()


def commands(heading: str) -> str:
    """The console block below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1]
    found = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


def typed(system: System, heading: str, folder: Path) -> None:
    """Run the commands below a heading, in `folder`, with the engine's own version of the tools."""
    words = {
        "COMPOSE_FILE": str(TOP / "docker-compose.yml"),
        "COMPOSE_PROJECT_NAME": "gtm",
        "COMPOSE_PROFILES": system.profiles,
        "GTM_VERSION": VERSION,
    }
    script = "set -eu\n" + commands(heading).replace("docker compose", "docker-compose")
    environment = {**os.environ, **system.engine.environment, **words}
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_restored_is_what_was_there(small_system: System, report: list[str], tmp_path: Path) -> None:
    system = small_system
    instance = f"/instances/{system.cname.partition('.')[0]}"

    def answered(ttl: int) -> bool:
        return system.direct.ask(system.cname, "A", MAINLAND).ttl() == ttl

    system.api.patch(instance, {"ttl": 31})
    typed(system, "Back up", tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    system.api.patch(instance, {"ttl": 32})
    system.until(lambda: answered(32), "change", 10)
    with system.watched() as watch:
        began = time.monotonic()
        typed(system, "Restore", tmp_path)
        system.until(lambda: answered(31), "restored answer", 30)
    assert system.find_cname()
    assert system.api.get(instance)["ttl"] == 31
    assert not watch.failed and not watch.wrong
    report.append(
        f"backup {size / 1e3:.0f} kB; restored, and answered, after {time.monotonic() - began:.1f} s; "
        f"{watch.summary(began)}"
    )


def test_new_containers_of_the_processes_keep_the_answers(small_system: System, report: list[str]) -> None:
    system = small_system
    with system.watched() as watch:
        began = time.monotonic()
        system.engine.compose(
            "up",
            "--detach",
            "--no-build",
            "--no-deps",
            "--force-recreate",
            "admin",
            "healthd-1",
            "healthd-2",
            "redis",
            COMPOSE_PROFILES=system.profiles,
        )
        system.until(system.settled, "settled system", 60)
    assert {subnet: system.got(subnet) for subnet in DEFAULTS} == DEFAULTS
    assert not watch.failed and not watch.wrong
    report.append(
        f"admin, healthd and Redis made anew: all right after {time.monotonic() - began:.1f} s; {watch.summary(began)}"
    )
