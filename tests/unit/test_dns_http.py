import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.backend import Backend, NotReady
from pdns_gtm_backend.dns.http import create_app
from pdns_gtm_backend.dns.methods import METHODS, BadRequest, call
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import disk
from pdns_gtm_backend.store.snapshot import Position, Snapshot, empty
from tests.support.documents import instance, policy, pool, rrset, written
from tests.support.strategies import bounded

SECRET = "s3cret"
LOOKUP = {"method": "lookup", "parameters": {"qname": "gtm00000001.gtm.example.", "qtype": "ANY", "zone-id": -1}}
DOCUMENTS = (
    pool("a", "ipv4", "192.0.2.1"),
    instance("gtm00000001", policy("world", "default", "a")),
    Zone(name="shop.example", number=2, serial=9),
    rrset("shop.example", "www.shop.example", "A", "192.0.2.2"),
)


def snapshot() -> Snapshot:
    return empty().changed([written(document) for document in DOCUMENTS], Position("store", "replication", 7))


def backend_of(folder: Path, held: Snapshot | None) -> Backend:
    """A backend without Redis, from the snapshot on disk alone."""
    settings = Settings(var=folder, redis_url=f"unix://{folder}/none", geo_database=folder / "none.mmdb")
    if held is not None:
        disk.save(held, folder / "snapshot" / "backend.snapshot")
    return Backend(settings)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    return backend_of(tmp_path_factory.mktemp("var"), snapshot())


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend, SECRET).test_client()


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[FlaskClient]:
    yield create_app(backend_of(tmp_path, None), "").test_client()


def test_a_lookup(client: FlaskClient) -> None:
    reply = client.post(f"/dns/{SECRET}", data=json.dumps(LOOKUP), content_type="text/javascript; charset=utf-8")
    assert (reply.status_code, reply.mimetype) == (200, "application/json")
    assert [record["content"] for record in reply.json["result"]] == ["192.0.2.1"]  # type: ignore[index]


@pytest.mark.parametrize(
    "path", ["/dns", "/dns/", "/dns/wrong", f"/dns/{SECRET}x", "/dns/wrong/lookup/a/A", "/dns/%C3%A9"]
)
def test_a_wrong_secret_is_refused_and_no_404(client: FlaskClient, path: str) -> None:
    reply = client.post(path, json=LOOKUP)
    assert reply.status_code == 403
    assert "secret" in reply.text


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get(f"/dns/{SECRET}/lookup/www%2eshop%2eexample%2e/ANY"),
        lambda client: client.get(f"/dns/{SECRET}/getAllDomains?includeDisabled=true"),
        lambda client: client.patch(
            f"/dns/{SECRET}/replaceRRSet/2/www%2eshop%2eexample%2e/A", data="1&rrset[0][ttl]=601"
        ),
        lambda client: client.put(f"/dns/{SECRET}/addDomainKey/shop%2eexample%2e", data="flags=257"),
        lambda client: client.delete(f"/dns/{SECRET}/removeDomainKey/1/shop%2eexample%2e"),
        lambda client: client.post(f"/dns/{SECRET}/lookup", data={"parameters": "{}"}),
        lambda client: client.post(f"/dns/{SECRET}", data={"parameters": "{}"}),
        lambda client: client.get(f"/dns/{SECRET}"),
    ],
)
def test_other_forms_are_told_the_option(client: FlaskClient, ask: Callable[[FlaskClient], Any]) -> None:
    reply = ask(client)
    assert reply.status_code == 400
    assert "post=1,post_json=1" in reply.text


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b"\xff\xfe\xfa", 400, "the body is no JSON"),
        (b"[]", 400, "the body is no object"),
        (b'{"method": 7}', 400, "the body is no object"),
        (b'{"method": "lookup", "parameters": []}', 400, "'qname'"),
        (b'{"method": "lookup", "parameters": [1]}', 400, "parameters: [1] is no object"),
        (b'{"method": "lookup", "parameters": {"qname": 7, "qtype": "A"}}', 400, "parameters/qname: 7 is no string"),
        (b'{"method": "lookup", "parameters": {"qname": "a", "qtype": "A", "zone-id": "x"}}', 400, "no whole number"),
        (b'{"method": "getDomainInfo", "parameters": {}}', 400, "parameters/name: None is no string"),
        (b'{"method": "createDomain", "parameters": {}}', 501, "method 'createDomain' is not served; served are"),
    ],
)
def test_what_is_no_request_is_refused(client: FlaskClient, body: bytes, code: int, said: str) -> None:
    reply = client.post(f"/dns/{SECRET}", data=body, content_type="text/javascript")
    assert reply.status_code == code
    assert said.replace("'qname'", "parameters/qname") in reply.text


