"""Alert receivers: who is told of which events, and by what channel."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le, MaxLen, MinLen

from pdns_gtm_backend.domain.document import Identifier, Port, document
from pdns_gtm_backend.domain.event import EventKind
from pdns_gtm_backend.domain.names import domain_name_error, identifier_error, is_address
from pdns_gtm_backend.domain.violation import Violation, pointer, shown

Channel = Literal["webhook", "slack", "dingtalk", "smtp", "command"]
SECTIONS: Final[Mapping[str, Channel]] = {"webhook": "webhook", "smtp": "smtp", "command": "command"}
"""The settings that are for one channel only, which needs them; a webhook may have its URL as a secret instead."""
SECRETS: Final[Mapping[Channel, Mapping[str, bool]]] = {
    "webhook": {"url": False, "key": False},
    "slack": {"url": True},
    "dingtalk": {"url": True, "key": False},
    "smtp": {"password": False},
    "command": {},
}
"""The secrets of a channel by name: is one needed?"""
GROUP_SECONDS: Final[Mapping[Channel, int]] = {"slack": 2, "dingtalk": 4, "smtp": 2}
"""Of the channels that people read. A robot of DingTalk takes 20 messages a minute."""
MAX_SECRET: Final = 2048
HIDDEN: Final = re.compile(r"\(hidden(?: [0-9a-f]{8})?\)")
"""What stands for a secret wherever a receiver is shown; where it is sent back, the secret stays as it is."""
SCHEMES: Final = ("https", "http")
MAIL_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)

Url = Annotated[str, MinLen(1), MaxLen(MAX_SECRET)]
MailAddress = Annotated[str, MinLen(3), MaxLen(320)]
Text = Annotated[str, MinLen(1), MaxLen(255)]
Filter = Annotated[tuple[Annotated[str, MinLen(1), MaxLen(319)], ...], MinLen(1), MaxLen(100)]


@document
class Webhook:
    """Where a `webhook` posts to. url: http or https; redirects are not followed. Whoever reads alerts sees it: one
    that holds a token is better given as the secret `url` instead."""

    url: Url


@document
class Smtp:
    """The server that mail is handed to.

    security: `starttls`, `tls` from the first octet, or `none`. username: with the secret `password`, to log in.
    sender, recipients: addresses as in `ops@example.com`.
    """

    host: Text
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Text | None = None
    sender: MailAddress
    recipients: Annotated[tuple[MailAddress, ...], MinLen(1), MaxLen(50)]


@document
class Command:
    """A program of the folder that GTM_ALERT_COMMANDS names. name: of the file in it."""

    name: Identifier


@document
class Alert:
    """A receiver of events.

    channel: how it is told.
    enabled: false = it is told nothing, and of nothing that happens meanwhile.
    kinds: of events; null = all.
    instances: only events of these, by id or name; null = all.
    pools: only events of these, by id; null = all.
    labels: only events of instances or addresses with one of these labels, written `key=value`; null = all.
    give_up_after: seconds after which an event that could not be delivered is given up.
    group_seconds: what happens within so many seconds is sent as one message, 0 = what is waiting is; null = 2 for
    slack and smtp, 4 for dingtalk, and for webhook and command a message for each event.
    secrets: what only the receiver may know, by name: `key` of webhook and dingtalk, `url` of slack and dingtalk, and
    of a webhook in the place of its settings, `password` of smtp. One that is left out stays, an empty one is removed;
    never shown.
    """

    id: Identifier
    channel: Channel
    enabled: bool = True
    kinds: Annotated[tuple[EventKind, ...], MinLen(1), MaxLen(100)] | None = None
    instances: Filter | None = None
    pools: Filter | None = None
    labels: Filter | None = None
    give_up_after: Annotated[int, Ge(60), Le(604_800)] = 3600
    group_seconds: Annotated[int, Ge(0), Le(300)] | None = None
    webhook: Webhook | None = None
    smtp: Smtp | None = None
    command: Command | None = None
    secrets: Annotated[
        Mapping[Annotated[str, MinLen(1), MaxLen(63)], Annotated[str, MaxLen(2 * MAX_SECRET)]], MaxLen(8)
    ] = field(default_factory=dict)

    @property
    def gathered(self) -> int | None:
        """Seconds within which what happens is one message; None = each event is one."""
        return GROUP_SECONDS.get(self.channel) if self.group_seconds is None else self.group_seconds

    def hidden(self) -> "Alert":
        """It with a word in the place of each secret; another word once the secret is another one."""
        words = {name: f"(hidden {sha256(held.encode()).hexdigest()[:8]})" for name, held in self.secrets.items()}
        return replace(self, secrets=words)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about. instances: their ids and their names. labels: `key=value`."""

    kind: str
    instances: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()


