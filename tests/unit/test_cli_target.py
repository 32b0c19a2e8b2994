"""Which server gtmctl speaks to, and with which token: a token goes nowhere else than where it was given for."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pdns_gtm_backend.cli.failures import USAGE, Failure
from pdns_gtm_backend.cli.target import Given, Target, find_target, is_loopback, profile_path, read_profile, server_url

LOCAL = "http://127.0.0.1:8080"
REMOTE = "https://gtm.example.net"
STAGING = "https://staging.example.net:8443"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a profile file of its own, and a `make run` in `var`."""
    staging = f'[profiles.staging]\nserver = "{STAGING}"\ntoken_file = "~/staging"\n'
    write_profile(tmp_path, f'server = "{REMOTE}"\ntoken = "of-profile"\n{staging}')
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "admin-token").write_text("of-var\n")
    (tmp_path / "token").write_text("of-file\n")
    return tmp_path


def write_profile(home: Path, text: str, mode: int = 0o600) -> Path:
    path = profile_path({"HOME": str(home)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def found(home: Path, given: Given = Given(), **environment: str) -> Target:  # noqa: B008 - it is frozen
    return find_target(given, {"HOME": str(home), **environment}, home)


def test_the_profile_names_server_and_token(home: Path) -> None:
    assert found(home) == Target(REMOTE, "of-profile")


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (Given(), {"GTM_API": LOCAL}, Target(LOCAL, "of-var")),
        (Given(server="http://localhost:1"), {"GTM_API": REMOTE}, Target("http://localhost:1", "of-var")),
        (Given(), {"GTM_API": "https://other.example"}, Target("https://other.example", "")),
        (Given(server=REMOTE + "/"), {}, Target(REMOTE, "of-profile")),
        (Given(), {"GTM_TOKEN": "of-environment"}, Target(REMOTE, "of-environment")),
        (Given(token_file="token"), {"GTM_TOKEN": "of-environment"}, Target(REMOTE, "of-file")),
        (Given(), {"GTM_API": REMOTE + "/api/v1"}, Target(REMOTE, "of-profile")),
    ],
)
def test_options_come_before_the_environment_before_the_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: Given, environment: Mapping[str, str], expected: Target
) -> None:
    monkeypatch.chdir(home)
    assert found(home, given, **environment) == expected


def test_a_named_profile_has_its_own_server_and_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "staging").write_text("of-staging")
    assert found(home, Given(profile="staging")) == Target(STAGING, "of-staging")
    assert found(home, GTM_PROFILE="staging") == Target(STAGING, "of-staging")
    assert found(home, Given(profile="staging", server=REMOTE)) == Target(REMOTE, "")


def test_without_anything_it_is_the_make_run_of_this_machine(tmp_path: Path) -> None:
    assert found(tmp_path) == Target(LOCAL, "")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "admin-token").write_text("of-elsewhere")
    assert found(tmp_path, GTM_VAR=str(tmp_path / "elsewhere")) == Target(LOCAL, "of-elsewhere")
    assert found(tmp_path, GTM_ADMIN_PORT="9999").server == "http://127.0.0.1:9999"


def test_the_token_of_make_run_goes_to_no_other_machine(home: Path) -> None:
    assert found(home, GTM_API="http://192.0.2.1:8080").token == ""


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o660, 0o644])
def test_a_profile_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    path = write_profile(home, f'server = "{REMOTE}"\n', mode)
    with pytest.raises(Failure, match="can be read by others") as caught:
        found(home)
    assert caught.value.exit_code == USAGE
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server = ", "cannot be read: "),
        ("tokens = 'x'", "unknown key 'tokens', allowed are server, token, token_file"),
        ("server = 5", "server must be text"),
        ("server = ''", "server must be text"),
        ("profiles = 5", "'profiles' must be tables like"),
        ("[profiles.other]\nserver = 'https://x'", "there is no profile 'staging'; there are: other"),
    ],
)
def test_a_profile_that_is_wrong_is_told(home: Path, text: str, said: str) -> None:
    path = write_profile(home, text)
    name = "staging" if "other" in text else None
    with pytest.raises(Failure) as caught:
        read_profile(path, name)
    assert said in caught.value.said
    assert caught.value.exit_code == USAGE


def test_a_profile_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="there is no profile 'staging'"):
        found(tmp_path, Given(profile="staging"))


@pytest.mark.parametrize("text", ["", "two words", "not\tprintable", "übel"])
def test_a_token_is_one_word(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(Failure, match="holds no token") as caught:
        found(tmp_path, Given(token_file=str(tmp_path / "t")))
    assert text not in caught.value.said or text == ""


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        found(tmp_path, Given(token_file=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://gtm.example/", "https://gtm.example"),
        ("https://gtm.example/below/api/v1/", "https://gtm.example/below"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_is_a_url(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "gtm.example",
        "ftp://gtm.example",
        "https://",
        "http://x:99999",
        "http://u:p@x",
        "http://x?y",
        "http://x#y",
        "x:1",
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(Failure) as caught:
        server_url(text)
    assert caught.value.exit_code == USAGE
    assert "u:p" not in caught.value.said


@pytest.mark.parametrize(
    ("server", "local"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:1", True),
        ("https://localhost", True),
        ("http://127.example.net", False),
        ("http://192.0.2.1", False),
        ("https://localhost.example", False),
    ],
)
def test_only_this_machine_is_this_machine(server: str, local: bool) -> None:
    assert is_loopback(server) is local
    assert Target(server, "t").sends_in_clear is (not local and server.startswith("http:"))
