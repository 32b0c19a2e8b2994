"""Create, replace, patch and delete what operators configure. Every change is checked among all other objects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.document import DisplayName, document
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.violation import InvalidConfiguration, Violation, pointer, shown
from pdns_gtm_backend.operations import audit
from pdns_gtm_backend.operations.allocation import Allocation
from pdns_gtm_backend.operations.errors import AlreadyExists, InUse, NotFound, NotPermitted
from pdns_gtm_backend.operations.operator import Operator, Outcome, Plan
from pdns_gtm_backend.operations.parsing import Parsed, merge_patch, parse, to_json
from pdns_gtm_backend.operations.preconditions import UNCONDITIONAL, Precondition
from pdns_gtm_backend.operations.quotas import require_quotas
from pdns_gtm_backend.operations.resources import RESOURCES, Resource
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving
from pdns_gtm_backend.store.snapshot import Change, Snapshot

READ_ONLY: Final = "warnings"
"""A member of answers that is ignored in requests, so that an answer can be changed and sent back."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object and the revision that wrote it."""

    value: Any
    version: int


@document
class Copy:
    """What a copy of an instance is called."""

    name: DisplayName


def get(operator: Operator, kind: str, identifier: str) -> Found:
    """Raises NotFound."""
    resource = RESOURCES[kind]
    snapshot = operator.writer.reading().snapshot
    name = resource.identifier(identifier)
    value = _visible(operator, snapshot.documents[kind].get(name))
    if value is None:
        raise NotFound(f"there is no {resource.called(identifier)}")
    return Found(value, snapshot.version(kind, name))


def create(operator: Operator, kind: str, raw: object, *, dry_run: bool = False) -> Outcome:
    """Make an object of JSON data. Raises InvalidConfiguration, AlreadyExists, NotPermitted, Unavailable."""
    resource = RESOURCES[kind]
    allocated = Allocation(operator, kind)
    parsed: Parsed[Any] = parse(resource.document, _without_read_only(raw))
    generated = tuple(_chosen(resource, parsed, None))

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        value = _valid(operator, resource, parsed, generated, snapshot, _same)
        identifier = getattr(value, resource.identity)
        if identifier and identifier in snapshot.documents[kind]:
            article = "an" if resource.noun[0] in "aeiou" else "a"
            told = f"there is {article} {resource.called(identifier)} already: change it with PUT or PATCH"
            raise AlreadyExists(told)
        return _plan(operator, resource, "create", snapshot, None, value if dry_run else allocated.complete(value))

    return operator.write(decide, dry_run=dry_run)


