"""Whatever is sent, in any order: an answer of the protocol or a refusal that says why, and a zone that stays whole."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.dns.backend import Backend
from pdns_gtm_backend.dns.methods import METHODS, BadRequest, call
from pdns_gtm_backend.domain.zone import Zone
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import disk
from pdns_gtm_backend.store.snapshot import Position, empty
from tests.support.documents import instance, policy, pool, rrset, written
from tests.support.strategies import bounded, examples

ZONE = "shop.example"
DOCUMENTS = (
    Zone(name=ZONE, number=2),
    rrset(ZONE, "mail.shop.example", "A", "192.0.2.9"),
    rrset(ZONE, "*.wild.shop.example", "TXT", '"x"'),
    pool("a", "ipv4", "192.0.2.1"),
    instance("gtm00000001", policy("world", "default", "a"), names=("www.shop.example",)),
)
NASTY = st.sampled_from(
    [
        *(
            "",
            ".",
            "..",
            "\\",
            "\\.",
            "a\\.b.shop.example.",
            "\\032.shop.example.",
            "\\999.shop.example.",
            "a..shop.example",
        ),
        *(
            "*",
            "*.shop.example",
            "www.shop.example.",
            "WWW.Shop.Example.",
            "evil\\.shop.example.",
            "xn--bcher-kva.example.",
        ),
        *(
            "\u00fc.shop.example.",
            "\ud7ff",
            "\x00",
            "a" * 64 + ".shop.example.",
            "a." * 127,
            "a." * 400,
            "shop.example.",
        ),
        *("mail.shop.example.", "x.wild.shop.example.", "example.", "\\000\\255.shop.example.", "127.0.0.1", "::1"),
    ]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 7, 2**31, 2**63, 10**30, 1.0, 1.5, True])
TYPES = st.sampled_from(
    ["A", "ANY", "SOA", "NS", "TXT", "CNAME", "TYPE65535", "", "ENT", "a", "OPT", "AXFR", "NOPE", "LUA"]
)
CONTENTS = st.sampled_from(
    ["192.0.2.1", "", "nonsense", '"x"', "\\# 4 c0000201", "10 .", "x" * 70_000, "\n", "; drop", "0 0 0"]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | NASTY | CONTENTS | TYPES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["qname", "qtype", "content"]), inner),
    max_leaves=4,
)
RECORDS = st.fixed_dictionaries(
    {"qname": NASTY | JSON, "qtype": TYPES | JSON, "content": CONTENTS | JSON, "ttl": NUMBERS | JSON}
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("qname", "name", "zonename", "domain", "remote", "real-remote", "pattern", "query"), NASTY | JSON),
    **dict.fromkeys(("id", "domain_id", "zone-id", "trxid", "maxResults", "serial"), NUMBERS | JSON),
    "qtype": TYPES | JSON,
    "kind": st.sampled_from(["SOA-EDIT", "x", "", "a b"]) | JSON,
    "value": st.lists(CONTENTS, max_size=2) | JSON,
    "algorithm": st.sampled_from(["hmac-sha256.", "", "\x00"]) | JSON,
    "content": CONTENTS | JSON,
    "key": st.fixed_dictionaries({"content": CONTENTS | JSON, "flags": NUMBERS | JSON, "active": JSON}) | JSON,
    "rr": RECORDS | JSON,
    "rrset": st.lists(RECORDS, max_size=2) | JSON,
    "nonterm": JSON,
}
PARAMETERS = st.fixed_dictionaries({}, optional=FIELDS)
COMMANDS = st.sampled_from(["", "help", "status", "pool list", "pool show", "zone add", "simulate", "'", "x" * 20_000])


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """A backend whose Redis is away: it reads, and every write is refused."""
    folder = tmp_path_factory.mktemp("var")
    held = empty().changed([written(document) for document in DOCUMENTS], Position("store", "replication", 7))
    disk.save(held, folder / "snapshot" / "backend.snapshot")
    return Backend(
        Settings(
            var=Path(folder),
            redis_url=f"unix://{folder}/none",
            geo_database=folder / "none.mmdb",
            key_secret="a-secret-of-many-characters",
        )
    )


def sent(backend: Backend, method: str, parameters: Any, connection: str = "c") -> Any:
    """The result, or None where it was refused with a reason. Anything else that is raised fails the test."""
    body = json.dumps({"method": method, "parameters": parameters}).encode()
    try:
        name, reply = call(backend, body, connection)
    except BadRequest as error:
        assert str(error)
        return None
    assert name == method
    return json.loads(reply)["result"]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_without_parameters_is_answered_or_refused(backend: Backend, method: str) -> None:
    sent(backend, method, {})
    sent(backend, method, None)


@examples(400)
@given(st.sampled_from(sorted(METHODS)), PARAMETERS)
def test_any_method_with_any_parameters(backend: Backend, method: str, parameters: dict[str, Any]) -> None:
    sent(backend, method, parameters)
    whole(backend)


@examples(60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["startTransaction", "replaceRRSet", "feedRecord", "lookup", "list", "commitTransaction"]),
            PARAMETERS,
            st.sampled_from(["one", "other", ""]),
        ),
        max_size=8,
    )
)
def test_transactions_in_any_order(backend: Backend, calls: list[tuple[str, dict[str, Any], str]]) -> None:
    for connection in ("one", "other"):
        sent(backend, "startTransaction", {"domain": f"{ZONE}.", "domain_id": -1, "trxid": 7}, connection)
    for method, parameters, connection in calls:
        sent(backend, method, {"trxid": 7, "qname": "x.shop.example.", "qtype": "A", **parameters}, connection)
    whole(backend)


@bounded
@given(COMMANDS | NASTY)
def test_any_command_is_answered_by_text(backend: Backend, text: str) -> None:
    said = sent(backend, "directBackendCmd", {"query": text})
    assert isinstance(said, str) and said.endswith("\n")


@bounded
@given(st.binary(max_size=60))
def test_any_octets_are_refused(backend: Backend, body: bytes) -> None:
    with pytest.raises(BadRequest):
        call(backend, body)


@examples(300)
@given(NASTY, TYPES)
def test_a_name_is_answered_from_its_own_zone_alone(backend: Backend, name: str, rrtype: str) -> None:
    found = sent(backend, "lookup", {"qname": name, "qtype": rrtype, "remote": "192.0.2.77"})
    for record in found or []:
        assert record["qname"] == name
        assert name.lower().removesuffix(".").endswith((ZONE, "gtm.example"))
        assert not name.startswith("evil")


def whole(backend: Backend) -> None:
    """Nothing of what was sent is seen by anybody else."""
    found = sent(backend, "list", {"zonename": f"{ZONE}."}, "somebody")
    assert sorted({record["qname"] for record in found}) == [
        "*.wild.shop.example",
        "mail.shop.example",
        "shop.example",
        "www.shop.example",
    ]
