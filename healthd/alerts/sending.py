"""What every channel sends with, and what can come of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from healthd.alerts.message import Message
from healthd.probes.destination import Destinations
from healthd.probes.result import Attempt
from healthd.probes.stream import Stream, TlsStream, client_context, connect, start_tls
from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.names import is_address
from pdns_gtm_backend.domain.private_targets import refused_receiver

SEND_SECONDS: Final = 10.0
"""The longest that sending one event may take, whatever the receiver does."""
MAX_ANSWER: Final = 4096
"""Octets of an answer that are read."""
MAX_RECEIVED: Final = 131_072


class NotDelivered(Exception):
    """The receiver did not take the event. status: what it said, "" where nothing was heard.

    retry_after: seconds for which it wants to be left alone.
    """

    def __init__(self, detail: str, status: str = "", retry_after: float = 0.0) -> None:
        self.status, self.retry_after = status, retry_after
        super().__init__(detail)


class NotBuilt(NotDelivered):
    """healthd itself cannot bring the events into the form that the channel needs: to try again does not help."""


@contextmanager
def building() -> Iterator[None]:
    """Where a message is brought into its form: whatever goes wrong there is a NotBuilt."""
    try:
        yield
    except Exception as error:
        raise NotBuilt(f"the message cannot be built: {type(error).__name__} in healthd") from error


@dataclass(frozen=True, slots=True)
class Means:
    """What channels send with. context, mail_context: of TLS. allow_private: also to what `refused_receiver` refuses.

    commands: the folder of the programs that may be run, None = none.
    """

    destinations: Destinations
    context: ssl.SSLContext
    mail_context: ssl.SSLContext
    allow_private: bool = False
    commands: Path | None = None


def make_means(*, allow_private: bool, commands: Path | None, ca_file: str | None = None) -> Means:
    """The means of a process. ca_file: PEM file of certificate authorities in place of the system's.

    Raises OSError where that cannot be read.
    """
    context = client_context(verify=True, ca_file=ca_file)
    mail_context = client_context(verify=True, ca_file=ca_file)
    mail_context.set_alpn_protocols([])
    destinations = Destinations(allow_private=allow_private)
    return Means(destinations, context, mail_context, allow_private, commands)


Secrets = Mapping[str, str]
Send = Callable[[Alert, Secrets, Message, Means], str]
"""Sends one message and returns what the receiver said; raises NotDelivered, OSError or what the library raises."""


def open_stream(host: str, port: int, means: Means, attempt: Attempt) -> Stream:
    """A connection to `host`, by an address that nothing is sent to unless that is allowed.

    Raises NotDelivered, OSError, ProbeFailure; TimeoutError at the attempt's deadline.
    """
    address = host if is_address(host) else means.destinations.resolve(host, attempt)
    refusal = None if means.allow_private else refused_receiver(address)
    if refusal is not None:
        raise NotDelivered(refusal if address == host else f"{host}: {refusal}")
    stream = connect(address, port, attempt)
    stream.allowance = MAX_RECEIVED
    return stream


def encrypted(stream: Stream, context: ssl.SSLContext, host: str, attempt: Attempt) -> TlsStream:
    """A TLS session with `host` on a connection. Raises OSError."""
    session = start_tls(stream, context, host.rstrip("."), attempt)
    session.allowance = MAX_RECEIVED
    return session


def shown_answer(octets: bytes) -> str:
    """The beginning of what a receiver said, as one line of printable characters."""
    text = octets[:200].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()
