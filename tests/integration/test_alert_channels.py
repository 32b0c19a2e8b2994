"""Every channel, to real servers and programs: what is sent, and what is said of what is not taken."""

import base64
import email.header
import hmac
import json
import os
import re
import signal
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from healthd.alerts import command, posting, sending
from healthd.alerts.channels import Sent, deliver
from healthd.alerts.message import Message, message_of
from healthd.alerts.sending import Means, make_means
from pdns_gtm_backend.domain.alert import Alert, Command, Smtp, Webhook
from pdns_gtm_backend.operations.alert_secrets import settle
from pdns_gtm_backend.operations.sealing import Sealer
from tests.support.origins import Authority, Origin, refusing_port, silent, trickle
from tests.support.probing import descriptors
from tests.support.receivers import HttpReceiver, MailReceiver

SEALER = Sealer("a-secret-of-many-characters")
EVENT = {
    "id": "1795168966019-0",
    "time": "2026-11-20T10:02:46.019Z",
    "kind": "address.down",
    "pool": "a",
    "address": "192.0.2.1",
    "from": "up",
    "to": "down",
    "reason": "refused <by> a & b",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_context(authority: Authority) -> ssl.SSLContext:
    certificate = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


@pytest.fixture(scope="module")
def means(authority: Authority) -> Means:
    return make_means(allow_private=True, commands=None, ca_file=str(authority.file))


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as running:
        yield running


def message(receiver: str = "ops") -> Message:
    return message_of(EVENT, receiver)


def sent(alert: Alert, means: Means, **secrets: str) -> Sent:
    sealed, violations = settle(SEALER, None, replace(alert, secrets=secrets))
    assert list(violations) == []
    return deliver(sealed, message(), SEALER, means)


def webhook(url: str) -> Alert:
    return Alert(id="ops", channel="webhook", webhook=Webhook(url=url))


def test_a_webhook_gets_the_event_and_can_verify_who_sent_it(receiver: HttpReceiver, means: Means) -> None:
    octets = b"octets of a key"
    key = "whsec_" + base64.b64encode(octets).decode()
    result = sent(webhook(receiver.url("/hook?team=ops")), means, key=key)
    assert (result.status, result.error) == ("HTTP 200", "")
    (post,) = receiver.posts
    assert post.path == "/hook?team=ops"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["host"] == f"127.0.0.1:{receiver.port}"
    summary = "address.down: a 192.0.2.1 up -> down: refused <by> a & b"
    assert post.json == {**EVENT, "receiver": "ops", "summary": summary, "test": False}
    assert post.headers["webhook-id"] == EVENT["id"]
    stamp = post.headers["webhook-timestamp"]
    assert abs(int(stamp) - time.time()) < 300
    expected = hmac.digest(octets, f"{EVENT['id']}.{stamp}.".encode() + post.body, "sha256")
    assert post.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification, and a key that is plain text."""
    key, identifier, stamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert posting.signature(key, identifier, stamp, b'{"test": 2432232314}') == expected
    plain = "v1," + base64.b64encode(hmac.digest(b"plain", b"a.1.{}", "sha256")).decode()
    assert posting.signature("plain", "a", "1", b"{}") == plain


def test_a_webhook_may_keep_its_url_to_itself(receiver: HttpReceiver, means: Means) -> None:
    hidden = Alert(id="ops", channel="webhook")
    assert sent(hidden, means, url=receiver.url("/hook/t0ken-of-the-hook"), key="k").status == "HTTP 200"
    (post,) = receiver.posts
    assert (post.path, post.json["id"]) == ("/hook/t0ken-of-the-hook", EVENT["id"])
    assert "webhook-signature" in post.headers
    receiver.always = (404, b"no /hook/t0ken-of-the-hook here")
    assert "t0ken" not in sent(hidden, means, url=receiver.url("/hook/t0ken-of-the-hook")).error
    assert deliver(hidden, message(), SEALER, means).error == "the alert has no URL"


def test_a_webhook_without_a_key_is_not_signed(receiver: HttpReceiver, means: Means) -> None:
    assert sent(webhook(receiver.url()), means).error == ""
    assert "webhook-signature" not in receiver.posts[0].headers


def test_slack_gets_a_text_in_which_nothing_is_markup(receiver: HttpReceiver, means: Means) -> None:
    assert sent(Alert(id="ops", channel="slack"), means, url=receiver.url("/services/T/B/x")).error == ""
    (post,) = receiver.posts
    assert post.path == "/services/T/B/x"
    told = "address.down: a 192.0.2.1 up -&gt; down: refused &lt;by&gt; a &amp; b"
    assert post.json == {"text": f"{told} ({EVENT['id']})"}


def test_dingtalk_gets_a_signed_text_and_says_itself_whether_it_took_it(receiver: HttpReceiver, means: Means) -> None:
    receiver.always = (200, b'{"errcode": 0, "errmsg": "ok"}')
    alert = Alert(id="ops", channel="dingtalk")
    url = receiver.url("/robot/send?access_token=t0ken")
    assert sent(alert, means, url=url, key="SECabc").status == "HTTP 200, errcode 0"
    (post,) = receiver.posts
    query = {name: values[0] for name, values in parse_qs(urlsplit(post.path).query).items()}
    assert query["access_token"] == "t0ken"
    expected = hmac.digest(b"SECabc", f"{query['timestamp']}\nSECabc".encode(), "sha256")
    assert query["sign"] == base64.b64encode(expected).decode()
    assert abs(int(query["timestamp"]) / 1000 - time.time()) < 300
    assert post.json["msgtype"] == "text"
    assert EVENT["id"] in post.json["text"]["content"] and "pdns-gtm" in post.json["text"]["content"]

    receiver.always = (200, b'{"errcode": 310000, "errmsg": "sign not match t0ken"}')
    assert "310000" in sent(alert, means, url=url).error
    receiver.always = (200, b"<html>")
    assert "did not take it" in sent(alert, means, url=url).error


def test_what_is_no_success_is_said_and_no_redirect_is_followed(receiver: HttpReceiver, means: Means) -> None:
    receiver.answers = [(500, b"out of\norder"), (302, b""), (404, b"")]
    receiver.headers = {"Location": receiver.url("/elsewhere")}
    results = [sent(webhook(receiver.url()), means) for _ in range(3)]
    assert [result.error for result in results] == [
        "HTTP 500: out of order",
        "HTTP 302; redirects are not followed",
        "HTTP 404",
    ]
    assert [result.status for result in results] == ["HTTP 500", "HTTP 302", "HTTP 404"]
    assert {post.path for post in receiver.posts} == {"/hook"}


def test_what_a_receiver_asks_for_is_known(receiver: HttpReceiver, means: Means) -> None:
    receiver.answers = [(429, b""), (503, b""), (500, b""), (200, b"")]
    receiver.headers = {"Retry-After": "7"}
    assert [sent(webhook(receiver.url()), means).retry_after for _ in range(4)] == [7, 7, 0, 0]


def test_a_receiver_that_says_back_a_secret_does_not_have_it_told(receiver: HttpReceiver, means: Means) -> None:
    receiver.always = (403, b"bad key s3cret-of-the-robot")
    assert "s3cret" not in sent(webhook(receiver.url()), means, key="s3cret-of-the-robot").error
    url = receiver.url("/services/s3cret")
    receiver.always = (403, url.encode())
    assert "s3cret" not in sent(Alert(id="ops", channel="slack"), means, url=url).error


@pytest.mark.parametrize("behaviour", [silent, trickle(b"HTTP/1.1 200 OK\r\n" * 1000, 0.05)])
def test_a_receiver_that_hangs_is_given_up(behaviour: Any, means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "SEND_SECONDS", 0.5)
    with Origin(behaviour) as origin:
        result = sent(webhook(f"http://127.0.0.1:{origin.port}/"), means)
    assert "within 0.5 s" in result.error
    assert result.duration >= 0.5


def test_a_receiver_that_is_gone_is_said_to_be(means: Means) -> None:
    with refusing_port() as port:
        assert sent(webhook(f"http://127.0.0.1:{port}/"), means).error == f"connection refused by 127.0.0.1:{port}"
    assert "does not resolve" in sent(webhook("http://nowhere.invalid/"), means).error


def test_private_receivers_are_refused_by_address_and_by_what_a_name_resolves_to(receiver: HttpReceiver) -> None:
    strict = make_means(allow_private=False, commands=None)
    for url in (receiver.url(), receiver.url(host="localhost"), "http://169.254.169.254/", "http://[::1]/"):
        assert "nothing is sent to it unless GTM_ALLOW_PRIVATE_TARGETS=1" in sent(webhook(url), strict).error
    smtp = Smtp(host="localhost", port=25, sender="a@example.com", recipients=("b@example.com",))
    mail = Alert(id="m", channel="smtp", smtp=smtp)
    assert "GTM_ALLOW_PRIVATE_TARGETS" in sent(mail, strict).error
    assert receiver.posts == []


def test_https_is_verified_by_the_name(means: Means, server_context: ssl.SSLContext) -> None:
    with HttpReceiver(context=server_context) as receiver:
        assert sent(webhook(receiver.url(host="localhost")), means).status == "HTTP 200"
        assert "certificate" in sent(webhook(receiver.url()), means).error
        unknown = make_means(allow_private=True, commands=None)
        assert "certificate" in sent(webhook(receiver.url(host="localhost")), unknown).error
        assert len(receiver.posts) == 1


def mail(port: int, **fields: Any) -> Alert:
    given: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "sender": "gtm@example.com",
        "recipients": ("ops@example.com",),
    }
    return Alert(id="ops", channel="smtp", smtp=Smtp(**given | fields))


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_mail_is_handed_over(security: Any, means: Means, server_context: ssl.SSLContext) -> None:
    login = None if security == "none" else ("gtm", "correct horse")
    with MailReceiver(server_context, security, login) as receiver:
        secrets = {} if login is None else {"password": login[1]}
        user = None if login is None else login[0]
        alert = mail(receiver.port, security=security, username=user)
        results = [sent(alert, means, **secrets) for _ in range(2)]
        assert [(result.status, result.error) for result in results] == [("250", "")] * 2
        first, again = receiver.letters
        assert receiver.encrypted == [security != "none"] * 2
    assert (first.sender, list(first.recipients)) == ("gtm@example.com", ["ops@example.com"])
    subject = str(email.header.make_header(email.header.decode_header(first.message["Subject"])))
    assert " ".join(subject.split()) == "[pdns-gtm] address.down: a 192.0.2.1 up -> down: refused <by> a & b"
    assert first.message["Message-ID"] == f"<{EVENT['id']}.ops@example.com>" == again.message["Message-ID"]
    assert first.message["GTM-Event-Id"] == EVENT["id"]
    text = first.message.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert json.loads(text.decode().replace("\r\n", "\n").partition("\n\n")[2])["address"] == "192.0.2.1"


def test_an_origin_cannot_keep_a_mail_from_being_sent(means: Means) -> None:
    """By the status line that it answers probes with."""
    told = message_of({**EVENT, "reason": "status 503 =?utf-8?q?=FF?= é"}, "ops")
    with MailReceiver() as receiver:
        result = deliver(mail(receiver.port, security="none"), told, SEALER, means)
        assert (result.status, result.error) == ("250", "")
        (letter,) = receiver.letters
    subject = str(email.header.make_header(email.header.decode_header(letter.message["Subject"])))
    assert subject.endswith("status 503 = ?utf-8?q?=FF?= é")


def test_mail_that_is_refused_is_said(means: Means, server_context: ssl.SSLContext) -> None:
    with MailReceiver(server_context, "starttls", ("gtm", "correct horse")) as receiver:
        alert = mail(receiver.port, username="gtm")
        refused = sent(alert, means, password="wrong horse")
        assert refused.status == "535" and "wrong horse" not in refused.error
        assert "530" in sent(mail(receiver.port), means).error
    with MailReceiver(refuse=frozenset({"ops@example.com"})) as receiver:
        assert "550 no such mailbox" in sent(mail(receiver.port, security="none"), means).error
        some = mail(receiver.port, security="none", recipients=("ops@example.com", "b@example.com"))
        assert sent(some, means).status == "250, but not for ops@example.com"
        assert "no STARTTLS" in sent(mail(receiver.port), means).error
        assert [letter.recipients for letter in receiver.letters] == [["b@example.com"]]


def test_a_mail_server_that_hangs_is_given_up(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    from healthd.alerts import mail as mailing

    monkeypatch.setattr(mailing, "SEND_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        result = sent(mail(listening.getsockname()[1], host="127.0.0.1", security="none"), means)
    assert "within 0.5 s" in result.error


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(folder: Path | None, name: str = "page") -> Sent:
    alert = Alert(id="ops", channel="command", command=Command(name=name))
    return sent(alert, make_means(allow_private=False, commands=folder))


def test_a_command_gets_the_event_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTM_KEY_SECRET", "never-to-be-seen-by-a-command")
    program(tmp_path, "page", f"cat > {tmp_path}/event; env > {tmp_path}/environment; pwd > {tmp_path}/folder")
    result = run(tmp_path)
    assert (result.status, result.error) == ("exit code 0", "")
    assert json.loads((tmp_path / "event").read_text()) == dict(message().body)
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG", "GTM_EVENT_ID", "GTM_EVENT_KIND", "GTM_ALERT"}
    assert (tmp_path / "folder").read_text() == "/\n"


def test_a_command_that_fails_is_said(tmp_path: Path) -> None:
    program(tmp_path, "page", "echo no modem >&2; exit 3")
    assert (run(tmp_path).error, run(tmp_path).status) == ("page: exit code 3: no modem", "exit code 3")
    program(tmp_path, "page", "kill -9 $$")
    assert run(tmp_path).error == "page: signal 9"
    program(tmp_path, "page", "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(run(tmp_path).error) < 300
    (tmp_path / "page").write_text("no program")
    assert "was not started" in run(tmp_path).error


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SEND_SECONDS", 3.0)
    program(tmp_path, "page", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    assert "had not ended after 3 s" in run(tmp_path).error
    child = int((tmp_path / "child").read_text())
    assert not alive(child)


def test_a_command_ends_where_it_cannot_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "page", "sleep 1000")
    watched: list[int] = []

    def fails(pid: int, *_: object) -> bool:
        watched.append(pid)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(command, "_ends_within", fails)
    assert run(tmp_path).error == "unexpected RuntimeError in healthd"
    with pytest.raises(ChildProcessError):
        os.waitpid(watched[0], os.WNOHANG)


def test_what_a_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    program(tmp_path, "page", f"sleep 1000 & echo $! > {tmp_path}/child")
    assert run(tmp_path).error == ""
    assert not alive(int((tmp_path / "child").read_text()))


def test_what_has_left_the_group_of_a_command_holds_nothing_here(tmp_path: Path) -> None:
    program(tmp_path, "page", f"setsid sleep 1000 & echo $! > {tmp_path}/child; echo said >&2; exit 3")
    files, threads = descriptors(), threading.active_count()
    assert run(tmp_path).error == "page: exit code 3: said"
    child = int((tmp_path / "child").read_text())
    try:
        assert descriptors() <= files and threading.active_count() <= threads
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Is it there and no zombie? Killed processes take a moment to be gone."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


def test_nothing_else_can_be_run(tmp_path: Path) -> None:
    folder = tmp_path / "commands"
    folder.mkdir()
    outside = program(tmp_path, "outside", "true")
    (folder / "link").symlink_to(outside)
    (folder / "folder").mkdir()
    (folder / "plain").write_text("#!/bin/sh\n")
    (folder / "dangling").symlink_to(folder / "nothing")
    program(folder, "page", "true")
    (folder / "alias").symlink_to(folder / "page")
    assert "GTM_ALERT_COMMANDS" in run(None).error
    assert "leads out of" in run(folder, "link").error
    assert "no executable file" in run(folder, "folder").error
    assert "no executable file" in run(folder, "plain").error
    assert "there is no program" in run(folder, "dangling").error
    assert "there is no program" in run(folder, "nothing").error
    assert run(folder, "alias").error == ""
    assert os.access(outside, os.X_OK)


def test_a_secret_of_another_server_is_said() -> None:
    sealed, _ = settle(SEALER, None, replace(webhook("http://192.0.2.1/"), secrets={"key": "k"}))
    other = Sealer("another-secret-of-many-characters")
    result = deliver(sealed, message(), other, make_means(allow_private=True, commands=None))
    assert "GTM_KEY_SECRET must be the same" in result.error
    assert sending.SEND_SECONDS == 10


def test_the_example_of_the_docs_verifies_what_is_sent(receiver: HttpReceiver, means: Means) -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    verified = names["verified"]
    for key in ("plain text", "whsec_" + base64.b64encode(b"octets").decode()):
        assert sent(webhook(receiver.url()), means, key=key).error == ""
        post = receiver.posts[-1]
        assert verified(key, post.headers, post.body)
        assert not verified(key, post.headers, post.body + b" ")
        assert not verified(key + "QUJD", post.headers, post.body)
        assert not verified(key, {**post.headers, "webhook-timestamp": "1"}, post.body)
