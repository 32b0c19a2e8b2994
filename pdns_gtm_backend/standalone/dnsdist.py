"""dnsdist as a part of the system: its configuration and how it is started."""

from functools import partial

from pdns_gtm_backend.operations.edge_conf import edge_address, edge_secret, render
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone.layout import Layout, Unusable, write_private
from pdns_gtm_backend.standalone.plan import Part
from pdns_gtm_backend.standalone.ready import dns_ready


def part(settings: Settings, layout: Layout, program: str) -> Part:
    """dnsdist in front of PowerDNS. Writes its configuration. Raises Unusable where a setting does not fit into it."""
    try:
        configuration, address = render(settings), edge_address(settings)
    except ValueError as error:
        raise Unusable(str(error)) from None
    edge_secret(layout.edge)
    write_private(layout.edge / "dnsdist.conf", configuration)
    return Part(
        "dnsdist",
        (program, "--supervised", "--disable-syslog", "-C", str(layout.edge / "dnsdist.conf")),
        after=("pdns",),
        ready=partial(dns_ready, address, settings.dns_port, settings.access_zone),
    )
