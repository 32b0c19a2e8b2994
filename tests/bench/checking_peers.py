"""gdnsd and PowerDNS LUA records that check two origins themselves, with the same interval, timeout and thresholds."""

from contextlib import ExitStack
from pathlib import Path

from tests.bench.processes import Server
from tests.support.dns_client import DnsClient
from tests.support.ports import free_port

ZONE = "peers.example"
HEAD = f"""$TTL 60
@ IN SOA ns1.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 60
@ IN NS ns1.{ZONE}.
ns1 IN A 192.0.2.53
"""


def gdnsd(
    folder: Path, addresses: tuple[str, ...], port: int, interval: int, timeout: int, stack: ExitStack
) -> tuple[DnsClient, str]:
    """gdnsd-plugin-http_status(8) over multifo: the client to ask, and the name."""
    listen = free_port()
    (folder / "zones").mkdir(parents=True)
    # One failure takes an address out, one success brings it back (gdnsd.config(5), service_types).
    (folder / "config").write_text(
        f"options => {{ listen => 127.0.0.1:{listen}, run_dir => {folder / 'run'}, state_dir => {folder / 'state'} }}\n"
        f"service_types => {{ web => {{ plugin => http_status, port => {port}, url_path => /, interval => {interval}, "
        f"timeout => {timeout}, up_thresh => 1, ok_thresh => 1, down_thresh => 1 }} }}\n"
        f"plugins => {{ multifo => {{ www => {{ service_types => web, addrs_v4 => {{ "
        f"{', '.join(f'a{number} => {address}' for number, address in enumerate(addresses))} }} }} }} }}\n"
    )
    (folder / "zones" / ZONE).write_text(HEAD.replace(" IN ", " ") + "www 60 DYNA multifo!www\n")
    server = Server(["gdnsd", "-c", str(folder), "start"], folder / "log")
    stack.callback(server.stop)
    server.wait_until_answering(listen, f"www.{ZONE}")
    return DnsClient(listen), f"www.{ZONE}"


def lua(
    folder: Path, addresses: tuple[str, ...], port: int, interval: int, timeout: int, stack: ExitStack
) -> tuple[DnsClient, str, str]:
    """PowerDNS's ifportup and ifurlup: the client to ask, and a name for each."""
    listen = free_port()
    folder.mkdir(parents=True)
    listed = "{" + ",".join(f"'{address}'" for address in addresses) + "}"
    options = f"{{selector='all',backupSelector='all',timeout={timeout},minimumFailures=1}}"
    (folder / "zone").write_text(
        HEAD
        + f'port IN LUA A "ifportup({port}, {listed}, {options})"\n'
        + f"url IN LUA A \"ifurlup('http://www.{ZONE}:{port}/', {{{listed}}}, {options})\"\n"
    )
    (folder / "named.conf").write_text(f'zone "{ZONE}" {{ type master; file "{folder / "zone"}"; }};\n')
    settings = {
        "launch": "bind",
        "bind-config": folder / "named.conf",
        "enable-lua-records": "shared",
        "lua-health-checks-interval": interval,
        "local-address": "127.0.0.1",
        "local-port": listen,
        "socket-dir": folder,
        "daemon": "no",
        "guardian": "no",
        "disable-syslog": "yes",
        "loglevel": "3",
        "security-poll-suffix": "",
    }
    (folder / "pdns.conf").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    server = Server(["pdns_server", f"--config-dir={folder}"], folder / "log")
    stack.callback(server.stop)
    server.wait_until_answering(listen, f"ns1.{ZONE}")
    return DnsClient(listen), f"port.{ZONE}", f"url.{ZONE}"
