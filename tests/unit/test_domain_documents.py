import copy
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.instance import Instance, canonical_instance
from pdns_gtm_backend.domain.line import Line
from pdns_gtm_backend.domain.override import Override
from pdns_gtm_backend.domain.pool import Pool, canonical_pool
from pdns_gtm_backend.domain.state import (
    Heartbeat,
    PolicyState,
    ProbeRecord,
    TargetState,
    VantageVerdict,
    policy_state_key,
)
from pdns_gtm_backend.domain.token import Token
from pdns_gtm_backend.domain.zone import RRset, Zone, rrset_key
from pdns_gtm_backend.domain.zone_key import TsigKey, ZoneKey, zone_key_key
from pdns_gtm_backend.domain.zone_metadata import ZoneMetadata, metadata_key
from tests.support.strategies import (
    DISPLAY_NAMES,
    DOMAIN_NAMES,
    IDENTIFIERS,
    LABELS,
    MOMENTS,
    TEXTS,
    TIMES,
    Configuration,
    bounded,
    bounded_few,
    configurations,
    custom_lines,
    health_checks,
    policy_states,
    pools,
    rrsets,
    target_states,
    zones,
)

ADAPTERS: dict[type, TypeAdapter[Any]] = {
    document: TypeAdapter(document)
    for document in (
        HealthCheck,
        Heartbeat,
        Instance,
        Line,
        Override,
        PolicyState,
        Pool,
        ProbeRecord,
        RRset,
        TargetState,
        Token,
        TsigKey,
        VantageVerdict,
        Zone,
        ZoneKey,
        ZoneMetadata,
    )
}
SINGLE = st.one_of(
    health_checks(),
    custom_lines(),
    pools(),
    zones(),
    rrsets(),
    target_states(),
    policy_states(["default", "failover"]),
    st.builds(VantageVerdict, up=st.booleans(), since=TIMES, reason=TEXTS, detail=TEXTS),
    st.builds(
        Heartbeat,
        time=TIMES,
        targets=st.integers(0),
        overdue=st.lists(TEXTS).map(tuple),
        labels=LABELS,
        suspended=TEXTS,
        reference=st.none() | st.booleans(),
        process=TEXTS,
    ),
    st.builds(
        ProbeRecord,
        at=TIMES,
        ok=st.booleans(),
        reason=st.none() | TEXTS,
        detail=TEXTS,
        phase=TEXTS,
        duration=st.floats(0, 60),
        timings=st.dictionaries(st.sampled_from(["connect", "tls"]), st.floats(0, 60)),
    ),
    st.builds(
        ZoneKey,
        zone=DOMAIN_NAMES,
        number=st.integers(1, 2**31 - 1),
        flags=st.sampled_from([256, 257]),
        active=st.booleans(),
        published=st.booleans(),
        sealed=IDENTIFIERS,
    ),
    st.builds(TsigKey, name=DOMAIN_NAMES, algorithm=st.just("hmac-sha256"), sealed=IDENTIFIERS),
    st.builds(
        ZoneMetadata, zone=DOMAIN_NAMES, kind=st.just("X-A"), values=st.lists(TEXTS, min_size=1, max_size=2).map(tuple)
    ),
    st.builds(Token, name=DISPLAY_NAMES, role=st.sampled_from(["viewer", "admin"]), created=MOMENTS, expires=MOMENTS),
)


def round_trip(document: object) -> object:
    adapter = ADAPTERS[type(document)]
    return adapter.validate_json(adapter.dump_json(document))


def objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of every object in a JSON value that is a document, no free mapping."""
    if isinstance(value, dict):
        if not path or path[-1] not in ("labels", "headers", "vantages", "timings"):
            yield path
        for key, held in value.items():
            yield from objects(held, (*path, key))
    elif isinstance(value, list):
        for index, held in enumerate(value):
            yield from objects(held, (*path, index))


def refuses_unknown_fields(document: object) -> None:
    adapter = ADAPTERS[type(document)]
    sent = json.loads(adapter.dump_json(document))
    for path in objects(sent):
        changed = copy.deepcopy(sent)
        inner = changed
        for step in path:
            inner = inner[step]
        inner["wieght"] = 1
        with pytest.raises(ValidationError, match="wieght"):
            adapter.validate_json(json.dumps(changed))


@bounded
@given(SINGLE)
def test_documents_survive_the_store(document: object) -> None:
    assert round_trip(document) == document
    refuses_unknown_fields(document)


@bounded_few
@given(configurations())
def test_instances_and_overrides_survive_the_store(configuration: Configuration) -> None:
    for document in (configuration.instance, *configuration.overrides):
        assert round_trip(document) == document
        refuses_unknown_fields(document)


@bounded_few
@given(configurations())
def test_canonical_forms_are_idempotent(configuration: Configuration) -> None:
    instance = canonical_instance(configuration.instance)
    assert canonical_instance(instance) == instance
    for pool in configuration.catalog.pools.values():
        assert canonical_pool(pool) == pool


@pytest.mark.parametrize(
    ("document", "short"),
    [
        (
            Instance,
            {
                "name": "shop",
                "policies": [{"name": "a", "lines": ["default"], "pool_sets": [{"pools": [{"pool": "p"}]}]}],
            },
        ),
        (Pool, {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]}),
        (Pool, {"id": "p", "type": "ipv4", "addresses": []}),
        (HealthCheck, {"id": "web", "protocol": "http"}),
        (Line, {"id": "telecom", "members": ["asn:4134"]}),
        (Zone, {"name": "shop.example"}),
        (Override, {"selector": {"pool": "p"}, "effect": "offline"}),
    ],
)
def test_short_forms_are_enough(document: type, short: dict[str, Any]) -> None:
    made = ADAPTERS[document].validate_json(json.dumps(short))
    assert dataclasses.is_dataclass(made)
    assert round_trip(made) == made


@pytest.mark.parametrize(
    ("document", "sent", "place"),
    [
        (
            Pool,
            {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": 1001}]},
            ("addresses", 0, "weight"),
        ),
        (
            Pool,
            {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": -1}]},
            ("addresses", 0, "weight"),
        ),
        (
            Pool,
            {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": "1"}]},
            ("addresses", 0, "weight"),
        ),
        (
            Pool,
            {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": 1.0}]},
            ("addresses", 0, "weight"),
        ),
        (
            Pool,
            {"id": "p", "type": "ipv4", "addresses": [{"address": "192.0.2.1", "weight": True}]},
            ("addresses", 0, "weight"),
        ),
        (Pool, {"id": "p", "type": "ipv5"}, ("type",)),
        (Pool, {"id": "p", "type": "ipv4", "min_available": 0}, ("min_available",)),
        (Pool, {"id": "p", "type": "ipv4", "max_answers": 0}, ("max_answers",)),
        (Pool, {"id": "p", "type": "ipv4", "max_answers": 1001}, ("max_answers",)),
        (Pool, {"id": "p", "type": "ipv4", "min_available": "%"}, ("min_available",)),
        (Pool, {"id": "p", "type": "ipv4", "min_available": 10_001}, ("min_available",)),
        (Pool, {"id": "p" * 64, "type": "ipv4"}, ("id",)),
        (Pool, {"type": "ipv4"}, ("id",)),
        (HealthCheck, {"id": "a", "protocol": "udp"}, ("protocol",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "interval": 0.5}, ("interval",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "timeout": 61}, ("timeout",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "fall": 0}, ("fall",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "fall": 101}, ("fall",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "rise": 0}, ("rise",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "rise": 101}, ("rise",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "timeout": 60.1}, ("timeout",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "min_vantages": 0}, ("min_vantages",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "ping": {"count": 21}}, ("ping", "count")),
        (HealthCheck, {"id": "a", "protocol": "ping", "ping": {"loss_threshold": 101}}, ("ping", "loss_threshold")),
        (HealthCheck, {"id": "a", "protocol": "ping", "quorum": 1}, ("quorum",)),
        (HealthCheck, {"id": "a", "protocol": "ping", "vantages": []}, ("vantages",)),
        (HealthCheck, {"id": "a", "protocol": "http", "http": {"method": "POST"}}, ("http", "method")),
        (HealthCheck, {"id": "a", "protocol": "tcp", "port": 65536}, ("port",)),
        (Instance, {"name": "", "policies": []}, ("name",)),
        (Instance, {"name": "a", "policies": []}, ("policies",)),
        (Instance, {"name": "a", "ttl": 0, "policies": []}, ("ttl",)),
        (Line, {"id": "a", "members": []}, ("members",)),
        (Line, {"id": "a", "members": ["A" * 201]}, ("members", 0)),
        (Override, {"selector": {}, "effect": "drain"}, ("effect",)),
        (Override, {"selector": {}, "effect": "offline", "until": 1700000000}, ("until",)),
    ],
)
def test_limits_of_fields_name_the_field(document: type, sent: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTERS[document].validate_json(json.dumps(sent))
    assert place in [error["loc"][: len(place)] for error in caught.value.errors()]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "253402300800"])
def test_numbers_that_are_no_moment_are_refused(number: str) -> None:
    for document, sent in (
        (TargetState, '{"health": "up", "since": %s}'),
        (PolicyState, '{"set": "default", "since": %s}'),
        (Heartbeat, '{"time": %s}'),
        (HealthCheck, '{"id": "a", "protocol": "ping", "timeout": %s}'),
    ):
        with pytest.raises(ValidationError):
            ADAPTERS[document].validate_json(sent % number)


def test_documents_are_immutable() -> None:
    pool = Pool(id="p", type="ipv4")
    with pytest.raises(dataclasses.FrozenInstanceError):
        pool.id = "q"  # type: ignore[misc]


def test_keys_in_the_store() -> None:
    assert policy_state_key("gtm12345678", "world", "ipv4") == "gtm12345678|world|ipv4"
    assert zone_key_key("shop.example", 7) == "shop.example|7"
    assert metadata_key("shop.example", "X-A") == "shop.example|X-A"
    assert [VantageVerdict(up=up, since=0).health for up in (True, False)] == ["up", "down"]
    record = RRset(zone="shop.example", name="www.shop.example", type="A", records=("192.0.2.1",))
    assert record.key == rrset_key("shop.example", "www.shop.example", "A") == "shop.example|www.shop.example|A"
