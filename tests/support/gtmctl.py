"""gtmctl in this process against the real admin application, which a thread serves over HTTP.

with served(admin) as server:
    server.run("pool", "list").table()
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from pdns_gtm_backend.cli.main import cli
from tests.support.api import Admin


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and how it ended. code: its exit code; out, err: stdout and stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def yaml(self) -> Any:
        """What it printed, as YAML by another reader than gtmctl's."""
        return yaml.safe_load(self.out)

    def rows(self) -> list[list[str]]:
        """The cells of the table that it printed, without the titles; cells hold no two spaces in a row."""
        return [_cells(line) for line in self.out.splitlines()[1:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@dataclass(frozen=True, slots=True)
class Server:
    """The admin application at a URL."""

    url: str
    admin: Admin

    def run(self, *arguments: str, ends: int | None = 0, typed: str | bytes = "", **environment: str) -> Ran:
        """Run gtmctl; it must end with exit code `ends` (None = with any)."""
        here = {"GTM_API": self.url, "GTM_TOKEN": self.admin.token}
        return run(*arguments, ends=ends, typed=typed, environment={**here, **environment})


def run(*arguments: str, ends: int | None = 0, typed: str | bytes = "", environment: Mapping[str, str]) -> Ran:
    """Run gtmctl with an environment that has no other setting of pdns-gtm and no profile file of this user."""
    cleared = dict.fromkeys(("GTM_VAR", "GTM_PROFILE", "GTM_ADMIN_PORT", "NO_COLOR", "GTM_API", "GTM_TOKEN"))
    given: dict[str, str | None] = {**cleared, "XDG_CONFIG_HOME": "/nonexistent", **environment}
    done: Result = CliRunner().invoke(cli, list(arguments), input=typed, env=given, prog_name="gtmctl")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    ran = Ran(done.exit_code, done.stdout, done.stderr)
    assert ends is None or ran.code == ends, f"{arguments} ended with {ran.code}\n{ran.out}\n{ran.err}"
    return ran


@contextlib.contextmanager
def served(admin: Admin) -> Iterator[Server]:
    """Serve an application on a free port of loopback."""
    server = make_server("127.0.0.1", 0, admin.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", admin)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
