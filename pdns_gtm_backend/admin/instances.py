"""What instances have beside their documents: a status, and a switch for each policy."""

from typing import Any

from flask import Blueprint, Response

from pdns_gtm_backend.admin.auth import needs, operator
from pdns_gtm_backend.admin.reading import flag, json_body, parameters
from pdns_gtm_backend.admin.writing import answer, data_of, written
from pdns_gtm_backend.operations.documents import copy_instance
from pdns_gtm_backend.operations.instance_status import policy_statuses, served_instance, status_of_instance
from pdns_gtm_backend.operations.operator import Operator
from pdns_gtm_backend.operations.overrides import preview_data
from pdns_gtm_backend.operations.switching import mode_of, switch

blueprint = Blueprint("instance-status", __name__)


@blueprint.get("/instances/<identifier>/status")
def status(identifier: str) -> Response:
    """Both statuses, and what they come from."""
    parameters()
    return answer(data_of(status_of_instance(operator(), identifier)))


@blueprint.post("/instances/<identifier>/copy")
def copy(identifier: str) -> Response:
    """Make an instance like this one, under another name."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    outcome = copy_instance(operator(), identifier, json_body(), dry_run=dry_run)
    return written(outcome, ("instances", outcome.value.id))


@blueprint.post("/instances/<identifier>/policies/<policy>/switch")
@needs("operator")
def switch_policy(identifier: str, policy: str) -> Response:
    """Pin a policy to a set, let it decide by itself, or go back to an earlier set now."""
    given = parameters("dry_run", "force")
    who = operator()
    dry_run, force = flag(given, "dry_run"), flag(given, "force")
    outcome = switch(who, identifier, policy, json_body(), force=force, dry_run=dry_run)
    body = {
        "instance": identifier,
        "policy": policy,
        **mode_of(outcome.value),
        "override": None if outcome.value is None else data_of(outcome.value),
        "status": None if dry_run else _policy_status(who, identifier, policy),
        "preview": preview_data(outcome.preview),
    }
    return answer(body)


def _policy_status(who: Operator, identifier: str, policy: str) -> Any:
    serving = who.writer.reading()
    found = policy_statuses(served_instance(who, serving, identifier), serving.snapshot)
    return next((data_of(one) for one in found if one.name == policy), None)
