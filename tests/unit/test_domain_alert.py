"""Alert receivers: which events they are told of, and their own rules."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthd.alerts.message import message_of, trial_event
from pdns_gtm_backend.domain.alert import Alert, Command, Smtp, Subject, Webhook, alert_violations, matches, url_error
from pdns_gtm_backend.domain.event import EventKind, summary
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.operations.alert_matching import subject_of
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, empty
from tests.support.store import instance

KINDS = get_args(EventKind)
WORDS = st.sampled_from(["a", "b", "c", "d=1", "e=2"])
SOME = st.frozensets(WORDS, max_size=3)
FILTERS = st.none() | st.lists(WORDS, min_size=1, max_size=3).map(tuple)
SUBJECTS = st.builds(Subject, st.sampled_from(KINDS), SOME, SOME, SOME)
ALERTS = st.builds(
    Alert,
    id=st.just("ops"),
    channel=st.just("webhook"),
    kinds=st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple),
    instances=FILTERS,
    pools=FILTERS,
    labels=FILTERS,
)


def webhook(url: str = "https://alerts.example/hook", **fields: Any) -> Alert:
    return Alert(id="ops", channel="webhook", webhook=Webhook(url=url), **fields)


@given(ALERTS, SUBJECTS)
def test_every_filter_that_is_set_must_let_an_event_through(alert: Alert, subject: Subject) -> None:
    held = ({subject.kind}, subject.instances, subject.pools, subject.labels)
    filters = (alert.kinds, alert.instances, alert.pools, alert.labels)
    expected = all(wanted is None or set(wanted) & set(found) for wanted, found in zip(filters, held, strict=True))
    assert matches(alert, subject) == expected


@given(SUBJECTS)
def test_without_filters_everything_is_told(subject: Subject) -> None:
    assert matches(webhook(), subject)


@given(ALERTS, SUBJECTS, st.sampled_from(["kinds", "instances", "pools", "labels"]))
def test_a_filter_less_never_tells_less(alert: Alert, subject: Subject, name: str) -> None:
    wider = Alert(
        **{field: getattr(alert, field) for field in ("id", "channel", "kinds", "instances", "pools", "labels")}
        | {name: None}
    )
    assert matches(wider, subject) or not matches(alert, subject)


def test_the_subject_of_an_event_has_names_and_labels() -> None:
    held = Pool(id="pool-a", type="ipv4", addresses=(Address(address="192.0.2.1", labels={"site": "hz"}),))
    shop = instance("gtm00000001", "pool-a", labels={"team": "shop"})
    snapshot = empty().changed([Change(kinds.POOLS, held.id, held), Change(kinds.INSTANCES, shop.id, shop)])
    event = {"kind": "address.down", "pool": "pool-a", "address": "192.0.2.1", "instances": [shop.id]}
    found = subject_of(event, snapshot)
    assert found.instances == {shop.id, shop.name}
    assert found.pools == {"pool-a"}
    assert found.labels == {"site=hz", "team=shop"}
    assert subject_of({**event, "address": "192.0.2.9"}, snapshot).labels == {"team=shop"}


@given(
    st.dictionaries(
        st.sampled_from(["kind", "instance", "instances", "pool", "pools", "address", "to", "reason", "object_kind"]),
        st.none() | st.integers() | st.text() | st.lists(st.none() | st.text() | st.integers(), max_size=3),
    )
)
def test_events_of_the_store_are_not_trusted(event: dict[str, Any]) -> None:
    found = subject_of(event, empty())
    assert all(isinstance(name, str) for name in (*found.instances, *found.pools))
    told = summary(event)
    assert told.isprintable() and len(told) <= 500


def test_a_message_says_whether_it_is_a_test() -> None:
    event = {"id": "17-0", "kind": "set.switched", "instance_name": "shop", "from": "default", "to": "failover"}
    message = message_of(event, "ops")
    assert message.summary == "set.switched: shop default -> failover"
    assert message.body == {**event, "receiver": "ops", "summary": message.summary, "test": False}
    tried = message_of(trial_event("test-1", "ops", "hz", 0.0), "ops")
    assert (tried.body["test"], tried.body["kind"], tried.id) == (True, "alert.test", "test-1")


def places(alert: Alert) -> list[str]:
    return [violation.pointer for violation in alert_violations(alert)]


def smtp(**fields: Any) -> Smtp:
    return Smtp(**{"host": "mail.example", "sender": "a@example.com", "recipients": ("b@example.com",)} | fields)


@pytest.mark.parametrize(
    ("alert", "expected"),
    [
        (webhook(), []),
        (webhook("http://[2001:db8::1]:8080/x?y=z"), []),
        (webhook("ftp://alerts.example/"), ["/webhook/url"]),
        (webhook("https://user:pw@alerts.example/"), ["/webhook/url"]),
        (webhook("https:///hook"), ["/webhook/url"]),
        (webhook("https://alerts.example:99999/"), ["/webhook/url"]),
        (webhook("https://alerts.example/ö"), ["/webhook/url"]),
        (webhook(secrets={"password": "x"}), ["/secrets/password"]),
        (webhook(labels=("site",)), ["/labels/0"]),
        (webhook(smtp=smtp()), ["/smtp"]),
        (Alert(id="-", channel="slack"), ["/id"]),
        (Alert(id="s", channel="slack", secrets={"url": "sealed"}), []),
        (Alert(id="w", channel="webhook"), ["/webhook"]),
        (Alert(id="w", channel="webhook", secrets={"url": "sealed"}), []),
        (webhook(secrets={"url": "sealed"}), ["/webhook/url"]),
        (Alert(id="s", channel="slack", webhook=Webhook(url="https://a.example/")), ["/webhook"]),
        (Alert(id="m", channel="smtp", smtp=smtp()), []),
        (Alert(id="m", channel="smtp", smtp=smtp(host="a b")), ["/smtp/host"]),
        (Alert(id="m", channel="smtp", smtp=smtp(sender="nobody")), ["/smtp/sender"]),
        (Alert(id="m", channel="smtp", smtp=smtp(recipients=("a@b", "a@b\r\nc"))), ["/smtp/recipients/1"]),
        (Alert(id="m", channel="smtp", smtp=smtp(username="u", security="none")), ["/smtp/username"]),
        (Alert(id="c", channel="command", command=Command(name="page.sh")), []),
        (Alert(id="c", channel="command", command=Command(name="../page.sh")), ["/command/name"]),
        (Alert(id="c", channel="command", command=Command(name="..")), ["/command/name"]),
    ],
)
def test_rules_of_a_receiver(alert: Alert, expected: list[str]) -> None:
    assert places(alert) == expected


@given(st.text(max_size=40))
def test_what_is_wrong_with_a_url_does_not_repeat_it(text: str) -> None:
    url = f"https://{text}/token-of-a-robot"
    assert "token-of-a-robot" not in (url_error(url) or "")


def test_what_hides_a_secret_changes_with_it() -> None:
    one, two = (webhook(secrets={"key": sealed}).hidden().secrets["key"] for sealed in ("gAAAone", "gAAAtwo"))
    assert re.fullmatch(r"\(hidden [0-9a-f]{8}\)", one) and one != two


def test_every_kind_that_is_written_is_named() -> None:
    """In the sources, as kinds of events are words in them."""
    top = Path(__file__).parents[2]
    sources = [*(top / "healthd").glob("*.py"), top / "pdns_gtm_backend/operations/configuration_events.py"]
    written = {
        kind
        for source in sources
        for kind in re.findall(
            r'"((?:address|pool|set|instance|vantage|state|override|leader|store|configuration)\.[a-z_-]+)"',
            source.read_text(),
        )
        if f'extra={{"event": "{kind}"' not in source.read_text()
    }
    assert written == set(KINDS)


def test_every_kind_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    rows = re.findall(r"^\| (`[a-z]+\.[a-z_-]+`.*?) \|", page, re.MULTILINE)
    assert {kind for row in rows for kind in re.findall(r"`([^`]+)`", row)} == set(KINDS)
