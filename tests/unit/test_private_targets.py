"""Which addresses a probe refuses to reach."""

import pytest

from pdns_gtm_backend.domain.private_targets import refused_target


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("localhost", "loopback"),
        ("LocalHost.", "loopback"),
        ("a.localhost", "loopback"),
        ("169.254.10.20", "link-local"),
        ("::ffff:169.254.10.20", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
        ("64:ff9b::a9fe:a9fe", "metadata"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("::ffff:168.63.129.16", "metadata"),
        ("64:ff9b:1::a9fe:a9fe", "NAT64"),
        ("64:ff9b:1:ffff::1", "NAT64"),
        ("fec0::1", "site-local"),
        ("feff:ffff::1", "site-local"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
    ],
)
def test_refused_with_the_kind_and_the_way_out(address: str, kind: str) -> None:
    refusal = refused_target(address)
    assert refusal is not None
    assert kind in refusal
    assert address in refusal
    assert "GTM_ALLOW_PRIVATE_TARGETS=1" in refusal


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.100.100.201",
        "169.253.255.255",
        "169.255.0.1",
        "128.0.0.1",
        "2001:db8::1",
        "fd00:ec2::253",
        "64:ff9b::c000:201",
        "64:ff9b:2::1",
        "168.63.129.17",
        "fe00::1",
        "www.shop.example",
        "notlocalhost",
        "localhost.example",
    ],
)
def test_probed(address: str) -> None:
    assert refused_target(address) is None