def put(
    operator: Operator,
    kind: str,
    identifier: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Replace an object by JSON data, or make it of that id (but an instance, whose id is generated).

    Raises InvalidConfiguration, NotFound, NotPermitted, PreconditionFailed, PreconditionRequired, Unavailable.
    """
    resource = RESOURCES[kind]
    return _replace(operator, resource, "replace", identifier, lambda _: _without_read_only(raw), precondition, dry_run)


def patch(
    operator: Operator,
    kind: str,
    identifier: str,
    raw: object,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Change some fields of an object (RFC 7396); the whole is checked. Raises what `put` does."""
    resource = RESOURCES[kind]
    change = _without_read_only(raw)
    if not isinstance(change, dict):
        raise InvalidConfiguration([Violation("", "a merge patch is an object of the fields to change (RFC 7396)")])

    def merged(before: Any | None) -> object:
        if before is None:
            raise NotFound(f"there is no {resource.called(identifier)}")
        return merge_patch(to_json(before), change)

    return _replace(operator, resource, "patch", identifier, merged, precondition, dry_run)


def copy_instance(operator: Operator, identifier: str, raw: object, *, dry_run: bool = False) -> Outcome:
    """Make an instance like another one, of JSON data with its `name`.

    It gets an id and a CNAME domain name of its own; names that only one instance can have stay with the other one.

    Raises InvalidConfiguration, NotFound, NotPermitted, QuotaReached, Unavailable.
    """
    given: Parsed[Copy] = parse(Copy, raw)
    if given.value is None or given.violations:
        raise InvalidConfiguration(given.violations)
    source = get(operator, kinds.INSTANCES, identifier).value
    copied = replace(source, id="", cname="", names=(), service_domains=(), name=given.value.name)
    return create(operator, kinds.INSTANCES, to_json(copied), dry_run=dry_run)


def delete(
    operator: Operator,
    kind: str,
    identifier: str,
    precondition: Precondition = UNCONDITIONAL,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Delete an object that nothing uses. Raises NotFound, InUse, NotPermitted, PreconditionFailed,
    PreconditionRequired, Unavailable.
    """
    resource = RESOURCES[kind]
    name = resource.identifier(identifier)

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        before = _visible(operator, snapshot.documents[kind].get(name))
        if before is None:
            raise NotFound(f"there is no {resource.called(identifier)}")
        precondition.check(resource.called(name), str(snapshot.version(kind, name)))
        if users := resource.users(snapshot, name):
            raise InUse(resource.called(name), users)
        if kind == kinds.ZONES and name == operator.rules.access_zone:
            raise NotPermitted(f"zone {name} is the access zone of this server (GTM_ACCESS_ZONE)")
        return _plan(operator, resource, "delete", snapshot, before, None)

    return operator.write(decide, dry_run=dry_run)


def _replace(
    operator: Operator,
    resource: Resource,
    action: str,
    identifier: str,
    raw: Callable[[Any | None], object],
    precondition: Precondition,
    dry_run: bool,
) -> Outcome:
    kind, name = resource.kind, resource.identifier(identifier)
    allocated = Allocation(operator, kind)

    def decide(serving: Serving) -> Plan:
        snapshot = serving.snapshot
        before = _visible(operator, snapshot.documents[kind].get(name))
        if before is None and kind == kinds.INSTANCES:
            raise NotFound(f"there is no {resource.called(identifier)}: its id is generated when it is created (POST)")
        precondition.check(resource.called(name), str(snapshot.version(kind, name) or "") if before else "")
        parsed: Parsed[Any] = parse(resource.document, _with_identity(resource, raw(before), name))
        found = [*_chosen(resource, parsed, before), *_renamed(resource, parsed, name)]

        def complete(value: Any) -> Any:
            kept = (
                {}
                if before is None
                else {field: getattr(before, field) for field in (*resource.generated, *resource.fixed)}
            )
            return replace(value, **{resource.identity: name, **kept})

        after = _valid(operator, resource, parsed, found, snapshot, complete)
        if before is None and not dry_run:
            after = allocated.complete(after)
        return _plan(operator, resource, action if before else "create", snapshot, before, after)

    return operator.write(decide, dry_run=dry_run)


def _without_read_only(raw: object) -> object:
    return {name: value for name, value in raw.items() if name != READ_ONLY} if isinstance(raw, dict) else raw


def _with_identity(resource: Resource, raw: object, identifier: str) -> object:
    if not isinstance(raw, dict) or resource.identity in raw:
        return raw
    return {resource.identity: identifier, **raw}


def _same(value: Any) -> Any:
    return value


def covers(operator: Operator, value: Any) -> bool:
    """Does the actor's token cover an object? One that is restricted covers the instances of its label, all that they
    share, and no alert receiver: these are told of every instance.
    """
    if isinstance(value, Instance):
        return operator.sees(value.labels)
    return operator.actor.label is None or not isinstance(value, Alert)


def _visible(operator: Operator, value: Any | None) -> Any | None:
    """`value`, None where the actor's token does not cover it."""
    return value if covers(operator, value) else None


def _chosen(resource: Resource, parsed: Parsed[Any], before: Any | None) -> Iterator[Violation]:
    """Violations for fields that the input chooses although they are generated or fixed."""
    if parsed.value is None:
        return
    names = resource.generated if before is None else (*resource.generated, *resource.fixed)
    for field in fields(resource.document):
        given = getattr(parsed.value, field.name)
        # A field that was left out has its default, which is no choice.
        if field.name not in names or given == field.default:
            continue
        if before is None:
            yield Violation(pointer(field.name), f"{shown(given)} is not allowed: it is generated, leave it out")
        elif given != getattr(before, field.name):
            kept = shown(getattr(before, field.name))
            yield Violation(pointer(field.name), f"{shown(given)} is not allowed: it is {kept} and cannot be changed")


def _renamed(resource: Resource, parsed: Parsed[Any], identifier: str) -> Sequence[Violation]:
    if parsed.value is None or resource.identity in resource.generated:
        return ()
    given = getattr(parsed.value, resource.identity)
    if resource.identifier(given) == identifier:
        return ()
    detail = f"{shown(given)} is not the {resource.identity} in the path, {shown(identifier)}: it cannot be changed"
    return [Violation(pointer(resource.identity), detail)]


def _valid(
    operator: Operator,
    resource: Resource,
    parsed: Parsed[Any],
    found: Sequence[Violation],
    snapshot: Snapshot,
    complete: Callable[[Any], Any],
) -> Any:
    """The object in the form that is stored. Raises InvalidConfiguration with every violation."""
    violations = [*parsed.violations, *found]
    if parsed.value is None:
        raise InvalidConfiguration(violations)
    value = canonical_or_same(resource, complete(parsed.value))
    before = snapshot.documents[resource.kind].get(getattr(value, resource.identity))
    value, unsettled = resource.settle(operator.sealer, before, value)
    violations += beside(violations, unsettled)
    candidate = snapshot.changed([Change(resource.kind, getattr(value, resource.identity), value)])
    violations += beside(violations, resource.check(value, candidate, operator.rules))
    if violations:
        raise InvalidConfiguration(violations)
    return value


def canonical_or_same(resource: Resource, value: Any) -> Any:
    """The stored form of `value`; itself where it breaks rules of its own, which are told of what was sent."""
    broken = any(True for _ in kinds.KINDS[resource.kind].violations(value))
    return value if broken else resource.canonical(value)


def beside(known: Sequence[Violation], more: Iterable[Violation]) -> Sequence[Violation]:
    """Those of `more` that are not about a place which is faulty anyway."""
    faulty = tuple(violation.pointer for violation in known if violation.pointer)
    return [v for v in more if not any(v.pointer == place or v.pointer.startswith(place + "/") for place in faulty)]


def _plan(
    operator: Operator, resource: Resource, action: str, snapshot: Snapshot, before: Any | None, after: Any | None
) -> Plan:
    kind = resource.kind
    identifier = getattr(after if after is not None else before, resource.identity)
    _permit(operator, resource, after)
    version = snapshot.version(kind, identifier)
    change = Change(kind, identifier, after)
    companions = resource.companions(snapshot, before, after)
    candidate = snapshot.changed([change, *companions])
    require_quotas(operator.rules.quotas, snapshot, candidate, [(before, after)])
    known = operator.capabilities() if operator.capabilities else None
    warnings = [] if after is None else list(resource.warnings(after, candidate, known))
    if before == after:
        return Plan(after, (), {"before": before}, tuple(warnings), version=version)
    warnings += [removed_override(snapshot.overrides[c.id]) for c in companions if c.kind == kinds.OVERRIDES]
    noted = audit.entry(action, kind, identifier, before, after)
    return Plan(after, [change, *companions], noted, tuple(warnings), version=version)


def removed_override(override: Override) -> Violation:
    """A warning that an override goes with what it acts on."""
    reason = f" ({override.reason})" if override.reason else ""
    return Violation("", f"override {override.id}, {override.effect}{reason}, goes with it")


def _permit(operator: Operator, resource: Resource, after: Any | None) -> None:
    if operator.actor.label is None:
        return
    if resource.kind != kinds.INSTANCES:
        operator.require_unrestricted(f"any {resource.noun}")
    if after is not None and not operator.sees(after.labels):
        raise NotPermitted(f"the token is for instances with the label {operator.actor.label}: it must have that label")
