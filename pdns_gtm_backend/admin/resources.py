"""The collections that differ in their documents only: instances, pools, health checks, lines, zones."""

from collections.abc import Iterator

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import operator
from pdns_gtm_backend.admin.reading import flag, json_body, limit, parameters, precondition
from pdns_gtm_backend.admin.writing import found, listed, written
from pdns_gtm_backend.operations import documents
from pdns_gtm_backend.operations.listing import FILTERS, page
from pdns_gtm_backend.operations.resources import RESOURCES, Resource

PAGING = ("limit", "cursor")
DRY_RUN = "dry_run"


def blueprints() -> Iterator[Blueprint]:
    """One for each kind of object, named after its kind."""
    return map(_blueprint, RESOURCES.values())


def _blueprint(resource: Resource) -> Blueprint:
    kind = resource.kind
    blueprint = Blueprint(kind, __name__)

    @blueprint.get(f"/{kind}")
    def list_all() -> Response:
        given = parameters(*PAGING, *FILTERS[kind])
        filters = {name: text for name, text in given.items() if name in FILTERS[kind]}
        return listed(page(operator(), kind, filters, given.get("cursor"), limit(given)))

    @blueprint.post(f"/{kind}")
    def create() -> Response:
        dry_run = flag(parameters(DRY_RUN), DRY_RUN)
        outcome = documents.create(operator(), kind, json_body(), dry_run=dry_run)
        return written(outcome, (kind, getattr(outcome.value, resource.identity)))

    @blueprint.get(f"/{kind}/<identifier>")
    def get(identifier: str) -> Response:
        parameters()
        one = documents.get(operator(), kind, identifier)
        return found(one.value, one.version)

    @blueprint.put(f"/{kind}/<identifier>")
    def put(identifier: str) -> Response:
        dry_run = flag(parameters(DRY_RUN), DRY_RUN)
        outcome = documents.put(operator(), kind, identifier, json_body(), precondition(), dry_run=dry_run)
        return written(outcome, (kind, identifier))

    @blueprint.patch(f"/{kind}/<identifier>")
    def patch(identifier: str) -> Response:
        dry_run = flag(parameters(DRY_RUN), DRY_RUN)
        outcome = documents.patch(operator(), kind, identifier, json_body(patch=True), precondition(), dry_run=dry_run)
        return written(outcome, (kind, identifier))

    @blueprint.delete(f"/{kind}/<identifier>")
    def delete(identifier: str) -> Response:
        dry_run = flag(parameters(DRY_RUN), DRY_RUN)
        return written(documents.delete(operator(), kind, identifier, precondition(), dry_run=dry_run), ())

    return blueprint
