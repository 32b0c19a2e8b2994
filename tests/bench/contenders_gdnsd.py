"""gdnsd, as its manual pages gdnsd.config(5) and gdnsd-plugin-geoip(8) say."""

import re
from collections.abc import Sequence
from typing import ClassVar

from tests.bench.contender import Contender
from tests.bench.processes import Server, said
from tests.bench.scenario import CHINA, TTL, ZONE


class Gdnsd(Contender):
    """A geoip map over multifo groups: every address that is not down.

    Changes go by the file of an extfile monitor, read every two seconds, the least that it takes: admin_state, and
    extfile's direct mode, wait until a file has been at rest for longer than the second that is between our changes.
    """

    name: ClassVar[str] = "gdnsd"
    options: ClassVar[str] = "geoip over multifo, udp_threads 2 (one a core, each with its own socket)"

    # The file is read every two seconds, and states reach the answers once a second.
    settle: ClassVar[float] = 4.0

    def start(self) -> None:
        self._down: set[str] = set()
        self._states = self.folder / "states"
        zones = self.folder / "zones"
        zones.mkdir()
        self._states.touch()
        (self.folder / "config").write_text(self._config())
        (zones / ZONE).write_text(self._zone())
        self._server = Server(["gdnsd", "-c", str(self.folder), "start"], self.folder / "log")
        self.stack.callback(self._server.stop)
        self._server.wait_until_answering(self.port, self.scenario.services[0].name)

    def _config(self) -> str:
        resources = "\n".join(
            f"      {service.label} => {{ map => places, service_types => told, dcmap => {{ "
            f"china => [{', '.join(service.china)}], world => [{', '.join(service.world)}] }} }}"
            for service in self.scenario.services
        )
        # udp_threads: one for each core; disable_cookies stays off, as the manual says that they cost next to nothing.
        return f"""options => {{
  listen => 127.0.0.1:{self.port}
  udp_threads => 2
  run_dir => {self.folder / "run"}
  state_dir => {self.folder / "state"}
}}
service_types => {{
  told => {{
    plugin => extfile, file => {self._states}
    interval => 2, up_thresh => 1, ok_thresh => 1, down_thresh => 1
  }}
}}
plugins => {{
  geoip => {{
    maps => {{ places => {{
      geoip2_db => {self.database}
      datacenters => [world, china]
      map => {{ AS => {{ {CHINA} => [china], default => [world] }}, default => [world] }}
    }} }}
    resources => {{
{resources}
    }}
  }}
}}
"""

    def _zone(self) -> str:
        lines = [f"@ {TTL} SOA ns1 hostmaster 1 3600 600 86400 {TTL}", f"@ {TTL} NS ns1", f"ns1 {TTL} A 192.0.2.53"]
        lines += [f"{service.label} {TTL} DYNA geoip!{service.label}" for service in self.scenario.services]
        return "\n".join(lines) + "\n"

    def processes(self) -> Sequence[int]:
        return [self._server.pid]

    def change(self, service: int, address: str, available: bool) -> None:
        (self._down.discard if available else self._down.add)(address)
        new = self._states.with_suffix(".new")
        new.write_text("".join(f"{one} => DOWN\n" for one in sorted(self._down)))
        new.rename(self._states)

    def version(self) -> str:
        found = re.search(r"version (\S+)", said("gdnsd", "-c", str(self.folder), "-h"))
        return found[1] if found else "?"
