"""A continuous load whose answers are kept, and judged afterwards by what the test itself did and when."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import dns.exception
import requests

from tests.support.dns_client import DnsClient
from tests.support.oracle import Oracle
from tests.support.stack import Api

PAUSE_SECONDS = 0.004
TIMEOUT_SECONDS = 6.0
RETRY_SECONDS = 0.8
"""After which a resolver asks the next server of a zone."""
WRITE_SECONDS = 0.25
RESOLVER = "resolver"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. client: by which the oracle knows what is right. subnet: that PowerDNS is told."""

    client: str
    name: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One query. asker: the site that was asked, or RESOLVER for any of them. addresses: None where it failed."""

    asker: str
    client: str
    sent: float
    received: float
    addresses: tuple[str, ...] | None
    failure: str = ""


class Load:
    """One asker for each site and one resolver that asks a second site where the first fails. clients: by site."""

    def __init__(self, questions: Sequence[Question], clients: Mapping[str, DnsClient]) -> None:
        self.asked: list[Asked] = []
        self._questions = questions
        self._clients = clients
        self._stop = threading.Event()
        askers: list[Sequence[str]] = [(site,) for site in clients]
        askers.append(tuple(clients))
        self._threads = [threading.Thread(target=self._run, args=(sites,), daemon=True) for sites in askers]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, sites: Sequence[str]) -> None:
        rng = random.Random(" ".join(sites))
        asker = sites[0] if len(sites) == 1 else RESOLVER
        while not self._stop.wait(PAUSE_SECONDS):
            question = rng.choice(self._questions)
            name = "".join(rng.choice((c, c.upper())) for c in question.name)
            sent = time.monotonic()
            failure, addresses = "", None
            for number, site in enumerate(rng.sample(sites, len(sites))):
                last = number == len(sites) - 1
                addresses, failure = self._ask(site, name, question.subnet, TIMEOUT_SECONDS if last else RETRY_SECONDS)
                if addresses is not None:
                    break
            self.asked.append(Asked(asker, question.client, sent, time.monotonic(), addresses, failure))

    def _ask(self, site: str, name: str, subnet: str, timeout: float) -> tuple[tuple[str, ...] | None, str]:
        try:
            reply = replace(self._clients[site], timeout=timeout).ask(name, "A", subnet)
        except (dns.exception.DNSException, OSError) as error:
            return None, f"{site}: {type(error).__name__}"
        if reply.code != "NOERROR":
            return None, f"{site}: {reply.code}"
        return tuple(reply.values("A")), ""


class Writes:
    """Changes of configuration by the API, one after the other. acknowledged, refused: their ids."""

    def __init__(self, api: Api, prefix: str) -> None:
        self.acknowledged: list[str] = []
        self.refused: dict[str, str] = {}
        self._api, self._prefix = api, prefix
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(WRITE_SECONDS):
            number += 1
            name = f"{self._prefix}-{number}"
            try:
                reply = self._api.request("POST", "/lines", {"id": name, "members": ["AS-CN"]})
            except requests.RequestException as error:
                self.refused[name] = type(error).__name__
                continue
            if reply.status_code == 201:
                self.acknowledged.append(name)
            else:
                self.refused[name] = f"{reply.status_code} {reply.json().get('detail', '')}"


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment to another, on the monotonic clock."""

    begin: float
    end: float

    def meets(self, begin: float, end: float) -> bool:
        return begin <= self.end and end >= self.begin


@dataclass(frozen=True, slots=True)
class Judged:
    """failed, wrong: the reasons. spared: failures of a site while the fault had it down."""

    answers: int
    failed: tuple[str, ...]
    wrong: tuple[str, ...]
    spared: int


def judge(
    asked: Iterable[Asked], oracle: Oracle, stalled: Span | None, down: Callable[[str], Iterable[Span]]
) -> Judged:
    """Judge all answers. stalled: when no change of state could spread. down: when a site could not answer."""
    failed, wrong, answers, spared = list[str](), list[str](), 0, 0
    for one in asked:
        answers += 1
        if one.addresses is None:
            if any(span.meets(one.sent, one.received) for span in down(one.asker)):
                spared += 1
            else:
                failed.append(f"{one.asker} at {one.sent:.2f}: {one.failure}")
            continue
        patient = replace(oracle, settle=_patience(one.sent, oracle.settle, stalled))
        if reason := patient.wrong(one.client, one.addresses, one.sent, one.received):
            wrong.append(f"{one.asker} {one.client} at {one.sent:.2f}: {reason}")
    return Judged(answers, tuple(failed), tuple(wrong), spared)


def _patience(sent: float, settle: float, stalled: Span | None) -> float:
    """Seconds before `sent` in which a change need not have arrived: a change of before the stall must have."""
    if stalled is None or not stalled.begin <= sent <= stalled.end + settle:
        return settle
    return max(settle, sent - stalled.begin + settle)
