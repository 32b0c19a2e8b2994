"""The admin API while the store is away, is another one, or holds garbage; and preconditions across processes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Admin, figure, pool, restarted
from tests.support.redis_server import RedisServer


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


def until(admin: Admin, state: str) -> None:
    deadline = time.monotonic() + 60
    while admin.services.follower.status.state != state:
        assert time.monotonic() < deadline, admin.services.follower.status
        time.sleep(0.01)


def test_reads_go_on_and_writes_wait_while_redis_is_away(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        made = figure(admin)
        redis.kill()
        until(admin, "disconnected")
        read = admin.request("GET", f"/instances/{made['id']}")
        assert (read.status_code, read.get_json()) == (200, made)
        assert read.headers["GTM-Stale"].startswith("disconnected; since=")
        status = admin.get(f"/instances/{made['id']}/status")
        assert status["stale"] is True
        assert status["stale_reason"].startswith("the store is disconnected since ")
        assert admin.get(f"/simulate?name={made['cname']}&client=1.2.4.8")["answer"]["records"] == ["192.0.2.1"]
        ready = admin.client.get("/readyz")
        assert (ready.status_code, ready.get_json()["state"]) == (200, "degraded")
        for verb, path, body in (
            ("POST", "/pools", pool("new", "192.0.2.9")),
            ("POST", "/instances", {"name": "n", "policies": made["policies"]}),
            ("DELETE", f"/instances/{made['id']}", None),
            ("POST", "/overrides", {"selector": {"pool": "pool-a"}, "effect": "offline"}),
            ("POST", "/tokens", {"name": "x", "role": "viewer"}),
            ("PUT", "/pools/pool-a/addresses/192.0.2.9", {}),
            ("GET", "/events", None),
            ("GET", "/audit", None),
            ("GET", "/vantages", None),
        ):
            began = time.monotonic()
            answer = admin.request(verb, path, body, headers={"If-Match": "*"} if verb == "DELETE" else None)
            assert (answer.status_code, answer.get_json()["type"]) == (503, "urn:pdns-gtm:problem:unavailable"), path
            assert int(answer.headers["Retry-After"]) > 0
            assert time.monotonic() - began < 15
        redis.start()
        until(admin, "following")
        assert admin.post("/pools", pool("new", "192.0.2.9"))["id"] == "new"
        assert "GTM-Stale" not in admin.request("GET", "/pools").headers
        assert admin.get(f"/instances/{made['id']}") == made


def test_a_server_that_starts_without_redis_reads_its_snapshot(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        made = figure(admin)
    redis.kill()
    admin.services.preparing = ""
    later = Admin(redis.url, tmp_path)
    later.services.start()
    try:
        later.token = admin.token
        assert later.get(f"/instances/{made['id']}") == made
        assert later.client.get("/readyz").status_code == 200
        assert later.request("POST", "/pools", pool("x")).status_code == 503
    finally:
        later.services.stop()


def test_a_server_that_knows_nothing_says_so(tmp_path: Path) -> None:
    admin = Admin(f"unix://{tmp_path}/nothing.sock", tmp_path)
    admin.services.start()
    try:
        for verb, path in (("GET", "/pools"), ("POST", "/pools"), ("GET", "/nope")):
            answer = admin.request(verb, path, token="gtm_0123456789_" + "A" * 43)
            assert (answer.status_code, answer.get_json()["type"]) == (503, "urn:pdns-gtm:problem:unavailable")
        assert admin.client.get("/readyz").status_code == 503
        assert admin.client.get("/readyz").get_json()["state"] == "starting"
        assert admin.client.get("/livez").status_code == 200
    finally:
        admin.services.stop()


def test_another_store_is_not_written_to(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        figure(admin)
        with redis.connect() as client:
            client.flushall()
            client.set("{gtm}:store-id", "another")
        until(admin, "foreign")
        answer = admin.request("POST", "/pools", pool("new", "192.0.2.9"))
        body = answer.get_json()
        assert (answer.status_code, body["type"]) == (503, "urn:pdns-gtm:problem:foreign-store")
        assert "gtmctl store adopt" in body["detail"]
        assert len(admin.get("/pools")["items"]) == 3
        with redis.connect() as client:
            assert client.keys("*") == ["{gtm}:store-id"]


def test_a_full_redis_is_said(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        with redis.connect() as client:
            client.config_set("maxmemory", "1")
            client.config_set("maxmemory-policy", "noeviction")
        answer = admin.request("POST", "/pools", pool("new", "192.0.2.9"))
        assert answer.status_code == 503
        assert "Redis is full" in answer.get_json()["detail"]


def test_broken_documents_are_named_and_hurt_nothing_else(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        made = figure(admin)
    with redis.connect() as client:
        client.hset("{gtm}:pools", "pool-a", "{broken")
        client.hset("{gtm}:lines", "l", '{"id": 5}')
        client.hset("{gtm}:tokens", "t", "[]")
    (tmp_path / "admin" / "snapshot" / "admin.snapshot").unlink()
    with restarted(admin) as again:
        broken = again.client.get("/readyz").get_json()["broken_documents"]
        assert sorted(text.partition(":")[0] for text in broken) == ["lines l", "pools pool-a", "tokens t"]
        assert [p["id"] for p in again.get("/pools")["items"]] == ["pool-b", "pool-c"]
        status = again.get(f"/instances/{made['id']}/status")
        assert any("pool pool-a does not exist or cannot be read" in warning for warning in status["warnings"])
        assert again.get(f"/simulate?name={made['cname']}&client=1.2.4.8")["answer"]["records"] == ["192.0.2.3"]
        repaired = again.request("PUT", "/pools/pool-a", pool("pool-a", "192.0.2.1"))
        assert repaired.status_code == 201
        assert again.get(f"/simulate?name={made['cname']}&client=1.2.4.8")["answer"]["records"] == ["192.0.2.1"]


def test_a_change_counts_at_once_for_the_other_server(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path, "one") as one, Admin(redis.url, tmp_path, "two") as two:
        two.token = one.token
        # After each change it is busy for a while, so that it has not seen the next one when it is asked about it.
        two.services.follower.listeners.append(lambda *_: time.sleep(0.05))
        for number in range(5):
            one.post("/pools", pool(f"before-{number}"))
            made = one.request("POST", "/pools", pool(f"p{number}", "192.0.2.1"))
            changed = two.request(
                "PATCH", f"/pools/p{number}", {"enabled": False}, headers={"If-Match": made.headers["ETag"]}
            )
            assert changed.status_code == 200, changed.get_json()
            late = one.request(
                "PATCH", f"/pools/p{number}", {"enabled": True}, headers={"If-Match": made.headers["ETag"]}
            )
            assert (late.status_code, late.headers["ETag"]) == (412, changed.headers["ETag"])


def test_etags_save_what_is_known_already(redis: RedisServer, tmp_path: Path) -> None:
    with Admin(redis.url, tmp_path) as admin:
        tag = admin.request("POST", "/pools", pool("web", "192.0.2.1")).headers["ETag"]
        known = admin.request("GET", "/pools/web", headers={"If-None-Match": tag})
        assert (known.status_code, known.data, known.headers["ETag"]) == (304, b"", tag)
        assert admin.request("GET", "/pools/web", headers={"If-None-Match": f'"1", W/{tag}'}).status_code == 304
        assert admin.request("GET", "/pools/web", headers={"If-None-Match": '"1"'}).status_code == 200
        head = admin.request("HEAD", "/pools/web")
        assert (head.status_code, head.headers["ETag"], head.data) == (200, tag, b"")
