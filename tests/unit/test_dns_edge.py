"""What the edge must know, kept in proportion to changes."""

from dataclasses import replace

from pdns_gtm_backend.dns.edge import Plan
from pdns_gtm_backend.domain.client import parse_network
from pdns_gtm_backend.domain.instance import Instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.pool import Pool
from pdns_gtm_backend.domain.state import PolicyState
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Snapshot, empty
from tests.support.documents import deleted, instance, policy, pool, written

CHINA, DEFAULT = ("country", "CN"), policy("rest", "default", "p")
POOL = pool("p", "ipv4", "192.0.2.1", "192.0.2.2")
ONE = instance("one", policy("china", "AS-CN", "p"), DEFAULT, names=("www.one.example", "*.one.example"))
TWO = instance("two", policy("net", "cidr:203.0.113.16/28", "p"), policy("eu", "EU", "p"), DEFAULT)
THREE = instance("three", policy("telecom", "line:telecom", "p"), DEFAULT)
DRAIN = Override(id="drain", selector=Selector(pool="p"), effect="offline")
TELECOM = Line(id="telecom", members=("asn:4134",))


def after(before: Serving, plan: Plan, *changes: Change) -> tuple[Serving, Plan]:
    serving = before.changed(before.snapshot.changed(changes), changes)
    return serving, plan.changed(before, serving, changes)


def started(*documents: Instance | Pool) -> tuple[Serving, Plan]:
    serving = prepare(empty().changed([written(document) for document in documents]))
    return serving, started_from(serving.snapshot)


def started_from(snapshot: Snapshot) -> Plan:
    serving = prepare(snapshot)
    return Plan().changed(serving, serving, None)


def test_names_are_regional_where_regions_are_made_for_their_lines() -> None:
    _, plan = started(POOL, ONE, TWO)
    assert sorted(plan.regional_names(plan.terms())) == ["one.gtm.example", "two.gtm.example", "www.one.example"]
    assert sorted(plan.regional_names(frozenset({CHINA}))) == ["one.gtm.example", "www.one.example"]
    assert plan.regional_names(frozenset()) == []


def test_a_plan_is_patched_to_what_it_would_be_made_to() -> None:
    serving, plan = started(POOL, ONE)
    weighted = replace(POOL, strategy="weighted")
    for changes in (
        [written(TWO)],
        [Change(kinds.LINES, "telecom", TELECOM), written(THREE)],
        [Change(kinds.LINES, "telecom", replace(TELECOM, members=("asn:4837", "AS-JP")))],
        [written(weighted)],
        [written(POOL)],
        [deleted(ONE)],
    ):
        serving, plan = after(serving, plan, *changes)
        assert plan.instances == started_from(serving.snapshot).instances
    assert ("country", "JP") in plan.terms()
    assert CHINA not in plan.terms()


def test_a_state_changes_nothing() -> None:
    serving, plan = started(POOL, ONE)
    fewer = replace(POOL, addresses=POOL.addresses[:1])
    assert after(serving, plan, written(fewer))[1] is plan
    assert plan.changed(serving, serving, None) is plan
    state = Change(kinds.POLICY_STATES, "one|rest|ipv4", PolicyState(set="default", since=0, reason="first decision"))
    assert after(serving, plan, state, Change(kinds.OVERRIDES, "drain", DRAIN))[1] is plan


def test_of_what_is_drawn_only_the_finest_lines_matter() -> None:
    _, plan = started(replace(POOL, strategy="weighted"), TWO)
    assert plan.terms() == {("cidr", parse_network("203.0.113.16/28"))}
    assert plan.regional_names(plan.terms()) == []
