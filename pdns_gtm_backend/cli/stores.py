"""`gtmctl store`: when Redis is not the store that the processes know. It works on this machine, not by the API."""

import subprocess
import sys

import click

from pdns_gtm_backend.cli.session import Command, Group

MODULE = "pdns_gtm_backend.store.adopt"


@click.group("store", cls=Group)
def store() -> None:
    """Which store is the right one, when Redis was wiped or is another one."""


@store.command("adopt", cls=Command)
@click.option("--accept", metavar="STORE", help="Follow this store, which Redis holds; give up the snapshot.")
@click.option("--replace", metavar="STORE", help="Give up this store, which Redis holds; restore the snapshot.")
def adopt(accept: str | None, replace: str | None) -> None:
    """Put the newest snapshot in GTM_VAR back into a Redis that was emptied, or decide between it and another store.

    Runs on a machine of the system, with its settings (GTM_REDIS_URL, GTM_VAR) in the environment.
    """
    chosen = [f"--{name}={value}" for name, value in (("accept", accept), ("replace", replace)) if value]
    sys.exit(subprocess.run([sys.executable, "-m", MODULE, *chosen], check=False).returncode)  # noqa: S603