def matches(alert: Alert, subject: Subject) -> bool:
    """Is a receiver told of this? Every filter that is set must let it through."""
    return (
        (alert.kinds is None or subject.kind in alert.kinds)
        and (alert.instances is None or not subject.instances.isdisjoint(alert.instances))
        and (alert.pools is None or not subject.pools.isdisjoint(alert.pools))
        and (alert.labels is None or not subject.labels.isdisjoint(alert.labels))
    )


def alert_violations(alert: Alert) -> Iterator[Violation]:
    """Every rule of its own that a receiver breaks. Of secrets only their names are judged, as they may be sealed."""
    if error := identifier_error(alert.id):
        yield Violation("/id", f"{shown(alert.id)} {error}")
    for section, channel in SECTIONS.items():
        given = getattr(alert, section) is not None
        if given and channel != alert.channel:
            yield Violation(f"/{section}", f"is for {channel} alerts, this one is {alert.channel}")
        elif not given and channel == alert.channel and not (channel == "webhook" and "url" in alert.secrets):
            instead = ", or its URL as secrets.url" if channel == "webhook" else ""
            yield Violation(f"/{section}", f"is required: a {channel} alert needs its settings{instead}")
    known = SECRETS[alert.channel]
    for name in alert.secrets:
        if name not in known:
            allowed = f"has {', '.join(map(repr, known))}" if known else "has none"
            yield Violation(pointer("secrets", name), f"is no secret of {alert.channel} alerts, which {allowed}"[:200])
    for index, label in enumerate(alert.labels or ()):
        if not all(label.partition("=")):
            yield Violation(pointer("labels", index), f"{shown(label)} is not of the form key=value")
    if alert.webhook is not None and alert.channel == "webhook" and "url" in alert.secrets:
        detail = 'must not be given beside secrets.url, which is kept until it is given as ""'
        yield Violation("/webhook/url", detail)
    elif alert.webhook is not None and (error := url_error(alert.webhook.url)):
        yield Violation("/webhook/url", f"{shown(alert.webhook.url)} {error}")
    if alert.smtp is not None:
        yield from (violation.under("/smtp") for violation in _smtp_violations(alert.smtp))
    if alert.command is not None and (error := identifier_error(alert.command.name)):
        yield Violation("/command/name", f"{shown(alert.command.name)} {error}")


def url_error(url: str) -> str | None:
    """Why nothing can be posted to `url`, or None. The text does not repeat the URL, which may be a secret."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "may hold printable ASCII without spaces only (percent-encode)"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL such as https://alerts.example/hook"
    if parts.scheme not in SCHEMES:
        return "must begin with https:// or http://"
    if "@" in parts.netloc:
        return "must not hold a user or a password"
    if parts.fragment or port == 0 or host_error(host):
        return "is no URL such as https://alerts.example/hook"
    return None


def host_error(host: str) -> str | None:
    """Why `host` is neither an IP address nor a domain name, or None."""
    if is_address(host):
        return None
    return "is neither a domain name nor an IP address" if not host else domain_name_error(host)


def _smtp_violations(smtp: Smtp) -> Iterator[Violation]:
    if error := host_error(smtp.host):
        yield Violation("/host", f"{shown(smtp.host)} {error}")
    for place, address in (
        ("/sender", smtp.sender),
        *((pointer("recipients", i), r) for i, r in enumerate(smtp.recipients)),
    ):
        if not MAIL_ADDRESS.fullmatch(address):
            yield Violation(place, f"{shown(address)} is no mail address such as ops@example.com")
    if smtp.username is not None and not smtp.username.isprintable():
        yield Violation("/username", f"{shown(smtp.username)} may hold printable characters only")
    if smtp.username is not None and smtp.security == "none":
        yield Violation("/username", "is not sent without encryption: give security starttls or tls")
