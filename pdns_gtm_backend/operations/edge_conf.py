"""The configuration of dnsdist, from the file in `pdns-conf/` that says why each line is as it is.

`python -m pdns_gtm_backend.operations.edge_conf` prints it for the settings in the environment.
"""

import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pdns_gtm_backend.settings import Settings

TEMPLATE: Final = Path(__file__).parents[2] / "pdns-conf" / "dnsdist.conf"
FOLDER: Final = "edge"
"""In GTM_VAR: what this process and dnsdist share."""
REGIONS: Final = "regions"
SECRET: Final = "secret"  # noqa: S105 - the name of a file
LOOPBACK: Final = "127.0.0.1"
ENTRIES: Final = 100_000
MAX_LISTENERS: Final = 8
"""At most half as many as cores: PowerDNS and the backend need the others, and threads slow each other down."""
WRONG_SETTING: Final = 2


def edge_folder(settings: Settings) -> Path:
    """Where the regions and the secret are."""
    return settings.var.absolute() / FOLDER


def edge_address(settings: Settings) -> str:
    """Where the backend reaches dnsdist. Raises ValueError."""
    if settings.edge_address is not None:
        return str(settings.edge_address)
    try:
        listen = ip_address(settings.listen)
    except ValueError:
        raise ValueError(f"GTM_LISTEN: {settings.listen!r} is no IP address") from None
    if not listen.is_unspecified:
        return str(listen)
    return LOOPBACK if listen.version == 4 else "::1"


def edge_secret(folder: Path) -> str:
    """What shows that a query is of this machine's backend; made on the first call. Raises OSError."""
    path = folder / SECRET
    try:
        if kept := path.read_text().strip():
            return kept
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(16)
    temporary = folder / f".{SECRET}.{os.getpid()}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "w") as file:
        file.write(made + "\n")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return path.read_text().strip()
    finally:
        temporary.unlink()
    return made


def render(settings: Settings, template: Path = TEMPLATE, *, pdns: str = LOOPBACK, backend: str | None = None) -> str:
    """The text of dnsdist.conf. Raises ValueError with the setting that cannot be used; OSError.

    pdns, backend: IPv4 addresses of PowerDNS behind dnsdist, and of the backend that tells it, where these are not on
    its machine.
    """
    address, folder = edge_address(settings), edge_folder(settings)
    values = {
        "LISTEN": ", ".join(f'"{place}"' for place in _places(settings)),
        "LISTENERS": str(max(1, min(MAX_LISTENERS, (os.cpu_count() or 1) // 2))),
        "PDNS": f"{pdns}:{settings.pdns_port}",
        "ZONE": f"{settings.access_zone}.",
        "ENTRIES": str(ENTRIES),
        "REGIONS": _quoted(folder / REGIONS),
        "SECRET": _quoted(folder / SECRET),
        "CONTROL": ", ".join(f'"{place}"' for place in (address, backend) if place is not None),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], template.read_text())


def _places(settings: Settings) -> Iterator[str]:
    """Where dnsdist listens: where the settings mean every address, on those of both families."""
    unspecified = ip_address(settings.listen).is_unspecified
    for address in ("0.0.0.0", "::") if unspecified else (settings.listen,):  # noqa: S104 - as the settings say
        yield f"[{address}]:{settings.dns_port}" if ":" in address else f"{address}:{settings.dns_port}"


def _quoted(path: Path) -> str:
    """A path as it stands between the quotes of a Lua string. Raises ValueError."""
    if not str(path).isprintable() or not str(path).isascii():
        raise ValueError(f"GTM_VAR: {str(path)!r} holds characters that dnsdist's configuration cannot")
    return json.dumps(str(path))[1:-1]


def main() -> int:
    """Print the configuration. 2 = a setting is wrong; what is said names it."""
    try:
        sys.stdout.write(render(Settings()))
    except ValidationError as error:
        for found in error.errors(include_url=False):
            sys.stderr.write(f"GTM_{str(found['loc'][0]).upper()}: {found['msg']}\n")
        return WRONG_SETTING
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_SETTING
    return 0


if __name__ == "__main__":
    sys.exit(main())
