"""What channels make of events, whatever is in them: each can be sent, and says no more than one event's own words."""

import email
import json
from email.policy import default
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from healthd.alerts import command, mail, posting
from healthd.alerts.message import Message, message_of_all
from pdns_gtm_backend.domain.alert import MAIL_ADDRESS, Smtp, Subject
from pdns_gtm_backend.operations.alert_matching import subject_of
from pdns_gtm_backend.operations.history import entry_of
from pdns_gtm_backend.store.snapshot import empty

ODD = "=?utf-8?q?=FF?= é"
SMTP = Smtp(host="mail.example", sender="gtm@example.com", recipients=("ops@example.com", "b@example.com"))
HEADERS = [
    *("Subject", "From", "To", "Date", "Message-ID", "GTM-Event-Id", "Auto-Submitted"),
    *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
]
FIELDS = (
    *("kind", "time", "instance", "instance_name", "instances", "policy", "family", "pool", "pools", "address"),
    *(
        "vantage",
        "check",
        "override",
        "object_kind",
        "object",
        "action",
        "actor",
        "from",
        "to",
        "reason",
        "id",
        "events",
    ),
)
NASTY = st.sampled_from(
    [ODD, "=?", "?=", "\r\n", "\n ", "\0", "\ud800", ":", " " * 90, "x" * 300, "é" * 90, "<a@b>", "\x85"]
)
TEXT = st.lists(st.text(max_size=20) | NASTY, max_size=6).map("".join)
ANY = TEXT | st.none() | st.integers() | st.floats() | st.lists(TEXT | st.integers(), max_size=3)
EVENTS = st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY), min_size=1, max_size=4)
many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(events: list[dict[str, Any]]) -> list[Any]:
    """Events as they are read from the store, which holds whatever it holds."""
    return [
        entry_of(f"1795168966019-{number}", {"revision": "7", "event": json.dumps(event)}, "event")
        for number, event in enumerate(events)
    ]


def message(events: list[dict[str, Any]]) -> Message:
    return message_of_all(read(events), "ops")


@many
@given(EVENTS)
@example([{"kind": "address.down", "reason": ODD}])
@example([{"kind": ODD}, {"kind": ODD}])
def test_every_event_is_a_mail_without_a_header_more(events: list[dict[str, Any]]) -> None:
    told = message(events)
    octets = mail.letter("ops", SMTP, told)
    letter = email.message_from_bytes(octets, policy=default)
    assert sorted(letter.keys()) == sorted(HEADERS)
    assert letter.defects == []
    subject = f"[pdns-gtm] {told.summary}".replace("=?", "= ?")[: mail.SUBJECT_CHARACTERS]
    assert "".join(str(letter["Subject"]).split()) == "".join(subject.split())
    assert letter["To"].addresses[0].addr_spec == "ops@example.com" and len(letter["To"].addresses) == 2
    assert letter["GTM-Event-Id"] == told.id
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998, "RFC 5322 section 2.1.1"


@many
@given(st.from_regex(MAIL_ADDRESS, fullmatch=True), st.from_regex(MAIL_ADDRESS, fullmatch=True))
@example("=?utf-8?q?=FF?=@example.com", "..@-")
def test_addresses_of_mail_are_what_was_configured(sender: str, recipient: str) -> None:
    smtp = Smtp(host="mail.example", sender=sender, recipients=(recipient,))
    octets = mail.letter("ops", smtp, message([{"kind": "address.down"}]))
    assert sorted(email.message_from_bytes(octets).keys()) == sorted(HEADERS)


@many
@given(EVENTS)
def test_every_event_is_one_post(events: list[dict[str, Any]]) -> None:
    told = message(events)
    whole = json.loads(posting.webhook_body(told))
    assert (whole["id"], whole["receiver"]) == (told.id, "ops")
    text = json.loads(posting.slack_body(told))["text"]
    assert not {"<", ">"} & set(text) and told.id.partition("_")[0] in text
    content = json.loads(posting.dingtalk_body(told))["text"]["content"]
    assert content.startswith("pdns-gtm ") and len(content.encode()) < 20_000
    assert set(told.id) <= set("0123456789-_"), "it is a header too"


@many
@given(EVENTS)
def test_every_event_is_one_line_for_a_program(events: list[dict[str, Any]]) -> None:
    told = message(events)
    octets = command.input_of(told)
    assert octets.count(b"\n") == 1 and json.loads(octets)["id"] == told.id
    variables = command.environment("ops", told)
    assert set(variables) == {"PATH", "LANG", "GTM_EVENT_ID", "GTM_EVENT_KIND", "GTM_ALERT"}
    assert all("\0" not in value.encode().decode() for value in variables.values())


@many
@given(EVENTS, st.text(alphabet="0123456789", min_size=1, max_size=30) | st.just("9" * 5000))
def test_whatever_the_store_holds_is_about_something(events: list[dict[str, Any]], revision: str) -> None:
    for event in events:
        entry = entry_of("1795168966019-0", {"revision": revision, "event": json.dumps(event)}, "event")
        subject = subject_of(entry, empty())
        assert isinstance(subject, Subject)
        assert all(isinstance(name, str) for name in (*subject.instances, *subject.pools))