def test_an_empty_secret_serves_dns_itself(backend: Backend) -> None:
    client = create_app(backend, "").test_client()
    assert client.post("/dns", json=LOOKUP).status_code == 200
    assert client.post("/dns/anything", json=LOOKUP).status_code == 403


def test_a_failure_inside_is_a_500_and_never_an_answer(
    client: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(type(backend), "view", property(lambda self: 1 / 0))
    for method in ("lookup", "getAllDomains", "list"):
        body = {"method": method, "parameters": {"qname": "a", "qtype": "A", "zonename": "a"}}
        assert client.post(f"/dns/{SECRET}", json=body).status_code == 500
    assert "ZeroDivisionError" in caplog.text
    assert caplog.text.count("ZeroDivisionError") < 3


def test_nothing_is_answered_before_a_snapshot(starting: FlaskClient) -> None:
    for method in ("lookup", "getAllDomains", "list", "getDomainInfo"):
        parameters = {"qname": "gtm.example.", "qtype": "SOA", "zonename": "gtm.example.", "name": "gtm.example."}
        assert starting.post("/dns", json={"method": method, "parameters": parameters}).status_code == 503
    ready = starting.get("/readyz")
    assert (ready.status_code, ready.json["state"]) == (503, "starting")  # type: ignore[index]
    assert starting.get("/livez").status_code == 200


def test_readiness_of_a_snapshot_from_disk(client: FlaskClient) -> None:
    reply = client.get("/readyz")
    body = reply.get_json()
    assert (reply.status_code, body["state"], body["degraded"]) == (200, "degraded", True)
    assert (body["revision"], body["store_id"], body["instances"]) == (7, "store", 1)
    assert body["store"]["state"] == "starting"
    assert "none.mmdb" in body["geo"]["country"]["error"]


def test_metrics_count_requests_and_failures(client: FlaskClient) -> None:
    client.post(f"/dns/{SECRET}", json=LOOKUP)
    client.post("/dns/wrong", json=LOOKUP)
    text = client.get("/metrics").text
    assert 'gtm_backend_requests_total{method="lookup"} 1.0' in text
    assert 'gtm_backend_failures_total{reason="secret"} 1.0' in text
    assert 'gtm_backend_store_state{state="starting"} 1.0' in text
    assert "gtm_backend_snapshot_revision 7.0" in text


def test_unknown_paths_answer_without_json(client: FlaskClient) -> None:
    reply = client.post("/other", json=LOOKUP)
    assert (reply.status_code, reply.mimetype) == (404, "text/html")


def result(backend: Backend, method: str, **parameters: object) -> Any:
    _, body = call(backend, json.dumps({"method": method, "parameters": parameters}).encode())
    return json.loads(body)["result"]


def test_zones_are_listed_with_their_numbers(backend: Backend) -> None:
    found = {zone["zone"]: zone for zone in result(backend, "getAllDomains", include_disabled=True)}
    assert set(found) == {"gtm.example.", "shop.example."}
    shop = result(backend, "getDomainInfo", name="Shop.Example.")
    assert shop == found["shop.example."]
    assert (shop["id"], shop["serial"], shop["kind"]) == (2, 9, "native")
    assert result(backend, "getDomainInfo", name="other.example.") is False


def test_list_of_a_zone(backend: Backend) -> None:
    assert result(backend, "list", zonename="other.example.", domain_id=2) is False
    found = {(r["qname"], r["qtype"]) for r in result(backend, "list", zonename="shop.example.", domain_id=2)}
    assert found == {("shop.example", "SOA"), ("shop.example", "NS"), ("www.shop.example", "A")}


def test_no_zone_has_metadata(backend: Backend) -> None:
    assert result(backend, "getAllDomainMetadata", name="shop.example.") == {}
    assert result(backend, "getDomainMetadata", name="shop.example.", kind="ALLOW-AXFR-FROM") == []
    assert result(backend, "initialize", path="/x") is True


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
NAMES = st.sampled_from(["qname", "qtype", "remote", "real-remote", "zone-id", "zonename", "name", "kind", "domain_id"])


@bounded
@given(st.sampled_from(list(METHODS)), st.one_of(JSON, st.dictionaries(NAMES, JSON, max_size=6)))
def test_every_method_answers_or_refuses(method: str, parameters: object) -> None:
    body = json.dumps({"method": method, "parameters": parameters}).encode()
    try:
        name, reply = call(ANY_BACKEND[0], body)
    except (BadRequest, NotReady) as error:
        assert str(error)
    else:
        assert name == method
        assert "result" in json.loads(reply)


ANY_BACKEND: list[Backend] = []


@pytest.fixture(autouse=True, scope="module")
def _any_backend(backend: Backend) -> Iterator[None]:
    ANY_BACKEND.append(backend)
    yield
    ANY_BACKEND.clear()
