"""Zone files: what is read of them, and what is to be done to bring them into a zone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.cli.zone_file import Records, is_later, parse_zone_file, same, steps
from tests.support.strategies import bounded

ZONE = "shop.example"
TEXT = """\
$TTL 300
$ORIGIN shop.example.
@       IN SOA ns1 hostmaster 7 3600 600 604800 300
        IN NS  ns1
        IN NS  ns2.other.example.
ns1     IN A   192.0.2.53
WWW 60  IN CNAME gtm12345678.gtm.example.
text    IN TXT "a b" "c"
*.dev   IN AAAA 2001:DB8::1
ns1     IN RRSIG A 8 3 300 20300101000000 20200101000000 1 shop.example. AAAA
"""


def records(name: str, rrtype: str, *contents: str, ttl: int = 300) -> Records:
    return Records(name, rrtype, ttl, contents)


def soa(serial: int, ttl: int = 300, contact: str = "hostmaster") -> Records:
    return records(ZONE, "SOA", f"ns1.{ZONE}. {contact}.{ZONE}. {serial} 3600 600 604800 300", ttl=ttl)


def test_a_zone_file_is_read_as_sets_of_records() -> None:
    found, left_out = parse_zone_file(TEXT, ZONE)
    assert left_out == ["RRSIG"]
    assert {one.key: (one.ttl, one.records) for one in found} == {
        (ZONE, "SOA"): (300, (f"ns1.{ZONE}. hostmaster.{ZONE}. 7 3600 600 604800 300",)),
        (ZONE, "NS"): (300, (f"ns1.{ZONE}.", "ns2.other.example.")),
        (f"ns1.{ZONE}", "A"): (300, ("192.0.2.53",)),
        (f"www.{ZONE}", "CNAME"): (60, ("gtm12345678.gtm.example.",)),
        (f"text.{ZONE}", "TXT"): (300, ('"a b" "c"',)),
        (f"*.dev.{ZONE}", "AAAA"): (300, ("2001:db8::1",)),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("www IN A nope\n", "line 2 or the one before: "),
        ("www IN A\n", "line "),
        ("$TTL 60\n\nwww IN NONSENSE x\n", "line "),
        ("www 60 IN CNAME a.\nwww 60 IN A 192.0.2.1\n", "a CNAME is beside other records at its name"),
        ("$INCLUDE /etc/passwd\n", "line "),
    ],
)
def test_a_text_that_is_no_zone_file_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="^" + said):
        parse_zone_file(text, ZONE)


def test_names_of_other_zones_are_no_part_of_it() -> None:
    found, _ = parse_zone_file("$TTL 60\nwww.other.example. IN A 192.0.2.1\nwww IN A 192.0.2.2\n", ZONE)
    assert [one.name for one in found] == [f"www.{ZONE}"]


def test_what_is_there_in_another_writing_is_no_step() -> None:
    held = [
        records(ZONE, "MX", "10 mail.shop.example"),
        records("a.shop.example", "AAAA", "2001:db8::1", "2001:db8::2"),
        records("t.shop.example", "TXT", '"x"'),
    ]
    wanted = [
        records(ZONE, "MX", "10 MAIL.shop.example."),
        records("a.shop.example", "AAAA", "2001:0db8::2", "2001:db8:0::1"),
        records("t.shop.example", "TXT", "x"),
    ]
    assert steps(held, wanted, replace=True) == []
    assert not same(held[0], records(ZONE, "MX", "10 mail.shop.example", ttl=60))


def test_deletions_come_first_and_the_soa_last() -> None:
    held = [records("www.shop.example", "CNAME", "a.example"), records("old.shop.example", "A", "192.0.2.1"), soa(5)]
    wanted = [soa(9), records("zzz.shop.example", "A", "192.0.2.2"), records("www.shop.example", "A", "192.0.2.3")]
    done = [(step.action, *step.records.key) for step in steps(held, wanted, replace=True)]
    assert done == [
        ("delete", "www.shop.example", "CNAME"),
        ("delete", "old.shop.example", "A"),
        ("create", "www.shop.example", "A"),
        ("create", "zzz.shop.example", "A"),
        ("update", ZONE, "SOA"),
    ]
    assert [step.action for step in steps(held, wanted, replace=False)] == ["create", "create", "update"]


def test_a_zone_without_an_soa_in_the_file_keeps_its_own() -> None:
    assert steps([soa(5)], [], replace=True) == []


@pytest.mark.parametrize(
    ("held", "wanted", "serial"),
    [(5, 9, 9), (9, 5, None), (5, 5, None), (2**32 - 1, 3, 3), (3, 2**32 - 1, None)],
)
def test_a_serial_only_goes_forward(held: int, wanted: int, serial: int | None) -> None:
    done = steps([soa(held)], [soa(wanted)], replace=False)
    assert [step.records.records[0].split()[2] for step in done] == ([] if serial is None else [str(serial)])
    (changed,) = steps([soa(held)], [soa(wanted, contact="admin")], replace=False)
    assert changed.records.records[0].split()[1:3] == ["admin.shop.example.", str(held if serial is None else serial)]


@bounded
@given(st.integers(0, 2**32 - 1), st.integers(1, 2**31 - 1))
def test_serials_are_compared_as_on_a_circle(serial: int, ahead: int) -> None:
    later = (serial + ahead) % 2**32
    assert is_later(later, serial)
    assert not is_later(serial, later)
    assert not is_later(serial, serial)


SETS = st.lists(
    st.builds(
        records,
        st.sampled_from(["a.shop.example", "b.shop.example", ZONE]),
        st.sampled_from(["A"]),
        st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        ttl=st.sampled_from([60, 300]),
    ),
    unique_by=lambda one: one.key,
    max_size=3,
)


@bounded
@given(SETS, SETS, st.booleans())
def test_the_steps_lead_from_what_is_held_to_what_is_wanted(
    held: list[Records], wanted: list[Records], replace: bool
) -> None:
    zone = {one.key: one for one in held}
    for step in steps(held, wanted, replace=replace):
        assert (step.action == "create") == (step.records.key not in zone)
        if step.action == "delete":
            del zone[step.records.key]
        else:
            zone[step.records.key] = step.records
    after = {one.key: one for one in wanted}
    assert zone == (after if replace else {one.key: one for one in held} | after)
    assert steps(list(zone.values()), wanted, replace=replace) == []
