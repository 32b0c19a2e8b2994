"""docs/doctor.md, the pages on migration, and gtmctl's manual page say what is so."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pdns_gtm_backend.cli.doctor_report import EXIT_CODES, NOT_EXAMINED
from pdns_gtm_backend.cli.main import cli
from tests.support.api import Admin
from tests.support.gtmctl import Server, served
from tests.support.redis_server import RedisServer

ROOT: Final = Path(__file__).parents[2]
DOCTOR: Final = ROOT / "docs" / "doctor.md"
MIGRATIONS: Final = sorted((ROOT / "docs").glob("migrate-from-*.md"))
MANUAL: Final = ROOT / "deploy" / "man" / "gtmctl.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a")) as admin,
        served(admin) as running,
    ):
        yield running


def test_there_is_a_page_for_each_system_that_people_come_from() -> None:
    names = [page.stem.removeprefix("migrate-from-") for page in MIGRATIONS]
    assert names == ["polaris", "powerdns-lua", "powergslb"]


@pytest.mark.parametrize("page", MIGRATIONS, ids=lambda page: page.stem)
def test_what_a_page_migrates_to_can_be_applied(server: Server, page: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    server.run("plan", "-f", "-", typed=text, ends=6)
    server.run("apply", "-f", "-", "--yes", "--force", typed=text)
    server.run("plan", "-f", "-", typed=text)


def test_exit_codes_of_doctor() -> None:
    rows = re.findall(r"^\| (\d) \| .* \|$", DOCTOR.read_text(), re.MULTILINE)
    assert {int(code) for code in rows} == {*EXIT_CODES.values(), NOT_EXAMINED}


def test_options_of_doctor_are_in_its_page() -> None:
    shown = [param for param in cli.commands["doctor"].params if not getattr(param, "hidden", False)]
    named = {param.opts[-1] for param in shown} - {"--output", "--quiet", "--help"}
    assert named == {"--pdns-config", "--redis", "--backend", "--healthd", "--resolver"}
    assert [option for option in named if f"`{option}" not in DOCTOR.read_text()] == []


def test_the_manual_page_is_made_from_the_commands() -> None:
    made = subprocess.run(
        [sys.executable, "deploy/gtmctl_man.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert MANUAL.read_text() == made.stdout, "python deploy/gtmctl_man.py >deploy/man/gtmctl.1 makes it anew"


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_the_manual_page_can_be_read() -> None:
    shown = subprocess.run(
        ["man", "--warnings", "-l", str(MANUAL)],
        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    assert "gtmctl address add" in shown.stdout
    assert "--resolver IP[:PORT]" in shown.stdout
