"""What a request says: its JSON body, its parameters, and the version that it is meant for. Refused with a problem."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from flask import request

from pdns_gtm_backend.admin.problems import MAX_BODY_BYTES, Problem, too_large
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.operations.errors import InvalidParameters
from pdns_gtm_backend.operations.preconditions import Precondition, Versions

MAX_DEPTH: Final = 32
MAX_MEMBERS: Final = 1000
MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


class _Malformed(ValueError):
    """JSON that is valid by its grammar and still not accepted."""


def json_body(*, patch: bool = False, limit: int = MAX_BODY_BYTES) -> Any:
    """The body as JSON data. patch: a merge patch (RFC 7396). limit: octets. Raises Problem."""
    # One more than is allowed: a longer body of unknown length is cut there, and its last octet gives it away.
    request.max_content_length = limit + 1
    accepted = (MERGE_PATCH, JSON) if patch else (JSON,)
    if request.mimetype not in accepted:
        given = f"is {shown(request.mimetype)}" if request.mimetype else "is missing"
        headers = {"Accept-Patch": ", ".join(accepted)} if patch else {"Accept": JSON}
        detail = f"the Content-Type {given}: send {' or '.join(accepted)}"
        raise Problem("unsupported-media-type", detail, headers)
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise Problem("too-large", too_large(limit))
    if not data.strip():
        raise Problem("malformed", "the body is empty")
    return parse_json(data)


def parse_json(data: bytes) -> Any:
    """Read JSON strictly: UTF-8, no NaN or infinity, no member twice, limited depth and width. Raises Problem."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
        if _depth(value) > MAX_DEPTH:
            raise _Malformed(f"it is nested more than {MAX_DEPTH} levels deep")
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("malformed", f"the body is not UTF-8: octet {error.start} is {data[error.start]:#04x}") from None
    except UnicodeEncodeError:
        raise Problem("malformed", "a text holds half of a surrogate pair, which is no character") from None
    except json.JSONDecodeError as error:
        detail = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise Problem("malformed", detail) from None
    except RecursionError:
        raise Problem("malformed", f"it is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise Problem("malformed", str(error)) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise _Malformed(f"an object has {len(pairs)} members, more than {MAX_MEMBERS}")
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Malformed(f"the member {shown(twice)} is given twice in one object")
    return made


def _constant(text: str) -> Any:
    raise _Malformed(f"{text} is not JSON (RFC 8259 section 6)")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Malformed(f"the number {text[:40]} is too large")
    return value


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    deepest, waiting = 0, [(value, 1)]
    while waiting and deepest <= MAX_DEPTH:
        held, level = waiting.pop()
        if isinstance(held, dict | list):
            deepest = max(deepest, level)
            waiting.extend((inner, level + 1) for inner in (held.values() if isinstance(held, dict) else held))
    return deepest


def parameters(*allowed: str) -> Mapping[str, str]:
    """The parameters of the query, each of which must be allowed and be given once. Raises InvalidParameters."""
    errors = []
    for name, values in request.args.lists():
        if name not in allowed:
            known = f"allowed are {', '.join(sorted(allowed))}" if allowed else "none is allowed here"
            errors.append((name, f"unknown parameter {shown(name)}: {known}"))
        elif len(values) > 1:
            errors.append((name, f"is given {len(values)} times: once is allowed"))
    if errors:
        raise InvalidParameters(errors)
    return {name: request.args[name] for name in request.args}


def flag(given: Mapping[str, str], name: str) -> bool:
    """A parameter that is `true` or `false` (where it is not given). Raises InvalidParameters."""
    text = given.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidParameters([(name, f"{shown(text)} is not allowed: must be true or false")])
    return text == "true"


def limit(given: Mapping[str, str]) -> int:
    """How many items a page shall have. Raises InvalidParameters."""
    text = given.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidParameters([("limit", f"{shown(text)} is not allowed: must be from 1 to {MAX_LIMIT}")])
    return int(text)


def precondition() -> Precondition:
    """If-Match and If-None-Match of a change; a weak ETag matches nothing (RFC 9110 section 13.1.1)."""
    return Precondition(_versions("If-Match"), _versions("If-None-Match"))


def _versions(header: str) -> Versions:
    if header not in request.headers:
        return None
    tags = request.if_match if header == "If-Match" else request.if_none_match
    # An empty tag is read as None, which is the version of nothing.
    return "*" if tags.star_tag else frozenset(tag for tag in tags.as_set() if tag)
