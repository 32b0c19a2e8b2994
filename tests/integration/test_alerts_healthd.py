"""The whole way: configured by the API, told by real healthds of what really happens, and no secret left anywhere."""

from collections.abc import Iterator
from typing import Any

import pytest

from pdns_gtm_backend.store.connection import Client
from tests.support.api import Admin, policy, pool
from tests.support.healthd import Healthd, Origins, Site
from tests.support.receivers import HttpReceiver, MailReceiver

KEY_SECRET = "what-secrets-are-sealed-with-0123456789"
GOOD, BAD = "127.0.9.61", "127.0.9.62"
WEBHOOK_KEY, ROBOT_TOKEN, SLACK_TOKEN = "k3y-of-the-webhook", "t0ken-of-the-robot", "t0ken-of-the-chat"
SECRETS = (WEBHOOK_KEY, ROBOT_TOKEN, SLACK_TOKEN)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("s")) as started:
        yield started


@pytest.fixture(scope="module")
def admin(site: Site) -> Iterator[Admin]:
    settings: dict[str, Any] = {
        "allow_private_targets": True,
        "key_secret": KEY_SECRET,
        "alert_commands": site.folder / "commands",
    }
    with Admin(site.redis.url, site.folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver((200, b'{"errcode": 0}')) as running:
        yield running


@pytest.fixture(scope="module")
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def origins() -> Iterator[Origins]:
    with Origins(GOOD, BAD) as running:
        yield running


@pytest.fixture(scope="module")
def healthds(site: Site, admin: Admin, receiver: HttpReceiver, mail: MailReceiver, origins: Origins) -> list[Healthd]:
    """Two, one of which leads. One receiver for each channel is configured before."""
    folder = site.folder / "commands"
    folder.mkdir()
    (folder / "note").write_text(f"#!/bin/sh\ncat >> {site.folder}/noted\n")
    (folder / "note").chmod(0o755)
    for alert in (
        {"id": "web", "channel": "webhook", "webhook": {"url": receiver.url("/web")}, "secrets": {"key": WEBHOOK_KEY}},
        {"id": "chat", "channel": "slack", "secrets": {"url": receiver.url(f"/chat/{SLACK_TOKEN}")}},
        {"id": "ding", "channel": "dingtalk", "secrets": {"url": receiver.url(f"/ding?access_token={ROBOT_TOKEN}")}},
        {"id": "mail", "channel": "smtp", "kinds": ["address.down"], "smtp": letter_box(mail)},
        {"id": "run", "channel": "command", "kinds": ["address.down"], "command": {"name": "note"}},
    ):
        admin.post("/alerts", alert)
    settings = {"GTM_KEY_SECRET": KEY_SECRET, "GTM_ALERT_COMMANDS": str(folder)}
    started = [site.healthd(name, settings=settings) for name in ("hz", "bj")]
    site.until(lambda: all(one.ready()["vantage"]["probing"] for one in started))
    site.until(lambda: any(one.ready()["leader"] for one in started))
    admin.post("/health-checks", site_check(origins))
    admin.post("/pools", pool("good", GOOD, health_checks=["web"]))
    admin.post("/pools", pool("bad", BAD, health_checks=["web"]))
    admin.post("/instances", {"name": "shop", "policies": [policy("world", ["default"], "bad", "good")]})
    site.until_health("up", GOOD, BAD)
    return started


def mailed(mail: MailReceiver) -> str:
    """Everything that was mailed; what happened together is in one letter."""
    return "\n".join(str(letter.message.get_payload(decode=True), "utf-8") for letter in list(mail.letters))  # type: ignore[arg-type]


def letter_box(mail: MailReceiver) -> dict[str, Any]:
    sender, recipients = "gtm@example.com", ["ops@example.com"]
    return {"host": "127.0.0.1", "port": mail.port, "security": "none", "sender": sender, "recipients": recipients}


def site_check(origins: Origins) -> dict[str, Any]:
    return {"id": "web", "protocol": "http", "port": origins.port, "interval": 1, "timeout": 5, "fall": 1, "rise": 1}


def seen(receiver: HttpReceiver) -> list[str]:
    """The kinds that the webhook was told of, each event once."""
    found = [post.json for post in list(receiver.posts) if post.path == "/web"]
    return [event["kind"] for event in {event["id"]: event for event in found}.values()]


def test_what_happens_is_told_by_every_channel(
    site: Site, admin: Admin, healthds: list[Healthd], receiver: HttpReceiver, mail: MailReceiver, origins: Origins
) -> None:
    origins.stop(BAD)
    site.until(lambda: {"address.down", "pool.unavailable", "set.switched"} <= set(seen(receiver)))
    origins.stop(GOOD)
    site.until(lambda: "instance.all_down" in seen(receiver))
    origins.start(GOOD)
    origins.start(BAD)
    site.until(lambda: {"instance.recovered", "pool.available"} <= set(seen(receiver)))
    site.until(lambda: seen(receiver).count("set.switched") >= 2)
    assert {"leader.changed", "configuration.changed", "address.up"} <= set(seen(receiver))

    site.until(
        lambda: all(f"address.down: {name} up -> down" in mailed(mail) for name in (f"bad {BAD}", f"good {GOOD}"))
    )
    noted = site.folder / "noted"
    site.until(lambda: noted.exists() and noted.read_text().count('"kind": "address.down"') >= 2)
    wanted = {f"/chat/{SLACK_TOKEN}", f"/ding?access_token={ROBOT_TOKEN}"}
    site.until(lambda: wanted <= {post.path for post in list(receiver.posts)})
    site.until(lambda: admin.get("/alerts/web/status")["state"] == "waiting")
    status = admin.get("/alerts/web/status")
    assert (status["backlog"], status["failure"], status["given_up"]) == (0, "", 0)
    assert status["delivered"] == len(seen(receiver))


def test_a_test_is_sent_by_the_leader(admin: Admin, healthds: list[Healthd], receiver: HttpReceiver) -> None:
    for name in ("web", "chat", "ding", "mail", "run"):
        tested = admin.post(f"/alerts/{name}/test", {}, 200)
        assert (tested["delivered"], tested["error"]) == (True, None), tested
        assert tested["duration"] > 0
    (event,) = [post.json for post in receiver.posts if post.path == "/web" and post.json["test"]]
    assert (event["kind"], event["receiver"]) == ("alert.test", "web")
    with HttpReceiver((500, b"not today")) as refusing:
        off = {"id": "off", "channel": "webhook", "webhook": {"url": refusing.url()}, "enabled": False}
        admin.post("/alerts", off)
        failed = admin.post("/alerts/off/test", {}, 200)
        assert (failed["delivered"], failed["status"], failed["error"]) == (False, "HTTP 500", "HTTP 500: not today")
        assert [post.json["test"] for post in refusing.posts] == [True]
        assert admin.get("/alerts/off/status")["state"] == "disabled"
        admin.delete("/alerts/off")


def test_the_next_leader_delivers_the_backlog_of_one_that_was_killed(
    site: Site, admin: Admin, healthds: list[Healthd], receiver: HttpReceiver, origins: Origins
) -> None:
    site.until(lambda: any(one.ready()["leader"] for one in healthds))
    last, following = sorted(healthds, key=lambda one: not one.ready()["leader"])
    site.until(lambda: admin.get("/alerts/web/status")["state"] == "waiting")
    before = len(seen(receiver))
    receiver.gate.clear()
    origins.stop(BAD)
    site.until_health("down", BAD)
    site.until(lambda: admin.get("/alerts/web/status")["backlog"] >= 2)
    last.kill()
    site.until(lambda: following.ready()["leader"])
    receiver.gate.set()
    site.until(lambda: {"address.down", "pool.unavailable", "set.switched"} <= set(seen(receiver)[before:]))
    site.until(lambda: "leader.changed" in seen(receiver)[before:])
    ids = [post.headers["webhook-id"] for post in receiver.posts if post.path == "/web" and not post.json["test"]]
    first = list(dict.fromkeys(ids))
    assert first == sorted(first, key=lambda one: tuple(map(int, one.split("-"))))
    origins.start(BAD)
    last.start()
    site.until(lambda: last.ready()["vantage"]["probing"])
    site.until_health("up", BAD)


def test_metrics_tell_of_receivers(site: Site, healthds: list[Healthd]) -> None:
    names = [f'pdns_gtm_alert_{name}{{alert="web"}}' for name in ("delivered_total", "backlog", "duration_seconds_sum")]
    site.until(lambda: any(all(name in one.get("/metrics")[1] for name in names) for one in healthds))


def everything_in(client: Client) -> str:
    """Every value in Redis, as text."""
    found: list[object] = []
    for key in client.keys("*"):
        kind = client.type(key)
        if kind == "hash":
            found.append(client.hgetall(key))
        elif kind == "stream":
            found.append(client.xrange(key))
        elif kind == "list":
            found.append(client.lrange(key, 0, -1))
        elif kind == "set":
            found.append(client.smembers(key))
        else:
            found.append(client.get(key))
    return str(found)


def test_secrets_are_nowhere(
    site: Site, admin: Admin, healthds: list[Healthd], receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.echoes = True
    for name in ("web", "chat", "ding"):
        tested = admin.post(f"/alerts/{name}/test", {}, 200)
        assert tested["error"].startswith("HTTP 500: "), tested
    receiver.echoes = False
    exported = admin.get("/export")
    admin.post("/apply", {**exported, "health_checks": None}, 200)
    planned = admin.post("/apply?dry_run=true", {**exported, "alerts": exported["alerts"][:-1]}, 200)
    assert [change["action"] for change in planned["changes"]] == ["delete"]
    paths = ("/alerts", "/alerts/web", "/alerts/chat", "/export", "/audit", "/events?limit=1000", "/alerts/chat/status")
    texts = {path: str(admin.get(path)) for path in paths}
    texts |= {"plan": str(planned), "Redis": everything_in(site.client), "log": caplog.text}
    texts |= {f"/metrics of {one.vantage}": one.get("/metrics")[1] for one in healthds}
    files = [path for path in site.folder.rglob("*") if path.is_file() and path.name != "noted"]
    texts |= {str(path): path.read_bytes().decode("latin-1") for path in files}
    assert any("healthd-hz" in str(path) or path.suffix == ".log" for path in files)
    leaked = [(secret, place) for place, text in texts.items() for secret in SECRETS if secret in text]
    assert leaked == []
