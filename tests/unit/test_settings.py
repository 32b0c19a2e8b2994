from pathlib import Path

import pytest
from pydantic import ValidationError

from pdns_gtm_backend.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GTM_{name}".upper(), raising=False)


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    ports = (settings.dns_port, settings.admin_port, settings.backend_port, settings.healthd_port)
    assert ports == (5300, 8080, 8053, 8081)
    assert (settings.listen, settings.transport, settings.vantage) == ("127.0.0.1", "http", "local")
    assert (settings.access_zone, settings.zone_hostmaster) == ("gtm.example", "hostmaster.gtm.example")
    assert settings.embedded_redis
    assert settings.store_url == f"unix://{tmp_path / 'var' / 'redis.sock'}"
    assert not settings.allow_private_targets


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTM_DNS_PORT", "53")
    monkeypatch.setenv("GTM_REDIS_URL", "redis://192.0.2.1:6379/3")
    monkeypatch.setenv("GTM_ACCESS_ZONE", "GTM.Example.NET.")
    monkeypatch.setenv("GTM_HOSTMASTER", "Dns@example.net")
    monkeypatch.setenv("GTM_ALLOW_PRIVATE_TARGETS", "1")
    monkeypatch.setenv("GTM_UNHEARD_OF", "x")
    settings = Settings()
    assert (settings.dns_port, settings.store_url) == (53, "redis://192.0.2.1:6379/3")
    assert not settings.embedded_redis
    assert (settings.access_zone, settings.zone_hostmaster) == ("gtm.example.net", "dns.example.net")
    assert settings.allow_private_targets


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GTM_{name}".upper(), "")
    assert Settings() == Settings.model_construct()
    assert Settings().embedded_redis


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("dns_port", "0", "greater than or equal to 1"),
        ("dns_port", "65536", "less than or equal to 65535"),
        ("admin_port", "http", "a valid integer"),
        ("transport", "tcp", "'http' or 'unix'"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("vantage", "a b", "1 to 63 letters, digits"),
        ("vantage", "x" * 64, "1 to 63 letters, digits"),
        ("vantage", "-a", "1 to 63 letters, digits"),
        ("access_zone", "a..b", "a label has 1 to 63 letters"),
        ("access_zone", "x" * 300, "at most 253"),
        ("demo", "maybe", "a valid boolean"),
        ("backend_threads", "2", "greater than or equal to 4"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GTM_{name}".upper(), value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (problem,) = refused.value.errors()
    assert problem["loc"] == (name,)
    assert allowed in problem["msg"]


def test_every_wrong_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTM_DNS_PORT", "0")
    monkeypatch.setenv("GTM_VANTAGE", "a b")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [problem["loc"] for problem in refused.value.errors()] == [("dns_port",), ("vantage",)]


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url="redis://user:hunter2@192.0.2.1", backend_secret="hunter3")
    assert "hunter" not in f"{settings!r} {settings}"
    monkeypatch.setenv("GTM_REDIS_URL", "redis://user:hunter2@192.0.2.1")
    monkeypatch.setenv("GTM_REDIS_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hunter" not in str(refused.value)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" redis://192.0.2.1 \n")
    assert Settings(redis_url_file=file).store_url == "redis://192.0.2.1"
    assert Settings(redis_url_file=file, redis_url="redis://192.0.2.2").store_url == "redis://192.0.2.2"
    assert Settings(backend_secret_file=file).backend_secret == "redis://192.0.2.1"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValidationError, match=r"backend_secret_file[\s\S]*(cannot be read|is empty)"):
        Settings(backend_secret_file=file)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().dns_port = 53  # type: ignore[misc]
