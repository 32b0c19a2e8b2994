"""The whole configuration as one document: out of the server, and into it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator, require
from pdns_gtm_backend.admin.problems import MAX_FILE_BYTES
from pdns_gtm_backend.admin.reading import JSON, flag, json_body, parameters
from pdns_gtm_backend.admin.writing import answer, data_of, encoded
from pdns_gtm_backend.long_lived import without_collection
from pdns_gtm_backend.operations import applying
from pdns_gtm_backend.operations.configuration_file import export
from pdns_gtm_backend.operations.errors import Unavailable

blueprint = Blueprint("configuration", __name__)
TURN_SECONDS: Final = 10.0
_turn: Final = threading.Lock()


@blueprint.get("/export")
def export_all() -> Response:
    """Everything that operators configure, as `/apply` takes it."""
    parameters()
    return Response(encoded(export(operator())) + b"\n", mimetype=JSON)


@blueprint.post("/apply")
@needs("viewer")
def apply_all() -> Response:
    """Make the configuration what the body says: all of it or nothing. Whoever reads may see what it would do."""
    given = parameters("dry_run", "force")
    dry_run, force = flag(given, "dry_run"), flag(given, "force")
    if not dry_run:
        require("admin")
    with _alone(), without_collection():
        file = json_body(limit=MAX_FILE_BYTES)
        return answer(data_of(applying.apply(operator(), file, force=force, dry_run=dry_run)))


@contextmanager
def _alone() -> Iterator[None]:
    """One file at a time: a large one takes some hundred megabytes while it is read. Raises Unavailable."""
    if not _turn.acquire(timeout=TURN_SECONDS):
        raise Unavailable("another configuration is being applied", retry_after=5)
    try:
        yield
    finally:
        _turn.release()
