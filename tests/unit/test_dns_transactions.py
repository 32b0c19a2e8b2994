import pytest

from pdns_gtm_backend.dns.answers import Question, View, lookup
from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.request import BadRequest
from pdns_gtm_backend.dns.transactions import IDLE_SECONDS, MAX_OPEN, Transactions
from pdns_gtm_backend.dns.zones import build
from pdns_gtm_backend.domain.client import NOWHERE
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import empty
from tests.support.documents import rrset, written

ZONE = "shop.example"
AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example"),), "hostmaster.gtm.example")
OLD = rrset(ZONE, "old.shop.example", "A", "192.0.2.1")
NEW = rrset(ZONE, "new.deep.shop.example", "A", "192.0.2.2")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def view(*documents: object) -> View:
    held = [Zone(name=ZONE, number=2), *documents]
    serving = prepare(empty().changed([written(document) for document in held]))  # type: ignore[arg-type]
    return View(serving, build(serving, AUTHORITY), lambda _: NOWHERE)


def contents(seen: View, name: str, rrtype: str = "A") -> list[str]:
    return [record["content"] for record in lookup(seen, Question(name, rrtype))]


def test_a_connection_sees_its_own_changes_and_nobody_else_does() -> None:
    transactions, base = Transactions(), view(OLD)
    transactions.start("one", 7, ZONE, replaces=False)
    transactions.start("other", 7, ZONE, replaces=False)
    transactions.get("one", 7).put(NEW.name, "A", NEW)
    transactions.get("one", 7).put(OLD.name, "A", None)
    mine = transactions.seen(base, "one")
    assert contents(mine, NEW.name) == ["192.0.2.2"]
    # What is above a new name exists from then on, without records.
    assert lookup(mine, Question("deep.shop.example", "ANY"))[0]["qtype"] == ""
    assert contents(mine, OLD.name) == []
    for connection in ("other", "third", ""):
        assert contents(transactions.seen(base, connection), OLD.name) == ["192.0.2.1"]
        assert contents(transactions.seen(base, connection), NEW.name) == []


def test_what_is_seen_follows_later_changes_of_both() -> None:
    transactions = Transactions()
    transactions.start("one", 7, ZONE, replaces=False)
    held = transactions.get("one", 7)
    held.put(NEW.name, "A", NEW)
    assert contents(transactions.seen(view(OLD), "one"), NEW.name) == ["192.0.2.2"]
    later = view(OLD, rrset(ZONE, "later.shop.example", "A", "192.0.2.3"))
    assert contents(transactions.seen(later, "one"), "later.shop.example") == ["192.0.2.3"]
    assert contents(transactions.seen(later, "one"), NEW.name) == ["192.0.2.2"]
    held.put(NEW.name, "A", None)
    assert contents(transactions.seen(later, "one"), NEW.name) == []
    assert contents(transactions.seen(later, "one"), OLD.name) == ["192.0.2.1"]


def test_a_replaced_zone_holds_what_was_fed_alone() -> None:
    transactions, base = Transactions(), view(OLD)
    transactions.start("one", 7, ZONE, replaces=True)
    held = transactions.get("one", 7)
    zone = base.zones.by_name[ZONE]
    assert held.held(zone, OLD.name, "A") is None
    held.put(NEW.name, "A", NEW)
    seen = transactions.seen(base, "one")
    assert contents(seen, OLD.name) == []
    assert contents(seen, NEW.name) == ["192.0.2.2"]
    assert contents(seen, ZONE, "NS") == ["ns1.gtm.example"]


def test_a_silent_transaction_ends() -> None:
    clock = Clock()
    transactions = Transactions(clock)
    transactions.start("one", 7, ZONE, replaces=False)
    clock.now += IDLE_SECONDS
    transactions.get("one", 7)
    clock.now += IDLE_SECONDS + 1
    with pytest.raises(BadRequest, match="no open transaction 7"):
        transactions.get("one", 7)
    assert len(transactions) == 0


def test_a_new_one_on_a_connection_ends_the_one_that_was_left_there() -> None:
    transactions = Transactions()
    transactions.start("one", 7, ZONE, replaces=False)
    transactions.start("one", 8, ZONE, replaces=False)
    with pytest.raises(BadRequest):
        transactions.get("one", 7)
    assert transactions.get("one", 8).zone == ZONE
    transactions.leave("one")
    assert len(transactions) == 0


def test_two_that_cannot_be_told_apart_are_not_mixed() -> None:
    transactions = Transactions()
    transactions.start("", 7, ZONE, replaces=False)
    with pytest.raises(BadRequest, match="open already"):
        transactions.start("", 7, ZONE, replaces=False)
    transactions.start("", 8, ZONE, replaces=False)
    assert len(transactions) == 2


def test_there_is_an_end_to_how_many_are_open() -> None:
    clock = Clock()
    transactions = Transactions(clock)
    for number in range(MAX_OPEN):
        transactions.start(str(number), 7, ZONE, replaces=False)
    with pytest.raises(BadRequest, match=f"{MAX_OPEN} transactions are open"):
        transactions.start("more", 7, ZONE, replaces=False)
    clock.now += IDLE_SECONDS + 1
    transactions.start("more", 7, ZONE, replaces=False)
    assert len(transactions) == 1


def test_a_refusal_is_remembered_once_and_only_where_one_is_open() -> None:
    transactions = Transactions()
    transactions.fail("one", 7, ValueError("nothing open"))
    transactions.start("one", 7, ZONE, replaces=False)
    transactions.fail("one", "7", ValueError("no number"))
    assert transactions.get("one", 7).failed == ""
    transactions.fail("one", 7, ValueError("first"))
    transactions.fail("one", 7, ValueError("second"))
    assert transactions.get("one", 7).failed == "first"
