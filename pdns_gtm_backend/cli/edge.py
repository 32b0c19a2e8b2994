"""`gtmctl edge`: dnsdist in front of PowerDNS. It works on this machine, not by the API."""

import subprocess
import sys

import click

from pdns_gtm_backend.cli.session import Command, Group

MODULE = "pdns_gtm_backend.operations.edge_conf"


@click.group("edge", cls=Group)
def edge() -> None:
    """The dnsdist in front of PowerDNS."""


@edge.command("config", cls=Command)
def config() -> None:
    """Print the configuration of a dnsdist on this machine, by its settings (GTM_DNS_PORT, GTM_PDNS_PORT, GTM_VAR).

    The backend keeps the regions that it reads up to date with GTM_EDGE=1.
    """
    sys.exit(subprocess.run([sys.executable, "-m", MODULE], check=False).returncode)  # noqa: S603
