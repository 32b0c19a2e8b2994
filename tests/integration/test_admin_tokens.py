"""Who may do what: tokens, roles, restriction to a label, expiry, and the first token of a new store."""

import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pdns_gtm_backend.admin.failure_limit import FailureLimit
from pdns_gtm_backend.domain.moment import rfc3339
from pdns_gtm_backend.operations.errors import OperationError
from pdns_gtm_backend.operations.operator import SYSTEM
from pdns_gtm_backend.operations.startup import ensure_token
from pdns_gtm_backend.operations.token_uses import WRITE_SECONDS, TokenUses
from pdns_gtm_backend.operations.tokens import new_secret
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.repository import Commit
from pdns_gtm_backend.store.snapshot import Change
from tests.support.api import PREFIX, Admin, figure, policy, pool, restarted
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """For tests that leave its first token as it is."""
    with RedisServer(tmp_path_factory.mktemp("r")) as own, Admin(own.url, tmp_path_factory.mktemp("a")) as running:
        yield running


@pytest.fixture
def fresh(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with redis.connect() as client:
        client.flushall()
    with Admin(redis.url, tmp_path_factory.mktemp("a")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_failures(admin: Admin) -> None:
    """As if nobody had failed before."""
    admin.services.failures = FailureLimit(time.monotonic)


def token(admin: Admin, role: str, **more: str) -> str:
    return str(admin.post("/tokens", {"name": f"a {role}", "role": role, **more})["token"])


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer x", "Bearer gtm_0123456789_" + "A" * 43, "Token x"]
)
def test_without_a_valid_token_nothing_is_told(admin: Admin, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in ("/pools", "/nope", "/tokens", "/simulate"):
        answer = admin.client.get(PREFIX + path, headers=headers)
        assert (answer.status_code, answer.get_json()["type"]) == (401, "urn:pdns-gtm:problem:unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="pdns-gtm"')
    assert admin.client.get("/livez").status_code == 200
    assert admin.client.get("/readyz").status_code == 200
    assert admin.client.get("/metrics").status_code == 200


WRITES = [
    ("POST", "/pools"),
    ("PUT", "/pools/pool-a"),
    ("PATCH", "/pools/pool-a"),
    ("DELETE", "/pools/pool-a"),
    ("PUT", "/pools/pool-a/addresses/192.0.2.1"),
    ("DELETE", "/pools/pool-a/addresses/192.0.2.1"),
    ("POST", "/instances"),
    ("POST", "/zones"),
    ("PUT", "/zones/gtm.example/rrsets/a.gtm.example/A"),
    ("GET", "/tokens"),
    ("POST", "/tokens"),
]
OPERATIONS = [("POST", "/overrides"), ("DELETE", "/overrides/x"), ("POST", "/instances/x/policies/y/switch")]
READS = [("GET", "/pools"), ("HEAD", "/instances"), ("GET", "/events"), ("GET", "/audit"), ("GET", "/vantages")]


def test_each_role_may_do_its_part_and_no_more(admin: Admin) -> None:
    held = {role: token(admin, role) for role in ("viewer", "operator", "admin")}
    for role, secret in held.items():
        for verb, path in READS:
            assert admin.request(verb, path, token=secret).status_code == 200, (role, verb, path)
        for verb, path in OPERATIONS:
            allowed = admin.request(verb, path, {}, token=secret).status_code != 403
            assert allowed == (role != "viewer"), (role, verb, path)
        for verb, path in WRITES:
            allowed = admin.request(verb, path, {} if verb != "GET" else None, token=secret).status_code != 403
            assert allowed == (role == "admin"), (role, verb, path)
    told = admin.request("POST", "/pools", {}, token=held["viewer"]).get_json()["detail"]
    assert told == "POST /api/v1/pools needs the role admin; the token 'a viewer' has viewer"


def test_every_change_of_the_api_asks_for_a_role(admin: Admin) -> None:
    """No route that changes something is open to viewers, whatever is added later; of `/apply` they may ask."""
    viewer = token(admin, "viewer")
    walked = 0
    for rule in admin.app.url_map.iter_rules():
        if not rule.rule.startswith(PREFIX):
            continue
        for verb in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            path = rule.rule.removeprefix(PREFIX).replace("<", "").replace(">", "")
            assert admin.request(verb, path, {}, token=viewer).status_code == 403, rule
            walked += 1
    assert walked > 20


def test_a_token_is_told_once_and_kept_as_a_hash(admin: Admin) -> None:
    made = admin.post("/tokens", {"name": "ci", "role": "admin"})
    assert admin.request("GET", "/pools", token=made["token"]).status_code == 200
    assert set(made) == {"id", "name", "role", "label", "created", "expires", "token"}
    read = admin.get(f"/tokens/{made['id']}")
    assert read.pop("last_used").endswith("Z")
    assert read == {name: value for name, value in made.items() if name != "token"}
    assert all("token" not in listed and "hash" not in listed for listed in admin.get("/tokens")["items"])
    client = admin.services.follower.repository.client
    assert made["token"] not in str(client.hgetall("{gtm}:tokens"))
    admin.delete(f"/tokens/{made['id']}")
    assert admin.request("GET", "/pools", token=made["token"]).status_code == 401


def test_the_last_use_of_a_token_is_known_everywhere_and_no_change(admin: Admin, tmp_path: Path) -> None:
    secret = token(admin, "viewer")
    identifier = secret.split("_")[1]
    assert admin.get(f"/tokens/{identifier}")["last_used"] is None
    clock = [time.time()]
    uses = admin.services.token_uses = TokenUses(admin.services.writer, lambda: clock[0])
    client = admin.services.follower.repository.client
    before = client.get(keys.REVISION)
    client.delete(keys.TOKEN_USES)
    assert admin.request("GET", "/pools", token=secret).status_code == 200
    used = admin.get(f"/tokens/{identifier}")["last_used"]
    assert used == rfc3339(int(clock[0]))
    assert client.hgetall(keys.TOKEN_USES) == {}
    clock[0] += WRITE_SECONDS
    admin.get("/pools")
    assert client.hget(keys.TOKEN_USES, identifier) == str(int(clock[0] - WRITE_SECONDS))
    assert client.get(keys.REVISION) == before
    other = TokenUses(admin.services.writer, time.time)
    assert rfc3339(other.all()[identifier].timestamp()) == used
    client.hset(keys.TOKEN_USES, mapping={"gone": "1", identifier: "garbage"})
    assert set(other.all()) == {"gone", admin.token.split("_")[1]}
    admin.delete(f"/tokens/{identifier}")
    uses.write()
    assert set(client.hkeys(keys.TOKEN_USES)) == {admin.token.split("_")[1]}


def test_a_token_of_another_secret_is_refused(admin: Admin) -> None:
    made = admin.post("/tokens", {"name": "ci", "role": "admin"})
    forged = made["token"][:-3] + ("AAA" if not made["token"].endswith("AAA") else "BBB")
    assert admin.request("GET", "/pools", token=forged).status_code == 401


def test_a_token_ends(admin: Admin) -> None:
    now = datetime.now(UTC)
    later = token(admin, "viewer", expires=(now + timedelta(hours=1)).isoformat())
    assert admin.request("GET", "/pools", token=later).status_code == 200
    identifier = later.split("_")[1]
    follower = admin.services.follower
    held = follower.serving.snapshot.documents[kinds.TOKENS][identifier]
    over = Change(kinds.TOKENS, identifier, type(held)(**{**fields(held), "expires": now - timedelta(seconds=1)}))
    revision = follower.repository.commit(Commit([over]), follower.serving.snapshot.position.store_id)
    assert follower.wait_for(revision, SECONDS)
    assert admin.request("GET", "/pools", token=later).status_code == 401


def fields(document: object) -> dict[str, object]:
    return {name: getattr(document, name) for name in document.__dataclass_fields__}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "pointer", "part"),
    [
        ({"name": "x"}, "/role", "is required: one of 'viewer', 'operator', 'admin'"),
        ({"name": "x", "role": "root"}, "/role", "'root' is not allowed"),
        ({"name": "x", "role": "viewer", "hash": "f"}, "/hash", "is generated: leave it out"),
        ({"name": "x", "role": "viewer", "id": "f"}, "/id", "is generated: leave it out"),
        ({"name": "x", "role": "viewer", "label": "team"}, "/label", "is not of the form key=value"),
        ({"name": "x", "role": "viewer", "expires": "2001-01-01T00:00:00Z"}, "/expires", "is over"),
        ({"name": "x", "role": "viewer", "expires": "2999-01-01T00:00:00"}, "/expires", "needs a time zone"),
    ],
)
def test_bad_tokens(admin: Admin, body: dict[str, str], pointer: str, part: str) -> None:
    (error,) = admin.post("/tokens", body, 422)["errors"]
    assert (error["pointer"], part in error["detail"]) == (pointer, True), error


def test_the_last_admin_cannot_lock_everybody_out(fresh: Admin) -> None:
    own = fresh.token.split("_")[1]
    token(fresh, "admin", expires="2999-01-01T00:00:00Z")
    token(fresh, "admin", label="team=web")
    refused = fresh.delete(f"/tokens/{own}", 409)
    assert refused["detail"] == "this is the last admin token that never expires: make another one first"
    other = fresh.post("/tokens", {"name": "second", "role": "admin"})
    fresh.delete(f"/tokens/{own}")
    assert fresh.request("GET", "/pools").status_code == 401
    assert (
        fresh.request("DELETE", f"/tokens/{other['id']}", token=other["token"], headers={"If-Match": "*"}).status_code
        == 409
    )


def test_a_restricted_token_sees_its_instances_only(admin: Admin) -> None:
    mine = figure(admin, labels={"team": "web"})
    other = admin.post("/instances", {"name": "mail", "policies": [policy("world", ["default"], "pool-b")]})
    secret = token(admin, "admin", label="team=web")

    def status(verb: str, path: str, body: object = None) -> int:
        return admin.request(verb, path, body, token=secret, headers={"If-Match": "*"}).status_code

    listed = admin.request("GET", "/instances", token=secret).get_json()["items"]
    assert [i["id"] for i in listed] == [mine["id"]]
    for path in ("", "/status"):
        assert status("GET", f"/instances/{mine['id']}{path}") == 200
        assert status("GET", f"/instances/{other['id']}{path}") == 404
    assert status("GET", f"/simulate?name={mine['cname']}&client=8.8.8.8") == 200
    assert status("GET", f"/simulate?name={other['cname']}&client=8.8.8.8") == 404
    assert status("PATCH", f"/instances/{mine['id']}", {"ttl": 5}) == 200
    assert status("PATCH", f"/instances/{mine['id']}", {"labels": {"team": None}}) == 403
    assert status("PATCH", f"/instances/{other['id']}", {"ttl": 5}) == 404
    assert status("DELETE", f"/instances/{other['id']}") == 404
    body = {"name": "new", "policies": [policy("world", ["default"], "pool-a")]}
    assert status("POST", "/instances", body) == 403
    assert status("POST", "/instances", {**body, "labels": {"team": "web"}}) == 201
    switch = {"mode": "pinned", "set": "failover"}
    assert status("POST", f"/instances/{mine['id']}/policies/world/switch", switch) == 200
    assert status("POST", f"/instances/{other['id']}/policies/world/switch", {"mode": "auto"}) == 404
    for verb, path, sent in (
        ("POST", "/pools", pool("new", "192.0.2.9")),
        ("PUT", "/pools/pool-a/addresses/192.0.2.9", {}),
        ("POST", "/zones", {"name": "shop.example"}),
        ("PUT", "/zones/gtm.example/rrsets/a.gtm.example/A", {"records": ["192.0.2.1"]}),
        ("POST", "/tokens", {"name": "x", "role": "viewer"}),
        ("GET", "/tokens", None),
        ("GET", "/audit", None),
        ("GET", "/events", None),
        ("POST", "/overrides", {"selector": {"pool": "pool-a"}, "effect": "offline"}),
    ):
        assert status(verb, path, sent) == 403, (verb, path)
    assert status("GET", f"/events?instance={mine['id']}") == 200
    assert status("GET", f"/events?instance={other['id']}") == 403
    assert [u["id"] for u in admin.request("GET", "/pools/pool-b/status", token=secret).get_json()["used_by"]] == [
        mine["id"]
    ]
    admin.post("/overrides?force=true", {"selector": {"pool": "pool-a"}, "effect": "offline"})
    seen = admin.request("GET", "/overrides", token=secret).get_json()["items"]
    assert [o["effect"] for o in seen] == ["pin"]


def test_the_first_token_is_in_a_file_of_its_own(fresh: Admin) -> None:
    path = fresh.settings.var / "admin-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == fresh.token
    with restarted(fresh) as again:
        assert again.token == fresh.token
        assert len(again.get("/tokens")["items"]) == 1
    path.unlink()
    with restarted(fresh):
        assert not path.exists()
    assert fresh.get("/tokens")["items"][0]["name"] == "bootstrap"


def test_the_token_of_a_file_is_good_for_a_fresh_store(redis: RedisServer, tmp_path: Path) -> None:
    with redis.connect() as client:
        client.flushall()
    secret = new_secret()
    (tmp_path / "admin").mkdir()
    path = tmp_path / "admin" / "admin-token"
    path.write_text(secret + "\n")
    path.chmod(0o644)
    with Admin(redis.url, tmp_path) as admin:
        assert admin.token == secret
        assert admin.get("/pools")["items"] == []
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_holds_no_token_is_told_and_kept(redis: RedisServer, tmp_path: Path) -> None:
    with redis.connect() as client:
        client.flushall()
    admin = Admin(redis.url, tmp_path)
    path = admin.settings.var / "admin-token"
    path.write_text("my password\n")
    admin.services.start()
    try:
        assert not admin.services.wait_until_prepared(1)
        assert "holds no token of this server: delete it" in admin.client.get("/readyz").get_json()["preparing"]
        assert path.read_text() == "my password\n"
        path.unlink()
        assert admin.services.wait_until_prepared(5)
        assert path.read_text().startswith("gtm_")
    finally:
        admin.services.stop()


def test_servers_that_start_together_agree_on_one_token(redis: RedisServer, tmp_path: Path) -> None:
    """Two share a folder, one has its own: in the end there is one token, and one file or two that are right."""
    with redis.connect() as client:
        client.flushall()
    admins = [Admin(redis.url, tmp_path, name) for name in ("shared", "shared", "own")]
    start = threading.Barrier(len(admins))
    failed: list[OperationError] = []

    def begin(admin: Admin) -> None:
        admin.services.follower.start()
        assert admin.services.follower.wait_until_following(5)
        start.wait()
        try:
            ensure_token(admin.services.operator(SYSTEM), admin.settings.var)
        except OperationError as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(admin,)) for admin in admins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert failed == []
        with redis.connect() as client:
            (registered,) = client.hkeys("{gtm}:tokens")
        held = {path.read_text().strip().split("_")[1] for path in tmp_path.glob("*/admin-token")}
        assert held == {registered}
        assert not list(tmp_path.glob("*/.admin-token*"))
    finally:
        for admin in admins:
            admin.services.follower.stop()
