"""A backend that answers from what is on disk before it has loaded all of it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.dns.backend import Backend
from pdns_gtm_backend.dns.methods import ANSWERING, METHODS, call
from pdns_gtm_backend.dns.status import readiness, ready
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import disk
from pdns_gtm_backend.store.snapshot import Position, Snapshot, empty
from pdns_gtm_backend.store.stored import Stored
from tests.support.documents import instance, policy, pool, rrset, written
from tests.support.store import SECONDS, eventually

NAME = "gtm00000001.gtm.example."
DOCUMENTS = (
    pool("a", "ipv4", "192.0.2.1"),
    instance("gtm00000001", policy("world", "default", "a")),
    Zone(name="shop.example", number=2, serial=9),
    rrset("shop.example", "www.shop.example", "A", "192.0.2.2"),
)


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set nothing is loaded as a whole."""
    made, real = threading.Event(), Stored.snapshot

    def snapshot(stored: Stored) -> Snapshot:
        assert made.wait(SECONDS)
        return real(stored)

    monkeypatch.setattr(Stored, "snapshot", snapshot)
    yield made
    made.set()


@pytest.fixture
def backend(release: threading.Event, tmp_path: Path) -> Iterator[Backend]:
    """Without Redis, with a snapshot on disk."""
    held = empty().changed([written(document) for document in DOCUMENTS], Position("store", "replication", 7))
    disk.save(held, tmp_path / "snapshot" / "backend.snapshot")
    made = Backend(
        Settings(
            var=tmp_path,
            redis_url=f"unix://{tmp_path}/none",
            geo_database=tmp_path / "none.mmdb",
            key_secret="a-secret-of-many-characters",
        )
    )
    made.start()
    yield made
    release.set()
    made.stop()


def asked(backend: Backend, method: str, **parameters: Any) -> Any:
    body = json.dumps({"method": method, "parameters": parameters}).encode()
    return json.loads(call(backend, body)[1])["result"]


def test_what_powerdns_asks_to_answer_is_answered_at_once(backend: Backend, release: threading.Event) -> None:
    backend.wait_until_known(replacing=False)
    assert [found["content"] for found in asked(backend, "lookup", qname=NAME, qtype="ANY")] == ["192.0.2.1"]
    assert [found["content"] for found in asked(backend, "lookup", qname="www.shop.example.", qtype="A")] == [
        "192.0.2.2"
    ]
    assert asked(backend, "lookup", qname="no.gtm.example.", qtype="ANY") == []
    assert {zone["zone"] for zone in asked(backend, "getAllDomains")} == {"gtm.example.", "shop.example."}
    for method in ANSWERING - {"lookup", "APILookup", "getTSIGKey", "getBeforeAndAfterNamesAbsolute"}:
        asked(backend, method, name="shop.example.", kind="ALLOW-AXFR-FROM")
    assert not backend.follower.loaded


def test_it_says_that_it_answers_and_does_not_follow(backend: Backend) -> None:
    backend.wait_until_known(replacing=False)
    body = readiness(backend, 0.0)
    assert ready(backend)
    assert (body["state"], body["revision"], body["store_id"], body["instances"]) == ("degraded", 7, "store", 1)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("directBackendCmd", {"query": "pool list"}),
        ("list", {"zonename": "gtm.example."}),
        ("searchRecords", {"pattern": "*", "maxResults": 9}),
    ],
)
def test_what_needs_the_whole_waits_for_it(
    backend: Backend, release: threading.Event, method: str, parameters: dict[str, Any]
) -> None:
    assert method in METHODS.keys() - ANSWERING
    replies: list[Any] = []
    waiting = threading.Thread(target=lambda: replies.append(asked(backend, method, **parameters)))
    waiting.start()
    waiting.join(0.1)
    assert replies == []
    release.set()
    waiting.join(SECONDS)
    assert "192.0.2.1" in str(replies) or "yes" in str(replies)
    assert backend.view.serving is backend.follower.serving


def test_who_has_missed_much_waits_for_the_whole(backend: Backend, release: threading.Event) -> None:
    backend.wait_until_known(replacing=False)
    backend.follower._note(behind=True)
    release.set()
    backend.wait_until_known(replacing=False)
    assert backend.view.serving is backend.follower.serving


def test_who_replaces_one_that_answers_takes_over_with_the_whole(backend: Backend, release: threading.Event) -> None:
    known = threading.Event()

    def wait() -> None:
        backend.wait_until_known(replacing=True)
        known.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    backend.wait_until_known(replacing=False)
    assert not backend.follower.loaded
    assert not known.wait(0.1)
    release.set()
    waiting.join(SECONDS)
    assert known.is_set()
    eventually(lambda: backend.view.serving is backend.follower.serving)
    assert [found["content"] for found in asked(backend, "lookup", qname=NAME, qtype="A")] == ["192.0.2.1"]
