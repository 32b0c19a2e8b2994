"""What pools have beside their documents: a status, and each address by itself."""

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import flag, json_body, parameters, precondition
from pdns_gtm_backend.admin.writing import answer, data_of, found, written
from pdns_gtm_backend.domain.pool import Address
from pdns_gtm_backend.operations import addresses, probing
from pdns_gtm_backend.operations.operator import Outcome
from pdns_gtm_backend.operations.pool_status import status_of_pool

blueprint = Blueprint("pool-parts", __name__)
ADDRESS = "/pools/<identifier>/addresses/<address>"


@blueprint.get("/pools/<identifier>/status")
def status(identifier: str) -> Response:
    """The status of a pool and what is known of its addresses."""
    parameters()
    return answer(data_of(status_of_pool(operator(), identifier)))


@blueprint.get(ADDRESS)
def get_address(identifier: str, address: str) -> Response:
    """One address."""
    parameters()
    one = addresses.get(operator(), identifier, address)
    return found(one.value, one.version)


@blueprint.put(ADDRESS)
def put_address(identifier: str, address: str) -> Response:
    """Add an address, or replace it."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = addresses.put(operator(), identifier, address, json_body(), precondition(), dry_run=dry_run)
    return _written(outcome, identifier)


@blueprint.patch(ADDRESS)
def patch_address(identifier: str, address: str) -> Response:
    """Change some fields of an address."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = addresses.patch(operator(), identifier, address, json_body(patch=True), precondition(), dry_run=dry_run)
    return _written(outcome, identifier)


@blueprint.delete(ADDRESS)
def delete_address(identifier: str, address: str) -> Response:
    """Take an address out of its pool."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    return written(addresses.delete(operator(), identifier, address, precondition(), dry_run=dry_run), ())


@blueprint.get(f"{ADDRESS}/history")
def address_history(identifier: str, address: str) -> Response:
    """What each vantage remembers of an address: its latest probes and failures, loss and latency."""
    parameters()
    return answer(data_of(probing.history(operator(), identifier, address)))


@blueprint.post(f"{ADDRESS}/probe")
@needs("operator")
def probe_address(identifier: str, address: str) -> Response:
    """Have every vantage probe an address now; it counts for no verdict."""
    parameters()
    return answer(data_of(probing.probe(operator(), identifier, address)))


def _written(outcome: Outcome, identifier: str) -> Response:
    value: Address = outcome.value
    etag = addresses.version_of(value) if outcome.version else ""
    return written(outcome, ("pools", identifier, "addresses", value.address), etag)
