"""Units, image, compose file and package: what must hold of their text, and what systemd says of the units."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
UNITS = sorted((TOP / "deploy" / "systemd").glob("*.service"))
DOCKERFILE = (TOP / "deploy" / "Dockerfile").read_text()
COMPOSE = (TOP / "docker-compose.yml").read_text()
VERSION = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]
WORST_EXPOSURE = 20
"""Tenths: `systemd-analyze security` rates a unit from 0, sealed, to 100."""


def filled(unit: Path, folder: Path) -> Path:
    """A unit as `make install` would fill it in, with a program that is there."""
    text = unit.read_text().replace("@LIBDIR@/bin/python3", shutil.which("true") or "/bin/true")
    made = folder / unit.name
    made.write_text(text.replace("@SYSCONFDIR@", "/etc"))
    return made


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit_and_finds_it_hardened(unit: Path, tmp_path: Path) -> None:
    made = filled(unit, tmp_path)
    filled(unit.with_name("pdns-gtm.target"), tmp_path)
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}
    verify = ["systemd-analyze", "verify", "--man=no", str(made)]
    verified = subprocess.run(verify, env=environment, capture_output=True, text=True, check=False)
    complaints = [line for line in verified.stderr.splitlines() if unit.stem in line]
    assert not complaints
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", str(made)]
    rated = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout.splitlines()[-1:] or rated.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_names_no_secret_and_belongs_to_the_target(unit: Path) -> None:
    text = unit.read_text()
    assert not re.search(r"^Environment=.*GTM_(REDIS_URL|BACKEND_SECRET)=", text, re.MULTILINE)
    assert "PartOf=pdns-gtm.target" in text and "WantedBy=pdns-gtm.target" in text
    assert f"Documentation=man:{unit.stem}(8)" in text
    assert (TOP / "deploy" / "man" / f"{unit.stem}.8").is_file()


def test_the_base_is_pinned_by_digest() -> None:
    assert re.search(r"^ARG BASE=debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^FROM (?!\$\{BASE\}|base )", DOCKERFILE, re.MULTILINE)


def test_every_image_ends_as_another_user_than_root() -> None:
    for target in ("gtm", "powerdns", "redis", "dnsdist"):
        stage = DOCKERFILE.split(f"FROM base AS {target}\n", 1)[1].split("\nFROM ", 1)[0]
        assert re.search(r"^USER (?!root|0)", stage, re.MULTILINE), target


def test_images_and_services_have_the_projects_version() -> None:
    assert set(re.findall(r"GTM_VERSION:-([^}]*)\}", COMPOSE)) == {VERSION}


def test_published_ports_are_on_loopback_unless_asked() -> None:
    published = re.findall(r'- "([^"]*):\d+/(?:udp|tcp)"|ports: \["([^"]*):\d+"\]', COMPOSE)
    assert len(published) == 9
    assert all(re.match(r"\$\{GTM_\w+_ADDRESS(?:_2)?:-127\.0\.0\.1\}:", first or second) for first, second in published)


def test_every_service_is_confined() -> None:
    assert not re.search(r"privileged:|cap_add:|network_mode: host|docker\.sock", COMPOSE)
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
        assert line in COMPOSE
    anchors = re.findall(
        r"^x-(container|gtm|pdns|backend|dnsdist|healthd|redis|sentinel|origin): ", COMPOSE, re.MULTILINE
    )
    services = COMPOSE.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
    for name, body in re.findall(r"^  ([a-z0-9-]+):\n((?:    .*\n)+)", services, re.MULTILINE):
        merged = re.search(r"<<: \[?\*([a-z]+)", body)
        assert merged and merged[1] in anchors, name


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
@pytest.mark.parametrize(
    "path", ["deploy/pdns-gtm-setup", "deploy/compose/start-redis", "deploy/compose/start-backend"]
)
def test_shell_scripts_parse(path: str) -> None:
    assert subprocess.run(["sh", "-n", TOP / path], check=False).returncode == 0
