"""The description of the API (OpenAPI 3.1), made of the table of routes and of the models that validate.

`python -m pdns_gtm_backend.admin.openapi` writes it to stdout, as it is kept in docs/api/openapi.json.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from pdns_gtm_backend.admin.described import ROUTES, Described
from pdns_gtm_backend.admin.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX
from pdns_gtm_backend.admin.reading import DEFAULT_LIMIT, JSON, MAX_LIMIT, MERGE_PATCH
from pdns_gtm_backend.admin.writing import PREFIX
from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.drill import Drill
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.operations.alerts import AlertStatus, AlertTested
from pdns_gtm_backend.operations.applying import Applied
from pdns_gtm_backend.operations.configuration_file import ConfigurationFile
from pdns_gtm_backend.operations.documents import Copy
from pdns_gtm_backend.operations.instance_status import InstanceStatus, PolicyStatus
from pdns_gtm_backend.operations.listing import ALLOWED
from pdns_gtm_backend.operations.observation import VantageStatus
from pdns_gtm_backend.operations.pool_status import PoolStatusView
from pdns_gtm_backend.operations.probing import Probed
from pdns_gtm_backend.operations.reports import NewReport, ReportBatch, ReportStatus
from pdns_gtm_backend.operations.simulation import Simulation
from pdns_gtm_backend.operations.switching import Switch

Schema = dict[str, Any]

DOCUMENTS: Final[tuple[type, ...]] = (
    *(Instance, Pool, Address, HealthCheck, Line, Zone, RRset, Override, Drill, Token, Alert),
    *(ConfigurationFile, Copy, Switch),
    *(NewReport, ReportBatch),
)
"""What requests hold; all but the last ones also what answers do."""
VIEWS: Final[tuple[type, ...]] = (
    *(InstanceStatus, PolicyStatus, PoolStatusView, VantageStatus, Simulation, Probed, Applied),
    *(AlertStatus, AlertTested),
    ReportStatus,
)
"""What only answers hold."""
PATH_IDENTITY: Final[Mapping[str, tuple[str, ...]]] = {
    "Address": ("address",),
    "Zone": ("name",),
    "RRset": ("zone", "name", "type"),
}
"""What the path says of an object, so that a PUT need not; `id` of the others."""
EVERYWHERE: Final = (
    "invalid-parameters",
    "unauthenticated",
    "forbidden",
    "too-many-failures",
    "internal",
    "unavailable",
)
PATHS: Final[Mapping[str, Schema]] = {
    "identifier": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"},
    "policy": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
    "address": {"type": "string", "pattern": "^[A-Za-z0-9:][A-Za-z0-9:._-]{0,252}$"},
    "zone": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9_*][A-Za-z0-9._-]{0,252}$"},
    "rrtype": {"type": "string", "pattern": "^[A-Za-z0-9]{1,16}$"},
}
FLAG: Final[Schema] = {"type": "boolean", "default": False}
QUERY: Final[Mapping[str, tuple[str, Schema]]] = {
    "dry_run": ("Check it and tell what it would do; write nothing.", FLAG),
    "force": ("Do it although a brake holds it back.", FLAG),
    "limit": ("Items of a page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
    "cursor": ("Where the page begins: `next` of the one before.", {"type": "string"}),
    "after": (
        "Entries behind this id, the oldest first.",
        {"type": "string", "pattern": "^[0-9]{1,19}(-[0-9]{1,19})?$"},
    ),
    "before": (
        "Entries before this id, the newest first.",
        {"type": "string", "pattern": "^[0-9]{1,19}(-[0-9]{1,19})?$"},
    ),
    "order": ("Which entry comes first.", {"enum": ["oldest", "newest"]}),
    "label": ("Only those with this label, `key=value`.", {"type": "string", "pattern": "^[^=]+=.+$"}),
    "client": ("An address or a network.", {"type": "string"}),
    "type": ("A record type, or the type of a pool.", {"type": "string"}),
}
REQUIRED: Final = frozenset({("/simulate", "name"), ("/simulate", "client")})
ETAG: Final[Schema] = {"description": "The version of the object.", "schema": {"type": "string"}}
REMARKS: Final[Mapping[str, Schema]] = {
    "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Violation"}},
    "preview": {"type": "array", "items": {"$ref": "#/components/schemas/Switching"}},
}


@cache
def description() -> Mapping[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for (verb, path), described in ROUTES.items():
        paths.setdefault(PREFIX + path, {})[verb.lower()] = _operation(verb, path, described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pdns-gtm",
            "version": PREFIX.rpartition("/v")[2],
            "description": (
                "The admin API of a Global Traffic Manager on PowerDNS. Every change asks for the version that it is "
                "meant for (If-Match); every error is a problem (RFC 9457) that names all violations."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "responses": _problem_answers(),
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def text() -> str:
    """The document as it is kept and served."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


