"""docs/first-service-with-gtmctl.md, typed command by command: a whole system, and nothing but gtmctl to manage it."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port
from tests.support.stack import Stack
from tests.support.typed_pages import SECONDS, script

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "first-service-with-gtmctl.md"
MARK: Final = "end of a command"


@dataclass(frozen=True, slots=True)
class Typed:
    """A command of the page, what the page says that it prints, and what it printed."""

    command: str
    told: Sequence[str]
    printed: Sequence[str]


def commands(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    """The commands of the console blocks, each with the lines that the page shows below it."""
    blocks = "".join(re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for part in re.split(r"^\$ ", blocks, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        while rest and rest[0].startswith("> "):
            first += "\n" + rest.pop(0).removeprefix("> ")
        yield first, rest


@pytest.fixture(scope="module")
def typed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Typed]:
    """Every command of the page with what it printed, ports and folders of this system in place of the page's."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "gtmctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pdns_gtm_backend.cli "$@"\n')
    program.chmod(0o700)
    here = {
        "-p 5300": f"-p {stack.dns_port}",
        "var/": f"{stack.layout.var}/",
        "8700": str(free_port("127.0.8.1")),
        "$PWD/.venv/bin": str(folder),
    }
    page = [(command, told) for command, told in commands(PAGE.read_text())]
    typed_in = [re.sub("|".join(map(re.escape, here)), lambda told: here[told[0]], command) for command, _ in page]
    answers = [told for command, told in page if command.startswith("dig")]
    environment = stack.environment | {"GTM_ADMIN_PORT": str(stack.admin_port), "XDG_CONFIG_HOME": str(folder / "none")}
    done = subprocess.run(
        ["bash", "-c", script(answers, typed_in, MARK)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    printed = [part.strip().splitlines() for part in done.stdout.split(MARK)]
    return [Typed(command, told, shown) for (command, told), shown in zip(page, printed, strict=False)]


def test_answers_are_those_of_the_page(typed: Sequence[Typed]) -> None:
    asked = [one for one in typed if one.command.startswith("dig")]
    assert len(asked) == 8
    for one in asked:
        assert sorted(one.printed) == sorted(one.told), one.command


def test_what_gtmctl_prints_is_what_the_page_shows(typed: Sequence[Typed]) -> None:
    shown = [one for one in typed if one.command.startswith("gtmctl") and one.told]
    assert {tuple(one.command.split()[1:3]) for one in shown} >= {
        ("instance", "create"),
        ("drain", "asia"),
        ("pool", "set"),
        ("plan", "-f"),
    }
    for one in shown:
        if one.command == "gtmctl status":
            continue
        for told, printed in zip(one.told, one.printed, strict=False):
            assert re.sub(r"gtm\d{8}", "", told).split() == re.sub(r"gtm\d{8}", "", printed).split(), one.command


def test_the_status_tells_what_is_wrong_first(typed: Sequence[Typed]) -> None:
    (status,) = (one for one in typed if one.command == "gtmctl status")
    rows = [re.split(r"\s{2,}", line)[:2] for line in status.printed[1:4]]
    assert rows == [re.split(r"\s{2,}", line)[:2] for line in status.told[1:4]]
    assert "refused" in status.printed[3]
    assert any("1 of 1 vantages report" in line for line in status.printed)


def test_events_and_simulation_tell_the_reason(typed: Sequence[Typed]) -> None:
    (events,) = (one for one in typed if one.command.startswith("gtmctl events"))
    assert any("set.switched" in line and "default -> failover" in line for line in events.printed)
    assert any("address.down" in line and "127.0.8.3" in line for line in events.printed)
    (probed,) = (one for one in typed if one.command.startswith("gtmctl probe"))
    assert any("failed: refused" in line for line in probed.printed)
    (simulated,) = (one for one in typed if one.command.startswith("gtmctl simulate"))
    assert any("line AS-CN of policy mainland decides" in line for line in simulated.printed)


def test_the_service_takes_as_many_commands_as_the_page_says(typed: Sequence[Typed]) -> None:
    gtmctl = [one.command for one in typed if one.command.startswith("gtmctl")]
    service = [command for command in gtmctl if " create " in command and "drill" not in command]
    assert len(service) == 5, service
    assert sum("drain asia" in command and "--dry-run" not in command for command in gtmctl) == 2
    assert "five commands for" in PAGE.read_text()


def test_the_page_leaves_nothing_behind(stack: Stack, typed: Sequence[Typed]) -> None:
    assert typed
    for kind in ("instances", "pools", "health-checks", "overrides", "drills"):
        assert stack.api.get(f"/{kind}")["items"] == [], kind
