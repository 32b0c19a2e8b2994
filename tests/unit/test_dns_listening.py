import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.dns import listening
from pdns_gtm_backend.dns.listening import LISTENING_ARGUMENT, inherited, make
from pdns_gtm_backend.settings import Settings
from tests.support.ports import free_port


def settings(var: Path, transport: str, port: int) -> Settings:
    return Settings.model_validate({"var": var, "transport": transport, "backend_port": port})


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> Iterator[Any]:
    """Passes a socket as systemd would, though by another number; `said` is what systemd is told."""
    said = short_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(said))
        heard.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(said))

        def give(kept: socket.socket) -> socket.socket:
            monkeypatch.setattr(listening, "SYSTEMD_FIRST", kept.detach())
            monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
            monkeypatch.setenv("LISTEN_FDS", "1")
            return heard

        yield give


@pytest.mark.parametrize("transport", ["http", "unix"])
def test_the_socket_that_was_kept_is_taken(systemd: Any, short_path: Path, transport: str) -> None:
    wanted = settings(short_path, transport, free_port())
    made = make(wanted)
    name = made.getsockname()
    heard = systemd(made)
    found = inherited(wanted, [])
    assert found is not None
    with found:
        assert found.getsockname() == name
    with pytest.raises(BlockingIOError):
        heard.recv(100)
    assert "LISTEN_PID" not in os.environ, "nobody else takes it"


@pytest.mark.parametrize(
    ("kept", "wanted"), [(("http", 1), ("unix", 1)), (("unix", 1), ("http", 1)), (("http", 1), ("http", 2))]
)
def test_a_socket_of_other_settings_is_given_up(
    systemd: Any, short_path: Path, kept: tuple[str, int], wanted: tuple[str, int]
) -> None:
    ports = {1: free_port(), 2: free_port()}
    heard = systemd(make(settings(short_path, kept[0], ports[kept[1]])))
    assert inherited(settings(short_path, wanted[0], ports[wanted[1]]), []) is None
    assert heard.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=backend"


def test_a_unix_socket_whose_path_is_gone_is_given_up(systemd: Any, short_path: Path) -> None:
    wanted = settings(short_path, "unix", 1)
    made = make(wanted)
    Path(made.getsockname()).unlink()
    systemd(made)
    assert inherited(wanted, []) is None


def test_what_a_supervisor_keeps_comes_by_its_number(short_path: Path) -> None:
    wanted = settings(short_path, "http", free_port())
    made = make(wanted)
    found = inherited(wanted, [LISTENING_ARGUMENT, str(made.detach())])
    assert found is not None
    found.close()


def test_nothing_was_kept(short_path: Path) -> None:
    assert inherited(settings(short_path, "http", free_port()), []) is None
