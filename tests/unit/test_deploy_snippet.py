"""The drop-in that pdns-gtm-setup writes for PowerDNS."""

from pathlib import Path
from types import ModuleType

import pytest

from pdns_gtm_backend.dns.pdns_conf import TEMPLATE
from tests.support.scripts import script


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return script("deploy/pdns_snippet.py")


@pytest.fixture
def snippet(module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("GTM_BACKEND_SECRET", "s3cret")
    monkeypatch.setenv("GTM_BACKEND_PORT", "9053")
    assert module.main(TEMPLATE) == 0
    return capsys.readouterr().out


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.partition("=")[::2] for line in lines)


def test_it_holds_the_backend_and_leaves_other_backends(snippet: str) -> None:
    found = settings(snippet)
    assert found["remote-connection-string"].startswith("http:url=http://127.0.0.1:9053/dns/s3cret,post=1,post_json=1")
    assert found["launch+"] == "remote"
    assert "launch" not in found


def test_it_holds_every_setting_but_those_of_the_distribution(module: ModuleType, snippet: str) -> None:
    wanted = settings(TEMPLATE.read_text()).keys() - module.LEFT_OUT
    assert {name.removesuffix("+") for name in settings(snippet)} == wanted
    assert "@" not in snippet


def test_no_comment_is_left_without_its_setting(snippet: str) -> None:
    for paragraph in snippet.split("\n\n")[1:]:
        assert not paragraph.rstrip("\n").splitlines()[-1].startswith("#"), paragraph


def test_a_wrong_setting_is_named(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GTM_BACKEND_SECRET", "a,b")
    assert module.main(TEMPLATE) == 2
    assert "GTM_BACKEND_SECRET" in capsys.readouterr().err


def test_a_missing_template_is_named(module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(tmp_path / "none.conf") == 2
    assert "none.conf" in capsys.readouterr().err
