"""What a server makes sure of when it starts: the access zone, and a first token for its administrator."""

import logging
import os
import secrets
from pathlib import Path
from typing import Final

from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.operations import audit, tokens
from pdns_gtm_backend.operations.allocation import Allocation
from pdns_gtm_backend.operations.operator import Operator, Plan
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change

log = logging.getLogger(__name__)

TOKEN_FILE: Final = "admin-token"  # noqa: S105 - the name of a file
BOOTSTRAP_NAME: Final = "bootstrap"


def ensure_access_zone(operator: Operator) -> None:
    """Make the zone that instances get their names in, where it is not there. Raises Unavailable."""
    name = operator.rules.access_zone
    allocation = Allocation(operator, kinds.ZONES)

    def decide(serving: Serving) -> Plan:
        held = serving.snapshot.zones.get(name)
        if held is not None and held.kind != "access":
            log.error("zone %s is hosted, so that no instance can get a name in it", name, extra={"event": "zone.kind"})
        if held is not None:
            return Plan(held, (), {})
        zone = allocation.complete(Zone(name=name, kind="access"))
        return Plan(zone, [Change(kinds.ZONES, name, zone)], audit.entry("create", kinds.ZONES, name, None, zone))

    operator.write(decide)


def ensure_token(operator: Operator, folder: Path) -> None:
    """Where the store has no token, register the one in `folder`/admin-token, which is made where it is missing.

    The file comes first, so that no crash can leave a token that nobody knows; several servers agree on the first.
    Raises Unavailable, OSError, and ValueError where the file holds no token.
    """
    path = folder / TOKEN_FILE
    snapshot = operator.writer.newest().snapshot
    if tokens.tokens_of(snapshot):
        return
    made = _make_file(path)
    try:
        secret = path.read_text(encoding="ascii").strip()
        path.chmod(0o600)
    except FileNotFoundError:
        # Another server made it and took it away: the store holds a third one's token.
        return
    if tokens.token_id(secret) is None:
        raise ValueError(f"{path} holds no token of this server: delete it, and it is made anew")
    if tokens.register(operator, secret, BOOTSTRAP_NAME).written:
        log.warning("first admin token: see %s", path, extra={"event": "token.bootstrap"})
    elif made and tokens.token_id(secret) not in tokens.tokens_of(operator.writer.newest().snapshot):
        path.unlink(missing_ok=True)


def _make_file(path: Path) -> bool:
    """Write a new token, whole or not at all, unless there is a file already. True = it was made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(tokens.new_secret() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(new, path)
    except FileExistsError:
        return False
    finally:
        new.unlink()
    return True
