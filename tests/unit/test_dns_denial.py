import dns.dnssec
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.authority import Authority, Nameserver
from pdns_gtm_backend.dns.denial import Hashing, Orders, hashed, hashing_of, order
from pdns_gtm_backend.dns.zones import ServedZone, build
from pdns_gtm_backend.domain.record import canonical_order, name_labels, written_name
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.store.serving import prepare
from pdns_gtm_backend.store.snapshot import empty
from tests.support.documents import instance, policy, pool, rrset, written
from tests.support.strategies import bounded

ZONE = "shop.example"
AUTHORITY = Authority("gtm.example", (Nameserver("ns1.gtm.example"),), "hostmaster.gtm.example")
LABELS = st.binary(min_size=1, max_size=12).filter(bool)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(
    lambda labels: written_name(dns.name.Name([*labels, b""]).to_text())
)


def zone(*documents: object) -> ServedZone:
    held = [Zone(name=ZONE, number=2), *documents]
    serving = prepare(empty().changed([written(document) for document in held]))  # type: ignore[arg-type]
    return build(serving, AUTHORITY).by_name[ZONE]


def static(*names: str) -> ServedZone:
    return zone(*(rrset(ZONE, f"{name}.{ZONE}", "A", "192.0.2.1") for name in names))


def test_the_order_of_the_rfc() -> None:
    """The example of RFC 4034 section 6.1."""
    listed = [
        "example",
        "a.example",
        "yljkjljk.a.example",
        "Z.a.example",
        "zABC.a.EXAMPLE",
        "z.example",
        "\\001.z.example",
        "*.z.example",
        "\\200.z.example",
    ]
    assert sorted(map(written_name, reversed(listed)), key=canonical_order) == [written_name(name) for name in listed]


def test_the_hashes_of_the_rfc() -> None:
    """Appendix A of RFC 5155."""
    hashing = Hashing(12, bytes.fromhex("aabbccdd"))
    assert hashed(name_labels("example"), hashing) == b"0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"
    assert hashed(name_labels("a.example"), hashing) == b"35mthgpgcu1qg68fab165klnsnk3dpvl"
    assert hashed(name_labels("*.w.example"), hashing) == b"r53bq7cc2uvmubfu5ocmm6pers9tk9en"


@bounded
@given(NAMES, st.integers(0, 3), st.binary(max_size=4))
def test_hashes_are_those_of_dnspython(name: str, iterations: int, salt: bytes) -> None:
    theirs = dns.dnssec.nsec3_hash(dns.name.from_text(name), salt.hex() or None, iterations, 1)
    assert hashed(name_labels(name), Hashing(iterations, salt)).decode() == theirs.lower()


@bounded
@given(st.lists(NAMES, min_size=1, max_size=12, unique=True), NAMES)
def test_neighbours_are_the_closest_names(names: list[str], asked: str) -> None:
    held = ["", *names]
    found = order(static(*names), None).around(asked)
    ranked = sorted(held, key=canonical_order)
    at_or_before = [name for name in ranked if canonical_order(name) <= canonical_order(asked)]
    after = [name for name in ranked if canonical_order(name) > canonical_order(asked)]
    assert found.before == at_or_before[-1]
    assert found.after == (after or ranked)[0]


@bounded
@given(NAMES, NAMES)
def test_dnspython_orders_names_the_same(one: str, other: str) -> None:
    theirs = dns.name.from_text(one) < dns.name.from_text(other)
    assert (canonical_order(one) < canonical_order(other)) is theirs


def test_what_is_delegated_away_is_in_no_order_and_empty_names_only_by_hash() -> None:
    served = zone(
        rrset(ZONE, "sub.shop.example", "NS", "ns.sub.shop.example"),
        rrset(ZONE, "ns.sub.shop.example", "A", "192.0.2.1"),
        rrset(ZONE, "deep.empty.shop.example", "TXT", '"x"'),
        pool("a", "ipv4", "192.0.2.1"),
        instance("gtm00000001", policy("world", "default", "a"), names=("www.shop.example", "*.w.shop.example")),
    )
    assert list(order(served, None).names) == ["", "deep.empty", "sub", "*.w", "www"]
    assert set(order(served, Hashing(0, b"")).names) == {"", "deep.empty", "empty", "sub", "*.w", "w", "www"}


def test_an_order_is_kept_while_the_names_are_the_same() -> None:
    orders, served = Orders(), static("a")
    first = orders.of(served, None)
    assert orders.of(served, None) is first
    assert orders.of(served, Hashing(0, b"")) is not first
    more = served.with_static("b.shop.example", (rrset(ZONE, "b.shop.example", "A", "192.0.2.1"),))
    assert list(orders.of(more, None).names) == ["", "a", "b"]


def test_a_zone_is_found_by_its_number_as_zones_come_and_go() -> None:
    orders = Orders()
    one, other = zone(), zone()
    assert orders.zone({ZONE: one}, 2) is one
    assert orders.zone({ZONE: other}, 2) is other
    assert orders.zone({ZONE: one}, 3) is None
    assert orders.zone({}, 2) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [((), None), (("1 0 0 -",), Hashing(0, b"")), (("1 1 5 ab12",), Hashing(5, b"\xab\x12"))],
)
def test_parameters_in_metadata(values: tuple[str, ...], expected: Hashing | None) -> None:
    assert hashing_of({"NSEC3PARAM": values}) == expected


@pytest.mark.parametrize("text", ["", "1 0 0", "1 0 x -", "1 0 0 xyz", "1 0 501 -", "1 0 -1 -"])
def test_wrong_parameters_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="NSEC3PARAM"):
        hashing_of({"NSEC3PARAM": [text]})
