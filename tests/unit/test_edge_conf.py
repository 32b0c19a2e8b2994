"""The configuration of dnsdist, read by dnsdist itself."""

import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pdns_gtm_backend.operations.edge_conf import edge_secret, render
from pdns_gtm_backend.settings import Settings
from tests.support.powerdns import environment


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_dnsdist_reads_it(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "dnsdist.conf"
    path.write_text(render(Settings(var=tmp_path, listen=listen, dns_port=5399)))
    checked = subprocess.run(["dnsdist", "--check-config", "-C", path], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    assert "@" not in path.read_text()


def test_backend_and_powerdns_may_be_elsewhere(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path, listen="0.0.0.0", edge_address=IPv4Address("192.0.2.21"), pdns_port=5300)
    text = render(settings, pdns="192.0.2.11", backend="192.0.2.31")
    assert 'address = "192.0.2.11:5300"' in text
    assert 'ipairs({"192.0.2.21", "192.0.2.31"}) do here:addMask' in text


def test_it_is_printed_for_the_settings_of_the_environment(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path, dns_port=5398, pdns_port=5397)
    command = [sys.executable, "-m", "pdns_gtm_backend.operations.edge_conf"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=dict(environment(settings)))
    assert done.stdout == render(settings)
    assert '"127.0.0.1:5398"' in done.stdout
    assert 'address = "127.0.0.1:5397"' in done.stdout


@pytest.mark.parametrize(
    ("setting", "named"), [({"listen": "here"}, "GTM_LISTEN: 'here'"), ({"var": Path("/ü")}, "GTM_VAR")]
)
def test_what_cannot_be_written_is_refused(setting: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        render(Settings(**setting))  # type: ignore[arg-type]


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    made = edge_secret(folder)
    assert len(made) == 32
    assert edge_secret(folder) == made
    assert (folder / "secret").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in folder.iterdir()] == ["secret"]
