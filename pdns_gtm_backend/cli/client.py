"""The admin API over HTTP: one place that sends requests, and turns every refusal into a failure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from pdns_gtm_backend.cli.failures import UNAVAILABLE, Failure
from pdns_gtm_backend.cli.problems import failure_of
from pdns_gtm_backend.cli.progress import Progress
from pdns_gtm_backend.cli.target import PREFIX, Target

CONNECT_SECONDS: Final = 5.0
PAGE: Final = 1000
MERGE_PATCH: Final = "application/merge-patch+json"
ANY_VERSION: Final = "*"
SUCCESS: Final = 200
REDIRECTION: Final = 300

Parameters = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered. etag: the version of the object, quoted as it is sent back; "" where it has none."""

    data: Any
    etag: str = ""


class _Bearer(AuthBase):
    """Sends the token. As `auth`, so that requests does not replace it by what ~/.netrc holds for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client:
    """Speaks to one server. seconds: that an answer may take. quiet: no sign of life while one is waited for."""

    def __init__(self, target: Target, seconds: float, *, quiet: bool = False) -> None:
        self.target, self.seconds = target, seconds
        self._quiet = quiet
        self._session = requests.Session()
        self._session.auth = _Bearer(target.token)
        self._session.headers["User-Agent"] = "gtmctl"
        # Proxies of the environment are for other machines than this one.
        self._session.trust_env = not target.is_local

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """The data at a path. Raises Failure, as all of these do."""
        return self.send("GET", path, parameters=parameters).data

    def read(self, path: str) -> Answer:
        """The object at a path with its version."""
        return self.send("GET", path)

    def items(self, path: str, parameters: Parameters | None = None, most: int | None = None) -> Iterator[Any]:
        """The items of a list, page by page, `most` at the most."""
        left, cursor = most, None
        while left is None or left > 0:
            asked = PAGE if left is None else min(PAGE, left)
            page = self.page(path, {**(parameters or {}), "limit": asked, "cursor": cursor})
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def page(self, path: str, parameters: Parameters | None = None) -> Mapping[str, Any]:
        """One page of a list: its `items`, and where the `next` one begins."""
        found = self.get(path, parameters)
        if isinstance(found, dict) and isinstance(found.get("items"), list) and "next" in found:
            return found
        raise Failure(f"{self.target.server}{PREFIX}{path} answers with something else than a list of objects")

    def send(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        parameters: Parameters | None = None,
        match: str = "",
        new: bool = False,
        seconds: float | None = None,
    ) -> Answer:
        """A request and its answer.

        body: JSON data; of a PATCH a merge patch (RFC 7396). match: the version that a change is meant for
        (If-Match). new: only where there is nothing yet (If-None-Match: *). seconds: that the answer may take, where
        it is not as usual.
        """
        headers = {"Content-Type": MERGE_PATCH} if verb == "PATCH" else {}
        if match:
            headers["If-Match"] = match
        if new:
            headers["If-None-Match"] = ANY_VERSION
        answer = self._exchange(verb, self.target.server + PREFIX + path, headers, body, parameters, seconds)
        if not SUCCESS <= answer.status_code < REDIRECTION:
            raise failure_of(answer)
        return Answer(_json(answer) if answer.content else None, answer.headers.get("ETag", ""))

    def readiness(self) -> Mapping[str, Any]:
        """What `/readyz` says, whatever its status."""
        answer = self._exchange("GET", self.target.server + "/readyz", {}, None, None, None)
        if answer.status_code not in (requests.codes.ok, requests.codes.unavailable):
            raise failure_of(answer)
        body = _json(answer)
        return body if isinstance(body, dict) else {}

    def _exchange(
        self,
        verb: str,
        url: str,
        headers: Mapping[str, str],
        body: object,
        parameters: Parameters | None,
        seconds: float | None,
    ) -> requests.Response:
        query = {name: _text(value) for name, value in (parameters or {}).items() if value is not None}
        try:
            with Progress(f"waiting for {self.target.server}", quiet=self._quiet):
                return self._session.request(
                    verb,
                    url,
                    params=query,
                    json=body,
                    headers=dict(headers),
                    timeout=(CONNECT_SECONDS, seconds or self.seconds),
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            raise unreachable(self.target.server, error) from None


def path_of(*parts: str) -> str:
    """The path of an object in the API."""
    return "".join("/" + quote(part, safe="") for part in parts)


def unreachable(server: str, error: requests.RequestException) -> Failure:
    """The failure that no answer came."""
    hint = "is the admin process running? Another server is chosen by --server, GTM_API or the profile file"
    if isinstance(error, requests.exceptions.SSLError):
        hint = "the certificate is checked against the system's or REQUESTS_CA_BUNDLE's authorities"
    if isinstance(error, requests.exceptions.ReadTimeout):
        hint = "what was asked for may have been done: look before you repeat it; --timeout waits for longer"
    return Failure(f"{server} does not answer: {_reason(error)}", UNAVAILABLE, hint=hint)


def _reason(error: BaseException) -> str:
    """The innermost cause: requests and urllib3 wrap it in their own words."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        cause = cause if isinstance(cause, BaseException) else None
    system = next((one for one in reversed(seen) if isinstance(one, OSError) and one.strerror), None)
    if system is not None:
        return str(system.strerror).lower()
    return str(seen[-1]) or type(seen[-1]).__name__


def _text(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        url = answer.url.partition("?")[0]
        raise Failure(f"{url} answers {answer.status_code} and no JSON: is it the admin API of pdns-gtm?") from None
