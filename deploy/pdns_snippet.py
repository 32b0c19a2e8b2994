"""Prints what goes into PowerDNS's include-dir: pdns-conf/pdns.conf without what the distribution decides."""

import sys
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pdns_gtm_backend.dns.pdns_conf import render
from pdns_gtm_backend.settings import Settings

LEFT_OUT: Final = frozenset(
    {"local-address", "local-port", "socket-dir", "daemon", "guardian", "disable-syslog", "log-timestamp"}
)
"""Settings of the distribution's pdns.conf and unit: where PowerDNS listens, and how it runs."""
HEAD: Final = "# Written by pdns-gtm-setup, which may write it again. It holds a secret: mode 0640.\n\n"


def snippet(rendered: str) -> str:
    """The paragraphs of a rendered pdns.conf that are not left out; other backends stay in use beside this one."""
    _title, *paragraphs = rendered.split("\n\n")
    kept = ("\n".join(_kept(paragraph.splitlines())) for paragraph in paragraphs)
    return HEAD + "\n\n".join(paragraph for paragraph in kept if paragraph) + "\n"


def _kept(lines: list[str]) -> list[str]:
    settings = [line for line in lines if not line.startswith("#")]
    kept = [line for line in settings if line.partition("=")[0] not in LEFT_OUT]
    if not kept:
        return []
    return [line.replace("launch=", "launch+=", 1) for line in lines if line.startswith("#") or line in kept]


def main(template: Path) -> int:
    """Print it. 2 = a setting is wrong."""
    try:
        rendered = render(Settings(), Path("/run/pdns"), template)
    except (ValidationError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(snippet(rendered))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
