"""What PowerDNS can do without us: LUA records, its geoip backend, and a static zone as the floor.

Settings beyond the defaults are those of https://doc.powerdns.com/authoritative/performance.html: `receiver-threads`
with `reuseport`, one a core, and `distributor-threads=1`, with which a receiver answers by itself.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from tests.bench.contender import Contender, Semantics
from tests.bench.processes import Server, said
from tests.bench.scenario import CHINA, TTL, ZONE, Service

COMMON: Final[Mapping[str, str]] = {
    "local-address": "127.0.0.1",
    "receiver-threads": "2",
    "reuseport": "yes",
    "distributor-threads": "1",
    "edns-subnet-processing": "yes",
    "zone-cache-refresh-interval": "300",
    "daemon": "no",
    "guardian": "no",
    "disable-syslog": "yes",
    "loglevel": "3",
    "security-poll-suffix": "",
    "version-string": "anonymous",
}
ZONE_HEAD: Final = f"""$TTL {TTL}
@ IN SOA ns1.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 {TTL}
@ IN NS ns1.{ZONE}.
ns1 IN A 192.0.2.53
"""


class PowerDnsServer(Contender):
    """One pdns_server. Offline addresses are left out of what it reads, which it is then told to read again."""

    def start(self) -> None:
        self._down: set[str] = set()
        self.write()
        lines = {**COMMON, "local-port": str(self.port), "socket-dir": str(self.folder), **self.settings()}
        (self.folder / "pdns.conf").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self._server = Server(["pdns_server", f"--config-dir={self.folder}"], self.folder / "log")
        self.stack.callback(self._server.stop)
        self._server.wait_until_answering(self.port, self.scenario.services[0].name)

    def settings(self) -> Mapping[str, str]:
        """What pdns.conf holds beside what is common."""
        raise NotImplementedError

    def write(self) -> None:
        """Write what the backend reads."""
        raise NotImplementedError

    def reload(self, name: str) -> None:
        """Have the backend read it again, and drop what the caches hold of a name."""
        raise NotImplementedError

    def available(self, addresses: Sequence[str]) -> Sequence[str]:
        """Those of these addresses that are not offline."""
        return [address for address in addresses if address not in self._down]

    def control(self, *words: str) -> None:
        """pdns_control, which must succeed."""
        command = ["pdns_control", f"--config-dir={self.folder}", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def processes(self) -> Sequence[int]:
        return [self._server.pid]

    def change(self, service: int, address: str, available: bool) -> None:
        (self._down.discard if available else self._down.add)(address)
        self.write()
        self.reload(self.scenario.services[service].name)

    def version(self) -> str:
        found = re.search(r"Authoritative Server (\S+)", said("pdns_server", "--version"))
        return found[1] if found else "?"


class BindZone(PowerDnsServer):
    """A zone file, read by the bind backend."""

    def record(self, service: Service) -> str:
        """The lines of a service."""
        raise NotImplementedError

    def backends(self) -> str:
        return "bind"

    def settings(self) -> Mapping[str, str]:
        (self.folder / "named.conf").write_text(f'zone "{ZONE}" {{ type master; file "{self.folder / "zone"}"; }};\n')
        # consistent-backends=no asks for the one type, which the query cache then holds.
        return {
            "launch": self.backends(),
            "bind-config": str(self.folder / "named.conf"),
            "consistent-backends": "no",
            "cache-ttl": str(TTL),
            "query-cache-ttl": str(TTL),
            "negquery-cache-ttl": str(TTL),
        }

    def write(self) -> None:
        (self.folder / "zone").write_text(
            ZONE_HEAD + "".join(self.record(service) for service in self.scenario.services)
        )

    def reload(self, name: str) -> None:
        self.control("bind-reload-now", ZONE)
        self.control("purge", name)


class PacketCache(BindZone):
    """The floor: the same answer for everybody, out of PowerDNS's own packet cache."""

    name: ClassVar[str] = "PowerDNS static zone"
    options: ClassVar[str] = "bind backend, packet cache, 2 receiver threads, reuseport"
    semantics: ClassVar[Semantics] = "fixed"
    changes: ClassVar[bool] = False

    def record(self, service: Service) -> str:
        return "".join(f"{service.label} IN A {address}\n" for address in self.available(service.world))


class Lua(BindZone):
    """A LUA record a name: pickwrandom of the addresses that are not offline, for country() or else."""

    semantics: ClassVar[Semantics] = "one"
    mode: ClassVar[str]

    def record(self, service: Service) -> str:
        china, world = self._pick(service.china), self._pick(service.world)
        return f"{service.label} IN LUA A \";if country('{CHINA}') then return {china} else return {world} end\"\n"

    def _pick(self, addresses: Sequence[str]) -> str:
        return "pickwrandom({" + ",".join(f"{{1,'{address}'}}" for address in self.available(addresses)) + "})"

    def backends(self) -> str:
        # country() reads the geoip backend's databases.
        return "bind,geoip"

    def settings(self) -> Mapping[str, str]:
        geo = {"geoip-database-files": f"mmdb:{self.database}", "enable-lua-records": self.mode}
        return {**super().settings(), **geo}


class LuaYes(Lua):
    name: ClassVar[str] = "PowerDNS LUA, yes"
    options: ClassVar[str] = "enable-lua-records=yes, pickwrandom by country(), query cache"
    mode: ClassVar[str] = "yes"


class LuaShared(Lua):
    name: ClassVar[str] = "PowerDNS LUA, shared"
    options: ClassVar[str] = "enable-lua-records=shared, pickwrandom by country(), query cache"
    mode: ClassVar[str] = "shared"


class GeoIp(PowerDnsServer):
    """The geoip backend: a service leads to the record of the client's country, or else to the world's."""

    name: ClassVar[str] = "PowerDNS geoip"
    options: ClassVar[str] = "geoip backend, services by %cc, consistent-backends=no, packet cache off"

    def settings(self) -> Mapping[str, str]:
        # Its answers are scoped and no cache keeps them: without one, asked for one type, it is a quarter faster.
        return {
            "consistent-backends": "no",
            "cache-ttl": "0",
            "launch": "geoip",
            "geoip-zones-file": str(self.folder / "zones.yaml"),
            "geoip-database-files": f"mmdb:{self.database}",
        }

    def write(self) -> None:
        lines = ["domains:", f"- domain: {ZONE}", f"  ttl: {TTL}", "  records:", f"    {ZONE}:"]
        lines += [f"    - soa: ns1.{ZONE} hostmaster.{ZONE} 1 3600 600 86400 {TTL}", f"    - ns: ns1.{ZONE}"]
        for service in self.scenario.services:
            for place, addresses in ((CHINA.lower(), service.china), ("world", service.world)):
                lines.append(f"    {place}.{service.label}.{ZONE}:")
                lines += [f"    - a: {address}" for address in self.available(addresses)]
        lines.append("  services:")
        for service in self.scenario.services:
            lines.append(f"    {service.name}: ['%cc.{service.name}', 'world.{service.name}']")
        (self.folder / "zones.yaml").write_text("\n".join(lines) + "\n")

    def reload(self, name: str) -> None:
        self.control("rediscover")
        self.control("purge", name)
