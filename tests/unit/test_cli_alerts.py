"""gtmctl alert, against the real API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.cli.alerts import outcome_text
from tests.support.api import Admin, emptied
from tests.support.gtmctl import Server, served
from tests.support.redis_server import RedisServer

SECRET = "k3y-that-nobody-may-read"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, tmp_path_factory.mktemp("a"), key_secret="0123456789" * 4) as admin,
        served(admin) as server,
    ):
        yield server


@pytest.fixture
def gtm(running: Server) -> Server:
    emptied(running.admin)
    return running


def test_a_receiver_from_its_beginning_to_its_end(gtm: Server) -> None:
    options = ("--channel", "webhook", "--webhook-url", "https://192.0.2.9/hook", "--kind", "address.down")
    made = gtm.run("alert", "create", "ops", *options, "--secret", f"key={SECRET}")
    assert made.err == "alert ops: created\n"
    assert made.rows() == [["ops", "webhook", "yes", "address.down", "all", "all", "all"]]
    changed = gtm.run("alert", "set", "ops", "--label", "site=hz", "--no-enabled", "--secret", "key=another")
    assert "    enabled: true -> false" in changed.out.splitlines()
    assert "secrets.key: (hidden " in changed.out
    shown = gtm.run("alert", "show", "ops", "-o", "json")
    assert shown.json()["labels"] == ["site=hz"]
    assert [row[0] for row in gtm.run("alerts", "list", "--channel", "webhook").rows()] == ["ops"]
    assert gtm.run("alert", "list", "--channel", "smtp").rows() == []
    status = gtm.run("alert", "status", "ops")
    assert status.rows()[0][:3] == ["ops", "disabled", "0"]
    assert "no healthd leads" in gtm.run("alert", "test", "ops", ends=4).err
    assert gtm.run("alert", "delete", "ops", "--yes").err == "alert ops: deleted\n"
    assert gtm.run("alert", "show", "ops", ends=3).err
    assert SECRET not in made.out + made.err + shown.out + gtm.run("audit").out


def test_a_receiver_in_files(gtm: Server, tmp_path: Path) -> None:
    alert = tmp_path / "ops.yaml"
    alert.write_text(f"id: chat\nchannel: slack\nsecrets:\n  url: https://192.0.2.9/services/{SECRET}\n")
    gtm.run("alert", "create", "-f", str(alert))
    exported = gtm.run("export")
    assert "(hidden " in exported.out and SECRET not in exported.out
    whole = tmp_path / "gtm.yaml"
    whole.write_text(exported.out)
    assert gtm.run("plan", "-f", str(whole)).err == "nothing to do: it is so already\n"
    whole.write_text(exported.out.replace("enabled: true", "enabled: false"))
    assert gtm.run("plan", "-f", str(whole), ends=6).out.splitlines()[:2] == [
        "~ alert chat",
        "    enabled: true -> false",
    ]
    gtm.run("apply", "-f", str(whole), "--yes")
    assert gtm.run("alert", "show", "chat", "-o", "json").json()["enabled"] is False


def test_faults_are_named_by_their_options(gtm: Server) -> None:
    ran = gtm.run("alert", "create", "ops", "--channel", "webhook", "--webhook-url", "gopher://x", ends=5)
    assert "--webhook-url" in ran.err
    assert gtm.run("alert", "create", ends=2).err


def test_what_came_of_a_test_is_one_line() -> None:
    found = {"id": "ops", "event": "test-1", "delivered": True, "status": "HTTP 200", "error": None, "duration": 0.041}
    assert outcome_text(found) == "alert ops: delivered (HTTP 200) after 41 ms, event test-1"
    failed = {**found, "delivered": False, "error": "HTTP 500: no"}
    assert outcome_text(failed) == "alert ops: not delivered: HTTP 500: no after 41 ms, event test-1"
