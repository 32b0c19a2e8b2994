"""`gtmctl doctor`: look at every part of an installation, and say what is wrong and what to do about it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from pdns_gtm_backend.cli import doctor_dns, doctor_pdns, doctor_redis, doctor_services
from pdns_gtm_backend.cli.doctor_places import DISTRIBUTION_FOLDER, Chosen, Places, Server, find_places, server_of
from pdns_gtm_backend.cli.doctor_report import (
    NOT_EXAMINED,
    PROBLEM,
    SKIPPED,
    WARNING,
    Finding,
    exit_code,
    report_text,
    verdict,
)
from pdns_gtm_backend.cli.doctor_services import Known, Readiness
from pdns_gtm_backend.cli.failures import USAGE, Failure
from pdns_gtm_backend.cli.session import Command, Session, in_session
from pdns_gtm_backend.domain.names import canonical

DEFAULT_ZONE: Final = "gtm.example"
DEFAULT_DNS: Final = Server("127.0.0.1", 5300)


class _Server(click.ParamType[Server]):
    name = "server"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Server:
        try:
            return value if isinstance(value, Server) else server_of(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Doctor(Command):
    """A command whose exit code 2 is a finding: wrong usage ends with another one."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            error.exit_code = NOT_EXAMINED  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            if failure.exit_code == USAGE:
                failure.exit_code = NOT_EXAMINED  # type: ignore[misc]
            raise


@click.command(
    "doctor",
    cls=_Doctor,
    epilog="Exit codes: 0 all is well, 1 warnings, 2 problems, 3 wrong usage or setting: nothing was looked at.",
)
@click.option(
    "--pdns-config",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of pdns.conf; $GTM_VAR/pdns or /etc/powerdns.",
)
@click.option("--redis", metavar="URL", help="GTM_REDIS_URL, GTM_REDIS_URL_FILE, or redis.sock in $GTM_VAR.")
@click.option("--backend", metavar="URL", help="http://127.0.0.1:8053, or the port in GTM_BACKEND_PORT.")
@click.option("--healthd", metavar="URL", help="http://127.0.0.1:8081, or the port in GTM_HEALTHD_PORT.")
@click.option(
    "--resolver",
    type=_Server(),
    metavar="IP[:PORT]",
    help="Ask it for the delegation and for service domains; without one they are skipped.",
)
@in_session
def doctor(session: Session, **chosen: Any) -> None:
    """Look at the whole installation: what is wrong, and what to do."""
    places = find_places(Chosen(**chosen), os.environ, Path.cwd())
    findings = examine(session, places)
    shown = {"verdict": verdict(findings), "findings": [asdict(finding) for finding in findings]}
    session.show(shown, lambda: report_text(findings, colour=session.colour))
    click.get_current_context().exit(exit_code(findings))


def examine(session: Session, places: Places) -> Sequence[Finding]:
    """Look at everything. Raises Failure where a setting is not usable."""
    admin = session.client.target.server
    urls = {"backend": places.backend, "admin": admin, "healthd": places.healthd}
    readiness = {name: doctor_services.ask_ready(url) for name, url in urls.items()}
    known, refused = _known(session, readiness["admin"])
    settings, read = _settings(places)
    dns = places.dns or (doctor_pdns.listens_at(settings) if settings else DEFAULT_DNS)
    zones = access_zones(places.access_zone, known)
    return [
        *(doctor_dns.judge_soa(zone, dns, doctor_dns.ask(dns, zone, "SOA", recursion=False)) for zone in zones),
        *read,
        *(finding for name, url in urls.items() for finding in doctor_services.judge_ready(name, url, readiness[name])),
        *doctor_services.judge_stores(readiness),
        *doctor_redis.examine(places.redis, places.write_replicas),
        doctor_services.judge_ping(doctor_services.may_ping(), bool(known and known.pinging)),
        *refused,
        *(doctor_services.judge_known(known) if known else ()),
        *_in_the_world(places.resolver, dns, zones, known),
    ]


def access_zones(configured: str | None, known: Known | None) -> Sequence[str]:
    """The zones that CNAME domain names lie in: those of the instances, and the one that new ones come to."""
    held = {canonical(str(instance["cname"])).partition(".")[2] for instance in (known.instances if known else ())}
    return sorted(held | {configured} if configured else held) or [DEFAULT_ZONE]


def _known(session: Session, admin: Readiness) -> tuple[Known | None, Sequence[Finding]]:
    if admin.error:
        return None, [Finding(SKIPPED, "api", "vantages, states and service domains are not known without admin")]
    try:
        return doctor_services.ask_api(session.client), ()
    except Failure as failure:
        return None, [
            Finding(
                PROBLEM, "api", ": ".join([failure.said, *(fault.detail for fault in failure.faults)]), failure.hint
            )
        ]


def _settings(places: Places) -> tuple[doctor_pdns.Settings | None, Sequence[Finding]]:
    """The settings of PowerDNS, and what is wrong with them."""
    folder = places.pdns_config
    if folder is None:
        found = f"there is none in $GTM_VAR/pdns and {DISTRIBUTION_FOLDER}"
        return None, [Finding(SKIPPED, "pdns.conf", found, "name its folder: --pdns-config DIR")]
    try:
        settings = doctor_pdns.read_settings(folder)
    except PermissionError as error:
        return None, [Finding(WARNING, "pdns.conf", f"{error.filename} may not be read", "run this as root")]
    except (OSError, ValueError) as error:
        return None, [Finding(PROBLEM, "pdns.conf", f"cannot be read: {error}", "name its folder: --pdns-config DIR")]
    control = places.control
    exists = control is not None and control.exists()
    seen = doctor_pdns.PowerDns(settings, places.threads, None if control is None else str(control.absolute()), exists)
    return settings, doctor_pdns.judge(seen)


def _in_the_world(
    resolver: Server | None, ours: Server, zones: Sequence[str], known: Known | None
) -> Iterator[Finding]:
    """What is seen from outside, by a resolver that the operator names."""
    if resolver is None:
        found = "delegation and service domains were not looked at"
        yield Finding(SKIPPED, "resolver", found, "name one: --resolver IP[:PORT]")
        return
    answering = False
    for zone in zones:
        seen = doctor_dns.ask(resolver, zone, "NS")
        answering = answering or not seen.error
        here = doctor_dns.ask(ours, zone, "NS", recursion=False)
        yield doctor_dns.judge_delegation(zone, resolver, seen, here)
    if known and answering:
        yield from doctor_dns.examine_domains(resolver, known.instances)
