"""How a process stands: what `/readyz` tells of the store, the snapshot and the geo databases."""

from collections.abc import Mapping
from typing import Any, Final

from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.geo.locator import DatabaseStatus, GeoStatus
from pdns_gtm_backend.store.follower import Follower

MAX_LISTED: Final = 100


def readiness(follower: Follower, geo: GeoStatus, now: float) -> Mapping[str, Any]:
    """state: `ready`, `degraded` (a snapshot serves, and the store is not followed) or `starting`.

    now: seconds since the epoch.
    """
    snapshot, store = follower.serving.snapshot, follower.status
    degraded = follower.loaded and store.state != "following"
    return {
        "state": "degraded" if degraded else "ready" if follower.loaded else "starting",
        "degraded": degraded,
        "store": {
            "state": store.state,
            "detail": store.detail,
            "since": rfc3339(store.since),
            "reloads": store.reloads,
        },
        "store_id": snapshot.position.store_id,
        "revision": snapshot.revision,
        "instances": len(snapshot.instances),
        "broken_documents": [
            f"{kind} {name}: {why}" for (kind, name), why in list(snapshot.problems.items())[:MAX_LISTED]
        ],
        "geo": {"country": _database(geo.country, now), "asn": None if geo.asn is None else _database(geo.asn, now)},
    }


def _database(status: DatabaseStatus, now: float) -> Mapping[str, Any]:
    files = [
        {
            "path": file.path,
            "size": file.size,
            "built": None if file.built is None else rfc3339(file.built),
            "age": round(now - (file.built or file.modified)),
            "entries": file.entries,
        }
        for file in status.files
    ]
    return {"kind": status.kind, "files": files, "error": status.error, "failures": status.failures}
