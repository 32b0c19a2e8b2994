"""The Debian package on a machine with systemd: a container that runs it as its first process."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.exception
import pytest

from tests.compose.engine import BASE, TOP, Engine
from tests.support.dns_client import DnsClient

IMAGE = "pdns-gtm-machine:test"
NAME = "gtm-machine"
SET_UP = "pdns-gtm-setup pdns && systemctl restart pdns-gtm-backend pdns"
RESOLVERS_PATIENCE = 3.0
"""Seconds; those that wait less ask again, or ask another server."""
WARMING = 500
SERVICES = ("pdns-gtm-backend", "pdns-gtm-admin", "pdns-gtm-healthd")
# What systemd needs to be first process and to confine services; no more, as some machines cannot give all.
CONFINEMENT = (
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "IPC_LOCK")),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
    *(f"--tmpfs={folder}" for folder in ("/run", "/run/lock", "/tmp")),
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
)


class Machine:
    """One Debian machine with the package installed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.dns = DnsClient(53, address="127.0.0.1", timeout=0.5)

    def run(self, command: str, *, check: bool = True) -> str:
        """What a shell command on the machine writes. Raises RuntimeError."""
        return self.engine.docker("exec", NAME, "sh", "-c", command, check=check).stdout.strip()

    def start(self) -> None:
        self.engine.docker("run", "--detach", "--name", NAME, *CONFINEMENT, IMAGE)
        self.until(lambda: self.run("systemctl is-system-running", check=False) in ("running", "degraded"), "boot", 60)
        address = self.engine.inspect(NAME)["NetworkSettings"]["IPAddress"]
        self.dns = DnsClient(53, address=address, timeout=0.5)

    def answers(self) -> bool:
        try:
            return bool(self.dns.ask("gtm.example", "SOA").values("SOA"))
        except (OSError, dns.exception.DNSException):
            return False

    def active(self, service: str) -> bool:
        return self.run(f"systemctl is-active {service}", check=False) == "active"

    def main_process(self, service: str) -> int:
        return int(self.run(f"systemctl show --property=MainPID --value {service}"))

    def workers(self) -> list[str]:
        """Process ids of the backend's workers."""
        return self.run(f"pgrep --parent {self.main_process('pdns-gtm-backend')}", check=False).split()

    def replaced(self, worker: str) -> bool:
        """Has another worker taken over alone?"""
        now = self.workers()
        return len(now) == 1 and now != [worker]

    @staticmethod
    def until(condition: Callable[[], bool], what: str, seconds: float) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"no {what} within {seconds:g} s"
            time.sleep(0.1)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def machine(images: Engine, tmp_path_factory: pytest.TempPathFactory, report: list[str]) -> Iterator[Machine]:
    """A machine on which nothing but `apt-get install` of the package was done."""
    absent = [name for name in ("dpkg-buildpackage", "dh") if shutil.which(name) is None]
    if absent:
        pytest.skip(f"the package cannot be built here: not installed: {', '.join(absent)} (make deb installs them)")
    context = tmp_path_factory.mktemp("machine")
    subprocess.run([TOP / "deploy" / "make-deb"], check=True, capture_output=True)
    (package,) = (TOP / "dist").glob("pdns-gtm_*.deb")
    shutil.copy(package, context)
    shutil.copy(Path(__file__).with_name("machine.Dockerfile"), context / "Dockerfile")
    images.start(isolated=False)
    try:
        images.docker("build", "--network=host", f"--build-arg=BASE={BASE}", f"--tag={IMAGE}", str(context))
    finally:
        images.stop()
    images.start(isolated=True)
    installed = Machine(images)
    try:
        with images.inside():
            images.docker("rm", "--force", NAME, check=False)
            installed.start()
            seconds = installed.run("cat /seconds")
            megabytes = installed.run("cat /megabytes")
            report.append(
                f"apt-get install of the package ({package.stat().st_size / 1e6:.1f} MB) with PowerDNS, Redis and "
                f"Python: {seconds} s, {megabytes} MB"
            )
            yield installed
    finally:
        images.docker("rm", "--force", NAME, check=False)
        images.stop()


@pytest.fixture
def serving(machine: Machine) -> Machine:
    """The machine, with PowerDNS set up to ask the backend."""
    if not machine.answers():
        machine.run(SET_UP)
        machine.until(machine.answers, "answer", 30)
    return machine


def test_the_services_run_after_the_boot(machine: Machine) -> None:
    for service in SERVICES:
        machine.until(lambda service=service: machine.active(service), service, 30)  # type: ignore[misc]
    assert machine.run("systemctl --failed --quiet --no-legend") == ""


def test_one_command_lets_powerdns_answer(machine: Machine, report: list[str]) -> None:
    began = time.monotonic()
    machine.run(SET_UP)
    machine.until(machine.answers, "answer", 30)
    report.append(f"{SET_UP}: first answer after {time.monotonic() - began:.1f} s")
    assert machine.run("stat -c '%a %U %G' /etc/powerdns/pdns.d/pdns-gtm.conf") == "640 root pdns"


