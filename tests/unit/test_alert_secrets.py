"""Secrets of alert receivers: sealed, kept, replaced, removed, and never told."""

from dataclasses import replace
from typing import Any

import pytest

from pdns_gtm_backend.domain.alert import Alert, Smtp, Webhook, alert_violations
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.alert_secrets import check_alert, opened_secrets, purpose, settle
from pdns_gtm_backend.operations.errors import NotPermitted
from pdns_gtm_backend.operations.parsing import parse, to_json
from pdns_gtm_backend.operations.sealing import NO_SEALER, Sealer

SEALER = Sealer("one-secret-of-many-characters")
OTHER = Sealer("another-secret-of-many-characters")
KEY = "key-that-nobody-may-read"


def webhook(**secrets: str) -> Alert:
    return Alert(id="ops", channel="webhook", webhook=Webhook(url="https://a.example/"), secrets=secrets)


def mail(host: str = "mail.example", **secrets: str) -> Alert:
    smtp = Smtp(host=host, username="u", sender="a@example.com", recipients=("b@example.com",))
    return Alert(id="ops", channel="smtp", smtp=smtp, secrets=secrets)


def stored(after: Alert, before: Alert | None = None, sealer: Sealer = SEALER) -> Alert:
    settled, violations = settle(sealer, before, after)
    assert list(violations) == []
    return settled


def refused(after: Alert, before: Alert | None = None, sealer: Sealer = SEALER) -> dict[str, str]:
    return {violation.pointer: violation.detail for violation in settle(sealer, before, after)[1]}


def test_a_secret_is_sealed_for_its_receiver_and_its_name() -> None:
    held = stored(webhook(key=KEY))
    assert KEY not in str(held)
    assert opened_secrets(SEALER, held) == {"key": KEY}
    with pytest.raises(NotPermitted):
        opened_secrets(SEALER, replace(held, id="others"))
    with pytest.raises(NotPermitted, match="same on every server"):
        opened_secrets(OTHER, held)


def test_what_is_left_out_or_stands_for_it_keeps_it() -> None:
    held = stored(webhook(key=KEY))
    assert stored(webhook(), held) == held
    assert stored(replace(webhook(), secrets=held.hidden().secrets), held) == held
    assert stored(webhook(key="(hidden)"), held) == held


def test_the_same_one_again_changes_nothing_and_another_one_does() -> None:
    held = stored(webhook(key=KEY))
    assert stored(webhook(key=KEY), held) == held
    other = stored(webhook(key="another"), held)
    assert opened_secrets(SEALER, other) == {"key": "another"}
    assert other.hidden() != held.hidden()


def test_an_empty_one_is_removed_and_another_channel_has_none() -> None:
    held = stored(webhook(key=KEY))
    assert stored(webhook(key=""), held).secrets == {}
    assert stored(mail(), held).secrets == {}


def test_what_a_channel_needs_is_asked_for() -> None:
    assert refused(Alert(id="s", channel="slack")) == {
        "/secrets/url": "is required: the url of a slack alert is a secret"
    }
    held = stored(Alert(id="s", channel="slack", secrets={"url": "https://hooks.example/T/B/x"}))
    assert list(refused(replace(held, secrets={"url": ""}), held)) == ["/secrets/url"]


def test_the_url_of_a_webhook_may_be_a_secret_in_the_place_of_its_settings() -> None:
    url = "https://hooks.example/T/token-of-the-hook"
    held = stored(Alert(id="ops", channel="webhook", secrets={"url": url, "key": KEY}))
    assert opened_secrets(SEALER, held) == {"url": url, "key": KEY}
    assert "token-of-the-hook" not in str(to_json(held)) + str(audit.entry("create", "alerts", "ops", None, held))
    assert list(alert_violations(held)) == []
    (both,) = alert_violations(stored(webhook(), held))
    assert (both.pointer, 'given as ""' in both.detail) == ("/webhook/url", True)
    assert list(alert_violations(stored(webhook(url=""), held))) == []
    (neither,) = alert_violations(stored(Alert(id="ops", channel="webhook", secrets={"url": ""}), held))
    assert (neither.pointer, "secrets.url" in neither.detail) == ("/webhook", True)
    settled, refusals = settle(SEALER, None, Alert(id="ops", channel="webhook", secrets={"url": "gopher://x"}))
    assert [one.pointer for one in (*refusals, *alert_violations(settled))] == ["/secrets/url"]


def test_an_exported_one_says_that_it_is_not_here() -> None:
    assert "not held here" in refused(webhook(key="(hidden 01234567)"))["/secrets/key"]


def test_without_a_sealer_only_a_new_secret_is_refused() -> None:
    held = stored(webhook(key=KEY))
    assert stored(webhook(), sealer=NO_SEALER).secrets == {}
    assert stored(webhook(), held, NO_SEALER) == held
    assert "set GTM_KEY_SECRET" in refused(webhook(key=KEY), sealer=NO_SEALER)["/secrets/key"]


def test_a_password_does_not_go_to_another_server_by_itself() -> None:
    held = stored(mail(password=KEY))
    assert stored(mail(), held) == held
    assert "given again" in refused(mail("other.example"), held)["/secrets/password"]
    assert "given again" in refused(mail("other.example", password="(hidden)"), held)["/secrets/password"]
    assert stored(mail("other.example", password=KEY), held).secrets


@pytest.mark.parametrize("secret", ["x" * 2049, "two\nlines", "ftp://no.example/" + "x" * 10])
def test_a_secret_that_is_refused_is_not_repeated(secret: str) -> None:
    channel: Any = "slack"
    told = refused(Alert(id="s", channel=channel, secrets={"url": secret}))
    assert list(told) == ["/secrets/url"]
    assert secret[:12] not in told["/secrets/url"]


@pytest.mark.parametrize("value", [["s3cret-value"], {"a": "s3cret-value"}, "s3cret-value" * 2000])
def test_a_secret_of_a_wrong_type_is_not_repeated(value: Any) -> None:
    parsed = parse(Alert, {"id": "s", "channel": "slack", "secrets": {"url": value}})
    assert [violation.pointer.startswith("/secrets") for violation in parsed.violations] == [True]
    assert "s3cret" not in parsed.violations[0].detail


def test_what_is_shown_and_noted_holds_no_secret() -> None:
    held = stored(webhook(key=KEY))
    for told in (to_json(held), audit.entry("create", "alerts", "ops", None, held)):
        assert KEY not in str(told) and held.secrets["key"] not in str(told)
        assert "(hidden " in str(told)


def test_receivers_on_private_addresses_and_commands_need_settings() -> None:
    local = Alert(id="l", channel="webhook", webhook=Webhook(url="http://localhost:80/"))
    (found,) = check_alert(local, allow_private=False, commands=False)
    assert (found.pointer, "GTM_ALLOW_PRIVATE_TARGETS" in found.detail) == ("/webhook/url", True)
    assert list(check_alert(local, allow_private=True, commands=False)) == []
    (found,) = check_alert(mail("127.0.0.1"), allow_private=False, commands=False)
    assert found.pointer == "/smtp/host"
    parsed = parse(Alert, {"id": "c", "channel": "command", "command": {"name": "page"}})
    assert parsed.value is not None
    (found,) = check_alert(parsed.value, allow_private=True, commands=False)
    assert "GTM_ALERT_COMMANDS" in found.detail
    assert list(check_alert(parsed.value, allow_private=True, commands=True)) == []


def test_the_purpose_names_what_a_secret_is_of() -> None:
    assert purpose("ops", "key") == "secret key of alert ops"
