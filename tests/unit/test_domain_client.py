import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pdns_gtm_backend.domain.client import Network, parse_network
from tests.support.strategies import bounded, clients


def as_library(network: Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(str(network))


@bounded
@given(clients(), st.integers(0, 128))
def test_truncation_is_the_supernet(network: Network, length: int) -> None:
    cut = network.truncated(length)
    assert cut.length == min(length, network.length)
    assert as_library(cut) == as_library(network).supernet(new_prefix=cut.length)
    assert cut.truncated(length) == cut


@bounded
@given(clients(), clients())
def test_holds_is_being_a_subnet(one: Network, other: Network) -> None:
    left, right = as_library(one), as_library(other)
    expected = left.version == right.version and right.subnet_of(left)  # type: ignore[arg-type]
    assert one.holds(other) == expected


@bounded
@given(clients())
def test_text_of_a_network_reads_back(network: Network) -> None:
    assert parse_network(str(network)) == network


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::7/56", "2001:db8::/56"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
        ("fe80::1%eth0", "fe80::1/128"),
    ],
)
def test_networks_are_read(text: str, shown: str) -> None:
    assert str(parse_network(text)) == shown


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.0/33", "192.0.2.0/-1", "example", "::1/129", "192.0.2.0/x"])
def test_what_is_no_network_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_network(text)


@bounded
@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.tuples(st.ip_addresses().map(str), st.integers(-1, 129)).map(lambda parts: f"{parts[0]}/{parts[1]}"),
        st.text("0123456789abf:./", max_size=12),
    )
)
def test_what_is_read_fast_is_read_as_the_library_reads_it(text: str) -> None:
    try:
        expected = ipaddress.ip_interface(text).network
    except ValueError:
        with pytest.raises(ValueError, match=r"\S"):
            parse_network(text)
        return
    assume(expected.version == 4 or expected.prefixlen < 96)
    assert as_library(parse_network(text)) == expected
