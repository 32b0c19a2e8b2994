"""Secrets that are given as files: `GTM_REDIS_URL_FILE`, `GTM_BACKEND_SECRET_FILE`."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pdns_gtm_backend.settings import Settings

NAMES = ("redis_url", "backend_secret")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"GTM_{name.upper()}", raising=False)
        monkeypatch.delenv(f"GTM_{name.upper()}_FILE", raising=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_the_setting(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("  redis://h/0\n")
    monkeypatch.setenv(f"GTM_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(Settings(), name) == "redis://h/0"


@pytest.mark.parametrize("name", NAMES)
def test_the_setting_itself_wins(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("redis://file/0")
    monkeypatch.setenv(f"GTM_{name.upper()}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(f"GTM_{name.upper()}", "redis://own/0")
    assert getattr(Settings(), name) == "redis://own/0"


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTM_REDIS_URL_FILE", "")
    assert Settings().embedded_redis


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), (b" \n", "is empty"), (b"\xff\xfe", "cannot be read")]
)
def test_a_file_without_a_secret_is_refused_by_its_own_name(
    name: str, text: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    if text is not None:
        path.write_bytes(text)
    monkeypatch.setenv(f"GTM_{name.upper()}_FILE", str(path))
    with pytest.raises(ValidationError) as refused:
        Settings()
    (error,) = refused.value.errors()
    assert error["loc"] == (f"{name}_file",)
    assert str(path) in error["msg"] and said in error["msg"]


def test_errors_show_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hunter2")
    monkeypatch.setenv("GTM_BACKEND_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("GTM_DNS_PORT", "none")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hunter2" not in str(refused.value)
