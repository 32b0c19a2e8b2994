"""The description of the API, for programs and for people; both without a token and without anything from elsewhere."""

import base64
import json
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any, Final

from flask import Blueprint, Response
from markupsafe import Markup, escape

from pdns_gtm_backend.admin.auth import public
from pdns_gtm_backend.admin.openapi import description, text
from pdns_gtm_backend.admin.reading import JSON, parameters

blueprint = Blueprint("documentation", __name__)

STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1rem;color:#1c2128;background:#fff}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f3f4f6;padding:.6rem;overflow:auto}
details{border:1px solid #d0d7de;border-radius:6px;margin:.4rem 0;padding:.4rem .7rem}summary{cursor:pointer}
summary b{display:inline-block;min-width:4.5rem}table{border-collapse:collapse}
td{text-align:left;padding:.1rem .8rem .1rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#16191d;color:#dde3ea}pre{background:#22272e}
details{border-color:#444c56}a{color:#7ab7ff}}
"""


@blueprint.get("/openapi.json")
@public
def openapi() -> Response:
    """This API as OpenAPI 3.1."""
    parameters()
    return Response(text(), mimetype=JSON)


@blueprint.get("/docs")
@public
def documentation() -> Response:
    """This API for reading."""
    parameters()
    response = Response(_page(), mimetype="text/html")
    digest = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    response.headers["Content-Security-Policy"] = policy
    return response


@cache
def _page() -> str:
    held = description()
    routes = Markup("").join(
        _route(path, verb, o) for path, verbs in held["paths"].items() for verb, o in verbs.items()
    )
    schemas = Markup("").join(_schema(name, one) for name, one in held["components"]["schemas"].items())
    return str(
        Markup(
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<title>{title} API</title><style>{style}</style><h1>{title} API</h1><p>{about}</p>"
            '<p>As a file: <a href="openapi.json">openapi.json</a></p><h2>Routes</h2>{routes}'
            "<h2>Objects</h2>{schemas}</html>"
        ).format(
            title=held["info"]["title"],
            style=Markup(STYLE),  # noqa: S704 - a constant
            about=held["info"]["description"],
            routes=routes,
            schemas=schemas,
        )
    )


def _route(path: str, verb: str, operation: dict[str, Any]) -> Markup:
    body = operation.get("requestBody", {}).get("content", {})
    sent = Markup("").join(Markup("<p>Body: {}, {}</p>").format(media, _link(one)) for media, one in body.items())
    return Markup(
        '<details id="{id}"><summary><b>{verb}</b> <code>{path}</code> {summary}</summary>'
        "{sent}{parameters}{answers}</details>"
    ).format(
        id=operation["operationId"],
        verb=verb.upper(),
        path=path,
        summary=operation["summary"],
        sent=sent,
        parameters=_table("Parameters", _parameters(operation)),
        answers=_table("Answers", _answers(operation)),
    )


def _parameters(operation: dict[str, Any]) -> Iterator[Markup]:
    for one in operation["parameters"]:
        required = "required" if one.get("required") else ""
        row = Markup("<tr><td><code>{}</code><td>{}<td>{}<td>{}")
        yield row.format(one["name"], one["in"], required, one.get("description", ""))


def _answers(operation: dict[str, Any]) -> Iterator[Markup]:
    for status, answer in operation["responses"].items():
        shared = answer.get("$ref", "").rpartition("/")[2]
        told = description()["components"]["responses"][shared] if shared else answer
        bodies = Markup(", ").join(_link(one) for one in told.get("content", {}).values())
        yield Markup("<tr><td>{}<td>{}<td>{}").format(status, told["description"], bodies)


def _table(title: str, rows: Iterator[Markup]) -> Markup:
    held = Markup("").join(rows)
    return Markup("<h4>{}</h4><table>{}</table>").format(title, held) if held else Markup("")


def _link(content: dict[str, Any]) -> Markup:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return Markup('<a href="#{0}">{0}</a>').format(name) if name else escape(content["schema"].get("type", ""))


def _schema(name: str, schema: dict[str, Any]) -> Markup:
    told = Markup('<details id="{0}"><summary><code>{0}</code> {1}</summary><pre>{2}</pre></details>')
    about = schema.get("description", "").partition("\n")[0]
    return told.format(name, about, json.dumps(schema, indent=1, ensure_ascii=False))
