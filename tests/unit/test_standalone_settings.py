"""What a start is made of: settings, configuration files, the parts, and when the demo is shown."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pdns_gtm_backend.domain.health_check import health_check_violations
from pdns_gtm_backend.domain.instance import instance_violations
from pdns_gtm_backend.domain.pool import pool_violations
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.standalone import demo, environment, parts
from pdns_gtm_backend.standalone.demo import Marker
from pdns_gtm_backend.standalone.guide import guide
from pdns_gtm_backend.standalone.layout import Layout, Unusable, redis_configuration, write_private
from pdns_gtm_backend.store.kinds import HEALTH_CHECKS, INSTANCES, KINDS, POOLS


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var")
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GTM_{name}".upper(), raising=False)


@pytest.mark.parametrize(
    ("given", "first_start", "marker", "expected"),
    [
        ({}, True, None, True),
        ({}, False, None, False),
        ({}, False, Marker(8500), True),
        ({"demo": False}, True, None, False),
        ({"demo": False}, False, Marker(8500, "x"), False),
        ({"demo": True}, False, None, True),
        ({"redis_url": "redis://127.0.0.1"}, True, None, False),
        ({"redis_url": "redis://127.0.0.1"}, False, Marker(8500, "x"), False),
    ],
)
def test_the_demo_is_shown_where_an_embedded_store_is_new(
    given: Mapping[str, object], first_start: bool, marker: Marker | None, expected: bool
) -> None:
    settings = Settings.model_validate(given)
    assert demo.wanted(settings, first_start=first_start, marker=marker) is expected


def test_the_demo_never_touches_an_external_store() -> None:
    with pytest.raises(Unusable, match="GTM_DEMO=1 is for the embedded Redis only"):
        demo.wanted(Settings(demo=True, redis_url="redis://127.0.0.1"), first_start=True, marker=None)


def test_the_documents_of_the_demo_break_no_rule() -> None:
    def parsed(kind: str, document: demo.Document) -> Any:
        return KINDS[kind].adapter.validate_json(json.dumps(document))

    assert [v for d in demo.health_checks(8500) for v in health_check_violations(parsed(HEALTH_CHECKS, d))] == []
    assert [v for d in demo.pools() for v in pool_violations(parsed(POOLS, d))] == []
    assert [v for d in demo.instances() for v in instance_violations(parsed(INSTANCES, d))] == []
    assert [len(pool["addresses"]) for pool in demo.pools()] == [2, 2, 1]


def test_a_marker_is_kept(layout: Layout) -> None:
    assert demo.read_marker(layout) is None
    demo.write_marker(layout, Marker(8501, "gtm00000001.gtm.example"))
    assert demo.read_marker(layout) == Marker(8501, "gtm00000001.gtm.example")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"port": 1}', '{"origin_port": "x"}', '{"origin_port": 8500, "cname": 1}']
)
def test_a_marker_that_cannot_be_read_is_none(layout: Layout, text: str) -> None:
    layout.demo.write_text(text)
    assert demo.read_marker(layout) is None


def test_the_secret_is_made_once_and_private(layout: Layout) -> None:
    secret = layout.backend_secret()
    assert layout.backend_secret() == secret
    assert len(secret) == 32
    assert stat.S_IMODE((layout.var / "backend-secret").stat().st_mode) == 0o600


def test_a_private_file_is_replaced_whatever_its_mode_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_redis_is_durable_and_on_a_unix_socket_only(tmp_path: Path) -> None:
    written = redis_configuration(Layout(tmp_path / 'with "quotes" and spaces'))
    lines = dict(line.split(" ", 1) for line in written.splitlines())
    assert lines["port"] == "0"
    assert (lines["appendonly"], lines["appendfsync"], lines["maxmemory-policy"]) == ("yes", "everysec", "noeviction")
    assert lines["unixsocket"] == f'"{tmp_path}/with \\"quotes\\" and spaces/redis.sock"'


def test_parts_start_in_an_order_that_serves(layout: Layout) -> None:
    built = parts.build(Settings(var=layout.var), layout, Marker(8500), "/usr/bin")
    assert list(built)[:5] == ["redis", "backend", "admin", "healthd", "pdns"]
    assert set(built["pdns"].after) == {"backend", "admin"}
    assert {name for name, part in built.items() if not part.restart} == {
        "demo", "origin-a1", "origin-a2", "origin-b1", "origin-b2", "origin-c1",
    }  # fmt: skip
    for part in built.values():
        assert set(part.after) <= set(built)


def test_an_external_store_needs_no_redis_server(layout: Layout) -> None:
    settings = Settings(var=layout.var, redis_url="redis://127.0.0.1:1")
    built = parts.build(settings, layout, None, "/usr/bin")
    assert set(built) == {"backend", "admin", "healthd", "pdns"}
    assert not any("redis" in part.after for part in built.values())
    assert not (layout.redis / "redis.conf").exists()


def test_dnsdist_is_before_powerdns_where_there_is_an_edge(layout: Layout, tmp_path: Path) -> None:
    settings = Settings(var=layout.var, edge=True, dns_port=5391, pdns_port=5392)
    built = parts.build(settings, layout, None, "/usr/bin")
    assert built["dnsdist"].after == ("pdns",)
    assert "local-port=5392\n" in (layout.pdns / "pdns.conf").read_text()
    assert '"127.0.0.1:5391"' in (layout.edge / "dnsdist.conf").read_text()
    assert "dnsdist" not in parts.build(Settings(var=layout.var), layout, None, "/usr/bin")
    shown = guide(settings, layout, None, tmp_path)
    assert "127.0.0.1 port 5391 (dnsdist, var/edge/dnsdist.conf)" in shown
    assert "127.0.0.1 port 5392 (var/pdns/pdns.conf)" in shown


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SYSTEM_FOLDERS", "/nowhere")
    with pytest.raises(Unusable, match="redis-server is not installed; as root: deploy/install-packages run"):
        parts.program("redis-server", "/nowhere")


def test_programs_are_found_where_a_user_has_no_path_to_them() -> None:
    assert parts.program("pdns_server", "/nowhere").endswith("sbin/pdns_server")


def test_children_get_what_was_decided_and_keep_the_rest(layout: Layout) -> None:
    settings = Settings(backend_secret="s")
    given = parts.child_environment(settings, layout, {"GTM_VANTAGE": "hz", "GTM_VAR": "var", "PATH": "/bin"})
    assert given["GTM_VAR"] == str(layout.var)
    assert given["GTM_REDIS_URL"] == f"unix://{layout.redis_socket}"
    assert (given["GTM_VANTAGE"], given["PATH"], given["GTM_BACKEND_SECRET"]) == ("hz", "/bin", "s")
    assert given["GTM_ALLOW_PRIVATE_TARGETS"] == "1"
    refused = parts.child_environment(settings, layout, {"GTM_ALLOW_PRIVATE_TARGETS": "0"})
    assert refused["GTM_ALLOW_PRIVATE_TARGETS"] == "0"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("192.0.2.1", "192.0.2.1")],
)
def test_what_listens_everywhere_is_reached_on_loopback(listen: str, expected: str) -> None:
    assert parts.reachable(listen) == expected


def test_every_wrong_setting_is_named_with_its_value_but_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"GTM_DNS_PORT": "0", "GTM_TRANSPORT": "pigeon", "GTM_VANTAGE": "-"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unusable) as raised:
        environment.load(given)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("GTM_DNS_PORT=0: ")
    assert "'http' or 'unix'" in lines[1]
    assert lines[2] == "GTM_VANTAGE=-: is 1 to 63 letters, digits, '.', '_' or '-'"


def test_a_misspelt_setting_is_mentioned() -> None:
    assert list(environment.unknown({"GTM_DNS_PROT": "53", "GTM_ZZZ": "1", "GTM_VAR": "x", "HOME": "y"})) == [
        "GTM_DNS_PROT is no setting; is GTM_DNS_PORT meant?",
        "GTM_ZZZ is no setting",
    ]


def test_the_guide_names_what_a_person_needs(layout: Layout, tmp_path: Path) -> None:
    text = guide(Settings(var=layout.var), layout, Marker(8500, "gtm12345678.gtm.example"), tmp_path)
    for needed in (
        "127.0.0.1 port 5300",
        "http://127.0.0.1:8080/api/v1",
        "token in var/admin-token",
        "gtm12345678.gtm.example +short +subnet=1.2.4.0/24",
        "kill $(cat var/run/origin-a1.pid)",
        "make origin ORIGIN=a1",
        "pdnsutil --config-dir=var/pdns",
        "/api/v1/instances/gtm12345678/status",
        "Ctrl-C stops all of it",
    ):
        assert needed in text
    assert "make origin" not in guide(Settings(), layout, None, tmp_path)