def _operation(verb: str, path: str, described: Described) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(verb, path),
        "tags": [path.split("/")[1]],
        "summary": described.summary,
        "parameters": [*_path_parameters(path), *_query_parameters(path, described), *_headers(described)],
    }
    if described.body:
        media = MERGE_PATCH if verb == "PATCH" else JSON
        operation["requestBody"] = {"required": True, "content": {media: {"schema": _reference(described.body)}}}
    answers = {str(status): _answer(status, schema, described) for status, schema in described.answers.items()}
    open_to_all = path in ("/openapi.json", "/docs")
    if open_to_all:
        operation["security"] = []
    kinds = ("invalid-parameters", "internal") if open_to_all else (*EVERYWHERE, *described.problems)
    operation["responses"] = {**answers, **_problems(kinds)}
    return operation


def _operation_id(verb: str, path: str) -> str:
    words = re.sub(r"[{}]", "", path).replace("-", "_").replace(".", "_").strip("/").split("/")
    return "_".join((verb.lower(), *words))


def _path_parameters(path: str) -> Iterable[Schema]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": PATHS[name]}


def _query_parameters(path: str, described: Described) -> Iterable[Schema]:
    for name in described.query:
        told, schema = QUERY.get(name, ("Only those of which this is so.", {"type": "string"}))
        if name in ALLOWED:
            schema = {"enum": list(ALLOWED[name])}
        required = (path, name) in REQUIRED
        yield {"name": name, "in": "query", "required": required, "description": told, "schema": schema}


def _headers(described: Described) -> Iterable[Schema]:
    if not described.conditional:
        return
    told = 'The version that is meant, `"7"`, or any, `*`; required for an object that exists.'
    yield {"name": "If-Match", "in": "header", "description": told, "schema": {"type": "string"}}


def _answer(status: int, schema: str, described: Described) -> Schema:
    told = {200: "Done, or read.", 201: "Made.", 204: "Gone.", 304: "As it was: If-None-Match names this version."}
    answer: Schema = {"description": told[status]}
    if schema == "text/html":
        answer["content"] = {schema: {"schema": {"type": "string"}}}
    elif schema:
        answer["content"] = {JSON: {"schema": _reference(schema)}}
    if described.tagged and status in (200, 201, 304):
        answer["headers"] = {"ETag": ETAG}
    return answer


def _problems(kinds: Sequence[str]) -> Mapping[str, Schema]:
    statuses = sorted({KINDS[kind].status for kind in kinds})
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def _problem_answers() -> Mapping[str, Schema]:
    """The problems of each status."""
    by_status: dict[int, list[str]] = {}
    for kind, held in KINDS.items():
        by_status.setdefault(held.status, []).append(kind)
    return {f"Problem{status}": _problem(status, by_status[status]) for status in sorted(by_status)}


