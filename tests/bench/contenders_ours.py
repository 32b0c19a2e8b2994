"""pdns-gtm by each of its transports, and what the same PowerDNS with a plain Flask application costs."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, ClassVar

from pdns_gtm_backend.dns.pdns_conf import render
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import AccessPolicy, Instance, PoolSet, SetMember
from pdns_gtm_backend.domain.pool import Address, Pool
from pdns_gtm_backend.domain.state import Health, TargetState
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.repository import Commit, Repository
from pdns_gtm_backend.store.snapshot import Change
from tests.bench.contender import Contender, Semantics
from tests.bench.processes import Server
from tests.bench.scenario import TTL, ZONE, Service
from tests.support.dns_system import DnsSystem, running_system, system_settings
from tests.support.ports import accepts
from tests.support.powerdns import wait_for

CHECK = "web"
HEALTH_CHECK = Change(kinds.HEALTH_CHECKS, CHECK, HealthCheck(id=CHECK, protocol="tcp", port=80))


Place = tuple[str, str, Sequence[str]]
"""A policy's name, its line and the addresses that it leads to."""


def documents(service: Service, *more: Place, check: str | None = CHECK) -> list[Change]:
    """What an operator would have written for a service, and healthd would have found: all is up."""
    places = _places(service, more)
    policies = tuple(
        AccessPolicy(
            name=place,
            lines=(line,),
            pool_sets=(PoolSet(name="default", pools=(SetMember(pool=f"{service.label}-{place}"),)),),
        )
        for place, line, _ in places
    )
    made = Instance(id=service.label, name=service.label, cname=service.name, ttl=TTL, policies=policies)
    states = [health(address, "up") for _, _, addresses in places for address in addresses] if check else []
    return [*pools(service, *more, check=check), *states, Change(kinds.INSTANCES, service.label, made)]


def pools(service: Service, *more: Place, check: str | None = CHECK, out: Sequence[str] = ()) -> list[Change]:
    """The pools of a service. out: the addresses that are offline."""
    checks = () if check is None else (check,)
    changes = []
    for place, _, addresses in _places(service, more):
        held = tuple(Address(address=address, mode="offline" if address in out else "auto") for address in addresses)
        name = f"{service.label}-{place}"
        changes.append(Change(kinds.POOLS, name, Pool(id=name, type="ipv4", health_checks=checks, addresses=held)))
    return changes


def _places(service: Service, more: Sequence[Place]) -> Sequence[Place]:
    return (("china", "AS-CN", service.china), ("world", "default", service.world), *more)


def health(address: str, state: Health) -> Change:
    """The state of an address, as healthd's leader writes it."""
    return Change(kinds.TARGET_STATES, target_key(CHECK, address, None, None), TargetState(health=state, since=1.0))


class Ours(Contender):
    """Redis, the backend and PowerDNS with the configuration of pdns-conf/, PowerDNS purged on change."""

    transport: ClassVar[str]

    def start(self) -> None:
        control = self.folder / "p" / "pdns.controlsocket"
        decided: Mapping[str, Any] = {
            "transport": self.transport,
            "geo_database": self.database,
            "pdns_control": control,
            "dns_port": self.port,
        }
        running = running_system(self.folder, decided=decided, keep=True)
        self.system: DnsSystem = self.stack.enter_context(running)
        self._repository = Repository(self.system.redis.connect())
        self._store = self._repository.identify()
        written = [change for service in self.scenario.services for change in self.documents(service)]
        self.system.write(HEALTH_CHECK, *written)
        self.system.forget()
        last = self.scenario.services[-1].name
        wait_for(lambda: self.system.client.ask(last).code == "NOERROR", f"{last} answered")

    def documents(self, service: Service) -> list[Change]:
        """What is in the store of a service."""
        return documents(service)

    def processes(self) -> Sequence[int]:
        return [self.system.redis.pid, self.system.backend.pid, self.system.powerdns.pid]

    def change(self, service: int, address: str, available: bool) -> None:
        self._repository.commit(Commit([health(address, "up" if available else "down")]), self._store)

    def calls(self) -> int | None:
        return self.system.backend.calls()

    def version(self) -> str:
        return version("pdns-gtm")


class Http(Ours):
    name: ClassVar[str] = "pdns-gtm, http"
    options: ClassVar[str] = "as it is shipped"
    transport: ClassVar[str] = "http"


class Unix(Ours):
    name: ClassVar[str] = "pdns-gtm, unix"
    options: ClassVar[str] = "as it is shipped"
    transport: ClassVar[str] = "unix"


class Unscoped(Unix):
    """Names that answer everybody the same, which PowerDNS may keep as it is purged on change."""

    name: ClassVar[str] = "pdns-gtm, unscoped names"
    options: ClassVar[str] = "one policy for everybody: answered from PowerDNS's packet cache"
    semantics: ClassVar[Semantics] = "fixed"
    changes: ClassVar[bool] = False

    def documents(self, service: Service) -> list[Change]:
        made = next(change for change in documents(service) if change.kind == kinds.INSTANCES)
        policies = tuple(policy for policy in made.value.policies if "default" in policy.lines)
        others = [change for change in documents(service) if change.kind != kinds.INSTANCES]
        return [*others, replace(made, value=replace(made.value, policies=policies))]


class CannedFlask(Contender):
    """The same PowerDNS and the same gunicorn around one record."""

    name: ClassVar[str] = "canned Flask"
    options: ClassVar[str] = "one record for every name, gunicorn gthread, pdns.conf of pdns-gtm"
    semantics: ClassVar[Semantics] = "fixed"
    changes: ClassVar[bool] = False

    def start(self) -> None:
        settings = system_settings(self.folder, "").model_copy(update={"dns_port": self.port, "backend_secret": ""})
        port = settings.backend_port
        command = [sys.executable, "-m", "tests.bench.canned_flask", str(port)]
        self._backend = Server(command, self.folder / "backend.log")
        self.stack.callback(self._backend.stop)
        wait_for(lambda: accepts(port), "the canned application")
        (self.folder / "pdns.conf").write_text(render(settings, self.folder))
        self._powerdns = Server(["pdns_server", f"--config-dir={self.folder}"], self.folder / "pdns.log")
        self.stack.callback(self._powerdns.stop)
        self._powerdns.wait_until_answering(self.port, f"anything.{ZONE}")

    def processes(self) -> Sequence[int]:
        return [self._backend.pid, self._powerdns.pid]

    def version(self) -> str:
        return f"Flask {version('flask')}, gunicorn {version('gunicorn')}"
