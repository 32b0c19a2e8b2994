"""Refusals of the API (RFC 9457) as failures: what is wrong, each fault with its place, and what to do about it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import requests

from pdns_gtm_backend.cli.failures import CONFLICT, FAILURE, INVALID, NOT_FOUND, UNAVAILABLE, Failure, Fault
from pdns_gtm_backend.cli.printing import brief

EXIT_CODES: Final[Mapping[int, int]] = {
    400: INVALID,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    413: INVALID,
    422: INVALID,
    428: CONFLICT,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}

HINTS: Final[Mapping[str, str]] = {
    "unauthenticated": "give a token: --token-file, GTM_TOKEN, or the profile file (gtmctl --help)",
    "precondition-failed": "somebody else changed it meanwhile: look at it again, and repeat the command",
    "brake": "--dry-run --force shows all that it would do; --force does it",
    "exists": "change it with the verb `set` or `edit`",
    "foreign-store": "the server is connected to another store than the one it knows: nothing is written",
}

Place = Callable[[str], str]
"""Where a JSON pointer is, as an operator finds it."""


class Refused(Failure):
    """The API refused a request. kind: of the problem. body: the problem itself."""

    def __init__(self, kind: str, body: Mapping[str, Any], exit_code: int, hint: str) -> None:
        self.kind, self.body = kind, body
        super().__init__(_message(body), exit_code, _faults(body, str), hint)

    def placed(self, place: Place) -> "Refused":
        """The same with the places of its faults as `place` names them."""
        self.faults = tuple(_faults(self.body, place))
        return self


def failure_of(answer: requests.Response) -> Failure:
    """The failure that an answer of 300 or more is."""
    body = _problem(answer)
    if body is None:
        url = answer.url.partition("?")[0]
        code = EXIT_CODES.get(answer.status_code, FAILURE)
        return Failure(f"{url} answers {answer.status_code} {answer.reason}: is it the admin API of pdns-gtm?", code)
    kind = str(body.get("type", "")).replace("/", ":").rpartition(":")[2]
    hint = HINTS.get(kind, "")
    if answer.status_code in (requests.codes.unavailable, requests.codes.too_many) and "Retry-After" in answer.headers:
        hint = f"try again in {answer.headers['Retry-After']} s" + (f"; {hint}" if hint else "")
    return Refused(kind, body, EXIT_CODES.get(answer.status_code, FAILURE), hint)


@contextmanager
def placing(place: Place) -> Iterator[None]:
    """Name the places of faults that the API tells of within."""
    try:
        yield
    except Refused as refused:
        raise refused.placed(place) from None


def _problem(answer: requests.Response) -> Mapping[str, Any] | None:
    if answer.headers.get("Content-Type", "").partition(";")[0] != "application/problem+json":
        return None
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _message(body: Mapping[str, Any]) -> str:
    title, detail = str(body.get("title", "refused")), str(body.get("detail", ""))
    # The detail repeats the first of the errors where there are some.
    return title if _listed(body.get("errors")) or not detail else f"{title}: {detail}"


def _faults(body: Mapping[str, Any], place: Place) -> Sequence[Fault]:
    found = []
    for error in _listed(body.get("errors")):
        pointer = error.get("pointer")
        where = place(str(pointer)) if isinstance(pointer, str) else str(error.get("parameter", ""))
        found.append(Fault(where, str(error.get("detail", ""))))
    found += [
        Fault(f"{user.get('kind')}", f"{user.get('name')} ({user.get('id')})") for user in _listed(body.get("users"))
    ]
    known = {"type", "title", "status", "detail", "instance", "errors", "users", "preview"}
    found += [Fault(str(name), brief(value)) for name, value in body.items() if name not in known]
    return found


def _listed(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
