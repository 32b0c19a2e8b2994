"""What tests of the store share: small documents, random histories of them, and followers of a real Redis."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from pdns_gtm_backend.domain.alert import Alert
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.domain.line import Line, LineTable
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Address, Mode, Pool
from pdns_gtm_backend.domain.state import PolicyState, TargetState, policy_state_key
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.domain.zone import RRset, Zone
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.connection import Client
from pdns_gtm_backend.store.follower import Follower
from pdns_gtm_backend.store.repository import Commit, Repository, parse
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Snapshot

SECONDS: Final = 60.0
"""How long a test waits for what takes milliseconds on an idle machine."""


def pool(name: str = "pool-a", *addresses: str, **fields: Any) -> Pool:
    """An IPv4 pool."""
    held = tuple(Address(address=address) for address in addresses or ("192.0.2.1", "192.0.2.2"))
    return Pool(id=name, type="ipv4", addresses=held, **fields)


def instance(identifier: str = "gtm00000001", /, *pools: str, **fields: Any) -> Instance:
    """An instance of one policy whose sets are one pool each."""
    sets = tuple(PoolSet(pools=(SetMember(pool=held),)) for held in pools or ("pool-a",))
    policies = (AccessPolicy(name="world", lines=("default",), pool_sets=sets),)
    given = {"name": f"shop-{identifier}", "cname": f"{identifier}.gtm.example", "policies": policies} | fields
    return canonical_instance(Instance(id=identifier, **given))


def put(value: Any) -> Change:
    """The change that writes a document."""
    kind = KIND_OF[type(value)]
    identity = kinds.KINDS[kind].identity(value)
    assert identity is not None
    return Change(kind, identity, value)


def down(address: str, check: str = "web") -> Change:
    """The change that notes a target as down."""
    state = TargetState(health="down", since=1.0, reason="refused", vantages={"local": "down"})
    return Change(kinds.TARGET_STATES, target_key(check, address, None, None), state)


KIND_OF: Final[dict[type, str]] = {
    Instance: kinds.INSTANCES,
    Pool: kinds.POOLS,
    HealthCheck: kinds.HEALTH_CHECKS,
    Line: kinds.LINES,
    Zone: kinds.ZONES,
    RRset: kinds.RRSETS,
    Override: kinds.OVERRIDES,
    Alert: kinds.ALERTS,
}


def configured(repository: Repository, store_id: str, *documents: Any) -> int:
    """Write documents as configuration, whatever the configuration is by now."""
    revision = repository.load().configuration_revision
    return repository.commit(Commit([put(d) for d in documents], configuration_revision=revision), store_id)


def eventually(holds: Callable[[], object], seconds: float = SECONDS) -> float:
    """Wait until something holds; returns the seconds that it took. Fails after `seconds`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.002)
    return time.monotonic() - began


Heard = list[tuple[Serving, Sequence[Change] | None]]


@contextmanager
def following(client: Client, path: Path | None = None, heard: Heard | None = None) -> Iterator[Follower]:
    """A follower that follows. heard: filled with what its listeners are told."""
    listeners = [] if heard is None else [lambda serving, changes: heard.append((serving, changes))]
    follower = Follower(client, path, listeners)
    follower.start()
    try:
        assert follower.wait_until_following(SECONDS), follower.status
        yield follower
    finally:
        follower.stop()


def comparable(serving: Serving) -> dict[str, Any]:
    """Everything that a serving state holds, with line tables by what they hold."""
    return held(serving.snapshot) | {
        "views": dict(serving.pools),
        "served": {name: _served(view) for name, view in serving.instances.items()},
        "owners": {name: (view.instance.id, _served(view)) for name, view in serving.names.items()},
    }


def held(snapshot: Snapshot) -> dict[str, Any]:
    """Everything that a snapshot holds."""
    return {
        "position": snapshot.position,
        "configuration_revision": snapshot.configuration_revision,
        "documents": {kind: dict(documents) for kind, documents in snapshot.documents.items()},
        "versions": dict(snapshot.versions),
        "problems": dict(snapshot.problems),
        "indexes": {
            name: {key: sorted(members) for key, members in index.items()} for name, index in snapshot.indexes.items()
        },
    }


def _served(view: Any) -> tuple[Any, ...]:
    return (
        view.instance,
        _table(view.lines),
        dict(view.answers.views),
        dict(view.answers.choices),
        view.answers.families,
    )


def _table(table: LineTable) -> tuple[Any, ...]:
    return tuple(getattr(table, slot) for slot in LineTable.__slots__)


POOLS: Final = ("p0", "p1", "p2")
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
LINE_TEXTS: Final = ("AS", "AS-CN", "EU", "asn:4134", "cidr:203.0.113.0/24", "line:l0", "line:l1")
NAMES: Final = ("www.shop.example", "api.shop.example", "*.shop.example")
LABELS: Final = st.sampled_from([{}, {"site": "hz"}, {"site": "sh"}, {"site": "hz", "rack": "7"}])
MODES: Final[st.SearchStrategy[Mode]] = st.sampled_from(["auto", "auto", "online", "offline"])
NEEDED: Final[st.SearchStrategy[int | str]] = st.sampled_from([1, 2, "50%"])
MOMENTS: Final = st.none() | st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@st.composite
def _pools(draw: st.DrawFn) -> Pool:
    chosen = draw(st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=3))
    return Pool(
        id=draw(st.sampled_from(POOLS)),
        type="ipv4",
        strategy=draw(st.sampled_from(["all", "sequence"])),
        min_available=draw(NEEDED),
        enabled=draw(st.sampled_from([True, True, False])),
        health_checks=tuple(draw(st.lists(st.sampled_from(["c0", "c1"]), unique=True))),
        host=draw(st.none() | st.just("www.shop.example")),
        addresses=tuple(Address(address=a, mode=draw(MODES), labels=draw(LABELS)) for a in chosen),
    )


