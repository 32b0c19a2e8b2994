"""Settings from the environment, one prefix, the same for every process. Unset = the default of design and README."""

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pdns_gtm_backend.domain.names import canonical, domain_name_error

Port = Annotated[int, Field(ge=1, le=65535)]
Quota = Annotated[int, Field(ge=0)] | None


def _secret(path: Path) -> str:
    """What a file holds, without white space around it. Raises ValueError where that is nothing."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{path} is empty: it must hold the value of the setting without _FILE")
    return secret


def _readable(path: Path | None) -> Path | None:
    if path is not None:
        _secret(path)
    return path


SecretFile = Annotated[Path | None, BeforeValidator(lambda path: path or None), AfterValidator(_readable)]


class Settings(BaseSettings):
    """Every setting; `GTM_` and the name in capitals in the environment; one that is empty there is not set.

    redis_url: unset = the embedded Redis of `make run`, on a unix socket in `var`.
    pdns_control: control socket of the PowerDNS that this backend answers, to purge its caches on change; unset = no
    purging, and nothing that an instance answers is cached.
    edge: dnsdist listens on `dns_port` and keeps answers, PowerDNS behind it on `pdns_port` of loopback; the backend
    tells dnsdist of every change.
    edge_address: where it tells that dnsdist; unset = on this machine, where `listen` says.
    key_secret: encrypts private keys in the store, the same on every server; several, the newest first, while it is
    replaced; unset = what the file `key-secret` in `var` holds.
    alert_commands: the folder of the programs that alerts may run; unset = they may run none.
    write_replicas: how many replicas of Redis must have a change of configuration before it is acknowledged.
    quota_*, shortest_interval (seconds): what the admin API lets operators configure at the most; unset = no limit, but
    100 alert receivers, of which each has a thread.
    redis_url_file, backend_secret_file, key_secret_file: files that hold these where they are not set, as container and
    systemd secrets are given.
    """

    model_config = SettingsConfigDict(
        env_prefix="GTM_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    dns_port: Port = 5300
    admin_port: Port = 8080
    backend_port: Port = 8053
    healthd_port: Port = 8081
    listen: str = "127.0.0.1"
    redis_url_file: SecretFile = None
    redis_url: Annotated[str | None, Field(validate_default=True, repr=False)] = None
    var: Path = Path("var")
    access_zone: str = "gtm.example"
    nameservers: str = ""
    hostmaster: str = ""
    demo: bool | None = None
    transport: Literal["http", "unix"] = "http"
    vantage: str = "local"
    allow_private_targets: bool = False
    geo_database: Path | None = None
    geo_asn_database: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    backend_secret_file: SecretFile = None
    backend_secret: Annotated[str, Field(validate_default=True, repr=False)] = ""
    key_secret_file: SecretFile = None
    key_secret: Annotated[str, Field(validate_default=True, repr=False)] = ""
    pdns_control: Path | None = None
    edge: bool = False
    edge_address: IPv4Address | IPv6Address | None = None
    pdns_port: Port = 5305
    backend_threads: Annotated[int, Field(ge=4, le=512)] = 32
    quota_instances: Quota = None
    quota_pools_per_instance: Quota = None
    quota_addresses_per_pool: Quota = None
    quota_alerts: Annotated[int, Field(ge=0)] = 100
    alert_commands: Path | None = None
    shortest_interval: Annotated[float, Field(ge=0.25, le=86400)] | None = None
    write_replicas: Annotated[int, Field(ge=0, le=16)] = 0

    @field_validator("redis_url", "backend_secret", "key_secret")
    @classmethod
    def _or_from_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        file = info.data.get(f"{info.field_name}_file")
        return value or (_secret(file) if file else value)

    @field_validator("access_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if error := domain_name_error(value):
            raise ValueError(error)
        return canonical(value)

    @field_validator("vantage")
    @classmethod
    def _vantage(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value):
            raise ValueError("is 1 to 63 letters, digits, '.', '_' or '-'")
        return value

    @property
    def embedded_redis(self) -> bool:
        """Does `make run` start its own Redis?"""
        return self.redis_url is None

    @property
    def store_url(self) -> str:
        """Where Redis is."""
        return self.redis_url or f"unix://{(self.var / 'redis.sock').absolute()}"

    @property
    def zone_hostmaster(self) -> str:
        """Mailbox of access zones as a domain name (RFC 1035 section 3.3.13)."""
        return canonical(self.hostmaster.replace("@", ".", 1)) or f"hostmaster.{self.access_zone}"
