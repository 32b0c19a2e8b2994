"""How backend, admin and healthd say that they stand (`/readyz`), and what the API knows of states and vantages."""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests

from pdns_gtm_backend.cli.client import Client, path_of
from pdns_gtm_backend.cli.doctor_report import INFO, OK, PROBLEM, SKIPPED, WARNING, Finding, member
from pdns_gtm_backend.cli.overview import known_vantages

SECONDS: Final = 5.0
OLDEST_GEO: Final = 90 * 86_400
MOST_SHOWN: Final = 10
MOST_CHECKS: Final = 200
READY: Final = 200

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Readiness:
    """An answer of `/readyz`. status: of HTTP; 0 = none came, error says why."""

    status: int
    body: Data
    error: str = ""


def ask_ready(url: str) -> Readiness:
    """What a process says of itself."""
    with requests.Session() as session:
        # Proxies of the environment are for other machines than those that these processes run on.
        session.trust_env = False
        try:
            answer = session.get(url + "/readyz", timeout=SECONDS, allow_redirects=False)
            body = answer.json()
        except requests.JSONDecodeError:
            return Readiness(0, {}, "answers with something else than JSON")
        except requests.RequestException as error:
            return Readiness(0, {}, "does not answer" + (" in time" if isinstance(error, requests.Timeout) else ""))
    return Readiness(answer.status_code, body if isinstance(body, dict) else {})


def judge_ready(name: str, url: str, ready: Readiness) -> Sequence[Finding]:
    """How a process stands."""
    if ready.error:
        return [Finding(PROBLEM, name, f"{url} {ready.error}", f"start it, or name its URL ({_named(name)})")]
    state = member(ready.body, "store")
    if ready.status != READY:
        found = f"is not ready ({ready.status}); store: {state.get('state')} {state.get('detail') or ''}".rstrip()
        return [Finding(PROBLEM, name, found, "it waits for its first snapshot: is Redis reachable?")]
    wrong = [*_degraded(name, ready.body), *_broken(name, ready.body)]
    fine = Finding(OK, name, f"{url} is ready, revision {ready.body.get('revision')}")
    return [*(wrong or [fine]), *_geo(name, ready.body)]


def _named(name: str) -> str:
    return "--server" if name == "admin" else f"--{name}"


def _degraded(name: str, body: Data) -> Iterator[Finding]:
    store, vantage = member(body, "store"), member(body, "vantage")
    if body.get("degraded"):
        writes = store.get("writes")
        why = store.get("detail") or (writes if writes != "ok" else "") or "the store is not followed"
        yield Finding(WARNING, name, f"degraded, store {store.get('state')}: {why}", "bring Redis back")
    elif vantage.get("probing") is False:
        found = f"vantage {vantage.get('name')} does not probe: another process holds its name, or it stands by"
        yield Finding(WARNING, name, found, "give each healthd a GTM_VANTAGE of its own")
    if body.get("preparing"):
        yield Finding(WARNING, name, f"the first start is not done: {body['preparing']}", "see its log")


def _broken(name: str, body: Data) -> Iterator[Finding]:
    broken = body.get("broken_documents")
    for one in (broken if isinstance(broken, list) else [])[:MOST_SHOWN]:
        yield Finding(WARNING, name, f"a document in Redis cannot be read: {one}", "write it again, or delete it")


def _geo(name: str, body: Data) -> Iterator[Finding]:
    for kind, database in member(body, "geo").items():
        held = database if isinstance(database, dict) else {}
        check = f"{name} geo {kind}"
        if held.get("error"):
            yield Finding(WARNING, check, str(held["error"]), "see docs/geo.md")
        ages = [file.get("age") for file in held.get("files") or () if isinstance(file, dict)]
        oldest = max((age for age in ages if isinstance(age, int | float)), default=0)
        if oldest > OLDEST_GEO:
            found = f"the database is {oldest / 86_400:.0f} days old"
            yield Finding(WARNING, check, found, "fetch a new one: docs/geo.md")


