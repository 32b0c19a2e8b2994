"""What an instance answers: one function from a client's network to addresses, prepared when the snapshot changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from typing import Final, Literal

from pdns_gtm_backend.domain.availability import PoolView, SetView, view_set
from pdns_gtm_backend.domain.client import Network, Place
from pdns_gtm_backend.domain.instance import FAMILIES, AccessPolicy, Instance, set_names
from pdns_gtm_backend.domain.line import Expression, Line, LineTable, Match, expand_line
from pdns_gtm_backend.domain.override import Override, policy_override
from pdns_gtm_backend.domain.pool import RECORD_TYPES, Family
from pdns_gtm_backend.domain.selection import Random, draw_pool, draws_nothing, select, stable_key
from pdns_gtm_backend.domain.state import PolicyState, policy_state_key
from pdns_gtm_backend.domain.switchover import effective_index

Rule = Literal["set", "pinned_unavailable", "fail_open", "fail_closed", "other_policy", "none", "disabled"]
"""How an answer came about: from an available set; from a pinned set that is not available; by an all-down rule; from
another policy's available set, since this one has nothing to give; or not at all."""


@dataclass(frozen=True, slots=True)
class PolicyView:
    """One policy for one family: its sets that carry it, the one in effect, and what it gives by itself.

    effective: index into `sets`, None where no set is available. state: what healthd decided last.
    """

    policy: AccessPolicy
    family: Family
    sets: tuple[SetView, ...]
    effective: int | None
    pinned: str | None
    state: PolicyState | None

    @property
    def set_name(self) -> str | None:
        """The name of the set in effect."""
        return None if self.effective is None else self.sets[self.effective].name


@dataclass(frozen=True, slots=True)
class Choice:
    """What one policy answers for one family, ready to be drawn from.

    pools: drawn from by weight, or by the client where `sticky`. fixed: all of these instead, where a rule says so.
    source: the policy and the set that the addresses belong to.
    """

    rule: Rule
    source: tuple[str, str] | None = None
    pools: tuple[PoolView, ...] = ()
    keys: tuple[int, ...] = ()
    weights: tuple[int, ...] = ()
    sticky: bool = False
    fixed: tuple[str, ...] = ()

    def draw(self, client: Network, random: Random) -> Sequence[str]:
        """The addresses of one answer; none where the rule is that there is no data."""
        if self.fixed:
            return self.fixed
        if not self.pools:
            return ()
        view = draw_pool(self.pools, self.keys, self.weights, client if self.sticky else None, random)
        return view.constant or [address.address for address in select(view.pool, view.answerable, client, random)]


MAX_RECORDS: Final = 1000
"""Of an answer that holds all of a set: more would not fit into a DNS message (RFC 1035 section 4.2.2)."""
NOTHING: Final = Choice("none")
DISABLED: Final = Choice("disabled")
NO_DATA: Final = frozenset({"none", "fail_closed"})


