"""What is purged after a change: whatever PowerDNS may hold, and whatever has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given

from pdns_gtm_backend.dns import answers, staleness
from pdns_gtm_backend.dns.answers import Question, Record, View, lookup
from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.purge import EVERYTHING
from pdns_gtm_backend.dns.staleness import Stale, stale_names
from pdns_gtm_backend.dns.zones import build
from pdns_gtm_backend.domain.client import NOWHERE, Network, Place, parse_network
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember, canonical_instance
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.serving import Serving, prepare
from pdns_gtm_backend.store.snapshot import Change, Position, empty
from tests.support.store import HISTORIES, down, instance, pool, put
from tests.support.strategies import bounded

AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example", ()),), "hostmaster.gtm.example")
ASKED = (
    *(f"gtm0000000{number}.gtm.example" for number in range(4)),
    *("www.shop.example", "api.shop.example", "a.b.shop.example", "mail.shop.example", "shop.example", "gtm.example"),
)
CLIENTS = ("203.0.113.9/32", "1.2.4.9/32", "2001:db8::1/128")
START = replace(empty(), position=Position("store", "history", 0))
History = Sequence[tuple[Sequence[Change], bool]]
Answers = Mapping[tuple[str, str, str], list[Record]]


def near(network: Network) -> Place:
    return Place("AS", "CN", asn=4134) if network.holds(parse_network("1.2.4.0/24")) else NOWHERE


def after(serving: Serving, changes: Sequence[Change]) -> Serving:
    snapshot = serving.snapshot.changed(changes, replace(START.position, revision=serving.snapshot.revision + 1))
    return serving.changed(snapshot, changes)


def answered(serving: Serving) -> Answers:
    """What PowerDNS is answered; draws are the same each time."""
    view = View(serving, build(serving, AUTHORITY), near, lambda: True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "random", lambda: 0.3)
        return {
            (name, rrtype, client): lookup(view, Question(name, rrtype, "127.0.0.1", client))
            for name in ASKED
            for rrtype in ("ANY", "A", "AAAA", "TXT")
            for client in CLIENTS
        }


def purged(name: str, listed: Sequence[str]) -> bool:
    """Does a purge of `listed` drop what PowerDNS holds for a name?"""
    below = [text.removesuffix("$") for text in listed if text.endswith("$")]
    return EVERYTHING in listed or name in listed or any(name == text or name.endswith(f".{text}") for text in below)


@pytest.mark.parametrize("most", [staleness.MAX_NAMES, 0])
@bounded
@given(HISTORIES, HISTORIES)
def test_what_powerdns_may_hold_and_has_changed_is_purged(most: int, history: History, later: History) -> None:
    before = prepare(START)
    for changes, _ in history:
        before = after(before, changes)
    for changes, _ in later:
        then = after(before, changes)
        with mock.patch.object(staleness, "MAX_NAMES", most):
            stale = stale_names(before, then, changes)
        old, new = answered(before), answered(then)
        for key, records in old.items():
            if records == new[key]:
                continue
            kept = all(record["scopeMask"] == 0 for record in records)
            assert purged(key[0], stale.names) or not kept, f"{key} was {records}, is {new[key]}"
            assert purged(key[0], (*stale.names, *stale.unkept)), f"{key} is kept at the edge"
        before = then


def by_line(identifier: str, *pools: str) -> Instance:
    """An instance whose answers depend on the client."""
    policies = tuple(
        AccessPolicy(name=line, lines=(line,), pool_sets=(PoolSet(pools=(SetMember(pool=name),)),))
        for line, name in zip(("AS-CN", "default"), pools, strict=True)
    )
    cname = f"{identifier}.gtm.example"
    return canonical_instance(Instance(id=identifier, name=identifier, cname=cname, policies=policies))


SCOPED, UNSCOPED = "gtm00000001.gtm.example", "gtm00000002.gtm.example"
FULL = after(
    prepare(START),
    [
        put(pool("a", "192.0.2.1", "192.0.2.2", health_checks=("web",))),
        put(pool("b", "192.0.2.3")),
        put(by_line("gtm00000001", "a", "b")),
        put(instance("gtm00000002", "a")),
    ],
)


def stale(*changes: Change, before: Serving = FULL) -> Stale:
    return stale_names(before, after(before, changes), changes)


def test_of_a_change_of_health_powerdns_holds_unscoped_answers_alone() -> None:
    assert stale(down("192.0.2.1")) == Stale([UNSCOPED], [SCOPED])


def test_powerdns_keeps_what_it_holds_where_very_many_scoped_answers_change_by_their_states() -> None:
    with mock.patch.object(staleness, "MAX_NAMES", 0):
        changes = [down("192.0.2.1")]
        assert stale(*changes) == Stale([EVERYTHING])
        without = after(FULL, [Change(kinds.INSTANCES, "gtm00000002", None)])
        assert stale(*changes, before=without) == Stale([], [EVERYTHING])
        closed = after(without, [put(replace(by_line("gtm00000001", "a", "a"), when_all_down="fail_closed"))])
        assert stale(*changes, before=closed) == Stale([EVERYTHING])
        assert stale(put(pool("a", "192.0.2.7")), before=without) == Stale([EVERYTHING])


def test_a_name_that_becomes_empty_or_another_instance_is_purged() -> None:
    assert SCOPED in stale(put(by_line("gtm00000001", "b", "a"))).names
    closed = after(FULL, [put(replace(by_line("gtm00000001", "a", "a"), when_all_down="fail_closed"))])
    first = after(closed, [down("192.0.2.1")])
    assert SCOPED in stale(down("192.0.2.2"), before=first).names


def test_after_a_whole_load_everything_is_purged() -> None:
    assert stale_names(FULL, FULL, None) == Stale([EVERYTHING], (), zones=True)