def judge_stores(readiness: Mapping[str, Readiness]) -> Iterator[Finding]:
    """Do all of them follow the same store?"""
    stores = {name: ready.body["store_id"] for name, ready in readiness.items() if ready.body.get("store_id")}
    if len(set(stores.values())) > 1:
        shown = ", ".join(f"{name} {store}" for name, store in stores.items())
        yield Finding(PROBLEM, "store", f"they follow different stores: {shown}", "give all the same GTM_REDIS_URL")


@dataclass(frozen=True, slots=True)
class Known:
    """What the API knows. vantages: None = the store is away. stale: by health check, why its states are stale."""

    instances: Sequence[Data]
    vantages: Sequence[Data] | None
    unmonitored: Sequence[str]
    stale: Mapping[str, str]
    pinging: bool


def ask_api(client: Client) -> Known:
    """What the API knows. Raises Failure."""
    unmonitored = [str(one["name"]) for one in client.items("/instances", {"health_check_status": "unmonitored"})]
    checks = [check for check in client.items("/health-checks") if isinstance(check, dict)]
    return Known(
        instances=list(client.items("/instances")),
        vantages=known_vantages(client),
        unmonitored=unmonitored,
        stale=_stale(client, [str(check["id"]) for check in checks[:MOST_CHECKS]]),
        pinging=any(check.get("protocol") == "ping" for check in checks),
    )


def _stale(client: Client, checks: Iterable[str]) -> Mapping[str, str]:
    """Staleness is a matter of the check, so one pool of each tells."""
    found = {}
    for check in checks:
        for pool in client.items("/pools", {"health_check": check}, most=1):
            status = client.get(path_of("pools", str(pool["id"]), "status"))
            if status.get("stale"):
                found[check] = str(status.get("stale_reason"))
    return found


def judge_known(known: Known) -> Sequence[Finding]:
    """Vantages, stale states, and instances whose health nobody looks at."""
    return [*_judge_vantages(known.vantages), *_judge_states(known)]


def _judge_vantages(vantages: Sequence[Data] | None) -> Iterator[Finding]:
    if vantages is None:
        yield Finding(SKIPPED, "vantages", "they are not known while Redis is away")
        return
    if not any(vantage.get("reporting") for vantage in vantages):
        yield Finding(PROBLEM, "vantages", "none reports: health is not known", "start pdns-gtm-healthd")
    for vantage in vantages:
        check = f"vantage {vantage.get('name')}"
        if not vantage.get("reporting"):
            found = f"no heartbeat since {vantage.get('heartbeat')}"
            yield Finding(WARNING, check, found, "start its healthd; one that is gone for good is forgotten by itself")
        elif vantage.get("suspended"):
            yield Finding(WARNING, check, f"suspended: {vantage['suspended']}", "look at its network")
        elif vantage.get("overdue"):
            found = f"{vantage['overdue']} of {vantage.get('targets')} targets are probed late"
            yield Finding(WARNING, check, found, "give it a faster machine, or checks longer intervals")
        else:
            yield Finding(OK, check, f"probes {vantage.get('targets')} targets in time")


def _judge_states(known: Known) -> Iterator[Finding]:
    for check, why in known.stale.items():
        yield Finding(WARNING, f"health check {check}", f"its states are stale: {why}", "bring its vantages back")
    if known.unmonitored:
        names = ", ".join(known.unmonitored[:MOST_SHOWN])
        more = f" and {len(known.unmonitored) - MOST_SHOWN} more" if len(known.unmonitored) > MOST_SHOWN else ""
        found = f"{len(known.unmonitored)} instances have no health check: {names}{more}"
        yield Finding(INFO, "instances", found, "name health_checks in their pools, if they shall ever switch")


def may_ping() -> bool:
    """May this process open an ICMP socket, a raw one or one for ping alone (icmp(7))?"""
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        try:
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
        except OSError:
            continue
        return True
    return False


def judge_ping(allowed: bool, pinging: bool) -> Finding:
    """pinging: is there a health check that needs it?"""
    if allowed:
        return Finding(OK, "icmp", "this user may open ICMP sockets")
    advice = "give healthd CAP_NET_RAW (its unit does), or its group sysctl net.ipv4.ping_group_range"
    return Finding(WARNING if pinging else INFO, "icmp", "this user may not open ICMP sockets, for ping checks", advice)