@st.composite
def _instances(draw: st.DrawFn) -> Instance:
    """Instances that name pools and lines that may not be there, and names that others may have too."""
    lines = draw(st.lists(st.sampled_from(LINE_TEXTS), unique=True, max_size=3))
    named = draw(
        st.lists(st.lists(st.sampled_from(POOLS), unique=True, min_size=1, max_size=2), min_size=1, max_size=2)
    )
    sets = tuple(PoolSet(pools=tuple(SetMember(pool=name) for name in names)) for names in named)
    world = AccessPolicy(name="world", lines=("default",), pool_sets=sets)
    near = (AccessPolicy(name="near", lines=tuple(lines), pool_sets=sets[::-1]),) if lines else ()
    identifier = draw(st.sampled_from(["gtm00000000", "gtm00000001", "gtm00000002"]))
    made = Instance(
        id=identifier,
        name=draw(st.sampled_from(["shop", "mail"])),
        cname=f"{identifier}.gtm.example",
        enabled=draw(st.sampled_from([True, True, False])),
        names=tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))),
        when_all_down=draw(st.sampled_from(["fail_open", "fail_closed"])),
        policies=(*near, world),
    )
    return canonical_instance(made)


@st.composite
def _overrides(draw: st.DrawFn) -> Override:
    selectors = [
        Selector(pool="p0"),
        Selector(address="192.0.2.1"),
        Selector(label="site=hz"),
        Selector(pool="p1", address="192.0.2.2"),
        Selector(address="192.0.2.3", label="rack=7"),
    ]
    of_policy = draw(st.booleans())
    policy = Selector(instance=draw(st.sampled_from(["gtm00000000", "gtm00000001"])), policy="world")
    return Override(
        id=draw(st.sampled_from(["o0", "o1", "o2"])),
        selector=policy if of_policy else draw(st.sampled_from(selectors)),
        effect="pin" if of_policy else draw(st.sampled_from(["offline", "online", "failed"])),
        set=draw(st.sampled_from(["default", "failover", "gone"])) if of_policy else None,
        created=draw(MOMENTS),
    )


TARGET_STATES: Final = st.builds(
    lambda check, address, host, health: Change(
        kinds.TARGET_STATES, target_key(check, address, host, None), TargetState(health=health, since=1.0)
    ),
    st.sampled_from(["c0", "c1"]),
    st.sampled_from(ADDRESSES),
    st.sampled_from([None, "www.shop.example"]),
    st.sampled_from(["up", "down", "unknown"]),
)
POLICY_STATES: Final = st.builds(
    lambda name, policy, chosen: Change(
        kinds.POLICY_STATES, policy_state_key(name, policy, "ipv4"), PolicyState(set=chosen, since=1.0)
    ),
    st.sampled_from(["gtm00000000", "gtm00000001"]),
    st.sampled_from(["world", "near"]),
    st.sampled_from(["default", "failover", "gone"]),
)
CUSTOM_LINES: Final = st.builds(
    Line,
    id=st.sampled_from(["l0", "l1"]),
    members=st.lists(st.sampled_from(["NA-US", "asn:4837", "cidr:198.51.100.0/24"]), unique=True, min_size=1).map(
        tuple
    ),
)
CHECKS: Final = st.builds(
    HealthCheck, id=st.sampled_from(["c0", "c1"]), protocol=st.just("http"), interval=st.integers(1, 9)
)
ZONES: Final = st.builds(Zone, name=st.just("shop.example"), number=st.integers(1, 3))
RRSETS: Final = st.builds(
    RRset,
    zone=st.just("shop.example"),
    name=st.sampled_from(["www.shop.example", "mail.shop.example"]),
    type=st.sampled_from(["TXT", "MX"]),
    records=st.just(("x",)),
)
WRITES: Final = st.one_of(
    _pools().map(put),
    _instances().map(put),
    _overrides().map(put),
    TARGET_STATES,
    POLICY_STATES,
    CUSTOM_LINES.map(put),
    CHECKS.map(put),
    ZONES.map(put),
    RRSETS.map(put),
)
CHANGES: Final = st.builds(
    lambda change, gone: replace(change, value=None) if gone else change,
    WRITES,
    st.integers(0, 3).map(lambda n: n == 0),
)
HISTORIES: Final = st.lists(st.tuples(st.lists(CHANGES, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8)
"""Commits: changes, and whether they are a write of configuration."""


def applied(history: Iterable[Sequence[Change]]) -> dict[str, dict[str, Any]]:
    """The documents after a history, kept the plainest way."""
    documents: dict[str, dict[str, Any]] = {kind: {} for kind in kinds.KINDS}
    for changes in history:
        for change in changes:
            documents[change.kind].pop(change.id, None)
            if change.value is not None:
                documents[change.kind][change.id] = change.value
    return documents


def caught_up(followed: Follower, repository: Repository) -> bool:
    """Does the follower stand where the store does?"""
    return followed.serving.snapshot.position == repository.position()


def settled(followed: Follower, repository: Repository) -> dict[str, Any]:
    """What the follower holds once it holds what the store does, which a whole load must equal."""
    eventually(lambda: caught_up(followed, repository))
    patched = comparable(followed.serving)
    assert patched == comparable(prepare(parse(repository.load())))
    return patched
