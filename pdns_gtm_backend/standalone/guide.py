"""What `make run` prints when the system is up: what runs where, what to try, how to stop."""

from collections.abc import Iterator
from pathlib import Path

from pdns_gtm_backend.dns.pdns_conf import LOOPBACK
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone import demo
from pdns_gtm_backend.standalone.layout import Layout
from pdns_gtm_backend.standalone.parts import api_url, reachable


def guide(settings: Settings, layout: Layout, marker: demo.Marker | None, here: Path) -> str:
    """The text; paths are relative to `here` where they are below it."""
    lines = ["", "pdns-gtm is running. Ctrl-C stops all of it.", ""]
    lines += _places(settings, layout, here)
    if marker is not None and marker.cname is not None:
        lines += ["", *_demo(settings, layout, marker, marker.cname, here)]
    return "\n".join([*lines, "", ""])


def _places(settings: Settings, layout: Layout, here: Path) -> Iterator[str]:
    host = reachable(settings.listen)
    if settings.edge:
        yield f"  DNS        {host} port {settings.dns_port} (dnsdist, {shown(layout.edge / 'dnsdist.conf', here)})"
        yield f"  PowerDNS   {LOOPBACK} port {settings.pdns_port} ({shown(layout.pdns / 'pdns.conf', here)})"
    else:
        yield f"  DNS        {host} port {settings.dns_port} (PowerDNS, {shown(layout.pdns / 'pdns.conf', here)})"
    yield f"  admin API  {api_url(settings)}, token in {shown(layout.admin_token, here)}"
    yield f"  backend    http://{host}:{settings.backend_port}/readyz"
    yield f"  healthd    http://{host}:{settings.healthd_port}/readyz"
    yield f"  Redis      {shown(layout.redis_socket, here) if settings.embedded_redis else 'as GTM_REDIS_URL says'}"
    yield f"  logs       {shown(layout.logs, here)}/*.log; process ids in {shown(layout.run, here)}/*.pid"


def _demo(settings: Settings, layout: Layout, marker: demo.Marker, cname: str, here: Path) -> Iterator[str]:
    dig = f"dig @{reachable(settings.listen)} -p {settings.dns_port} {cname} +short"
    curl = f'curl -s -H "Authorization: Bearer $(cat {shown(layout.admin_token, here)})"'
    api = api_url(settings)
    identifier = cname.partition(".")[0]
    yield f"The demo: instance {demo.INSTANCE_NAME}, {cname}, with origins on port {marker.origin_port}"
    yield "  mainland China -> pool-a " + _addresses("a")
    yield "  everyone else  -> pool-b " + _addresses("b")
    yield "  both fail over -> pool-c " + _addresses("c")
    yield ""
    yield "Try, in another terminal:"
    yield f"  {dig} +subnet=1.2.4.0/24      # as a client in mainland China"
    yield f"  {dig} +subnet=8.8.8.0/24      # as a client elsewhere"
    yield f"  kill $(cat {shown(layout.pid_file(demo.part_name('a1')), here)})      # a1 dies: ask again"
    yield "  make origin ORIGIN=a1      # a1 comes back"
    yield f"  {curl} {api}/instances/{identifier}/status"
    yield f"  {curl} '{api}/simulate?name={cname}&type=A&client=1.2.4.8'"
    yield f"  pdnsutil --config-dir={shown(layout.pdns, here)} list-zone {settings.access_zone}"


def _addresses(letter: str) -> str:
    return ", ".join(f"{address} ({name})" for name, address in demo.ORIGINS.items() if name[0] == letter)


def shown(path: Path, here: Path) -> str:
    """`path` as a person would type it from `here`."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
