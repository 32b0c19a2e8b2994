"""The parts of the system: their commands, their order, and the files that they start from."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Final

from pdns_gtm_backend.dns import listening
from pdns_gtm_backend.dns.pdns_conf import LOOPBACK, render
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone import demo, dnsdist
from pdns_gtm_backend.standalone.layout import Layout, Unusable, redis_configuration, write_private
from pdns_gtm_backend.standalone.plan import Part
from pdns_gtm_backend.standalone.ready import dns_ready, http_ready, redis_ready

SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps servers; not in the PATH of every user."""
REDIS_GRACE_SECONDS: Final = 10.0


def program(name: str, path: str) -> str:
    """The full name of a program. Raises Unusable where it is not installed."""
    found = shutil.which(name, path=f"{path}:{SYSTEM_FOLDERS}")
    if found is None:
        raise Unusable(f"{name} is not installed; as root: deploy/install-packages run")
    return found


def reachable(listen: str) -> str:
    """An address at which a server that listens on `listen` is reached from here."""
    try:
        unspecified = ip_address(listen).is_unspecified
    except ValueError:
        return listen
    if not unspecified:
        return listen
    return "::1" if ":" in listen else "127.0.0.1"


def api_url(settings: Settings) -> str:
    """Where the admin API is."""
    host = reachable(settings.listen)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.admin_port}/api/v1"


def child_environment(settings: Settings, layout: Layout, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of every part: that of this process, with what the supervisor has decided."""
    return {
        "GTM_ALLOW_PRIVATE_TARGETS": "1",
        **environment,
        "GTM_VAR": str(layout.var),
        "GTM_REDIS_URL": settings.redis_url or f"unix://{layout.redis_socket}",
        "GTM_BACKEND_SECRET": settings.backend_secret,
        "GTM_PDNS_CONTROL": str(settings.pdns_control or ""),
        "PYTHONUNBUFFERED": "1",
    }


def build(settings: Settings, layout: Layout, marker: demo.Marker | None, path: str) -> Mapping[str, Part]:
    """Every part by name, in the order in which they start; marker: of the demo, None = no demo.

    Writes the configuration of Redis and of PowerDNS. Raises Unusable where a program is missing in `path`, or a
    setting cannot be written into them.
    """
    parts = [*_redis(settings, layout, path), *_own(settings), _pdns(settings, layout, path)]
    if settings.edge:
        parts.append(dnsdist.part(settings, layout, program("dnsdist", path)))
    if marker is not None:
        parts += _demo(settings, layout, marker)
    return {part.name: part for part in parts}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _redis(settings: Settings, layout: Layout, path: str) -> Iterator[Part]:
    if not settings.embedded_redis:
        return
    configuration = layout.redis / "redis.conf"
    write_private(configuration, redis_configuration(layout))
    yield Part(
        "redis",
        (program("redis-server", path), str(configuration)),
        ready=partial(redis_ready, f"unix://{layout.redis_socket}"),
        grace=REDIS_GRACE_SECONDS,
    )


def _own(settings: Settings) -> Iterator[Part]:
    after = ("redis",) if settings.embedded_redis else ()
    modules = {
        "backend": ("pdns_gtm_backend.dns", settings.backend_port),
        "admin": ("pdns_gtm_backend.admin", settings.admin_port),
        "healthd": ("healthd", settings.healthd_port),
    }
    for name, (module, port) in modules.items():
        ready = partial(http_ready, reachable(settings.listen), port)
        if name == "backend":
            command = _python(module, listening.LISTENING_ARGUMENT)
            yield Part(name, command, after=after, ready=ready, listen=partial(listening.make, settings))
        else:
            yield Part(name, _python(module), after=after, ready=ready)


def _pdns(settings: Settings, layout: Layout, path: str) -> Part:
    try:
        configuration = render(settings, layout.pdns)
    except ValueError as error:
        raise Unusable(str(error)) from None
    write_private(layout.pdns / "pdns.conf", configuration)
    place = (LOOPBACK, settings.pdns_port) if settings.edge else (reachable(settings.listen), settings.dns_port)
    # The access zone is made by admin, and PowerDNS reads the list of zones when it starts.
    return Part(
        "pdns",
        (program("pdns_server", path), f"--config-dir={layout.pdns}", "--daemon=no", "--guardian=no"),
        after=("backend", "admin"),
        ready=partial(dns_ready, *place, settings.access_zone),
    )


def _demo(settings: Settings, layout: Layout, marker: demo.Marker) -> Iterator[Part]:
    origins = {demo.part_name(name): (name, address) for name, address in demo.ORIGINS.items()}
    for part, (name, address) in origins.items():
        command = _python("pdns_gtm_backend.standalone.origin", name, address, str(marker.origin_port))
        yield Part(part, command, restart=False, ready=partial(demo.answers, address, marker.origin_port))
    if marker.cname is None:
        yield Part(
            "demo",
            _python("pdns_gtm_backend.standalone", "load-demo", str(layout.var), api_url(settings)),
            after=("admin", "healthd", "pdns", *origins),
            restart=False,
            ready=partial(demo.is_loaded, layout),
        )
