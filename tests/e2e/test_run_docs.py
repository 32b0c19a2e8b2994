"""docs/getting-started.md, typed command by command into a shell."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port
from tests.support.stack import Stack
from tests.support.typed_pages import SECONDS, script

PAGE: Final = Path(__file__).parents[2] / "docs" / "getting-started.md"
MARK: Final = "end of a block"
MAIN, BACKUP = ["127.0.9.1", "127.0.9.2"], ["127.0.9.3"]


@pytest.fixture(scope="module")
def outputs(stack: Stack) -> Sequence[str]:
    """What each block of commands printed, with this system's ports and folders in place of the page's."""
    commands = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    here = {
        "127.0.0.1:8080": f"127.0.0.1:{stack.admin_port}",
        "-p 5300": f"-p {stack.dns_port}",
        "var/": f"{stack.layout.var}/",
        "8600": str(free_port("127.0.9.1")),
    }
    typed_in = [re.sub("|".join(here), lambda told: here[told[0]], block) for block in commands]
    answers = [MAIN, BACKUP, MAIN, BACKUP]
    done = subprocess.run(
        ["bash", "-c", script(answers, typed_in, MARK)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.split(MARK)[:-1]


def addresses(output: str) -> list[str]:
    return sorted(re.findall(r"^127\.0\.9\.\d$", output, re.MULTILINE))


def test_the_page_does_what_it_says(outputs: Sequence[str]) -> None:
    _, _, _, instance, asked, simulated, failed_over, back, pinned, _ = outputs
    assert json.loads(instance)["name"] == "blog"
    assert addresses(asked) == MAIN
    assert "blog-main" in simulated
    assert addresses(failed_over) == BACKUP
    assert '"request_status":"error"' in failed_over.replace(" ", "")
    assert "set.switched" in failed_over
    assert addresses(back) == MAIN
    assert addresses(pinned) == BACKUP


def test_the_page_leaves_nothing_behind(stack: Stack, outputs: Sequence[str]) -> None:
    assert outputs
    assert [stack.api.get(f"/{name}")["items"] for name in ("instances", "pools", "health-checks")] == [[], [], []]
