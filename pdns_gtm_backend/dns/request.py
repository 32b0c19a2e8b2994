"""One call of a method, with its parameters read. What PowerDNS sends is checked like what anybody sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdns_gtm_backend.dns.presentation import query_name
from pdns_gtm_backend.domain.record import written_name
from pdns_gtm_backend.domain.violation import shown

if TYPE_CHECKING:
    from pdns_gtm_backend.dns.answers import View
    from pdns_gtm_backend.dns.backend import Backend
    from pdns_gtm_backend.dns.zones import ServedZone

Parameters = Mapping[str, Any]


class BadRequest(ValueError):
    """What was sent is no request of the protocol, or one that is refused."""


@dataclass(slots=True)
class Request:
    """A call. connection: names the connection of PowerDNS that it came by, "" where the carrier cannot tell.

    log: sentences for PowerDNS's own log, sent with the reply.
    """

    backend: Backend
    parameters: Parameters
    connection: str = ""
    log: list[str] | None = None

    @property
    def view(self) -> View:
        """What to answer from: with the changes of a transaction that this connection has open. Raises NotReady."""
        return self.backend.administration.transactions.seen(self.backend.view, self.connection)

    def zone(self, field: str = "name") -> ServedZone | None:
        """The zone that a parameter names."""
        return self.view.zones.by_name.get(query_name(self.text(field)) or "")

    def say(self, sentence: str) -> None:
        """Tell the operator, in PowerDNS's log and in ours."""
        self.log = [*(self.log or ()), sentence]
        self.backend.administration.refused(sentence)

    def text(self, name: str, default: str | None = None) -> str:
        """A string. Raises BadRequest where it is none."""
        value = self.parameters.get(name, default)
        if not isinstance(value, str):
            raise BadRequest(f"parameters/{name}: {shown(value)} is no string")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number. Raises BadRequest where it is none; PowerDNS writes some as 500.0."""
        value = self.parameters.get(name, default)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if not isinstance(value, int):
            raise BadRequest(f"parameters/{name}: {shown(value)} is no whole number")
        return value

    def objects(self, name: str) -> list[Parameters]:
        """A list of objects, none where it is missing. Raises BadRequest."""
        value = self.parameters.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise BadRequest(f"parameters/{name}: {shown(value)} is no list of objects")
        return value

    def name(self, field: str) -> str:
        """A domain name in its one form. Raises BadRequest where it is none."""
        return domain_name(field, self.text(field))


def domain_name(field: str, text: object) -> str:
    """A name that was sent, in its one form. Raises BadRequest."""
    if not isinstance(text, str):
        raise BadRequest(f"{field}: {shown(text)} is no string")
    try:
        return written_name(text)
    except ValueError as error:
        raise BadRequest(f"{field}: {shown(text)} {error}") from None
