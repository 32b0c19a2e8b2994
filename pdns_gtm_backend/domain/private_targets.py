"""Addresses that a probe must not reach unless the operator allows it: whoever may write a pool could otherwise use the
prober to look into its own host or the cloud's metadata service (server-side request forgery)."""

import ipaddress
from typing import Final

from pdns_gtm_backend.domain.names import canonical

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # Amazon, Azure, Google, OpenStack and others
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's platform: learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "fd00:ec2::254",  # Amazon over IPv6
        "fd20:ce::254",  # Google over IPv6
    )
)
THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Where in such an address the IPv4 address stands is up to each network (RFC 8215 section 5)."""


def refused_target(address: str) -> str | None:
    """Why `address` is not probed unless private targets are allowed, or None.

    Refused are loopback, link-local, site-local (RFC 3879), unspecified, multicast and broadcast addresses, those of
    metadata services, and the IPv6 forms that stand for such an IPv4 address (mapped, RFC 4291 section 2.5.5.2; NAT64,
    RFC 6052) or for one that nobody else can know (local-use NAT64, RFC 8215). Of names
    only `localhost` and those below it are (RFC 6761 section 6.3): what another one resolves to is judged at the probe.
    """
    kind = private_kind(address)
    return None if kind is None else f"{address} is {kind}: not probed unless GTM_ALLOW_PRIVATE_TARGETS=1"


def refused_receiver(address: str) -> str | None:
    """Why no alert is sent to `address`, by the same rules, or None."""
    kind = private_kind(address)
    return None if kind is None else f"{address} is {kind}: nothing is sent to it unless GTM_ALLOW_PRIVATE_TARGETS=1"


def private_kind(address: str) -> str | None:
    """What makes `address` one that `refused_target` refuses, None where nothing does."""
    try:
        parsed = _embedded(ipaddress.ip_address(address))
    except ValueError:
        name = canonical(address)
        return "the loopback name" if name == "localhost" or name.endswith(".localhost") else None
    return _kind(parsed)


def _embedded(address: IpAddress) -> IpAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _kind(address: IpAddress) -> str | None:
    if address in METADATA:
        return "the address of a cloud's metadata service"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.version == 6 and address.is_site_local:
        return "a site-local address"
    if address.version == 6 and address in LOCAL_NAT64:
        return "an address of a network's own NAT64"
    if address.is_unspecified or (address.version == 4 and address in THIS_NETWORK):
        return "an unspecified address"
    if address.is_multicast or address == BROADCAST:
        return "a multicast or broadcast address"
    return None