def test_secrets_are_in_no_listing(serving: Machine) -> None:
    secrets = [serving.run(f"cat /etc/pdns-gtm/{name}") for name in ("backend-secret", "key-secret")]
    assert [len(secret) for secret in secrets] == [32, 32]
    shown = serving.run(
        "ps axww -o args; systemctl show 'pdns-gtm-*' pdns; journalctl --no-pager; "
        "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
    )
    assert not any(secret in shown for secret in secrets)
    assert serving.run("stat -c '%a %U %G' /etc/pdns-gtm/backend-secret") == "640 root pdns-gtm"


def test_the_services_are_confined(serving: Machine) -> None:
    for service in SERVICES:
        status = serving.run(f"cat /proc/{serving.main_process(service)}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] != "0"
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        wanted = 1 << 13 if service == "pdns-gtm-healthd" else 0
        assert int(fields["CapEff"], 16) == wanted, service


def test_the_api_takes_the_first_token(serving: Machine) -> None:
    answered = serving.run(
        'curl -s -o /dev/null -w "%{http_code}" -H "Authorization: Bearer $(cat /var/lib/pdns-gtm/admin-token)" '
        "http://127.0.0.1:8080/api/v1/instances"
    )
    assert answered == "200"


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_started_again(serving: Machine, report: list[str], service: str) -> None:
    old = serving.main_process(service)
    serving.run(f"kill -KILL {old}")
    began = time.monotonic()
    serving.until(
        lambda: serving.active(service) and serving.main_process(service) not in (0, old), f"new {service}", 30
    )
    serving.until(serving.answers, "answer", 30)
    report.append(f"kill {service}: runs again after {time.monotonic() - began:.1f} s")


def test_powerdns_forgets_what_has_changed(serving: Machine) -> None:
    """The answer is the same for every client, so PowerDNS keeps it: for 20 s, were it not purged."""
    gtm = 'gtm() { curl -sS --fail-with-body -H "Authorization: Bearer $(cat /var/lib/pdns-gtm/admin-token)" "$@"; }; '
    api = "http://127.0.0.1:8080/api/v1"
    pool = '{"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]}'
    instance = (
        '{"name": "i", "policies": [{"name": "d", "lines": ["default"], "pool_sets": [{"pools": [{"pool": "p"}]}]}]}'
    )
    kind = "-H Content-Type:application/json"
    serving.run(f"{gtm} gtm {kind} {api}/pools -d '{pool}'")
    cname = json.loads(serving.run(f"{gtm} gtm {kind} {api}/instances -d '{instance}'"))["cname"]
    serving.until(lambda: serving.dns.a(cname) == ["192.0.2.1"], "first address", 5)
    other = '{"addresses": [{"address": "192.0.2.2"}]}'
    serving.run(f"{gtm} gtm {kind} -H 'If-Match: *' -X PATCH {api}/pools/p -d '{other}'")
    serving.until(lambda: serving.dns.a(cname) == ["192.0.2.2"], "changed address", 3)


def test_reload_of_the_backend_loses_no_answer(serving: Machine, report: list[str]) -> None:
    ends = threading.Event()
    asked: list[bool] = []
    slowest = 0.0
    client = DnsClient(53, address=serving.dns.address, timeout=RESOLVERS_PATIENCE)

    # A backend that was killed before costs each of PowerDNS's connections one query, whenever that comes.
    for number in range(WARMING):
        _answered(client, f"w{number}.gtm.example")

    def ask() -> None:
        nonlocal slowest
        while not ends.wait(0.005):
            began = time.monotonic()
            asked.append(_answered(client, f"n{len(asked)}.gtm.example"))
            slowest = max(slowest, time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            (old,) = serving.workers()
            serving.run("systemctl reload pdns-gtm-backend")
            serving.until(lambda old=old: serving.replaced(old), "new worker alone", 30)  # type: ignore[misc]
    finally:
        ends.set()
        asking.join()
    report.append(
        f"three reloads of the backend: {len(asked)} queries, {asked.count(False)} lost, the slowest {slowest:.1f} s"
    )
    assert len(asked) > 100
    assert all(asked)


def _answered(client: DnsClient, name: str) -> bool:
    """Is the answer what a name that does not exist gets?"""
    try:
        return client.ask(name, "A").code == "NXDOMAIN"
    except (OSError, dns.exception.DNSException):
        return False


def test_the_watchdog_ends_a_healthd_that_hangs(serving: Machine, report: list[str]) -> None:
    old = serving.main_process("pdns-gtm-healthd")
    serving.run(f"kill -STOP {old}")
    taken = serving.until(lambda: serving.main_process("pdns-gtm-healthd") not in (0, old), "new healthd", 60)
    serving.until(lambda: serving.active("pdns-gtm-healthd"), "healthd", 20)
    report.append(f"a healthd that hangs is ended by the watchdog and runs again after {taken:.0f} s")


def test_removal_leaves_data_and_purge_does_not(machine: Machine) -> None:
    machine.run("dpkg --remove pdns-gtm")
    assert machine.run("ls /usr/lib/pdns-gtm /usr/sbin/pdns-gtm-setup", check=False) == ""
    assert "admin-token" in machine.run("ls /var/lib/pdns-gtm")
    assert "backend-secret" in machine.run("ls /etc/pdns-gtm")
    machine.run("dpkg --purge pdns-gtm")
    left = machine.run(
        "find / -xdev -name '*pdns-gtm*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/sys/*'", check=False
    )
    assert left == ""
