import pytest

from pdns_gtm_backend.dns.authority import Nameserver, authority, parse_nameservers
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.settings import Settings


def test_default_nameserver_has_the_address_that_powerdns_listens_on() -> None:
    found = authority(Settings(access_zone="gtm.example", listen="127.0.0.1"))
    assert found.nameservers == (Nameserver("ns1.gtm.example", ("127.0.0.1",)),)
    assert found.hostmaster == "hostmaster.gtm.example"


@pytest.mark.parametrize("listen", ["0.0.0.0", "::"])
def test_a_wildcard_address_is_no_address_of_a_nameserver(listen: str) -> None:
    assert authority(Settings(listen=listen)).nameservers == (Nameserver("ns1.gtm.example"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("ns1.Example.COM. ns2.example.com", (Nameserver("ns1.example.com"), Nameserver("ns2.example.com"))),
        (
            "ns1.example.com=192.0.2.53,2001:DB8::53, ns2.example.com=192.0.2.54",
            (
                Nameserver("ns1.example.com", ("192.0.2.53", "2001:db8::53")),
                Nameserver("ns2.example.com", ("192.0.2.54",)),
            ),
        ),
    ],
)
def test_nameservers_with_addresses(text: str, expected: tuple[Nameserver, ...]) -> None:
    assert parse_nameservers(text) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nameservers": "192.0.2.1"}, "GTM_NAMESERVERS: '192.0.2.1' has no name before it"),
        ({"nameservers": "ns1..example"}, "GTM_NAMESERVERS: 'ns1..example' label '' is not allowed"),
        ({"nameservers": "ns1.example=192.0.2.300"}, "GTM_NAMESERVERS: '192.0.2.300'"),
        ({"hostmaster": "a b@example.com"}, "GTM_HOSTMASTER: 'a b@example.com' label 'a b' is not allowed"),
        ({"listen": "localhost"}, "GTM_LISTEN: 'localhost' is no IP address"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match="GTM_") as caught:
        authority(Settings(**settings))  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_apex_records_come_from_settings() -> None:
    found = authority(Settings(nameservers="ns1.dns.example ns2.dns.example", hostmaster="dns@ops.example"))
    soa, servers = found.apex(Zone(name="gtm.example", serial=7))
    assert soa.records == ("ns1.dns.example dns.ops.example 7 10800 3600 604800 60",)
    assert servers.records == ("ns1.dns.example", "ns2.dns.example")


def test_addresses_of_nameservers_are_in_the_closest_zone_only() -> None:
    found = authority(Settings(nameservers="ns1.gtm.example=192.0.2.53,2001:db8::53 ns2.elsewhere.example=192.0.2.54"))
    zones = {"example": None, "gtm.example": None}
    child = found.addresses(Zone(name="gtm.example"), zones)
    assert {name: [(s.type, s.records) for s in sets] for name, sets in child.items()} == {
        "ns1.gtm.example": [("A", ("192.0.2.53",)), ("AAAA", ("2001:db8::53",))]
    }
    assert set(found.addresses(Zone(name="example"), zones)) == {"ns2.elsewhere.example"}