@dataclass(frozen=True, slots=True)
class Answers:
    """What an instance answers until a state changes: one choice per policy and family.

    families: those that hold an answer for every client; the same for all, whatever their line.
    asked: those of `families` that a question of a type asks for; no entry = none.
    uniform: is an answer the same for all clients, and at every time until a state changes? By configuration alone.
    """

    views: Mapping[Family, tuple[PolicyView, ...]]
    choices: Mapping[Family, tuple[Choice, ...]]
    families: tuple[Family, ...]
    uniform: bool = False
    asked: Mapping[str, tuple[Family, ...]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", _asked(self.families))

    def addresses(self, family: Family, match: Match | None, client: Network, random: Random) -> Sequence[str]:
        """The addresses of one answer; the same emptiness for every client (`families`)."""
        if family not in self.families:
            return ()
        return self.choices[family][0 if match is None else match.owner].draw(client, random)


@dataclass(frozen=True, slots=True, eq=False)
class ServedInstance:
    """An instance made ready to answer: its lines as a table, and its answers, which may be prepared when they are
    asked for first.
    """

    instance: Instance
    lines: LineTable
    _answers: Answers | Callable[[], Answers]

    @property
    def answers(self) -> Answers:
        """What it answers. Two threads that ask first at once prepare the same."""
        held = self._answers
        if isinstance(held, Answers):
            return held
        prepared = held()
        object.__setattr__(self, "_answers", prepared)
        return prepared

    def choice(self, family: Family, owner: int) -> Choice:
        """What the policy at an index gives; nothing of an instance that is disabled."""
        return self.answers.choices[family][owner] if self.instance.enabled else DISABLED

    def scope(self, client: Network) -> int:
        """Prefix length that an answer to `client` holds for. Depends on configuration alone."""
        return self.lines.scope(client)

    def match(self, client: Network, place: Place) -> Match | None:
        """The line that decides; `client` must be truncated to its scope. None only in a broken document."""
        return self.lines.match(client, place)


@lru_cache
def _asked(families: tuple[Family, ...]) -> Mapping[str, tuple[Family, ...]]:
    return {"ANY": families} | {RECORD_TYPES[family]: (family,) for family in families}


def serve(
    instance: Instance,
    lines: Mapping[str, Line],
    pools: Callable[[str], PoolView | None],
    states: Mapping[str, PolicyState],
    overrides: Iterable[Override] = (),
    table: LineTable | None = None,
    *,
    later: bool = False,
) -> ServedInstance:
    """Prepare `instance`. What it names and is not there, or does not parse, is left out: the rest is answered.

    table: its lines, where they are known already; None = they are made from `lines`. later: prepare its answers when
    they are asked for; `pools` and `states` must not change.
    """
    found = line_table(instance, lines) if table is None else table
    prepared = partial(_prepared, instance, pools, states, tuple(overrides))
    return ServedInstance(instance, found, prepared if later else prepared())


def _prepared(
    instance: Instance,
    pools: Callable[[str], PoolView | None],
    states: Mapping[str, PolicyState],
    overrides: Sequence[Override],
) -> Answers:
    families = FAMILIES[instance.kind]
    views = {
        family: tuple(_view_policy(instance, policy, family, pools, states, overrides) for policy in instance.policies)
        for family in families
    }
    default = _default_policy(instance)
    choices = {family: _choices(instance, default, views[family]) for family in families}
    answered = tuple(f for f in families if instance.enabled and choices[f][0].rule not in NO_DATA)
    return Answers(views, choices, answered, _is_uniform(instance, views))


def _is_uniform(instance: Instance, views: Mapping[Family, Sequence[PolicyView]]) -> bool:
    """One policy, sets of one pool for a family, and pools that nothing is drawn from."""
    if len(instance.policies) != 1:
        return False
    sets = [pool_set for listed in views.values() for view in listed for pool_set in view.sets]
    return all(len(s.members) == 1 and draws_nothing(s.members[0][0].pool) for s in sets)


def line_table(instance: Instance, lines: Mapping[str, Line]) -> LineTable:
    """The lines of an instance's policies; a match's owner is the policy's index."""
    return LineTable(
        (expression, Match(index, text, expression.text))
        for index, policy in enumerate(instance.policies)
        for text in policy.lines
        for expression in _expanded(text, lines)
    )


def _expanded(text: str, lines: Mapping[str, Line]) -> Iterator[Expression]:
    try:
        yield from expand_line(text, lines)
    except ValueError:
        return


def _default_policy(instance: Instance) -> int:
    return next((index for index, policy in enumerate(instance.policies) if "default" in policy.lines), 0)


def _view_policy(
    instance: Instance,
    policy: AccessPolicy,
    family: Family,
    pools: Callable[[str], PoolView | None],
    states: Mapping[str, PolicyState],
    overrides: Sequence[Override],
) -> PolicyView:
    named = zip(policy.pool_sets, set_names(policy), strict=True)
    sets = tuple([view for s, name in named if (view := view_set(s, name, family, pools)).members])
    pin = policy_override(instance.id, policy.name, "pin", overrides)
    pinned = pin.set if pin else None
    state = states.get(policy_state_key(instance.id, policy.name, family))
    effective = effective_index(sets, state.set if state else None, pinned)
    return PolicyView(policy, family, sets, effective, pinned, state)


def _choices(instance: Instance, default: int, views: Sequence[PolicyView]) -> tuple[Choice, ...]:
    """One choice for each policy: every one gives addresses, or none does."""
    closed = instance.when_all_down == "fail_closed"
    if all(s.empty for view in views for s in view.sets):
        return (NOTHING,) * len(views)
    if closed and not any(s.available for view in views for s in view.sets):
        return (Choice("fail_closed"),) * len(views)
    own = tuple(_own_choice(view) for view in views)
    lacking = {"none", "fail_open"} if closed else {"none"}
    if not any(choice.rule in lacking for choice in own):
        return own
    order = sorted(range(len(views)), key=lambda index: index != default)
    lent = _lent_choice([views[index] for index in order], [own[index] for index in order])
    return tuple(lent if choice.rule in lacking else choice for choice in own)


def _lent_choice(views: Sequence[PolicyView], own: Sequence[Choice]) -> Choice:
    """What a policy gives that has nothing of its own: what the first policy gives that answers from an available set,
    else a set that is available though its policy is pinned to another, else what the first gives that gives anything.
    """
    held_back = (_drawn("set", view.policy.name, s) for view in views for s in view.sets if s.available)
    lent = next((choice for choice in own if choice.rule == "set"), None) or next(held_back, None)
    if lent is not None:
        return replace(lent, rule="other_policy")
    return next(choice for choice in own if choice.rule != "none")


def _own_choice(view: PolicyView) -> Choice:
    """What a policy gives from its own sets: from the one in effect, else all of the first that is not empty."""
    name = view.policy.name
    if view.effective is not None:
        chosen = view.sets[view.effective]
        if not chosen.available and not chosen.empty:
            return _everything("pinned_unavailable", name, chosen)
        available = chosen if chosen.available else next((s for s in view.sets if s.available), None)
        if available is not None:
            return _drawn("set", name, available)
    filled = next((s for s in view.sets if not s.empty), None)
    return NOTHING if filled is None else _everything("fail_open", name, filled)


def _drawn(rule: Rule, policy: str, chosen: SetView, members: Sequence[tuple[PoolView, int]] = ()) -> Choice:
    members = members or chosen.drawn
    return Choice(
        rule,
        (policy, chosen.name),
        pools=tuple(view for view, _ in members),
        keys=tuple(stable_key(view.pool.id) for view, _ in members),
        weights=tuple(weight for _, weight in members),
        sticky=chosen.sticky,
    )


def _everything(rule: Rule, policy: str, chosen: SetView) -> Choice:
    """All addresses of a set but the offline ones; of names only one can be answered, so it is drawn."""
    members = [(view, weight) for view, weight in chosen.members if view.remaining]
    if members[0][0].pool.type == "domain":
        weighted = [member for member in members if member[1]] or members
        return _drawn(rule, policy, chosen, weighted)
    addresses = dict.fromkeys(address.address for view, _ in members for address in view.remaining)
    fixed = tuple(islice(addresses, MAX_RECORDS))
    return Choice(rule, (policy, chosen.name), pools=tuple(view for view, _ in members), fixed=fixed)


def record_type(family: Family) -> str:
    """The record type that a family's addresses are answered as."""
    return RECORD_TYPES[family]
