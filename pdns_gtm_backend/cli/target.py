"""Which server is spoken to, and with which token: options, then the environment, then the profile file, then defaults.

A token goes to the server that it was given with, and to no other: that of the profile file to the profile's server,
that of `make run` (`admin-token` in `$GTM_VAR`) to this machine.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pdns_gtm_backend.cli.failures import USAGE, Failure

PREFIX: Final = "/api/v1"
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = "8080"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
KEYS: Final[Mapping[str, type]] = {"server": str, "token": str, "token_file": str}
READABLE_BY_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
MAX_PROFILE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """server: scheme, host, port, and a path where the API is below one. token: "" = none was found."""

    server: str
    token: str

    @property
    def is_local(self) -> bool:
        """Is the server on this machine?"""
        return is_loopback(self.server)

    @property
    def sends_in_clear(self) -> bool:
        """Can others on the way read the token?"""
        return bool(self.token) and not self.is_local and urlsplit(self.server).scheme == "http"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; None = nothing."""

    server: str | None = None
    token_file: str | None = None
    profile: str | None = None


def find_target(given: Given, environment: Mapping[str, str], here: Path) -> Target:
    """The server and the token. here: the working directory. Raises Failure."""
    name = given.profile or environment.get("GTM_PROFILE") or None
    profile = read_profile(profile_path(environment), name)
    chosen = given.server or environment.get("GTM_API")
    server = server_url(chosen or profile.get("server") or _default_server(environment))
    return Target(server, _token(given, environment, profile, server, here))


def server_url(text: str) -> str:
    """`text` as the URL that the API's prefix is put behind. Raises Failure."""
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Failure(f"server {text!r} is not allowed: must be like https://gtm.example.net:8443", USAGE)
    if parts.username is not None or parts.query or parts.fragment:
        raise Failure("the server's URL may not hold a user, a query or a fragment", USAGE)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(PREFIX)}"


def is_loopback(server: str) -> bool:
    """Is a server's URL one of this machine?"""
    host = urlsplit(server).hostname or ""
    return host in LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdecimal())


def _default_server(environment: Mapping[str, str]) -> str:
    return f"http://{DEFAULT_HOST}:{environment.get('GTM_ADMIN_PORT') or DEFAULT_PORT}"


def _token(given: Given, environment: Mapping[str, str], profile: Mapping[str, str], server: str, here: Path) -> str:
    if given.token_file:
        return _read_token(Path(given.token_file), "--token-file")
    if environment.get("GTM_TOKEN"):
        return _checked(environment["GTM_TOKEN"].strip(), "GTM_TOKEN")
    if profile.get("server") is not None and server_url(profile["server"]) == server:
        if "token_file" in profile:
            return _read_token(Path(profile["token_file"]).expanduser(), "token_file of the profile")
        if "token" in profile:
            return _checked(profile["token"], "token of the profile")
    return _local_token(environment, here) if is_loopback(server) else ""


def _local_token(environment: Mapping[str, str], here: Path) -> str:
    """The first admin token of a `make run` on this machine, where this user may read it; else ""."""
    folder = environment.get("GTM_VAR")
    path = (Path(folder) if folder else here / "var") / "admin-token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_token(path: Path, named: str) -> str:
    try:
        return _checked(path.read_text(encoding="utf-8").strip(), f"{named} {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{named} {path} cannot be read: {_reason(error)}", USAGE) from None


def _checked(token: str, named: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Failure(f"{named} holds no token: one is a line like gtm_...", USAGE)
    return token


def profile_path(environment: Mapping[str, str]) -> Path:
    """Where the profile file is (XDG base directories)."""
    home = environment.get("XDG_CONFIG_HOME")
    folder = Path(home) if home else Path(environment.get("HOME") or "~").expanduser() / ".config"
    return folder / "gtmctl" / "config.toml"


def read_profile(path: Path, name: str | None) -> Mapping[str, str]:
    """The settings of a profile; those outside of any table where `name` is None. Raises Failure.

    The file is refused when anybody but its owner can read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & READABLE_BY_OTHERS:
                hint = f"chmod 600 {path}"
                raise Failure(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o})", USAGE, hint=hint)
            held = tomllib.loads(file.read(MAX_PROFILE_BYTES).decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if name is not None:
            raise Failure(f"there is no profile {name!r}: {path} does not exist", USAGE) from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Failure(f"{path} cannot be read: {_reason(error)}", USAGE) from None
    return _settings(path, held, name)


def _settings(path: Path, held: dict[str, Any], name: str | None) -> Mapping[str, str]:
    profiles = held.pop("profiles", {})
    if not isinstance(profiles, dict):
        raise Failure(f"{path}: 'profiles' must be tables like [profiles.staging]", USAGE)
    if name is None:
        return _known(path, held)
    if not isinstance(profiles.get(name), dict):
        known = ", ".join(sorted(profiles)) or "none"
        raise Failure(f"{path}: there is no profile {name!r}; there are: {known}", USAGE)
    return _known(path, profiles[name])


def _known(path: Path, held: Mapping[str, Any]) -> Mapping[str, str]:
    for key, value in held.items():
        if key not in KEYS:
            raise Failure(
                f"{path}: unknown key {key!r}, allowed are {', '.join(KEYS)} and tables [profiles.NAME]", USAGE
            )
        if not isinstance(value, str) or not value:
            raise Failure(f"{path}: {key} must be text", USAGE)
    return {key: str(value) for key, value in held.items()}


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
