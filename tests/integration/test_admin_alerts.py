"""Alert receivers by the API: their secrets, the settings that they need, and what is told of changes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.admin.problems import TYPE_PREFIX
from pdns_gtm_backend.operations import alerts
from pdns_gtm_backend.operations.alert_secrets import opened_secrets
from pdns_gtm_backend.operations.sealing import Sealer
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.alert_deliveries import AlertTestReply, AlertTestRequest, AlertTests
from tests.support.api import PREFIX, Admin, emptied, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.store import eventually

KEY_SECRET = "what-secrets-are-sealed-with-0123456789"
WEBHOOK = {"id": "ops", "channel": "webhook", "webhook": {"url": "https://192.0.2.9/hook"}}
SECRET = "k3y-that-nobody-may-read"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def running(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder = tmp_path_factory.mktemp("a")
    with Admin(redis.url, folder, key_secret=KEY_SECRET, alert_commands=Path("/nonexistent")) as started:
        yield started


@pytest.fixture
def admin(running: Admin) -> Admin:
    return emptied(running)


def opened(admin: Admin, name: str = "ops") -> dict[str, str]:
    """The secrets that are stored, in clear."""
    alert = admin.services.follower.serving.snapshot.alerts[name]
    return dict(opened_secrets(Sealer(KEY_SECRET), alert))


def etag(admin: Admin, name: str = "ops") -> str:
    return admin.request("GET", f"/alerts/{name}").headers["ETag"]


def faults(admin: Admin, verb: str, path: str, body: Any) -> dict[str, str]:
    answer = admin.request(verb, path, body, headers={"If-Match": "*"})
    assert answer.status_code == 422, answer.get_data(as_text=True)
    assert SECRET not in answer.get_data(as_text=True)
    found: list[dict[str, str]] = answer.get_json()["errors"]
    return {one["pointer"]: one["detail"] for one in found}


def test_a_secret_is_kept_replaced_and_removed_and_never_shown(admin: Admin) -> None:
    made = admin.post("/alerts", {**WEBHOOK, "secrets": {"key": SECRET}})
    assert made["secrets"]["key"].startswith("(hidden ")
    assert admin.get("/alerts/ops") == made == admin.get("/alerts")["items"][0]
    assert opened(admin) == {"key": SECRET}
    first = etag(admin)

    assert admin.put("/alerts/ops", WEBHOOK) == made
    assert admin.put("/alerts/ops", made) == made
    assert admin.put("/alerts/ops", {**WEBHOOK, "secrets": {"key": SECRET}}) == made
    assert etag(admin) == first
    changed = admin.patch("/alerts/ops", {"enabled": False})
    assert changed["secrets"] == made["secrets"] and opened(admin) == {"key": SECRET}

    second = etag(admin)
    other = admin.patch("/alerts/ops", {"secrets": {"key": "another"}})
    assert other["secrets"] != made["secrets"] and etag(admin) != second
    assert opened(admin) == {"key": "another"}
    assert admin.patch("/alerts/ops", {"secrets": {"key": ""}})["secrets"] == {}
    assert SECRET not in str(admin.get("/audit")) + str(admin.get("/events"))


def test_a_dry_run_writes_nothing(admin: Admin) -> None:
    told = admin.request("POST", "/alerts?dry_run=true", {**WEBHOOK, "secrets": {"key": SECRET}})
    assert told.status_code == 200 and SECRET not in told.get_data(as_text=True)
    admin.get("/alerts/ops", 404)


def test_export_and_apply_keep_secrets_and_never_carry_them(admin: Admin) -> None:
    admin.post("/alerts", {**WEBHOOK, "secrets": {"key": SECRET}})
    exported = admin.get("/export")
    assert SECRET not in str(exported)
    assert admin.post("/apply", exported, 200)["changes"] == []
    left_out = {**exported, "alerts": [WEBHOOK]}
    assert admin.post("/apply", left_out, 200)["changes"] == []
    assert opened(admin) == {"key": SECRET}

    again = {"version": 1, "alerts": [{**WEBHOOK, "secrets": {"key": SECRET}}]}
    assert admin.post("/apply", again, 200)["changes"] == []
    given = {"version": 1, "alerts": [{**WEBHOOK, "secrets": {"key": "another"}}]}
    (change,) = admin.post("/apply", given, 200)["changes"]
    assert change["before"]["secrets"] != change["after"]["secrets"]
    assert "another" not in str(change) and opened(admin) == {"key": "another"}
    assert [one["action"] for one in admin.post("/apply", {"alerts": []}, 200)["changes"]] == ["delete"]
    assert "not held here" in faults(admin, "POST", "/apply", exported)["/alerts/0/secrets/key"]


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({**WEBHOOK, "secrets": {"password": SECRET}}, ["/secrets/password"]),
        ({**WEBHOOK, "secrets": {"key": [SECRET]}}, ["/secrets/key"]),
        ({**WEBHOOK, "secrets": SECRET}, ["/secrets"]),
        ({**WEBHOOK, "secrets": {"key": SECRET + "\n"}}, ["/secrets/key"]),
        ({"id": "s", "channel": "slack"}, ["/secrets/url"]),
        ({"id": "s", "channel": "slack", "secrets": {"url": SECRET}}, ["/secrets/url"]),
        ({"id": "w", "channel": "webhook", "webhook": {"url": "http://127.0.0.1/"}}, ["/webhook/url"]),
        ({"id": "w", "channel": "webhook", "webhook": {"url": "http://169.254.169.254/"}}, ["/webhook/url"]),
        ({**WEBHOOK, "kinds": ["address.sideways"]}, ["/kinds/0"]),
        ({**WEBHOOK, "give_up_after": 5}, ["/give_up_after"]),
        ({"id": "c", "channel": "command", "command": {"name": "../sh"}}, ["/command/name"]),
        ({"id": "c", "channel": "command", "command": {"name": "/bin/sh"}}, ["/command/name"]),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(admin: Admin, body: dict[str, Any], places: list[str]) -> None:
    assert list(faults(admin, "POST", "/alerts", body)) == places


def test_a_url_that_is_a_secret_is_read_by_nobody(admin: Admin) -> None:
    url = f"https://192.0.2.9/services/{SECRET}"
    made = admin.post("/alerts", {"id": "ops", "channel": "webhook", "secrets": {"url": url}})
    assert (made["webhook"], made["secrets"]["url"].startswith("(hidden ")) == (None, True)
    assert opened(admin) == {"url": url}
    exported = admin.get("/export")
    assert admin.post("/apply", exported, 200)["changes"] == []
    assert SECRET not in str([admin.get(path) for path in ("/alerts", "/export", "/audit", "/events")])
    assert list(faults(admin, "PATCH", "/alerts/ops", {"webhook": WEBHOOK["webhook"]})) == ["/webhook/url"]
    shown = admin.patch("/alerts/ops", {"webhook": WEBHOOK["webhook"], "secrets": {"url": ""}})
    assert (shown["webhook"], shown["secrets"]) == (WEBHOOK["webhook"], {})
    hidden = admin.patch("/alerts/ops", {"webhook": None, "secrets": {"url": url}})
    assert (hidden["webhook"], opened(admin)) == (None, {"url": url})
    assert list(faults(admin, "PATCH", "/alerts/ops", {"secrets": {"url": ""}})) == ["/webhook"]


def test_filters_that_name_nothing_are_warned_about(admin: Admin) -> None:
    admin.post("/pools", pool("a", "192.0.2.1"))
    admin.post("/instances", {"name": "shop", "policies": [policy("world", ["default"], "a")]})
    made = admin.post("/alerts", {**WEBHOOK, "instances": ["shop", "nothing"], "pools": ["a", "b"]})
    assert [warning["pointer"] for warning in made["warnings"]] == ["/instances/1", "/pools/1"]


def test_without_settings_secrets_and_commands_are_refused_and_only_these(
    redis: RedisServer, admin: Admin, tmp_path: Path
) -> None:
    admin.post("/alerts", {**WEBHOOK, "secrets": {"key": SECRET}})
    with Admin(redis.url, tmp_path, "bare") as bare:
        bare.token = admin.token
        assert "set GTM_KEY_SECRET" in faults(bare, "PATCH", "/alerts/ops", {"secrets": {"key": "x"}})["/secrets/key"]
        assert bare.patch("/alerts/ops", {"enabled": False})["secrets"]["key"].startswith("(hidden ")
        assert bare.post("/alerts", {**WEBHOOK, "id": "plain"})["secrets"] == {}
        command = {"id": "c", "channel": "command", "command": {"name": "page"}}
        assert "GTM_ALERT_COMMANDS" in faults(bare, "POST", "/alerts", command)["/channel"]
    assert admin.post("/alerts", command)["command"] == {"name": "page"}


def test_a_receiver_that_was_never_told_has_a_status(admin: Admin) -> None:
    admin.post("/alerts", {**WEBHOOK, "kinds": ["configuration.changed"]})
    status = admin.get("/alerts/ops/status")
    assert (status["state"], status["backlog"], status["delivered"], status["position"]) == ("waiting", 0, 0, "")
    assert (status["gaps"], status["gap"]) == (0, "")
    admin.post("/pools", pool("a", "192.0.2.1"))
    status = admin.get("/alerts/ops/status")
    assert (status["state"], status["backlog"]) == ("delivering", 1)
    admin.get("/alerts/nothing/status", 404)
    admin.post("/alerts/nothing/test", {}, 404)
    assert "no healthd leads" in admin.post("/alerts/ops/test", {}, 409)["detail"]


def test_tests_at_once_are_few(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a receiver that hangs, and a leader that waits for it."""
    monkeypatch.setattr(alerts, "TEST_SECONDS", 120.0)
    admin.post("/alerts", WEBHOOK)
    client = admin.services.follower.repository.client
    client.set(keys.LEADER, "somebody")
    leader = AlertTests(client)

    def ask() -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {admin.token}"}
        answer = admin.app.test_client().post(PREFIX + "/alerts/ops/test", headers=headers)
        return answer.status_code, answer

    def taken() -> AlertTestRequest:
        eventually(lambda: client.llen(keys.ALERT_TESTS) > 0)
        request = leader.take()
        assert request is not None
        return request

    with ThreadPoolExecutor(5) as pool:
        for _ in range(2):
            asking = [pool.submit(ask) for _ in range(4)]
            requests = [taken() for _ in range(4)]
            status, refused = ask()
            assert (status, refused.get_json()["type"]) == (429, TYPE_PREFIX + "busy")
            assert refused.headers["Retry-After"] == "120"
            for request in requests:
                leader.reply(request, AlertTestReply(event="test-1", error="gone"))
            assert [one.result()[0] for one in asking] == [200] * 4
    client.delete(keys.LEADER)


