"""Mail by SMTP (RFC 5321), handed to one server, with STARTTLS (RFC 3207) or TLS."""

from __future__ import annotations

import json
import smtplib
import socket
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any, Final

from healthd.alerts.message import GROUP, Message
from healthd.alerts.sending import (
    SEND_SECONDS,
    Means,
    NotDelivered,
    Secrets,
    building,
    encrypted,
    open_stream,
    shown_answer,
)
from healthd.probes.failure import ProbeFailure
from healthd.probes.result import Attempt
from healthd.probes.stream import TooMuchReceived
from pdns_gtm_backend.domain.alert import Alert, Smtp

SUBJECT_CHARACTERS: Final = 200


class _Client(smtplib.SMTP):
    """On connections that end at a deadline and go only where they may."""

    def __init__(self, smtp: Smtp, means: Means, attempt: Attempt) -> None:
        super().__init__(local_hostname=socket.gethostname())
        self._smtp, self._means, self._attempt = smtp, means, attempt
        self._host = smtp.host

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:  # noqa: ARG002 - of smtplib
        stream: Any = open_stream(host, port, self._means, self._attempt)
        if self._smtp.security == "tls":
            stream = encrypted(stream, self._means.mail_context, host, self._attempt)
        self._attempt.enter("answer")
        return stream

    def begin_tls(self) -> None:
        """STARTTLS. Raises NotDelivered where the server has none: nothing is sent in clear then."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise NotDelivered("the server offers no STARTTLS")
        code, said = self.docmd("STARTTLS")
        if code != 220:
            raise NotDelivered(f"the server refused STARTTLS: {shown_answer(said)}", str(code))
        stream: Any = self.sock
        self.sock = encrypted(stream, self._means.mail_context, self._smtp.host, self._attempt)
        self._attempt.enter("answer")
        # What was said before is forgotten (RFC 3207 section 4.2).
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False


def mail(alert: Alert, secrets: Secrets, message: Message, means: Means) -> str:
    """A mail to every recipient; taken where one of them was. Repeats have the same Message-ID."""
    smtp = alert.smtp
    if smtp is None:
        raise NotDelivered("the alert has no mail server")
    with building():
        octets = letter(alert.id, smtp, message)
    attempt = Attempt(SEND_SECONDS, smtp.host)
    client = _Client(smtp, means, attempt)
    try:
        return _handed_over(client, smtp, secrets, octets)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        raise NotDelivered(f"{error.smtp_code} {shown_answer(said)}", str(error.smtp_code)) from None
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise NotDelivered(f"no recipient was taken: {code} {shown_answer(said)}", str(code)) from None
    except (smtplib.SMTPServerDisconnected, TooMuchReceived) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        detail = attempt.failure(cause).detail if cause is not None else "the connection was closed early"
        raise NotDelivered(detail) from None
    except smtplib.SMTPException as error:
        raise NotDelivered(f"{type(error).__name__}: {shown_answer(str(error).encode())}") from None
    except (OSError, ProbeFailure) as error:
        raise NotDelivered(attempt.failure(error).detail) from None
    finally:
        client.close()


def _handed_over(client: _Client, smtp: Smtp, secrets: Secrets, octets: bytes) -> str:
    code, said = client.connect(smtp.host, smtp.port)
    if code != 220:
        raise NotDelivered(f"{code} {shown_answer(said)}", str(code))
    if smtp.security == "starttls":
        client.begin_tls()
    if smtp.username is not None:
        client.login(smtp.username, secrets.get("password", ""))
    refused = client.sendmail(smtp.sender, smtp.recipients, octets)
    if not refused:
        return "250"
    return f"250, but not for {', '.join(sorted(refused))}"


def letter(alert: str, smtp: Smtp, message: Message) -> bytes:
    """A message for the receiver of that id as it is sent (RFC 5322)."""
    told = EmailMessage()
    told["Subject"] = _plain(f"[pdns-gtm] {message.summary}")[:SUBJECT_CHARACTERS]
    told["From"] = _address(smtp.sender)
    told["To"] = [_address(recipient) for recipient in smtp.recipients]
    told["Date"] = formatdate()
    told["Message-ID"] = f"<{message.id}.{alert}@{_address(smtp.sender).domain}>"
    told["GTM-Event-Id"] = message.id
    told["Auto-Submitted"] = "auto-generated"
    more = message.text if message.kind == GROUP else f"{message.summary}\n\n{json.dumps(message.body, indent=1)}"
    told.set_content(f"{more}\n")
    return told.as_bytes(policy=SMTP)


def _plain(text: str) -> str:
    """Text of an event without encoded words (RFC 2047), which would be decoded, whatever is in them."""
    return text.replace("=?", "= ?")


def _address(text: str) -> Address:
    name, _, domain = text.rpartition("@")
    return Address(username=name, domain=domain)
