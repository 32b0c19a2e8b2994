"""Hypothesis strategies that build valid documents, and whole configurations with states and overrides.

Lines, networks and places come from a small world, so that clients, lines and each other meet often.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from hypothesis import HealthCheck as Slowness
from hypothesis import settings
from hypothesis import strategies as st

from pdns_gtm_backend.domain.answer import ServedInstance, serve
from pdns_gtm_backend.domain.availability import PoolView, view_pool
from pdns_gtm_backend.domain.client import Network, Place, parse_network
from pdns_gtm_backend.domain.health_check import (
    PORTLESS,
    DnsCheck,
    ExternalCheck,
    HealthCheck,
    HttpCheck,
    PingCheck,
    Protocol,
)
from pdns_gtm_backend.domain.instance import (
    FAMILIES,
    AccessPolicy,
    Instance,
    InstanceKind,
    PoolSet,
    SetMember,
    canonical_instance,
    set_names,
)
from pdns_gtm_backend.domain.line import Line, parse_line
from pdns_gtm_backend.domain.override import Effect, Override, Selector
from pdns_gtm_backend.domain.pool import Address, Family, Mode, Pool, Strategy
from pdns_gtm_backend.domain.state import Health, PolicyState, TargetState, policy_state_key
from pdns_gtm_backend.domain.target import targets_of
from pdns_gtm_backend.domain.zone import RRset, Zone
from tests.support.catalog import MemoryCatalog, catalog

T = TypeVar("T")

ACCESS_ZONE: Final = "gtm.example"
HOSTED_ZONE: Final = "shop.example"
NOW: Final = 1_700_000_000.0


def examples(count: int, *unchecked: Slowness) -> settings:
    """So many examples a test, in proportion more by a profile that has more than 100 (tests/conftest.py).

    unchecked: Hypothesis's health checks that the test fails on purpose.
    """
    scaled = max(1, count * settings().max_examples // 100)
    return settings(max_examples=scaled, suppress_health_check=[Slowness.too_slow, *unchecked])


bounded: Final = examples(100)
"""For tests of a few milliseconds an example."""
bounded_few: Final = examples(50)
"""For tests of whole configurations, which take tens of milliseconds to draw."""

IDENTIFIERS: Final = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
DOMAIN_NAMES: Final = st.from_regex(
    r"([A-Za-z0-9_]([A-Za-z0-9_-]{0,8}[A-Za-z0-9_])?\.){1,3}[A-Za-z]{2,6}\.?", fullmatch=True
)
DISPLAY_NAMES: Final = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9 ._/-]{0,10}[A-Za-z0-9])?", fullmatch=True)
TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
LABELS: Final = st.dictionaries(
    st.sampled_from(["site", "rack", "isp"]), st.sampled_from(["hz", "sh", "7"]), max_size=2
)
TIMES: Final = st.floats(NOW - 10_000, NOW, allow_nan=False)
WEIGHTS: Final = st.one_of(st.integers(0, 3), st.integers(0, 1000))

COUNTRIES: Final[Mapping[str, str]] = {"CN": "AS", "JP": "AS", "DE": "EU", "US": "NA", "CA": "NA"}
SUBDIVISIONS: Final[Mapping[str, Sequence[str]]] = {"US": ("CA", "TX"), "CN": ("BJ",), "CA": ("ON",)}
ASNS: Final = (4134, 4837, 64500)
GEOS: Final = (
    *("AS", "EU", "NA"),
    *(f"{continent}-{country}" for country, continent in COUNTRIES.items()),
    *(f"{COUNTRIES[country]}-{country}-{part}" for country, parts in SUBDIVISIONS.items() for part in parts),
)
CORNERS: Final = (
    *("203.0.113.0", "203.0.113.77", "203.0.113.200", "203.0.112.9", "198.51.100.5"),
    *("2001:db8::", "2001:db8:0:ff::7", "2001:db8:0:100::1", "2001:db9::1"),
)
LENGTHS: Final[Mapping[int, Sequence[int]]] = {
    4: (8, 16, 20, 23, 24, 25, 26, 28, 31, 32),
    6: (20, 32, 48, 55, 56, 57, 64, 100, 128),
}

FLIPS: Final = st.sampled_from([0, 0, 1, 1 << 4, 1 << 7, 1 << 9, 1 << 72])


@st.composite
def networks(draw: st.DrawFn, lengths: Mapping[int, Sequence[int]] = LENGTHS) -> Network:
    """Networks around a few addresses, of the lengths given for each IP version."""
    address = parse_network(draw(st.sampled_from(CORNERS)))
    bits = address.bits ^ draw(FLIPS)
    if address.version == 4:
        bits &= 0xFFFF_FFFF
    return replace(address, bits=bits).truncated(draw(st.sampled_from(lengths[address.version])))


def hosts() -> st.SearchStrategy[Network]:
    """Whole addresses of clients."""
    return networks({4: (32,), 6: (128,)})


def clients() -> st.SearchStrategy[Network]:
    """Networks as clients have them: whole, truncated by a resolver, or withheld (/0)."""
    return networks({4: (0, *LENGTHS[4], 32, 32), 6: (0, *LENGTHS[6], 128, 128)})


@st.composite
def places(draw: st.DrawFn) -> Place:
    """Places of the small world, of every precision that a database may have."""
    country = draw(st.sampled_from(["", *COUNTRIES]))
    continent = COUNTRIES[country] if country else draw(st.sampled_from(["", "AS", "EU", "SA"]))
    subdivision = draw(st.sampled_from(["", *SUBDIVISIONS.get(country, ()), "ZZ"])) if country else ""
    return Place(continent, country, subdivision, draw(st.sampled_from([0, *ASNS, 65000])))


@st.composite
def line_texts(draw: st.DrawFn) -> str:
    """Lines but `default` and custom ones: of one term, or of up to three joined by `&` in any order."""
    kinds = draw(TERM_KINDS)
    return "&".join(draw(TERMS[kind]) for kind in kinds)


TERMS: Final[Mapping[str, st.SearchStrategy[str]]] = {
    "geo": st.sampled_from(GEOS),
    "asn": st.sampled_from([f"asn:{number}" for number in ASNS]),
    "cidr": networks().map(lambda network: f"cidr:{network}"),
}
TERM_KINDS: Final = st.lists(st.sampled_from(sorted(TERMS)), min_size=1, max_size=3, unique=True)


def identity(text: str) -> object:
    """Equal for lines that mean the same."""
    return parse_line(text).identity


def distinct_lines(max_size: int) -> st.SearchStrategy[list[str]]:
    """Lines that do not overlap."""
    return st.lists(line_texts(), max_size=max_size, unique_by=identity)


@st.composite
def custom_lines(draw: st.DrawFn, identifier: str | None = None) -> Line:
    """Custom lines."""
    members = draw(st.lists(line_texts(), min_size=1, max_size=4, unique_by=identity))
    return Line(id=identifier or draw(IDENTIFIERS), name=draw(st.none() | DISPLAY_NAMES), members=tuple(members))


HTTP_CHECKS: Final = st.builds(
    HttpCheck,
    method=st.just("GET"),
    path=st.sampled_from(["/", "/healthz", "/a?b=%20&c=~d"]),
    headers=st.dictionaries(
        st.sampled_from(["User-Agent", "X-Check", "accept"]), st.sampled_from(["", "gtm", "*/*"]), max_size=2
    ),
    expect_status=st.sampled_from(["200", "200-399", "200,204, 301-302", "100-599"]),
    expect_body=st.none() | st.just("ok"),
    follow_redirects=st.booleans(),
    tls_verify=st.booleans(),
)


DNS_CHECKS: Final = st.builds(DnsCheck, name=st.just("shop.example"), expect_answer=st.none() | st.just(("192.0.2.1",)))
EXTERNAL_CHECKS: Final = st.builds(ExternalCheck, when_expired=st.sampled_from(["keep", "up", "down"]))
VANTAGE_SELECTORS: Final = st.sampled_from(["ber", "hz-1", "country=CN", "isp=China Telecom"])


@st.composite
def health_checks(draw: st.DrawFn, identifier: str | None = None) -> HealthCheck:
    """Health checks of every protocol."""
    protocol: Protocol = draw(st.sampled_from(["ping", "tcp", "http", "https", "dns", "external"]))
    needs_port = protocol == "tcp" or (protocol not in PORTLESS and draw(st.booleans()))
    vantages = draw(st.none() | st.lists(VANTAGE_SELECTORS, min_size=1, max_size=4, unique=True).map(tuple))
    return HealthCheck(
        id=identifier or draw(IDENTIFIERS),
        protocol=protocol,
        port=draw(st.integers(1, 65535)) if needs_port else None,
        interval=draw(st.sampled_from([1, 2.5, 10, 86400])),
        timeout=draw(st.sampled_from([0.1, 3, 60])),
        fast_interval=draw(st.none() | st.sampled_from([1, 4])),
        fall=draw(st.integers(1, 5)),
        rise=draw(st.integers(1, 5)),
        quorum=draw(st.sampled_from([0, 0.2, 1 / 3, 0.5, 0.58, 0.66, 0.99])),
        vantages=vantages,
        min_vantages=draw(st.none() | st.integers(1, len(vantages) if vantages else 4)),
        http=draw(st.none() | HTTP_CHECKS) if protocol in ("http", "https") else None,
        ping=draw(st.none() | st.builds(PingCheck, count=st.integers(1, 20))) if protocol == "ping" else None,
        dns=draw(DNS_CHECKS) if protocol == "dns" else None,
        external=draw(st.none() | EXTERNAL_CHECKS) if protocol == "external" else None,
    )


ADDRESS_TEXTS: Final[Mapping[Family, Callable[[int], str]]] = {
    "ipv4": lambda number: f"192.0.2.{number + 1}",
    "ipv6": lambda number: f"2001:db8:a::{number + 1:x}",
    "domain": lambda number: f"origin{number}.cdn.example",
}
MODES: Final[st.SearchStrategy[Mode]] = st.sampled_from(["auto", "auto", "auto", "online", "offline"])
STRATEGIES: Final[st.SearchStrategy[Strategy]] = st.sampled_from(["all", "weighted", "sequence", "sticky"])


@st.composite
def pools(
    draw: st.DrawFn,
    identifier: str | None = None,
    family: Family | None = None,
    checks: Sequence[str] = (),
    strategy: Strategy | None = None,
) -> Pool:
    """Pools in canonical form; `checks` are the health checks that they may name."""
    kind: Family = draw(st.sampled_from(["ipv4", "ipv6", "domain"])) if family is None else family
    numbers = draw(st.lists(st.integers(0, 9), max_size=6, unique=True))
    share = st.integers(1, 100).map(lambda percent: f"{percent}%")
    addresses = tuple(
        Address(address=ADDRESS_TEXTS[kind](n), weight=draw(WEIGHTS), mode=draw(MODES), labels=draw(LABELS))
        for n in numbers
    )
    return Pool(
        id=identifier or draw(IDENTIFIERS),
        type=kind,
        strategy=draw(STRATEGIES) if strategy is None else strategy,
        min_available=draw(st.just(1) | st.integers(1, 7) | share),
        max_answers=draw(st.none() | (st.just(1) if kind == "domain" else st.integers(1, 4))),
        enabled=draw(st.sampled_from([True, True, True, False])),
        health_checks=tuple(draw(st.lists(st.sampled_from(checks), unique=True, max_size=3))) if checks else (),
        require=draw(st.sampled_from(["all", "any"])),
        host=draw(st.none() | st.just("www.shop.example")),
        sni=draw(st.none() | st.just("shop.example")),
        addresses=addresses,
    )


@dataclass(frozen=True)
class Configuration:
    """One instance and everything that it names, with states and overrides over it."""

    instance: Instance
    catalog: MemoryCatalog
    target_states: Mapping[str, TargetState]
    policy_states: Mapping[str, PolicyState]

    @property
    def overrides(self) -> tuple[Override, ...]:
        """What operators set at run time."""
        return self.catalog.overrides

    def pool_view(self, identifier: str) -> PoolView | None:
        """The pool as states and overrides make it."""
        pool = self.catalog.pools.get(identifier)
        return None if pool is None else view_pool(pool, self.target_states, self.overrides)

    def served(self) -> ServedInstance:
        """The instance made ready to answer."""
        return serve(self.instance, self.catalog.lines, self.pool_view, self.policy_states, self.overrides)


@st.composite
def pool_sets(draw: st.DrawFn, held: Mapping[str, Pool], must: Sequence[str] = ()) -> PoolSet:
    """Sets over the pools `held`, `must` among them; every family has a pool of weight above 0."""
    chosen = draw(st.permutations(sorted({*must, *draw(st.lists(st.sampled_from(sorted(held)), max_size=3))})))
    chosen = chosen or [draw(st.sampled_from(sorted(held)))]
    weights = {name: draw(WEIGHTS) for name in chosen}
    for family in {held[name].type for name in chosen}:
        of_family = [name for name in chosen if held[name].type == family]
        if not any(weights[name] for name in of_family):
            weights[of_family[0]] = 1
    members = tuple(SetMember(pool=name, weight=weights[name]) for name in chosen)
    return PoolSet(pools=members, sticky=draw(st.booleans()))


@st.composite
def instances(draw: st.DrawFn, held: Mapping[str, Pool], custom: Mapping[str, Line], kind: InstanceKind) -> Instance:
    """Instances over the pools `held` and custom lines that do not overlap."""
    taken = {identity(member) for line in custom.values() for member in line.members}
    plain = [text for text in draw(distinct_lines(6)) if identity(text) not in taken]
    texts = [*plain, *(f"line:{name}" for name in custom), "default"]
    groups = _grouped(draw, draw(st.permutations(texts)), 4)
    by_family = {family: [n for n in sorted(held) if held[n].type == family] for family in FAMILIES[kind]}
    policies = []
    for index, group in enumerate(groups):
        must = [draw(st.sampled_from(names)) for names in by_family.values() if names] if "default" in group else []
        sets = [draw(pool_sets(held, must if position == 0 else ())) for position in range(draw(st.integers(1, 3)))]
        policies.append(
            AccessPolicy(
                name=f"policy-{index}",
                lines=tuple(group),
                pool_sets=tuple(sets),
                failback=draw(st.sampled_from(["auto", "manual"])),
                failback_delay=draw(st.sampled_from([0, 30.5])),
            )
        )
    return canonical_instance(
        Instance(
            id="gtm12345678",
            name="shop",
            cname=f"gtm12345678.{ACCESS_ZONE}",
            kind=kind,
            ttl=draw(st.sampled_from([1, 60])),
            service_domains=tuple(draw(st.lists(st.just("www.customer.example"), max_size=1))),
            names=tuple(draw(st.lists(st.sampled_from([f"www.{HOSTED_ZONE}", f"*.{HOSTED_ZONE}"]), unique=True))),
            when_all_down=draw(st.sampled_from(["fail_open", "fail_closed"])),
            labels=draw(LABELS),
            policies=tuple(policies),
        )
    )


def _grouped(draw: st.DrawFn, texts: Sequence[T], limit: int) -> list[list[T]]:
    groups: list[list[T]] = [[] for _ in range(draw(st.integers(1, min(limit, len(texts)))))]
    for index, text in enumerate(texts):
        groups[index if index < len(groups) else draw(st.integers(0, len(groups) - 1))].append(text)
    return groups


HEALTHS: Final[st.SearchStrategy[Health]] = st.sampled_from(["up", "up", "down", "down", "unknown"])


def target_states() -> st.SearchStrategy[TargetState]:
    """Health of targets."""
    seen = st.dictionaries(IDENTIFIERS, st.sampled_from(["up", "down"]), max_size=2)
    return st.builds(TargetState, health=HEALTHS, since=TIMES, reason=TEXTS, vantages=seen)


def policy_states(sets: Sequence[str]) -> st.SearchStrategy[PolicyState]:
    """States of policies; now and then of a set that is gone."""
    names = st.sampled_from([*sets, *sets, "gone"])
    return st.builds(PolicyState, set=names, since=TIMES, reason=TEXTS, previous=st.none() | names)


MOMENTS: Final = st.none() | st.integers(0, 2**31).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@st.composite
def overrides(draw: st.DrawFn, held: Mapping[str, Pool], instance: Instance) -> Override:
    """Overrides of something that there is."""
    effect: Effect = draw(st.sampled_from(["offline", "online", "failed", "pin", "failback"]))
    policy = draw(st.sampled_from(instance.policies))
    of_policy = effect in ("pin", "failback")
    return Override(
        id=draw(IDENTIFIERS),
        selector=Selector(instance=instance.id, policy=policy.name) if of_policy else draw(_address_selectors(held)),
        effect=effect,
        set=draw(st.sampled_from(set_names(policy))) if effect == "pin" else None,
        reason=draw(TEXTS),
        owner=draw(TEXTS),
        until=draw(MOMENTS),
        created=draw(MOMENTS),
    )


@st.composite
def _address_selectors(draw: st.DrawFn, held: Mapping[str, Pool]) -> Selector:
    pool = draw(st.sampled_from(list(held.values())))
    label = draw(st.none() | st.sampled_from(["site=hz", "rack=7"]))
    name = draw(st.none() | st.just(pool.id))
    address = draw(st.none() | st.sampled_from(pool.addresses)) if pool.addresses else None
    if label is None and name is None and address is None:
        return Selector(pool=pool.id)
    return Selector(pool=name, address=address.address if address else None, label=label)


@st.composite
def configurations(draw: st.DrawFn, max_overrides: int = 3, kind: InstanceKind | None = None) -> Configuration:
    """Valid configurations of one instance, in any state."""
    kinds: list[InstanceKind] = ["address", "address", "domain"]
    wanted: InstanceKind = draw(st.sampled_from(kinds)) if kind is None else kind
    checks = {name: draw(health_checks(name)) for name in ("web", "ping")[: draw(st.integers(0, 2))]}
    families = draw(st.lists(st.sampled_from(FAMILIES[wanted]), min_size=1, max_size=5))
    held = {f"pool-{i}": draw(pools(f"pool-{i}", family, sorted(checks))) for i, family in enumerate(families)}
    custom = _without_overlap([draw(custom_lines(f"line-{i}")) for i in range(draw(st.integers(0, 2)))])
    instance = draw(instances(held, custom, wanted))
    zones = [Zone(name=ACCESS_ZONE, kind="access"), Zone(name=HOSTED_ZONE)]
    keys = sorted({target.key for pool in held.values() for target in targets_of(pool, checks)})
    states = {key: draw(target_states()) for key in keys if draw(st.integers(0, 4))}
    decided = {
        policy_state_key(instance.id, policy.name, family): draw(policy_states(set_names(policy)))
        for policy in instance.policies
        for family in FAMILIES[wanted]
        if draw(st.booleans())
    }
    layered = draw(st.lists(overrides(held, instance), max_size=max_overrides, unique_by=lambda o: o.id))
    documents = catalog(instance, *held.values(), *checks.values(), *custom.values(), *zones, *layered)
    return Configuration(instance, documents, states, decided)


def _without_overlap(lines: Sequence[Line]) -> dict[str, Line]:
    taken: set[object] = set()
    kept = {}
    for line in lines:
        members = tuple(text for text in line.members if identity(text) not in taken)
        if members:
            kept[line.id] = replace(line, members=members)
            taken.update(identity(text) for text in members)
    return kept


@st.composite
def zones(draw: st.DrawFn) -> Zone:
    """Zones."""
    return Zone(
        name=draw(DOMAIN_NAMES),
        kind=draw(st.sampled_from(["access", "hosted"])),
        number=draw(st.integers(0, 2**31 - 1)),
        serial=draw(st.integers(0, 2**32 - 1)),
    )


@st.composite
def rrsets(draw: st.DrawFn) -> RRset:
    """Static records as documents; their contents are no records of their type."""
    return RRset(
        zone=HOSTED_ZONE,
        name=f"{draw(st.sampled_from(['www', 'mail', '*']))}.{HOSTED_ZONE}",
        type=draw(st.sampled_from(["A", "TXT", "MX"])),
        ttl=draw(st.integers(0, 2**31 - 1)),
        records=tuple(draw(st.lists(TEXTS, min_size=1, max_size=3))),
    )