def test_roles_and_restricted_tokens(admin: Admin) -> None:
    admin.post("/alerts", WEBHOOK)
    viewer = admin.post("/tokens", {"name": "v", "role": "viewer"})["token"]
    acting = admin.post("/tokens", {"name": "o", "role": "operator"})["token"]
    team = admin.post("/tokens", {"name": "t", "role": "operator", "label": "team=a"})["token"]

    def status(verb: str, path: str, token: str) -> int:
        return admin.request(verb, path, {} if verb == "POST" else None, token=token).status_code

    assert status("GET", "/alerts/ops/status", viewer) == 200
    assert status("POST", "/alerts/ops/test", viewer) == 403
    assert status("POST", "/alerts", acting) == 403
    assert status("POST", "/alerts/ops/test", acting) == 409
    assert status("GET", "/alerts/ops/status", team) == status("POST", "/alerts/ops/test", team) == 403
    assert status("GET", "/alerts/ops", viewer) == 200
    assert status("GET", "/alerts/ops", team) == 404, "it says where the events of all instances go"
    assert admin.request("GET", "/alerts", token=team).get_json()["items"] == []
    whole = admin.post("/tokens", {"name": "w", "role": "admin", "label": "team=a"})["token"]
    refused = admin.request("POST", "/alerts", WEBHOOK | {"id": "mine"}, token=whole)
    assert (refused.status_code, refused.get_json()["detail"].endswith("not for any alert")) == (403, True)
    assert admin.post("/alerts", WEBHOOK, 409)["detail"].startswith("there is an alert 'ops' already")


