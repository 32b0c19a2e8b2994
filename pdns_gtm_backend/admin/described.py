"""What the description of the API (OpenAPI) says of each route beside what the route itself tells: one table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pdns_gtm_backend.operations.listing import FILTERS
from pdns_gtm_backend.operations.resources import RESOURCES, Resource
from pdns_gtm_backend.store import kinds

PAGING: Final = ("limit", "cursor")
POSITION: Final = ("after", "before", "order", "limit")
OBJECT: Final = ("not-found",)
BODY: Final = ("malformed", "too-large", "unsupported-media-type", "invalid")
VERSION: Final = ("precondition-failed", "precondition-required")
WRITING: Final = ("quota", "foreign-store")


@dataclass(frozen=True, slots=True)
class Described:
    """A route. answers: the schema of the body by status, "" = no body. body: the schema of the request's.

    query: names of parameters. problems: kinds beside those that every route has. tagged: does the answer have an ETag?
    """

    summary: str
    answers: Mapping[int, str]
    body: str = ""
    query: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    tagged: bool = False

    @property
    def conditional(self) -> bool:
        """Does the request say which version it is for?"""
        return "precondition-failed" in self.problems


def _reads(summary: str, schema: str, *query: str, one: bool = False, more: tuple[str, ...] = ()) -> Described:
    return Described(summary, {200: schema}, query=query, problems=(*(OBJECT if one else ()), *more))


def _pushes(summary: str, body: str, schema: str) -> Described:
    problems = (*OBJECT, *BODY, "conflict", "foreign-store")
    return Described(summary, {200: schema}, body, ("dry_run",), problems)


def _one(noun: str, schema: str) -> Described:
    return Described(f"One {noun}.", {200: schema, 304: ""}, problems=OBJECT, tagged=True)


def _create(noun: str, schema: str, *problems: str) -> Described:
    answers = {201: f"{schema}Written", 200: f"{schema}Written"}
    problems = (*BODY, *WRITING, *problems)
    return Described(f"Make a {noun}.", answers, schema, ("dry_run",), problems, tagged=True)


def _put(noun: str, schema: str) -> Described:
    answers = {200: f"{schema}Written", 201: f"{schema}Written"}
    problems = (*OBJECT, *BODY, *WRITING, *VERSION)
    return Described(f"Write a whole {noun}.", answers, f"{schema}Put", ("dry_run",), problems, tagged=True)


def _patch(noun: str, schema: str) -> Described:
    problems = (*OBJECT, *BODY, *WRITING, *VERSION)
    answers = {200: f"{schema}Written"}
    return Described(f"Change some fields of a {noun}.", answers, f"{schema}Patch", ("dry_run",), problems, tagged=True)


def _delete(noun: str, *problems: str) -> Described:
    problems = (*OBJECT, *VERSION, "foreign-store", *problems)
    return Described(f"Delete a {noun}.", {204: "", 200: "Remarks"}, query=("dry_run",), problems=problems)


def _resource(resource: Resource) -> Iterator[tuple[tuple[str, str], Described]]:
    kind, noun, schema = resource.kind, resource.noun, resource.document.__name__
    every, one = f"/{kind}", f"/{kind}/{{identifier}}"
    yield ("GET", every), _reads(f"Every {noun}.", f"{schema}List", *PAGING, *FILTERS[kind])
    yield ("POST", every), _create(noun, schema, "exists")
    yield ("GET", one), _one(noun, schema)
    yield ("PUT", one), _put(noun, schema)
    yield ("PATCH", one), _patch(noun, schema)
    yield ("DELETE", one), _delete(noun, "in-use")


INSTANCE: Final = "/instances/{identifier}"
ADDRESS: Final = "/pools/{identifier}/addresses/{address}"
RECORDS: Final = "/zones/{zone}/rrsets/{name}/{rrtype}"
DRILL: Final = "/drills/{identifier}"
REPORTS: Final = "/health-checks/{identifier}/reports"
ACTS: Final = ("not-found", "conflict", "brake", "invalid", "foreign-store")

ROUTES: Final[Mapping[tuple[str, str], Described]] = {
    **dict(entry for resource in RESOURCES.values() for entry in _resource(resource)),
    ("GET", f"{INSTANCE}/status"): _reads("Both statuses, and what they come from.", "InstanceStatus", one=True),
    ("POST", f"{INSTANCE}/copy"): replace(
        _create("copy of an instance", "Instance", "not-found"),
        summary="Make an instance like this one, under another name.",
        body="Copy",
    ),
    ("POST", f"{INSTANCE}/policies/{{policy}}/switch"): Described(
        "Pin a policy to a set, let it decide by itself, or go back to an earlier set now.",
        {200: "Switched"},
        "Switch",
        ("dry_run", "force"),
        (*BODY, *ACTS),
    ),
    ("GET", "/pools/{identifier}/status"): _reads(
        "The status of a pool and what is known of its addresses.", "PoolStatusView", one=True
    ),
    ("GET", ADDRESS): _one("address", "Address"),
    ("PUT", ADDRESS): replace(_put("address", "Address"), summary="Add an address to a pool, or replace it."),
    ("PATCH", ADDRESS): _patch("address", "Address"),
    ("DELETE", ADDRESS): _delete("address", "invalid"),
    ("GET", f"{ADDRESS}/history"): _reads("What each vantage remembers of an address.", "Probed", one=True),
    ("POST", f"{ADDRESS}/probe"): _reads("Have every vantage probe an address now.", "Probed", one=True),
    ("GET", "/zones/{zone}/rrsets"): _reads("The static records of a zone.", "RRsetList", *PAGING, one=True),
    ("GET", RECORDS): _one("set of records", "RRset"),
    ("PUT", RECORDS): replace(_put("set of records", "RRset"), summary="Write all records of one name and type."),
    ("DELETE", RECORDS): _delete("set of records"),
    ("GET", "/overrides"): _reads(
        "What operators have set at run time.", "OverrideList", *PAGING, *FILTERS[kinds.OVERRIDES]
    ),
    ("POST", "/overrides"): replace(_create("override", "Override", "brake"), query=("dry_run", "force")),
    ("GET", "/overrides/{identifier}"): _one("override", "Override"),
    ("DELETE", "/overrides/{identifier}"): _delete("override"),
    ("GET", "/alerts/{identifier}/status"): _reads("How far an alert receiver is told.", "AlertStatus", one=True),
    ("POST", "/alerts/{identifier}/test"): Described(
        "Have the leader send an alert receiver a test event now.",
        {200: "AlertTested"},
        problems=(*OBJECT, "conflict", "busy"),
    ),
    ("GET", "/drills"): _reads("Every drill.", "DrillList", *PAGING, *FILTERS[kinds.DRILLS]),
    ("POST", "/drills"): _create("drill", "Drill"),
    ("GET", DRILL): _one("drill", "Drill"),
    ("PATCH", DRILL): replace(
        _patch("drill", "Drill"), problems=(*OBJECT, *BODY, *VERSION, "conflict", "foreign-store")
    ),
    ("DELETE", DRILL): _delete("drill", "conflict"),
    ("GET", f"{DRILL}/preview"): Described(
        "Every policy that would switch, from where to where.", {200: "Preview"}, problems=(*OBJECT, "invalid")
    ),
    ("POST", f"{DRILL}/execute"): Described(
        "Treat what the drill selects as failed.",
        {200: "DrillWritten"},
        query=("dry_run", "force"),
        problems=ACTS,
        tagged=True,
    ),
    ("POST", f"{DRILL}/rollback"): Described(
        "Lift what the drill has set.", {200: "DrillWritten"}, query=("dry_run",), problems=ACTS, tagged=True
    ),
    ("GET", "/tokens"): _reads("Every token, without what its holder sends.", "TokenList", *PAGING, "role", "name"),
    ("POST", "/tokens"): _create("token, which is told this once", "Token"),
    ("GET", "/tokens/{identifier}"): replace(_one("token", "TokenShown"), answers={200: "TokenShown"}),
    ("DELETE", "/tokens/{identifier}"): _delete("token", "conflict"),
    ("GET", "/vantages"): _reads("Where probes come from, and whether they report.", "VantageStatusList"),
    ("DELETE", "/vantages/{identifier}"): Described(
        "Forget a vantage whose healthd has ended for good.",
        {204: "", 200: "Remarks"},
        query=("dry_run",),
        problems=("not-found", "conflict", "foreign-store"),
    ),
    ("GET", REPORTS): _reads(
        "The last report on each address of an external check.", "ReportStatusList", one=True, more=("conflict",)
    ),
    ("POST", REPORTS): _pushes("Report many addresses of an external check.", "ReportBatch", "ReportStatusList"),
    ("GET", f"{REPORTS}/{{address}}"): _reads(
        "The last report on an address.", "ReportStatus", one=True, more=("conflict",)
    ),
    ("PUT", f"{REPORTS}/{{address}}"): _pushes("Report an address up or down.", "NewReport", "ReportStatus"),
    ("GET", "/simulate"): replace(
        _reads("What a client would get now, and why.", "Simulation", "name", "type", "client"), problems=OBJECT
    ),
    ("GET", "/events"): _reads("Changes of state.", "EntryList", *POSITION, "instance", "pool", "kind"),
    ("GET", "/audit"): _reads("Changes by operators.", "EntryList", *POSITION, "kind", "object", "actor"),
    ("GET", "/export"): _reads("The whole configuration, as `/apply` takes it.", "ConfigurationFile"),
    ("POST", "/apply"): Described(
        "Make the configuration what the body says, all of it or nothing; a section that is left out stays as it is.",
        {200: "Applied"},
        "ConfigurationFile",
        ("dry_run", "force"),
        (*BODY, *WRITING, "brake"),
    ),
    ("GET", "/openapi.json"): _reads("This description.", "Object"),
    ("GET", "/docs"): Described("This description for reading.", {200: "text/html"}),
}
"""By verb and path below the prefix."""
