"""Every kind of problem, and the exact errors of bad input."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from immutables import Map
from werkzeug.exceptions import BadRequest
from werkzeug.test import TestResponse

from pdns_gtm_backend.admin.failure_limit import TRIES, FailureLimit
from pdns_gtm_backend.admin.problems import KINDS, MEDIA_TYPE, TYPE_PREFIX
from pdns_gtm_backend.operations.errors import Busy
from pdns_gtm_backend.operations.operator import Quotas
from pdns_gtm_backend.store.follower import Status
from tests.support.api import PREFIX, Admin, figure, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.strategies import examples


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("r")) as server:
        yield server


@pytest.fixture(scope="module")
def admin(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with Admin(redis.url, tmp_path_factory.mktemp("a")) as running:
        figure(running)
        running.post("/pools", pool("six", "2001:db8::1", family="ipv6"))
        running.post("/pools", pool("names", "a.example", family="domain"))
        yield running


def divides() -> Any:
    return 1 / 0


def disconnects() -> Any:
    raise BadRequest("the client went away")


def is_busy() -> Any:
    raise Busy("4 of these are under way", 15)


def failing(admin: Admin, view: Callable[[], Any] = divides) -> TestResponse:
    """An error of the software itself, or of HTTP: a view that is broken for this one request."""
    views = admin.app.view_functions
    sound = views["insight.list_vantages"]
    views["insight.list_vantages"] = view
    try:
        return admin.request("GET", "/vantages")
    finally:
        views["insight.list_vantages"] = sound


def often_failing(admin: Admin) -> TestResponse:
    """The failure of a client after as many as it has tries."""
    held = admin.services.failures
    admin.services.failures = FailureLimit(lambda: 0.0)
    try:
        refused = [admin.request("GET", "/pools", token="wrong") for _ in range(TRIES + 1)]
        assert {answer.status_code for answer in refused[:-1]} == {401}
        assert admin.request("GET", "/pools").status_code == 200
        return refused[-1]
    finally:
        admin.services.failures = held


def over_quota(admin: Admin) -> TestResponse:
    """A write that a server of narrow limits refuses."""
    services = admin.services
    rules = services.rules
    services.rules = replace(rules, quotas=Quotas(addresses_per_pool=1))
    try:
        return admin.request("POST", "/pools", pool("wide", "192.0.2.1", "192.0.2.2"))
    finally:
        services.rules = rules


def foreign(admin: Admin) -> TestResponse:
    """A write while Redis holds another store."""
    follower = admin.services.follower
    status = follower.status
    follower.status = Status("foreign", "Redis holds store x", 0.0)
    try:
        return admin.request("POST", "/pools", pool("x"))
    finally:
        follower.status = status


def viewer(admin: Admin) -> str:
    return str(admin.post("/tokens", {"name": "viewer", "role": "viewer"})["token"])


JSON = {"Content-Type": "application/json"}
EVERY: dict[str, Callable[[Admin], TestResponse]] = {
    "malformed": lambda a: a.request("POST", "/pools", data=b"{", headers=JSON),
    "invalid-parameters": lambda a: a.request("GET", "/pools?limit=x"),
    "bad-request": lambda a: failing(a, disconnects),
    "unauthenticated": lambda a: a.request("GET", "/pools", token="wrong"),
    "too-many-failures": often_failing,
    "quota": over_quota,
    "busy": lambda a: failing(a, is_busy),
    "forbidden": lambda a: a.request("POST", "/pools", pool("x"), token=viewer(a)),
    "not-found": lambda a: a.request("GET", "/pools/nope"),
    "method-not-allowed": lambda a: a.request("DELETE", "/pools"),
    "exists": lambda a: a.request("POST", "/pools", pool("pool-a", "192.0.2.1")),
    "in-use": lambda a: a.request("DELETE", "/pools/pool-a", headers={"If-Match": "*"}),
    "brake": lambda a: a.request("POST", "/overrides", {"selector": {"address": "192.0.2.3"}, "effect": "offline"}),
    "conflict": lambda a: a.request("DELETE", f"/tokens/{a.token.split('_')[1]}", headers={"If-Match": "*"}),
    "precondition-failed": lambda a: a.request("DELETE", "/pools/pool-a", headers={"If-Match": '"1"'}),
    "too-large": lambda a: a.request("POST", "/pools", data=b" " * (8 * 1024 * 1024 + 1), headers=JSON),
    "unsupported-media-type": lambda a: a.request("POST", "/pools", data=b"{}"),
    "invalid": lambda a: a.request("POST", "/pools", {}),
    "precondition-required": lambda a: a.request("PUT", "/pools/pool-a", pool("pool-a", "192.0.2.9")),
    "internal": failing,
    "unavailable": lambda a: a.request("POST", "/pools", pool("x")),
    "foreign-store": foreign,
}


def test_every_kind_of_problem_is_walked_here() -> None:
    assert set(EVERY) == set(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind not in ("unavailable", "brake")])
def test_each_kind_of_problem_has_one_shape(admin: Admin, kind: str) -> None:
    check(EVERY[kind](admin), kind)


def check(answer: TestResponse, kind: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer.data)
    known = KINDS[kind]
    assert answer.status_code == body["status"] == known.status, body
    assert answer.mimetype == MEDIA_TYPE
    assert (body["type"], body["title"]) == (TYPE_PREFIX + kind, known.title)
    assert body["detail"]
    assert body["instance"].startswith("/")
    assert answer.headers["Cache-Control"] == "no-store"
    for error in body.get("errors", []):
        assert error["detail"]
        assert "pointer" in error or "parameter" in error
    return body


def test_a_problem_of_a_brake(admin: Admin) -> None:
    first = admin.post("/overrides", {"selector": {"pool": "pool-a"}, "effect": "offline"})
    body = check(EVERY["brake"](admin), "brake")
    assert "no available set for shop/mainland (ipv4)" in body["detail"]
    assert body["preview"][0]["after"] == {"rule": "other_policy", "policy": "world", "set": "default"}
    admin.delete(f"/overrides/{first['id']}")


def test_a_problem_without_a_store(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisServer(tmp_path_factory.mktemp("r")) as own, Admin(own.url, tmp_path_factory.mktemp("a")) as admin:
        own.kill()
        answer = EVERY["unavailable"](admin)
        check(answer, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0


def test_headers_that_go_with_problems(admin: Admin) -> None:
    assert set(EVERY["method-not-allowed"](admin).headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert EVERY["unauthenticated"](admin).headers["WWW-Authenticate"].startswith("Bearer ")
    assert EVERY["unsupported-media-type"](admin).headers["Accept"] == "application/json"
    patch = admin.request("PATCH", "/pools/pool-a", data=b"{}", headers={"Content-Type": "text/plain"})
    assert patch.headers["Accept-Patch"] == "application/merge-patch+json, application/json"
    changed = EVERY["precondition-failed"](admin)
    assert changed.headers["ETag"] == admin.request("GET", "/pools/pool-a").headers["ETag"]
    assert int(foreign(admin).headers["Retry-After"]) > 0
    assert int(often_failing(admin).headers["Retry-After"]) > 0
    assert EVERY["busy"](admin).headers["Retry-After"] == "15"


def test_an_error_of_the_server_tells_nothing_of_itself(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    body = check(failing(admin), "internal")
    assert "division" not in json.dumps(body)
    reference = body["detail"].rpartition(" ")[2]
    assert reference in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert admin.token not in caplog.text


@pytest.mark.parametrize("path", ["/", "/api", "/favicon.ico", "/api/v1/nope", "/api/v1/pools/", "/api/v1//pools"])
def test_what_is_not_there_is_a_problem_too(admin: Admin, path: str) -> None:
    answer = admin.client.get(path, headers={"Authorization": f"Bearer {admin.token}"})
    check(answer, "not-found")


def instance(*policies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "new", "policies": list(policies), **more}


WORLD = policy("world", ["default"], "pool-a")
LONG = "x" * 10_000
BAD: list[tuple[str, str, Any, list[tuple[str, str]]]] = [
    (
        "an overlapping line",
        "/instances",
        instance(WORLD, policy("cn", ["AS-CN"], "pool-a"), policy("again", ["AS-CN"], "pool-b")),
        [("/policies/2/lines/0", "'AS-CN' overlaps with 'AS-CN' of policy 'cn': it belongs to one")],
    ),
    (
        "a pool of the wrong family",
        "/instances",
        instance(policy("world", ["default"], "names")),
        [
            (
                "/policies/0/pool_sets/0/pools/0/pool",
                "pool 'names' is of type domain, an instance of kind address takes ipv4 or ipv6: a name answers "
                "addresses or a CNAME, never both",
            )
        ],
    ),
    (
        "a CNAME pool beside addresses in one set",
        "/instances",
        instance(policy("world", ["default"], ["pool-a", "names"])),
        [
            (
                "/policies/0/pool_sets/0/pools/1/pool",
                "pool 'names' is of type domain, an instance of kind address takes ipv4 or ipv6: a name answers "
                "addresses or a CNAME, never both",
            )
        ],
    ),
    (
        "weight -1",
        "/instances",
        instance(policy("world", ["default"], {"pools": [{"pool": "pool-a", "weight": -1}]})),
        [("/policies/0/pool_sets/0/pools/0/weight", "-1 is not allowed: must be a whole number from 0 to 1000")],
    ),
    (
        "weight -1 of an address",
        "/pools",
        {"id": "new", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": -1}]},
        [("/addresses/0/weight", "-1 is not allowed: must be a whole number from 0 to 1000")],
    ),
    (
        "unknown pool",
        "/instances",
        instance(policy("world", ["default"], "nope")),
        [("/policies/0/pool_sets/0/pools/0/pool", "there is no pool 'nope'")],
    ),
    (
        "unknown field",
        "/instances",
        instance(WORLD, polices=[]),
        [
            (
                "/polices",
                "unknown field 'polices', did you mean 'policies'? Allowed are id, name, cname, kind, ttl, enabled, "
                "service_domains, names, when_all_down, labels, policies",
            )
        ],
    ),
    (
        "no default line",
        "/instances",
        instance(policy("cn", ["AS-CN"], "pool-a")),
        [("/policies", "no policy has the line 'default': exactly one must, for clients of no other line")],
    ),
    (
        "a default without a type in use",
        "/instances",
        instance(WORLD, policy("cn", ["AS-CN"], "six")),
        [("/policies", "the policy with 'default' has no ipv6 pool as policy 'cn' has: it must carry all types")],
    ),
    (
        "a name that is taken",
        "/instances",
        {"name": "shop", "policies": [WORLD]},
        [("/name", "'shop' is the name of instance ID")],
    ),
    (
        "a 10,000-character name",
        "/instances",
        {"name": LONG, "policies": [WORLD]},
        [("/name", f"'{'x' * 59}... (10000 characters) is not allowed: must be text of 1 to 128 characters")],
    ),
    (
        "a 10,000-character domain name",
        "/instances",
        instance(WORLD, service_domains=[LONG]),
        [
            (
                "/service_domains/0",
                f"'{'x' * 59}... (10000 characters) is not allowed: must be text of 1 to 254 characters",
            )
        ],
    ),
    (
        "a 10,000-character id",
        "/pools",
        {"id": LONG, "type": "ipv4"},
        [("/id", f"'{'x' * 59}... (10000 characters) is not allowed: must be text of 1 to 63 characters")],
    ),
    (
        "an address of another family",
        "/pools",
        pool("new", "2001:db8::1"),
        [("/addresses/0/address", "'2001:db8::1' is an IPv6 address, the pool's type is ipv4")],
    ),
    (
        "an address twice",
        "/pools",
        pool("new", "2001:db8::1", "2001:DB8:0::1", family="ipv6"),
        [("/addresses/1/address", "'2001:DB8:0::1' is already at /addresses/0")],
    ),
    (
        "a share that is none",
        "/pools",
        pool("new", min_available="150%"),
        [("/min_available", "'150%' is neither a count nor '1%' to '100%'")],
    ),
    (
        "a check that is not there",
        "/pools",
        pool("new", health_checks=["nope"]),
        [("/health_checks/0", "there is no health check 'nope'")],
    ),
    (
        "a tcp check without a port",
        "/health-checks",
        {"id": "new", "protocol": "tcp"},
        [("/port", "a tcp check needs a port (1 to 65535)")],
    ),
    (
        "several errors at once, of fields and of references",
        "/pools",
        pool("new", "192.0.2.1", health_checks=["nope"], max_answers=0, wieght=1),
        [
            ("/max_answers", "0 is not allowed: must be a whole number from 1 to 1000 or null"),
            (
                "/wieght",
                "unknown field 'wieght'. Allowed are id, type, strategy, min_available, max_answers, enabled, "
                "health_checks, require, host, sni, addresses",
            ),
            ("/health_checks/0", "there is no health check 'nope'"),
        ],
    ),
    (
        "a line that is none",
        "/lines",
        {"id": "new", "members": ["XX-CN", "AS-CN", "AS-CN", "default"]},
        [
            (
                "/members/0",
                "'XX-CN' is no line; allowed are default, a geo like AS, AS-CN or NA-US-CA, asn:4134, "
                "cidr:203.0.113.0/24, line:NAME, or terms joined by & (continents: AF, AN, AS, EU, NA, OC, SA)",
            ),
            ("/members/2", "'AS-CN' is already at /members/1"),
            ("/members/3", "'default': a custom line is made of geos, asn: and cidr: lines only"),
        ],
    ),
    ("a list", "/pools", [], [("", "a list of 0 is not allowed: must be an object with id, type, ALL")]),
]


@pytest.mark.parametrize(("path", "body", "errors"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_bad_documents(admin: Admin, path: str, body: Any, errors: list[tuple[str, str]]) -> None:
    answer = admin.request("POST", path, body)
    found = [(error["pointer"], error["detail"]) for error in check(answer, "invalid")["errors"]]
    shop = admin.get("/instances?name=shop")["items"][0]["id"]
    fields = "strategy, min_available, max_answers, enabled, health_checks, require, host, sni, addresses"
    assert found == [(place, detail.replace("ID", shop).replace("ALL", fields)) for place, detail in errors]
    assert admin.services.follower.serving.snapshot.problems == Map()


def test_a_change_of_a_pool_is_checked_against_its_users(admin: Admin) -> None:
    refused = admin.request(
        "PUT", "/pools/pool-a", pool("pool-a", "a.example", family="domain"), headers={"If-Match": "*"}
    )
    found = [(error["pointer"], error["detail"]) for error in check(refused, "invalid")["errors"]]
    assert found[0][0] == "/type"
    assert found[0][1].startswith("in instance 'shop': pool 'pool-a' is of type domain")


def test_probes_of_private_addresses_are_refused(admin: Admin) -> None:
    admin.request("PUT", "/health-checks/web", {"protocol": "http"})
    body = pool("local", "127.0.0.1", "169.254.169.254", "192.0.2.1", health_checks=["web"])
    found = check(admin.request("POST", "/pools", body), "invalid")["errors"]
    assert [error["pointer"] for error in found] == ["/addresses/0/address", "/addresses/1/address"]
    assert "GTM_ALLOW_PRIVATE_TARGETS=1" in found[0]["detail"]


def test_a_merge_patch_is_an_object(admin: Admin) -> None:
    for path in ("/pools/pool-a", "/pools/pool-a/addresses/192.0.2.1"):
        refused = admin.request("PATCH", path, [1], headers={"If-Match": "*"})
        assert check(refused, "invalid")["errors"][0]["pointer"] == ""
    path = "/pools/pool-a"
    merge = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    assert admin.request("PATCH", path, data=b'{"strategy": "weighted"}', headers=merge).status_code == 200
    assert admin.patch(path, {"strategy": None})["strategy"] == "all"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2000)
    | st.sampled_from(["pool-a", "AS-CN", "default", "x", "", "ü", "50%"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pool", "weight", "a"]), inner, max_size=2)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "id",
        "name",
        "type",
        "ttl",
        "policies",
        "addresses",
        "members",
        "selector",
        "effect",
        "until",
        "http",
        "labels",
        "x",
    ]
)
PATHS = ("/instances", "/pools", "/health-checks", "/lines", "/zones", "/overrides", "/tokens")


@examples(120, HealthCheck.function_scoped_fixture)
@given(
    path=st.sampled_from(PATHS),
    body=st.dictionaries(FIELDS, VALUES, max_size=5),
    verb=st.sampled_from(["POST", "PUT", "PATCH"]),
)
def test_no_body_is_an_error_of_the_server(admin: Admin, path: str, body: dict[str, Any], verb: str) -> None:
    place = path if verb == "POST" else f"{path}/pool-a"
    answer = admin.request(verb, place + "?dry_run=true", body, headers={"If-Match": "*"})
    assert answer.status_code < 500, answer.data
    assert answer.status_code < 300 or json.loads(answer.data)["type"].startswith(TYPE_PREFIX)


@examples(60, HealthCheck.function_scoped_fixture)
@given(
    data=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE-nulltrefas\\u d', max_size=60).map(str.encode)
)
def test_no_octets_are_an_error_of_the_server(admin: Admin, data: bytes) -> None:
    answer = admin.request("POST", "/lines?dry_run=true", data=data, headers=JSON)
    assert answer.status_code in (400, 422), (data, answer.data)
    assert answer.mimetype == MEDIA_TYPE


@pytest.mark.parametrize("verb", ["GET", "HEAD", "OPTIONS", "PUT", "TRACE", "BREW"])
def test_other_methods(admin: Admin, verb: str) -> None:
    answer = admin.client.open(f"{PREFIX}/pools", method=verb, headers={"Authorization": f"Bearer {admin.token}"})
    if verb in ("GET", "HEAD", "OPTIONS"):
        assert answer.status_code == 200
        assert (verb == "GET") == bool(answer.data)
    else:
        check(answer, "method-not-allowed")
