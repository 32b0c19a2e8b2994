"""README and docs say what is so: examples that are valid, commands, files and settings that exist."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from pdns_gtm_backend.domain.alert import alert_violations
from pdns_gtm_backend.domain.health_check import health_check_violations
from pdns_gtm_backend.domain.instance import instance_violations
from pdns_gtm_backend.domain.line import line_violations
from pdns_gtm_backend.domain.pool import pool_violations
from pdns_gtm_backend.domain.violation import Violation
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store.kinds import ALERTS, HEALTH_CHECKS, INSTANCES, KINDS, LINES, POOLS

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
RULES: Final[Mapping[str, Callable[[Any], Iterable[Violation]]]] = {
    INSTANCES: instance_violations,
    POOLS: pool_violations,
    HEALTH_CHECKS: health_check_violations,
    LINES: line_violations,
    ALERTS: alert_violations,
}
SHELL_WORDS: Final = {"for", "gtm", "api", "gtm()", "name", "id", "export"}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str, language: str) -> list[tuple[str, str]]:
    """The code blocks of a language, each with the text before it."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()], match[1]) for match in found]


def documents() -> list[Any]:
    """Every document in the pages: (where, kind, JSON)."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for before, block in blocks(text, "json"):
            kind = re.findall(r"`/([a-z-]+)`", before)[-1]
            found.append(pytest.param(kind, block, id=f"{page_id(page)}:{kind}:{len(before.splitlines())}"))
        for before, block in blocks(text, "sh"):
            for number, match in enumerate(re.finditer(r"\$api/([a-z-]+) -d\s+'([^']*)'", block)):
                where = f"{page_id(page)}:{match[1]}:{len(before.splitlines())}-{number}"
                found.append(pytest.param(match[1], match[2], id=where))
    return found


@pytest.mark.parametrize(("kind", "text"), documents())
def test_documents_are_valid(kind: str, text: str) -> None:
    value = KINDS[kind].adapter.validate_json(text)
    assert [f"{v.pointer}: {v.detail}" for v in RULES[kind](value)] == []


def test_there_are_documents_of_every_kind_that_operators_write() -> None:
    assert {parameter.values[0] for parameter in documents()} == set(RULES)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_exist(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    assert set(re.findall(r"`make ([a-z]+)", text)) <= verbs
    for _, block in blocks(text, "sh"):
        for line in block.splitlines():
            words = re.split(r"[\s=]", line)
            if not line or line[0] in " #'|" or words[0] in SHELL_WORDS:
                continue
            if words[0] == "make":
                assert words[1] in verbs, line
                continue
            program = (
                ROOT / words[0] if "/" in words[0] else shutil.which(words[0], path="/usr/bin:/bin:/usr/sbin:/sbin")
            )
            assert program is not None and Path(program).exists(), line


def settings_table() -> dict[str, str]:
    rows = re.findall(r"^\| (`GTM_.*?) \| (.*?) \| .* \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"`(GTM_[A-Z_]+)`", names)}


def test_every_setting_is_in_the_readme() -> None:
    assert set(settings_table()) == {f"GTM_{name}".upper() for name in Settings.model_fields}


def test_defaults_in_the_readme_are_those_of_the_code() -> None:
    told = settings_table()
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, bool) or field.default in (None, "") or isinstance(field.default, Path):
            continue
        assert told[f"GTM_{name}".upper()] == str(field.default)


def test_the_readme_begins_with_what_it_is_and_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines[0] == "# pdns-gtm"
    commands = [line.split("#")[0].strip() for line in lines[:40] if line.startswith("make ")]
    assert commands == ["make run", "make test"]
