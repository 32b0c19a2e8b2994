"""How objects, lists and outcomes are answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, request

from pdns_gtm_backend.admin.reading import JSON
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.operations.listing import Page
from pdns_gtm_backend.operations.operator import Outcome
from pdns_gtm_backend.operations.overrides import preview_data
from pdns_gtm_backend.operations.parsing import adapter, shown_form, to_json

PREFIX = "/api/v1"


def data_of(value: Any) -> Any:
    """An object as JSON data; of a token without its hash."""
    data = to_json(value)
    if isinstance(value, Token):
        del data["hash"]
    return data


def answer(data: Any, status: int = 200, etag: str = "") -> Response:
    """JSON data, with the version of the object where it has one."""
    response = Response(json.dumps(data, ensure_ascii=False) + "\n", status, mimetype=JSON)
    if etag:
        response.headers["ETag"] = f'"{etag}"'
    return response


def found(value: Any, version: int | str) -> Response:
    """An object that was asked for; 304 where the asker has that version."""
    tags = request.if_none_match
    if version and (tags.star_tag or tags.contains_weak(str(version))):
        return Response(status=304, headers={"ETag": f'"{version}"'})
    return answer(data_of(value), etag=str(version or ""))


def listed(page: Page) -> Response:
    """A page of a list, with a link to the next one (RFC 8288)."""
    items = b",".join(map(encoded, page.items))
    following = json.dumps(page.next).encode()
    response = Response(b'{"items":[' + items + b'],"next":' + following + b"}\n", mimetype=JSON)
    if page.next is not None:
        query = urlencode({**request.args.to_dict(), "cursor": page.next})
        response.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return response


def encoded(value: Any) -> bytes:
    """An object as JSON."""
    if isinstance(value, dict | Token):
        return json.dumps(value if isinstance(value, dict) else data_of(value), ensure_ascii=False).encode()
    return adapter(type(value)).dump_json(shown_form(value))


def written(outcome: Outcome, location: Sequence[str], etag: str | None = None, **more: Any) -> Response:
    """What a change did: the object with its warnings and its preview; 201 and where it is, if it was made.

    location: path below the API's prefix, unescaped. etag: where it is not the outcome's version.
    """
    if outcome.value is None:
        return _gone(outcome, more)
    made = outcome.created and outcome.written
    body = {**data_of(outcome.value), **more, **_remarks(outcome)}
    response = answer(body, 201 if made else 200, etag if etag is not None else str(outcome.version or ""))
    if made:
        response.headers["Location"] = url_of(location)
    return response


def url_of(parts: Sequence[str]) -> str:
    """The path of an object in the API."""
    return PREFIX + "".join("/" + quote(part, safe="") for part in parts)


def _gone(outcome: Outcome, more: Mapping[str, Any]) -> Response:
    if outcome.written:
        return Response(status=204)
    return answer({**more, **_remarks(outcome)})


def _remarks(outcome: Outcome) -> Mapping[str, Any]:
    remarks: dict[str, Any] = {}
    if outcome.warnings:
        remarks["warnings"] = [{"pointer": v.pointer, "detail": v.detail} for v in outcome.warnings]
    if outcome.preview:
        remarks["preview"] = preview_data(outcome.preview)
    return remarks
