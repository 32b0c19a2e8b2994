"""What docs/ says of gtmctl is so: commands, options, exit codes, and the file that it shows."""

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest

from pdns_gtm_backend.cli.failures import CODES
from pdns_gtm_backend.cli.main import cli
from pdns_gtm_backend.cli.session import PLURALS

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = sorted(DOCS.glob("*.md"))


def typed(page: Path) -> list[str]:
    """The commands of gtmctl in the console blocks of a page, continued lines as one."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n> ", "")
    found = (line.removeprefix("$ ") for line in lines.splitlines() if line.startswith("$ "))
    return [command for line in found for command in re.findall(r"gtmctl [^|()]*", line) if "gtmctl" in line]


def everything_typed() -> list[tuple[str, str]]:
    return [(page.name, command) for page in PAGES for command in typed(page)]


@pytest.mark.parametrize(("page", "command"), everything_typed())
def test_commands_in_the_docs_are_understood(page: str, command: str) -> None:
    words = shlex.split(re.sub(r"\$\(?\w+\)?", "x", command.partition(">")[0]), comments=True)[1:]
    context = click.Context(cli, info_name="gtmctl")
    found: click.Command = cli
    while isinstance(found, click.Group):
        name, inner, words = found.resolve_command(context, words)
        assert inner is not None, command
        found, context = inner, click.Context(inner, parent=context, info_name=name)
    found.parse_args(context, words)


def test_every_command_is_in_the_docs() -> None:
    rows = re.findall(r"^\| ((?:`[a-z]+`(?:, )?)+) \| (.*) \|$", (DOCS / "gtmctl.md").read_text(), re.MULTILINE)
    told = {name: verbs for names, verbs in rows for name in re.findall(r"`([a-z]+)`", names)}
    commands = {name for name in cli.commands if name not in PLURALS}
    assert commands <= set(told)
    for name in commands:
        command = cli.commands[name]
        if isinstance(command, click.Group):
            listed = set(told[name].partition(":")[0].split(", "))
            assert listed == set(command.commands), name


def test_exit_codes_in_the_docs_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (DOCS / "gtmctl.md").read_text(), re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == CODES
