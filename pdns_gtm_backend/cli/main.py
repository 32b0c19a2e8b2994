"""The command `gtmctl`."""

from importlib.metadata import PackageNotFoundError, version

import click
from click.shell_completion import get_completion_class

from pdns_gtm_backend.cli.access import token, vantage
from pdns_gtm_backend.cli.addresses import address
from pdns_gtm_backend.cli.alerts import alert
from pdns_gtm_backend.cli.checks_and_lines import check, line
from pdns_gtm_backend.cli.doctor import doctor
from pdns_gtm_backend.cli.drills import drill
from pdns_gtm_backend.cli.edge import edge
from pdns_gtm_backend.cli.files import apply, export, plan
from pdns_gtm_backend.cli.history import audit, events
from pdns_gtm_backend.cli.instances import instance
from pdns_gtm_backend.cli.overrides import drain, override, switch, undrain
from pdns_gtm_backend.cli.overview import status
from pdns_gtm_backend.cli.policies_of_instances import policy
from pdns_gtm_backend.cli.pools import pool
from pdns_gtm_backend.cli.probes import probe
from pdns_gtm_backend.cli.reports import report
from pdns_gtm_backend.cli.session import Command, Root
from pdns_gtm_backend.cli.simulation import simulate
from pdns_gtm_backend.cli.stores import store
from pdns_gtm_backend.cli.zones import record, zone

NAME = "gtmctl"
COMPLETE = "_GTMCTL_COMPLETE"


def _version() -> str:
    try:
        return version("pdns-gtm")
    except PackageNotFoundError:
        return "from a source tree"


@click.group(
    NAME,
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 not found, 4 conflict, 5 not valid, 6 changes "
    "pending (plan), 69 unavailable.",
)
@click.version_option(_version(), prog_name=NAME, message="%(prog)s %(version)s")
def cli() -> None:
    """Manage a pdns-gtm by its admin API.

    The server is http://127.0.0.1:8080 unless --server, GTM_API or the profile file name another one; the token comes
    from --token-file, GTM_TOKEN, the profile file (~/.config/gtmctl/config.toml), or admin-token in $GTM_VAR or ./var.
    """


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script: source <(gtmctl completion bash)."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(cli, {}, NAME, COMPLETE).source())


cli.section("Look", status, simulate, events, audit, probe, vantage, doctor)
cli.section("Configure", instance, policy, pool, address, check, line, zone, record, alert)
cli.section("Operate", drain, undrain, switch, override, drill, report)
cli.section("As a file", plan, apply, export, edge)
cli.section("Access", token, completion)
cli.section("Repair", store)


def main() -> None:
    """Run the command line of this process."""
    cli(prog_name=NAME, complete_var=COMPLETE)
