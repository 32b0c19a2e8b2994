"""Which channel sends how, and one delivery."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from healthd.alerts.command import command
from healthd.alerts.mail import mail
from healthd.alerts.message import Message, message_of_all
from healthd.alerts.posting import dingtalk, slack, webhook
from healthd.alerts.sending import Means, NotBuilt, NotDelivered, Send, building
from healthd.probes.failure import ProbeFailure
from pdns_gtm_backend.domain.alert import Alert, Channel
from pdns_gtm_backend.operations.alert_secrets import opened_secrets
from pdns_gtm_backend.operations.errors import NotPermitted
from pdns_gtm_backend.operations.sealing import Sealer

log = logging.getLogger(__name__)

CHANNELS: Final[Mapping[Channel, Send]] = {
    "webhook": webhook,
    "slack": slack,
    "dingtalk": dingtalk,
    "smtp": mail,
    "command": command,
}
MAX_TEXT: Final = 500
WORDS: Final = re.compile(r"[/?&=]")
SHORTEST_WORD: Final = 6
"""Shorter words of a URL are no secret, and might be any word of a sentence."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt. status: what the receiver said. error: "" where it took it. duration: seconds.

    retry_after: seconds for which it wants to be left alone. built: False = healthd cannot make the message at all.
    """

    status: str
    error: str
    duration: float
    retry_after: float = 0.0
    built: bool = True


def deliver_all(alert: Alert, events: Sequence[Mapping[str, Any]], sealer: Sealer, means: Means) -> Sent:
    """Send entries of the stream of events as one message. Never raises."""
    try:
        with building():
            message = message_of_all(events, alert.id)
    except NotBuilt as failure:
        return _not_built(alert, failure)
    return deliver(alert, message, sealer, means)


def deliver(alert: Alert, message: Message, sealer: Sealer, means: Means) -> Sent:
    """Send one message. Never raises; nothing of a secret is in what it returns."""
    began = time.monotonic()
    secrets: Mapping[str, str] = {}
    status, error, retry_after = "", "", 0.0
    try:
        secrets = opened_secrets(sealer, alert)
        status = CHANNELS[alert.channel](alert, secrets, message, means)
    except NotBuilt as failure:
        return _not_built(alert, failure)
    except NotDelivered as failure:
        status, error, retry_after = failure.status, str(failure), failure.retry_after
    except (NotPermitted, ProbeFailure) as failure:
        error = str(failure)
    except Exception as failure:  # noqa: BLE001 - whatever a receiver makes a library raise, the next one is told
        error = f"unexpected {type(failure).__name__} in healthd"
        log.error("alert %s: %s", alert.id, error, extra={"event": "alert.failed"})
    return Sent(_without(secrets, status), _without(secrets, error), time.monotonic() - began, retry_after)


def _not_built(alert: Alert, failure: NotBuilt) -> Sent:
    log.error("alert %s: %s", alert.id, failure, exc_info=failure.__cause__, extra={"event": "alert.failed"})
    return Sent("", str(failure), 0.0, built=False)


def _without(secrets: Mapping[str, str], text: str) -> str:
    """A receiver may say back what it was sent: its secrets are taken out, also parts of a URL that is one."""
    pieces = {piece for secret in secrets.values() for piece in (secret, *_parts(secret))}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "(hidden)")
    return text[:MAX_TEXT]


def _parts(secret: str) -> Iterator[str]:
    """The words of a secret that is a URL, behind the name of its server."""
    if "://" in secret:
        rest = secret.partition("://")[2].partition("/")[2]
        yield from (word for word in WORDS.split(rest) if len(word) >= SHORTEST_WORD)
