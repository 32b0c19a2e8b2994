"""Where `gtmctl doctor` looks: options, else the environment that the processes read, else defaults."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdns_gtm_backend.cli.failures import USAGE, Failure
from pdns_gtm_backend.cli.target import server_url
from pdns_gtm_backend.domain.names import canonical, domain_name_error

DNS_PORT: Final = 53
DISTRIBUTION_FOLDER: Final = Path("/etc/powerdns")
MAIN_FILE: Final = "pdns.conf"
HOST: Final = "127.0.0.1"
MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server. address: an IP address."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the command line says; None = nothing."""

    pdns_config: Path | None = None
    redis: str | None = None
    backend: str | None = None
    healthd: str | None = None
    resolver: Server | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where each part is.

    pdns_config: the folder of pdns.conf; None = there is none in the usual places. dns: None = as pdns.conf says.
    control: PowerDNS's control socket, by which the backend purges; None = not known. access_zone: None = not set.
    threads: of the backend. write_replicas: that a change of configuration waits for.
    """

    pdns_config: Path | None
    dns: Server | None
    redis: str
    backend: str
    healthd: str
    resolver: Server | None
    control: Path | None
    access_zone: str | None
    threads: int
    write_replicas: int


def find_places(chosen: Chosen, environment: Mapping[str, str], here: Path) -> Places:
    """Where to look. here: the working directory. Raises Failure where a setting is not usable."""
    var = here / (environment.get("GTM_VAR") or "var")
    folder = chosen.pdns_config or next(
        (one for one in (var / "pdns", DISTRIBUTION_FOLDER) if _exists(one / MAIN_FILE)), None
    )
    return Places(
        pdns_config=folder,
        dns=_dns(environment),
        redis=chosen.redis or _redis(environment, var),
        backend=_url("--backend", chosen.backend, environment, "GTM_BACKEND_PORT", 8053),
        healthd=_url("--healthd", chosen.healthd, environment, "GTM_HEALTHD_PORT", 8081),
        resolver=chosen.resolver,
        control=_control(environment, var),
        access_zone=_access_zone(environment),
        threads=_number(environment, "GTM_BACKEND_THREADS", 32),
        write_replicas=_number(environment, "GTM_WRITE_REPLICAS", 0),
    )


def server_of(text: str) -> Server:
    """`192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`. Raises ValueError with a sentence."""
    host, colon, port = text.rpartition(":")
    if text.count(":") != 1 and not host.endswith("]"):
        host, colon, port = text, "", ""
    number = int(port) if port.isascii() and port.isdecimal() else 0
    try:
        address = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        address = ""
    if not address or (colon and not 0 < number <= MAX_PORT):
        raise ValueError(f"{text!r} is no DNS server: write an IP address, or 192.0.2.53:5353, or [2001:db8::53]:5353")
    return Server(address, number or DNS_PORT)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True


def _dns(environment: Mapping[str, str]) -> Server | None:
    if not environment.get("GTM_DNS_PORT"):
        return None
    return Server(reachable(environment.get("GTM_LISTEN") or HOST), _number(environment, "GTM_DNS_PORT", DNS_PORT))


def reachable(listen: str) -> str:
    """The address to ask a server of this machine at that listens on `listen`, which may be every address."""
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return HOST
    if not address.is_unspecified:
        return str(address)
    return HOST if address.version == 4 else "::1"


def _redis(environment: Mapping[str, str], var: Path) -> str:
    if environment.get("GTM_REDIS_URL"):
        return environment["GTM_REDIS_URL"]
    named = environment.get("GTM_REDIS_URL_FILE")
    if not named:
        return f"unix://{(var / 'redis.sock').absolute()}"
    try:
        return Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"GTM_REDIS_URL_FILE: {named} cannot be read: {error}", USAGE) from None


def _url(option: str, chosen: str | None, environment: Mapping[str, str], setting: str, port: int) -> str:
    if chosen:
        try:
            return server_url(chosen)
        except Failure as failure:
            raise Failure(f"{option}: {failure.said}", USAGE) from None
    host = reachable(environment.get("GTM_LISTEN") or HOST)
    return f"http://{Server(host, _number(environment, setting, port))}"


def _control(environment: Mapping[str, str], var: Path) -> Path | None:
    """What GTM_PDNS_CONTROL says, else the control socket of a `make run` in `var`."""
    if environment.get("GTM_PDNS_CONTROL"):
        return Path(environment["GTM_PDNS_CONTROL"])
    own = var / "pdns" / "pdns.controlsocket"
    return own if _exists(var / "pdns" / MAIN_FILE) else None


def _access_zone(environment: Mapping[str, str]) -> str | None:
    zone = environment.get("GTM_ACCESS_ZONE")
    if zone and (error := domain_name_error(zone)):
        raise Failure(f"GTM_ACCESS_ZONE: {zone!r} is not allowed: {error}", USAGE)
    return canonical(zone) if zone else None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_PORT):
        raise Failure(f"{name}: {text!r} is not allowed: must be a whole number from 0 to {MAX_PORT}", USAGE)
    return int(text)
