"""Who does something, by what rules, and the one way that a change takes into the store."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from pdns_gtm_backend.domain.token import Role, has_label
from pdns_gtm_backend.domain.violation import Violation
from pdns_gtm_backend.geo.database import Capabilities
from pdns_gtm_backend.operations.configuration_events import configuration_events
from pdns_gtm_backend.operations.errors import ForeignStore, NotPermitted, Unavailable
from pdns_gtm_backend.operations.sealing import NO_SEALER, Sealer
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Conflict, Repository, StoreUnavailable, unavailable_reason
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change

ATTEMPTS: Final = 5
APPLIED_SECONDS: Final = 1.0
TURN_SECONDS: Final = 5.0
BULK_CHANGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. id, name: of the token. origin: where the request came from. label: what restricts its instances."""

    id: str
    name: str
    role: Role
    origin: str = ""
    label: str | None = None


SYSTEM: Final = Actor("", "system", "admin")


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a server is set to hold at the most; None = as much as it can. shortest_interval: seconds of a check.

    alerts: receivers, each of which has a thread in the healthd that leads.
    """

    instances: int | None = None
    pools_per_instance: int | None = None
    addresses_per_pool: int | None = None
    shortest_interval: float | None = None
    alerts: int | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about configuration. access_zone: that new instances get their names in.

    alert_commands: may alerts run programs?
    """

    access_zone: str
    allow_private_targets: bool = False
    quotas: Quotas = Quotas()
    alert_commands: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A change that was checked against a snapshot: what to write, and what to note of it.

    value: the object as it will be, None where it goes. changes: none where all is as it should be already. audit:
    action, kind, object, before and after. version: of the object before, 0 where there was none.
    """

    value: Any
    changes: Sequence[Change]
    audit: Mapping[str, Any]
    warnings: Sequence[Violation] = ()
    preview: Sequence[Any] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did. version: of the object by now, 0 where a dry run would change it."""

    value: Any
    version: int
    written: bool
    created: bool = False
    warnings: Sequence[Violation] = ()
    preview: Sequence[Any] = ()


Decide = Callable[[Serving], Plan]


class Writer:
    """Writes what was decided on a snapshot, unless the configuration has changed since: then it decides again.

    One at a time in this process; among processes the store decides who was first. bulk: for writes of many documents,
    which take longer than a command may.
    """

    def __init__(self, follower: Follower, bulk: Repository | None = None) -> None:
        self.follower = follower
        self._bulk = bulk or follower.repository
        self._turn = threading.Lock()

    def reading(self) -> Serving:
        """What is known now. Raises Unavailable where nothing is."""
        if not self.follower.loaded:
            raise Unavailable(f"no snapshot of the store yet ({self.follower.status.detail or 'starting'})")
        return self.follower.serving

    def write(self, decide: Decide, actor: Actor, *, dry_run: bool = False) -> Outcome:
        """Decide and write; returns when this process's snapshot holds it, or a second has passed.

        decide: called with the newest state, again where another write came first; may raise any OperationError.
        dry_run: decide only.
        """
        if dry_run:
            return self._attempts(decide, actor, dry_run)[0]
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise Unavailable("too many changes are waiting")
        try:
            outcome, revision = self._attempts(decide, actor, dry_run)
        finally:
            self._turn.release()
        if revision:
            self.follower.wait_for(revision, APPLIED_SECONDS)
        return outcome

    def _attempts(self, decide: Decide, actor: Actor, dry_run: bool) -> tuple[Outcome, int]:
        for attempt in range(ATTEMPTS):
            serving = self.newest()
            plan = decide(serving)
            if dry_run or not plan.changes:
                return _outcome(plan, plan.version if not plan.changes else 0), 0
            commit = Commit(
                changes=plan.changes,
                events=configuration_events(plan.audit, plan.changes, actor.name, serving.snapshot),
                audit={**plan.audit, **audited(actor)},
                configuration_revision=serving.snapshot.configuration_revision,
            )
            repository = self._bulk if len(plan.changes) > BULK_CHANGES else self.follower.repository
            try:
                revision = repository.commit(commit, serving.snapshot.position.store_id)
            except Conflict as conflict:
                if conflict.reason != "configuration":
                    raise ForeignStore(foreign(str(conflict))) from None
                time.sleep(random.uniform(0, 0.005 * (attempt + 1)))  # noqa: S311 - spreads the writers, no secret
                continue
            except StoreUnavailable as error:
                raise Unavailable(_unwritten(error)) from error
            return _outcome(plan, revision, written=True), revision
        raise Unavailable("other changes came first each time", retry_after=1)

    def newest(self) -> Serving:
        """The state that the store has now. Raises Unavailable where it cannot be had, ForeignStore."""
        status = self.follower.status
        if status.state == "foreign":
            raise ForeignStore(foreign(status.detail))
        try:
            revision = int(str(self.follower.repository.client.get(keys.REVISION) or 0))
        except (RedisError, ValueError) as error:
            reason = unavailable_reason(error) if isinstance(error, RedisError) else "its revision is no number"
            raise Unavailable(f"the store does not answer: {reason}") from error
        if self.follower.status.state != "following" and not self.follower.wait_until_following(APPLIED_SECONDS):
            status = self.follower.status
            raise Unavailable(f"the store is not followed ({status.state}: {status.detail})")
        if not self.follower.wait_for(revision, APPLIED_SECONDS):
            raise Unavailable("this server has not caught up with the store", retry_after=1)
        return self.reading()


def _outcome(plan: Plan, version: int, *, written: bool = False) -> Outcome:
    created = plan.audit.get("before") is None and plan.value is not None
    return Outcome(plan.value, version, written, created, plan.warnings, plan.preview)


def audited(actor: Actor) -> Mapping[str, Any]:
    """Who did it and from where, as an audit entry has it."""
    return {"actor": {"id": actor.id, "name": actor.name, "role": actor.role}, "origin": actor.origin}


def _unwritten(error: StoreUnavailable) -> str:
    if isinstance(error.__cause__, TimeoutError) or "imeout" in str(error):
        return f"the store did not answer in time ({error}): read the object to see whether the change was written"
    return f"the store cannot be written: {error}"


def foreign(detail: str) -> str:
    """What an operator is told of a store that is another one than this server knows."""
    return (
        f"{detail}. Nothing is written to it. Connect the Redis that this server knows, or, if the other one is right, "
        "accept it with 'gtmctl store adopt'"
    )


@dataclass(frozen=True, slots=True)
class Operator:
    """An actor at the store: what every operation is given.

    capabilities: what the geo database can find at all, None where that is not known. sealer: of secrets.
    """

    writer: Writer
    rules: Rules
    actor: Actor = SYSTEM
    capabilities: Callable[[], Capabilities] | None = field(default=None)
    sealer: Sealer = NO_SEALER

    def write(self, decide: Decide, *, dry_run: bool = False) -> Outcome:
        """Decide and write as this actor."""
        return self.writer.write(decide, self.actor, dry_run=dry_run)

    def sees(self, labels: Mapping[str, str]) -> bool:
        """May this actor see an instance with these labels?"""
        return self.actor.label is None or has_label(labels, self.actor.label)

    def require_unrestricted(self, what: str) -> None:
        """Raises NotPermitted where the actor is restricted to instances of a label."""
        if self.actor.label is not None:
            raise NotPermitted(
                f"the token is restricted to instances with the label {self.actor.label}: not for {what}"
            )
