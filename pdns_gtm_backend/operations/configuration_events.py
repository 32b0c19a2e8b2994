"""What the stream of events tells of a change of configuration: which object and who, nothing of its contents."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Change, Snapshot


def configuration_events(
    noted: Mapping[str, Any], changes: Sequence[Change], actor: str, before: Snapshot
) -> Sequence[Mapping[str, Any]]:
    """The event of one write, none where it changes no configuration. noted: as in the audit stream.

    before: to name the instances that use a pool.
    """
    count = sum(kinds.KINDS[change.kind].configuration for change in changes)
    if not count:
        return ()
    action, kind, identifier = noted["action"], str(noted["kind"]), str(noted["object"])
    event: dict[str, Any] = {
        "kind": "configuration.changed",
        "action": action,
        "object_kind": kind,
        "object": identifier,
        "documents": count,
        "actor": actor,
        "reason": f"{action} by {actor}",
    }
    if kind == kinds.INSTANCES:
        event["instance"] = identifier
    elif kind == kinds.POOLS:
        event |= {"pool": identifier, "instances": sorted(before.instances_using_pool(identifier))}
    return [event]