def _problem(status: int, kinds: Sequence[str]) -> Schema:
    told = "; ".join(f"`{TYPE_PREFIX}{kind}`: {KINDS[kind].title}" for kind in kinds)
    answer: Schema = {"description": told, "content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}
    if status in (429, 503):
        waits = {"description": "Seconds after which it may work.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
        answer["headers"] = {"Retry-After": waits}
    return answer


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Mapping[str, Schema]:
    adapters: list[tuple[type, TypeAdapter[Any]]] = [
        (document, TypeAdapter(document)) for document in (*DOCUMENTS, *VIEWS)
    ]
    inputs = [
        (document.__name__, "validation" if document in DOCUMENTS else "serialization", a) for document, a in adapters
    ]
    _, defined = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Schema] = {**_untitled(defined["$defs"]), **_fixed()}
    for document in DOCUMENTS[:-5]:
        schemas |= _variants(document.__name__, schemas[document.__name__])
    for name in ("VantageStatus", "ReportStatus", "Entry"):
        schemas[f"{name}List"] = _list(_reference(name))
    schemas["Token"] = _without(schemas["Token"], ("hash",))
    schemas["TokenShown"] = _with(schemas["Token"], {"last_used": {"type": ["string", "null"]}})
    schemas["TokenWritten"] = _with(schemas["TokenWritten"], {"token": {"type": "string"}}, leaving=("hash",))
    schemas["TokenList"] = _list(_reference("TokenShown"))
    return {name: schemas[name] for name in sorted(schemas)}


def _variants(name: str, schema: Schema) -> Mapping[str, Schema]:
    """An object as it is written whole, in parts, as a write answers it, and in lists."""
    identity = PATH_IDENTITY.get(name, ("id",))
    required = [field for field in schema.get("required", ()) if field not in identity]
    put = {**schema, "required": required} if required else {k: v for k, v in schema.items() if k != "required"}
    patch = {key: value for key, value in schema.items() if key != "required"}
    patch["properties"] = {
        field: held if field in identity else {"anyOf": [held, {"type": "null"}]}
        for field, held in schema["properties"].items()
    }
    return {
        f"{name}Put": put,
        f"{name}Patch": patch,
        f"{name}Written": _with(schema, REMARKS),
        f"{name}List": _list(_reference(name)),
    }


def _with(schema: Schema, more: Mapping[str, Schema], leaving: Sequence[str] = ()) -> Schema:
    held = _without(schema, leaving)
    return {**held, "properties": {**held["properties"], **more}}


def _without(schema: Schema, names: Sequence[str]) -> Schema:
    return {**schema, "properties": {k: v for k, v in schema["properties"].items() if k not in names}}


def _list(item: Schema) -> Schema:
    properties = {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}}
    return {"type": "object", "properties": properties, "required": ["items", "next"]}


def _untitled(value: Any) -> Any:
    """Without the titles that only repeat names."""
    if isinstance(value, dict):
        return {name: _untitled(held) for name, held in value.items() if name != "title" or not isinstance(held, str)}
    return [_untitled(held) for held in value] if isinstance(value, list) else value


def _fixed() -> Mapping[str, Schema]:
    """What answers hold that no model is of."""
    place = {
        "type": "object",
        "properties": {
            "rule": {"type": "string"},
            "policy": {"type": ["string", "null"]},
            "set": {"type": ["string", "null"]},
        },
        "required": ["rule", "policy", "set"],
    }
    texts = ("instance", "instance_name", "policy", "family")
    switching = {
        "type": "object",
        "description": "What a change does to the answers of one policy for one family.",
        "properties": {**{name: {"type": "string"} for name in texts}, "before": place, "after": place},
        "required": [*texts, "before", "after"],
    }
    switched = {
        "type": "object",
        "properties": {
            "instance": {"type": "string"},
            "policy": {"type": "string"},
            "mode": {"enum": ["auto", "pinned"]},
            "set": {"type": ["string", "null"]},
            "override": {"anyOf": [_reference("Override"), {"type": "null"}]},
            "status": {"anyOf": [_reference("PolicyStatus"), {"type": "null"}]},
            "preview": REMARKS["preview"],
        },
        "required": ["instance", "policy", "mode", "set", "override", "status", "preview"],
    }
    problem = {
        "type": "object",
        "description": "RFC 9457.",
        "properties": {
            "type": {"enum": [TYPE_PREFIX + kind for kind in KINDS]},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in ("pointer", "parameter", "detail")},
                    "required": ["detail"],
                },
            },
        },
        "required": ["type", "title", "status", "detail", "instance"],
    }
    return {
        "Problem": problem,
        "Switching": switching,
        "Switched": switched,
        "Preview": {"type": "object", "properties": {"preview": REMARKS["preview"]}, "required": ["preview"]},
        "Remarks": {"type": "object", "properties": dict(REMARKS)},
        "Entry": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "time": {"type": "string"}, "revision": {"type": "integer"}},
            "required": ["id", "time"],
        },
        "Object": {"type": "object"},
    }


if __name__ == "__main__":
    sys.stdout.write(text())
