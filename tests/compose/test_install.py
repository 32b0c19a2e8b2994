"""deploy/install and its --remove, into a scratch root. Needs the package index, as the images do."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import TOP


def install(root: Path, *words: str) -> None:
    environment = {**os.environ, "DESTDIR": str(root), "PREFIX": "/opt/gtm", "PYTHON": "/usr/bin/python3"}
    subprocess.run([TOP / "deploy" / "install", *words], env=environment, check=True, capture_output=True)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.environ.get("GTM_TEST_COMPOSE") != "1":
        pytest.skip("downloads packages: make test-compose runs it")
    folder = tmp_path_factory.mktemp("root")
    install(folder)
    yield folder


def test_everything_is_under_the_prefix_or_etc(root: Path) -> None:
    outside = {name for name in files(root) if not name.startswith("opt/gtm/")}
    assert outside == {"etc/default/pdns-gtm"}
    for name in ("backend", "admin", "healthd"):
        assert (root / f"opt/gtm/lib/systemd/system/pdns-gtm-{name}.service").is_file()
        assert (root / f"opt/gtm/share/man/man8/pdns-gtm-{name}.8").is_file()
    assert (root / "opt/gtm/sbin/pdns-gtm-setup").stat().st_mode & 0o111


def test_no_file_names_the_scratch_root_or_is_left_unfilled(root: Path) -> None:
    texts = [root / "opt/gtm/sbin/pdns-gtm-setup", *(root / "opt/gtm/lib/systemd/system").iterdir()]
    texts += [path for path in (root / "opt/gtm/lib/pdns-gtm/bin").iterdir() if not path.is_symlink()]
    texts.append(root / "opt/gtm/lib/pdns-gtm/pyvenv.cfg")
    for path in texts:
        text = path.read_text()
        assert str(root) not in text, path
        assert not any(word in text for word in ("@LIBDIR@", "@DATADIR@", "@SYSCONFDIR@")), path
    service = (root / "opt/gtm/lib/systemd/system/pdns-gtm-healthd.service").read_text()
    assert "ExecStart=/opt/gtm/lib/pdns-gtm/bin/python3 -m healthd\n" in service


def test_the_programs_start(root: Path) -> None:
    python = root / "opt/gtm/lib/pdns-gtm/bin/python3"
    for words in (
        ["-m", "healthd", "--help"],
        ["-c", "import pdns_gtm_backend.dns.server, pdns_gtm_backend.admin.server"],
    ):
        done = subprocess.run([python, *words], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    snippet = [
        python,
        root / "opt/gtm/share/pdns-gtm/pdns_snippet.py",
        root / "opt/gtm/share/pdns-gtm/pdns-conf/pdns.conf",
    ]
    done = subprocess.run(snippet, cwd=root, capture_output=True, text=True, check=False)
    assert "launch+=remote" in done.stdout, done.stderr


def test_installing_again_keeps_settings_and_removing_leaves_them(root: Path) -> None:
    settings = root / "etc/default/pdns-gtm"
    settings.write_text("GTM_VANTAGE=here\n")
    install(root)
    assert settings.read_text() == "GTM_VANTAGE=here\n"
    install(root, "--remove")
    assert files(root) == {"etc/default/pdns-gtm"}
