"""The secrets of alert receivers: sealed when they are given, kept when they are left out, and where they may go."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from pdns_gtm_backend.domain.alert import HIDDEN, MAX_SECRET, SECRETS, Alert, url_error
from pdns_gtm_backend.domain.private_targets import refused_receiver
from pdns_gtm_backend.domain.violation import Violation, pointer
from pdns_gtm_backend.operations.errors import NotPermitted
from pdns_gtm_backend.operations.sealing import Sealer

URL: Final = "url"
PASSWORD: Final = "password"  # noqa: S105 - the name of one


def purpose(alert: str, name: str) -> str:
    """What a secret is sealed for, so that it opens for nothing else."""
    return f"secret {name} of alert {alert}"


def settle(sealer: Sealer, before: Alert | None, after: Alert) -> tuple[Alert, Sequence[Violation]]:
    """`after` with its secrets sealed, those that it leaves out kept from `before`, and the rules that they break."""
    held = before.secrets if before is not None and before.channel == after.channel else {}
    kept: dict[str, str] = {}
    violations: list[Violation] = []
    for name, needed in SECRETS[after.channel].items():
        try:
            sealed = _settled(sealer, after, name, held.get(name))
            if sealed is not None and not _is_given(after, name):
                _require_same_server(before, after, name)
        except ValueError as error:
            violations.append(Violation(pointer("secrets", name), str(error)))
            kept[name] = ""
            continue
        if sealed is not None:
            kept[name] = sealed
        elif needed:
            detail = f"is required: the {name} of a {after.channel} alert is a secret"
            violations.append(Violation(pointer("secrets", name), detail))
    unknown = {name: "" for name in after.secrets if name not in SECRETS[after.channel]}
    return replace(after, secrets=kept | unknown), violations


def _settled(sealer: Sealer, after: Alert, name: str, held: str | None) -> str | None:
    """The sealed secret, None for none. Raises ValueError, whose text holds nothing of it."""
    given = after.secrets.get(name)
    if given is None or not _is_given(after, name):
        if given is not None and held is None:
            raise ValueError("what was exported stands for a secret that is not held here: give the secret itself")
        return held
    if not given:
        return None
    if len(given) > MAX_SECRET or not given.isprintable():
        raise ValueError(f"may hold at most {MAX_SECRET} printable characters")
    if name == URL and (error := url_error(given)):
        raise ValueError(error)
    if held is not None and _opened(sealer, after.id, name, held) == given:
        return held
    try:
        return sealer.seal(purpose(after.id, name), given)
    except NotPermitted as error:
        raise ValueError(str(error)) from None


def _is_given(after: Alert, name: str) -> bool:
    """Is it sent, and not only what stands for it?"""
    given = after.secrets.get(name)
    return given is not None and HIDDEN.fullmatch(given) is None


def _opened(sealer: Sealer, alert: str, name: str, sealed: str) -> str | None:
    try:
        return sealer.open(purpose(alert, name), sealed)
    except NotPermitted:
        return None


def _require_same_server(before: Alert | None, after: Alert, name: str) -> None:
    """Raises ValueError where a password that nobody can read would go to another server, who can."""
    if name != PASSWORD or before is None or before.smtp is None or after.smtp is None:
        return
    old, new = before.smtp, after.smtp
    if (old.host, old.port, old.security) != (new.host, new.port, new.security):
        raise ValueError("must be given again where the server, its port or its security changes")


def opened_secrets(sealer: Sealer, alert: Alert) -> Mapping[str, str]:
    """The secrets of a receiver in clear. Raises NotPermitted where one cannot be read with the secrets of settings."""
    return {name: sealer.open(purpose(alert.id, name), sealed) for name, sealed in alert.secrets.items()}


def check_alert(alert: Alert, *, allow_private: bool, commands: bool) -> Iterator[Violation]:
    """Every rule of the settings that a receiver breaks. What a name resolves to is judged when something is sent."""
    if alert.command is not None and not commands:
        yield Violation("/channel", "'command' is not allowed: GTM_ALERT_COMMANDS names no folder of programs")
    if allow_private:
        return
    places = []
    if alert.webhook is not None and url_error(alert.webhook.url) is None:
        places.append(("/webhook/url", urlsplit(alert.webhook.url).hostname or ""))
    if alert.smtp is not None:
        places.append(("/smtp/host", alert.smtp.host))
    for place, host in places:
        if refusal := refused_receiver(host):
            yield Violation(place, refusal)
