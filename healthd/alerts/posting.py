"""HTTP posts: the generic webhook, Slack and DingTalk. One connection for each, and no redirect is followed."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from healthd.alerts.message import Message
from healthd.alerts.retry import retry_after
from healthd.alerts.sending import (
    MAX_ANSWER,
    SEND_SECONDS,
    Means,
    NotDelivered,
    Secrets,
    building,
    encrypted,
    open_stream,
    shown_answer,
)
from healthd.probes.http import USER_AGENT
from healthd.probes.result import Attempt
from healthd.probes.stream import TooMuchReceived
from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.health_check import DEFAULT_PORTS

KEY_PREFIX: Final = "whsec_"
SUCCESS: Final = range(200, 300)
ASKING: Final = (429, 503)
"""What comes with a Retry-After (RFC 6585 section 4, RFC 9110 section 15.6.4)."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None = None

    @property
    def told(self) -> str:
        return f"HTTP {self.status}"


def webhook(alert: Alert, secrets: Secrets, message: Message, means: Means) -> str:
    """The event as JSON, signed as Standard Webhooks says (https://www.standardwebhooks.com) where there is a key."""
    url = _secret_url(secrets) if alert.webhook is None else alert.webhook.url
    with building():
        body = webhook_body(message)
    headers = {"webhook-id": message.id, "webhook-timestamp": str(int(time.time()))}
    if "key" in secrets:
        headers["webhook-signature"] = signature(secrets["key"], message.id, headers["webhook-timestamp"], body)
    return _accepted(_post(url, body, headers, means)).told


def slack(_alert: Alert, secrets: Secrets, message: Message, means: Means) -> str:
    """A text for an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks)."""
    with building():
        body = slack_body(message)
    return _accepted(_post(_secret_url(secrets), body, {"webhook-id": message.id}, means)).told


def dingtalk(_alert: Alert, secrets: Secrets, message: Message, means: Means) -> str:
    """A text for a custom robot, signed where there is a key; it says in its answer whether it took it
    (https://open.dingtalk.com/document/robots/custom-robot-access).
    """
    url = _secret_url(secrets)
    if "key" in secrets:
        url += ("&" if "?" in url else "?") + dingtalk_sign(secrets["key"], int(time.time() * 1000))
    with building():
        body = dingtalk_body(message)
    answer = _accepted(_post(url, body, {"webhook-id": message.id}, means))
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    code = found.get("errcode") if isinstance(found, dict) else None
    if code != 0:
        raise NotDelivered(f"DingTalk did not take it: {shown_answer(answer.body)}", answer.told)
    return f"{answer.told}, errcode 0"


def webhook_body(message: Message) -> bytes:
    """What is posted to a webhook: the event as /events shows it."""
    return _json(message.body)


def slack_body(message: Message) -> bytes:
    """What is posted to Slack: a text in which nothing is markup."""
    return _json({"text": message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")})


def dingtalk_body(message: Message) -> bytes:
    """What is posted to DingTalk: a text with a word that its robots can ask for."""
    return _json({"msgtype": "text", "text": {"content": f"pdns-gtm {message.text}"}})


def _secret_url(secrets: Secrets) -> str:
    if "url" not in secrets:
        raise NotDelivered("the alert has no URL")
    return secrets["url"]


def signature(key: str, identifier: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over `id.timestamp.body`.

    key: `whsec_` and base64, as the specification writes keys, or any other text, whose octets are the key.
    """
    octets = key.encode()
    if key.startswith(KEY_PREFIX):
        try:
            octets = base64.b64decode(key.removeprefix(KEY_PREFIX), validate=True)
        except ValueError:
            raise NotDelivered("the key begins with whsec_, but no base64 follows") from None
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(octets, signed, "sha256")).decode()


def dingtalk_sign(key: str, milliseconds: int) -> str:
    """The parameters that sign a request to a DingTalk robot: HMAC-SHA256 of the time and the key, by the key."""
    signed = hmac.digest(key.encode(), f"{milliseconds}\n{key}".encode(), "sha256")
    return f"timestamp={milliseconds}&sign={quote(base64.b64encode(signed), safe='')}"


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")


def _accepted(answer: _Answer) -> _Answer:
    if answer.status in SUCCESS:
        return answer
    more = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    asked = retry_after(answer.retry_after, time.time()) if answer.status in ASKING else 0.0
    raise NotDelivered(f"{answer.told}{more}: {shown_answer(answer.body)}".rstrip(": "), answer.told, asked)


def _post(url: str, body: bytes, headers: Mapping[str, str], means: Means) -> _Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    attempt = Attempt(SEND_SECONDS, host)
    try:
        return _exchange(parts.scheme, host, port, _target(parts.path, parts.query), body, headers, means, attempt)
    except (http.client.HTTPException, TooMuchReceived) as error:
        raise NotDelivered(f"bad HTTP from {attempt.peer}: {type(error).__name__}") from None
    except OSError as error:
        raise NotDelivered(attempt.failure(error).detail) from None


def _target(path: str, query: str) -> str:
    return (path or "/") + (f"?{query}" if query else "")


def _exchange(
    scheme: str,
    host: str,
    port: int,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    means: Means,
    attempt: Attempt,
) -> _Answer:
    stream = open_stream(host, port, means, attempt)
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.sock = encrypted(stream, means.context, host, attempt) if scheme == "https" else stream
        attempt.enter("request")
        named = host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"
        fixed = {
            "Host": f"[{host}]" + named.removeprefix(host) if ":" in host else named,
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Connection": "close",
        }
        connection.request("POST", target, body, {**fixed, **headers})
        attempt.enter("status")
        with connection.getresponse() as response:
            attempt.enter("body")
            return _Answer(response.status, response.read(MAX_ANSWER), response.headers.get("Retry-After"))
    finally:
        connection.close()
        stream.close()
