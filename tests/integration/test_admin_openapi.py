"""The description of the API: complete, committed, served, and true of every answer to requests made up from it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pdns_gtm_backend.admin.described import ROUTES
from pdns_gtm_backend.admin.openapi import description, text
from tests.support.api import PREFIX, Admin, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.strategies import examples

KEPT = Path(__file__).parents[2] / "docs" / "api" / "openapi.json"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
few = settings(examples(12, *HealthCheck), phases=[Phase.generate])
"""Some for each of threescore routes: seconds in all."""

schema = schemathesis.openapi.from_dict(dict(description()))


INSTANCE = "gtm00000001"
SEED: dict[str, Any] = {
    "health_checks": [{"id": "web", "protocol": "http"}],
    "alerts": [{"id": "ops", "channel": "webhook", "webhook": {"url": "https://192.0.2.9/hook"}}],
    "lines": [{"id": "cn", "members": ["AS-CN"]}],
    "zones": [
        {"name": "shop.example", "rrsets": [{"name": "a.shop.example", "type": "TXT", "records": ['"x"']}]},
    ],
    "pools": [
        pool("pool-a", "192.0.2.1"),
        pool("pool-b", "192.0.2.2"),
        pool("free", "192.0.2.3", health_checks=["web"]),
    ],
    "instances": [{"id": INSTANCE, "name": "shop", "policies": [policy("world", ["default"], "pool-a", "pool-b")]}],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with RedisServer(tmp_path_factory.mktemp("r")) as redis, Admin(redis.url, tmp_path_factory.mktemp("a")) as started:
        yield started


@pytest.fixture
def admin(running: Admin) -> Admin:
    """With one of everything, whatever the test before did."""
    first = {"Authorization": f"Bearer {running.token}"}
    assert running.client.post(f"{PREFIX}/apply?force=true", json=SEED, headers=first).status_code == 200
    return running


def known(admin: Admin) -> dict[str, dict[str, str]]:
    """What there is, by the first part of a path."""
    selector = {"pool": "pool-b"}
    drill = admin.post("/drills", {"name": "d", "selectors": [selector]})["id"]
    override = admin.post("/overrides?force=true", {"selector": selector, "effect": "offline"})["id"]
    token = admin.post("/tokens", {"name": "t", "role": "viewer"})["id"]
    return {
        "instances": {"identifier": INSTANCE, "policy": "world"},
        "pools": {"identifier": "free", "address": "192.0.2.3"},
        "health-checks": {"identifier": "web"},
        "lines": {"identifier": "cn"},
        "zones": {"identifier": "shop.example", "zone": "shop.example", "name": "a.shop.example", "rrtype": "TXT"},
        "drills": {"identifier": drill},
        "alerts": {"identifier": "ops"},
        "overrides": {"identifier": override},
        "tokens": {"identifier": token},
    }


def test_the_description_that_is_kept_is_the_one_of_the_code() -> None:
    assert KEPT.read_text() == text(), f"write it anew: python -m pdns_gtm_backend.admin.openapi > {KEPT.name}"


def test_every_route_is_described_and_nothing_else(admin: Admin) -> None:
    served = {
        (verb, re.sub(r"<(\w+)>", r"{\1}", rule.rule.removeprefix(PREFIX)))
        for rule in admin.app.url_map.iter_rules()
        if rule.rule.startswith(PREFIX)
        for verb in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == set(ROUTES)


def test_it_is_served_without_a_token(admin: Admin) -> None:
    answer = admin.client.get(f"{PREFIX}/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.get_json() == json.loads(KEPT.read_text())
    assert answer.get_json()["openapi"] == "3.1.0"


def test_the_page_for_reading_needs_nothing_from_elsewhere(admin: Admin) -> None:
    answer = admin.client.get(f"{PREFIX}/docs")
    page = answer.get_data(as_text=True)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    for verb, path in ROUTES:
        assert f"<b>{verb}</b> <code>{PREFIX}{path}</code>" in page
    links = set(re.findall(r'(?:href|src)="([^"]*)"', page))
    anchors = {f"#{name}" for name in re.findall(r'id="([^"]*)"', page)}
    assert links - anchors == {"openapi.json"}
    assert "<script" not in page
    assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]


def test_schemas_refuse_what_the_api_refuses(admin: Admin) -> None:
    pool: dict[str, Any] = dict(description()["components"]["schemas"]["Pool"])
    assert pool["additionalProperties"] is False
    assert pool["required"] == ["id", "type"]
    assert pool["properties"]["addresses"]["maxItems"] == 1000
    assert "hash" not in description()["components"]["schemas"]["Token"]["properties"]
    put = description()["components"]["schemas"]["PoolPut"]
    assert put["required"] == ["type"]


def test_requests_made_up_from_it_get_answers_that_it_tells_of(admin: Admin) -> None:
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        admin.post("/apply?force=true", SEED, 200)
        ask(admin, found.ok(), known(admin), statuses)
    # That the requests got somewhere at all.
    assert {200, 201, 204, 400, 404, 409, 412, 422, 428} <= set(statuses), statuses


def ask(admin: Admin, operation: Any, held: dict[str, dict[str, str]], statuses: Counter[int]) -> None:
    """Requests of one operation, many of them for what there is."""

    @given(operation.as_strategy(), st.booleans(), st.booleans())
    @few
    def answers(case: schemathesis.Case, there: bool, any_version: bool) -> None:
        names = held.get(case.path.removeprefix(PREFIX).split("/")[1], {}) if there else {}
        case.path_parameters |= {name: names[name] for name in case.path_parameters if name in names}
        headers = {"Authorization": f"Bearer {admin.token}"} | ({"If-Match": "*"} if any_version else {})
        answer = case.call(app=admin.app, base_url="http://localhost", headers=headers)
        case.validate_response(answer, checks=CHECKS)
        statuses[answer.status_code] += 1

    answers()
