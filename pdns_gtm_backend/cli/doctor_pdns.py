"""The settings of PowerDNS that answers depend on: read from pdns.conf as PowerDNS reads it, and judged.

Defaults and effects: the manual of the Authoritative Server 4.7, "Settings" and "Remote Backend".
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pdns_gtm_backend.cli.doctor_places import DNS_PORT, MAIN_FILE, MAX_PORT, Server, reachable
from pdns_gtm_backend.cli.doctor_report import OK, PROBLEM, WARNING, Finding

MAX_BYTES: Final = 1_048_576
YES: Final = frozenset({"yes", "on", "1", "true", ""})
SETTING: Final = re.compile(r"([a-z0-9-]+)\s*(\+?)=\s*(.*)", re.IGNORECASE)
DEFAULTS: Final[Mapping[str, str]] = {
    "cache-ttl": "20",
    "query-cache-ttl": "20",
    "negquery-cache-ttl": "60",
    "zone-cache-refresh-interval": "300",
    "distributor-threads": "3",
    "receiver-threads": "1",
    "consistent-backends": "yes",
    "edns-subnet-processing": "no",
    "remote-dnssec": "no",
}
UNPURGED: Final[Mapping[str, int]] = {
    "cache-ttl": 1,
    "query-cache-ttl": 5,
    "negquery-cache-ttl": 5,
    "zone-cache-refresh-interval": 10,
}
"""Seconds that PowerDNS may keep what nobody purges (pdns-conf/pdns.conf)."""
PURGED_MOST: Final = 300
"""Seconds that a purge which got lost may last."""
LEAST_HTTP_THREADS: Final = 16
LEAST_TIMEOUT: Final = 1000

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PowerDns:
    """What is known of a PowerDNS. control: its control socket as the backend uses it; None = not known to be used.

    control_exists: is there such a socket? threads: of the backend.
    """

    settings: Settings
    threads: int
    control: str | None = None
    control_exists: bool = False

    def text(self, name: str) -> str:
        """A setting, or its default."""
        return self.settings.get(name, DEFAULTS.get(name, ""))

    def number(self, name: str) -> int:
        """A setting that is a number; -1 where it is none."""
        text = self.text(name).strip()
        return int(text) if text.isascii() and text.isdecimal() else -1

    def yes(self, name: str) -> bool:
        """A setting that is yes or no."""
        return self.text(name).lower() in YES

    @property
    def connection(self) -> Mapping[str, str]:
        """The options of remote-connection-string; `kind` is what stands before the colon."""
        kind, _, rest = self.text("remote-connection-string").partition(":")
        options = (part.partition("=") for part in rest.split(",") if part)
        return {"kind": kind.strip(), **{key.strip(): value if equals else "yes" for key, equals, value in options}}


def read_settings(folder: Path) -> Settings:
    """The settings of pdns.conf and the files of its include-dir. Raises OSError, or ValueError where it is no text."""
    settings: dict[str, str] = {}
    merge(settings, _text(folder / MAIN_FILE))
    included = settings.get("include-dir")
    if included:
        for path in sorted(Path(included).glob("*.conf")):
            merge(settings, _text(path))
    return settings


def merge(settings: dict[str, str], text: str) -> None:
    """Put what a file says over what was read before it; `name+=value` appends to a list."""
    for line in text.replace("\\\n", "").splitlines():
        found = SETTING.fullmatch(re.sub(r"(^|\s)#.*", "", line).strip())
        if found is None:
            continue
        name, plus, value = found[1].lower(), found[2], found[3].strip()
        before = settings.get(name)
        settings[name] = f"{before}, {value}" if plus and before else value


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_BYTES).decode("utf-8")


def listens_at(settings: Settings) -> Server:
    """Where a PowerDNS of this machine can be asked."""
    first = re.split(r"[\s,]+", settings.get("local-address", "").strip())[0] or "0.0.0.0"  # noqa: S104
    host, port = (first, "") if first.count(":") != 1 else first.split(":")
    text = port or settings.get("local-port", "53")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT)) else DNS_PORT
    return Server(reachable(host), number if 0 < number <= MAX_PORT else DNS_PORT)


def judge(pdns: PowerDns) -> Sequence[Finding]:
    """Everything that is wrong with the settings; one `ok` where nothing is."""
    found = [finding for rule in RULES for finding in rule(pdns)]
    return found or [Finding(OK, "pdns.conf", "all settings that answers depend on are as they should be")]


def _launch(pdns: PowerDns) -> Iterator[Finding]:
    launched = [part.strip().partition(":")[0] for part in pdns.text("launch").split(",")]
    if "remote" not in launched:
        shown = pdns.text("launch") or "nothing"
        yield Finding(
            PROBLEM, "pdns.conf launch", f"launches {shown}, not this backend", "set launch=remote (or launch+=remote)"
        )


def _connection(pdns: PowerDns) -> Iterator[Finding]:
    check, options = "pdns.conf remote-connection-string", pdns.connection
    if options["kind"] == "unix":
        if not options.get("path"):
            yield Finding(PROBLEM, check, "names no socket", "write unix:path=SOCKET,timeout=4000")
        return
    if options["kind"] != "http":
        said = f"is of the kind {options['kind']!r}" if options["kind"] else "is not set"
        yield Finding(PROBLEM, check, said, "write http:url=URL,post=1,post_json=1 or unix:path=SOCKET")
        return
    if any(options.get(name, "no").lower() not in YES - {""} for name in ("post", "post_json")):
        yield Finding(
            PROBLEM, check, "is not of the form post=1,post_json=1, the only one that is served", "add both options"
        )
    yield from _http_options(check, options)


def _http_options(check: str, options: Mapping[str, str]) -> Iterator[Finding]:
    timeout = options.get("timeout", "2000")
    if timeout.isdecimal() and int(timeout) < LEAST_TIMEOUT:
        yield Finding(
            PROBLEM,
            check,
            f"timeout={timeout} is cut to 0 seconds: every call fails",
            "write 1000 or more milliseconds",
        )
    host = urlsplit(options.get("url", "")).hostname or ""
    if not _loopback(host):
        yield Finding(
            WARNING,
            check,
            f"the backend is asked at {host or 'no host'}, in clear text over the network",
            "run a backend beside each PowerDNS",
        )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _dnssec(pdns: PowerDns) -> Iterator[Finding]:
    if not pdns.yes("remote-dnssec"):
        yield Finding(
            WARNING,
            "pdns.conf remote-dnssec",
            "is no: zones are not signed, TSIG keys not found",
            "set remote-dnssec=yes",
        )


def _lookups(pdns: PowerDns) -> Iterator[Finding]:
    if pdns.yes("consistent-backends"):
        yield Finding(
            WARNING,
            "pdns.conf consistent-backends",
            "is yes, the default: each answer costs two or more calls",
            "set consistent-backends=no",
        )


def _subnets(pdns: PowerDns) -> Iterator[Finding]:
    if not pdns.yes("edns-subnet-processing"):
        yield Finding(
            WARNING,
            "pdns.conf edns-subnet-processing",
            "is no, the default: clients are told apart by their resolver's place only",
            "set edns-subnet-processing=yes",
        )


def _caches(pdns: PowerDns) -> Iterator[Finding]:
    for name, unpurged in UNPURGED.items():
        seconds, check = pdns.number(name), f"pdns.conf {name}"
        if seconds < 0:
            yield Finding(
                PROBLEM, check, f"{pdns.text(name)!r} is no number of seconds", f"set {name}={DEFAULTS[name]}"
            )
        elif seconds == 0 and name != "cache-ttl":
            yield Finding(
                WARNING, check, "is 0: calls are made that this cache saves", f"set {name}={unpurged} or more"
            )
        elif pdns.control is None and seconds > unpurged:
            yield Finding(
                WARNING,
                check,
                f"keeps old data for {seconds} s, and no purging is known of",
                f"set GTM_PDNS_CONTROL (for the backend, and here), or {name}={unpurged}",
            )
        elif seconds > PURGED_MOST:
            yield Finding(
                WARNING,
                check,
                f"keeps old data for {seconds} s where a purge is lost",
                f"set {name}={PURGED_MOST} at most",
            )


def _control(pdns: PowerDns) -> Iterator[Finding]:
    if pdns.control is None:
        return
    folder = pdns.settings.get("socket-dir")
    if folder and Path(folder) != Path(pdns.control).parent:
        yield Finding(
            PROBLEM,
            "purging",
            f"PowerDNS's control socket is in {folder}, the backend uses {pdns.control}",
            f"set GTM_PDNS_CONTROL={Path(folder) / 'pdns.controlsocket'}",
        )
    elif not pdns.control_exists:
        yield Finding(
            PROBLEM, "purging", f"there is no control socket {pdns.control}", "start PowerDNS, or mend GTM_PDNS_CONTROL"
        )


def _threads(pdns: PowerDns) -> Iterator[Finding]:
    each, check = pdns.number("distributor-threads"), "pdns.conf distributor-threads"
    if each < 1 or pdns.number("receiver-threads") < 1:
        yield Finding(PROBLEM, check, "distributor-threads and receiver-threads must be numbers", "set 16 and 1")
        return
    if pdns.connection["kind"] != "http":
        return
    connections = each * pdns.number("receiver-threads")
    if connections > pdns.threads:
        yield Finding(
            PROBLEM,
            check,
            f"{connections} connections (times receiver-threads) share {pdns.threads} threads of the backend",
            f"lower it, or set GTM_BACKEND_THREADS={connections * 2}",
        )
    elif connections < LEAST_HTTP_THREADS:
        yield Finding(
            WARNING,
            check,
            f"is {each}: PowerDNS answers some {connections * 700} queries a second over HTTP at most",
            f"set distributor-threads={LEAST_HTTP_THREADS}",
        )


RULES: Final[Sequence[Callable[[PowerDns], Iterator[Finding]]]] = (
    _launch,
    _connection,
    _dnssec,
    _lookups,
    _subnets,
    _caches,
    _control,
    _threads,
)