def changes(admin: Admin) -> list[dict[str, Any]]:
    return [one for one in admin.get("/events?limit=1000")["items"] if one["kind"] == "configuration.changed"]


def test_every_change_of_configuration_is_one_event_without_contents(admin: Admin) -> None:
    admin.post("/pools", pool("a", "192.0.2.1"))
    made = admin.post("/instances", {"name": "shop", "policies": [policy("world", ["default"], "a")]})
    admin.patch("/pools/a", {"strategy": "weighted"})
    admin.patch("/pools/a", {"strategy": "weighted"})
    admin.post("/apply", {"version": 1, "lines": [{"id": "cn", "members": ["AS-CN"]}]}, 200)
    told = changes(admin)
    assert [(one["action"], one["object_kind"], one["object"], one["documents"]) for one in told] == [
        ("create", "pools", "a", 1),
        ("create", "instances", made["id"], 1),
        ("patch", "pools", "a", 1),
        ("apply", "configuration", "", 1),
    ]
    assert {one["actor"] for one in told} == {"bootstrap"}
    assert told[1]["instance"] == made["id"]
    assert (told[2]["pool"], told[2]["instances"]) == ("a", [made["id"]])
    assert "192.0.2.1" not in str(told) and "weighted" not in str(told)
    assert [one["revision"] for one in told] == sorted(one["revision"] for one in told)


def test_what_is_set_at_run_time_is_no_configuration(admin: Admin) -> None:
    admin.post("/pools", pool("a", "192.0.2.1", "192.0.2.2"))
    before = len(changes(admin))
    admin.post("/overrides", {"selector": {"address": "192.0.2.1"}, "effect": "offline"})
    assert len(changes(admin)) == before
