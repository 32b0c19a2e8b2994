"""gtmctl doctor: what it makes of the facts that it gathers. A whole system is in tests/e2e/test_gtmctl_doctor.py."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdns_gtm_backend.cli import doctor_dns, doctor_pdns, doctor_redis, doctor_services
from pdns_gtm_backend.cli.doctor import access_zones
from pdns_gtm_backend.cli.doctor_dns import Answered
from pdns_gtm_backend.cli.doctor_pdns import PowerDns, merge, read_settings
from pdns_gtm_backend.cli.doctor_places import Chosen, Server, find_places, server_of
from pdns_gtm_backend.cli.doctor_redis import RedisFacts
from pdns_gtm_backend.cli.doctor_report import EXIT_CODES, Finding, exit_code, report_text, verdict
from pdns_gtm_backend.cli.doctor_services import Known, Readiness
from pdns_gtm_backend.cli.failures import Failure
from pdns_gtm_backend.dns.pdns_conf import UNPURGED, render
from pdns_gtm_backend.settings import Settings
from tests.support.gtmctl import run
from tests.support.ports import free_port

ZONE, DNS = "gtm.example", Server("127.0.0.1", 5300)
DAY = 86_400


def levels(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings}


def rendered(folder: Path, *more: str, **settings: Any) -> PowerDns:
    """The settings that `make run` and the package write, and lines after them."""
    control = folder / "pdns.controlsocket"
    made = Settings(pdns_control=control, **settings)
    (folder / "pdns.conf").write_text(render(made, folder) + "\n" + "\n".join(more))
    return PowerDns(read_settings(folder), made.backend_threads, str(control), control_exists=True)


@pytest.mark.parametrize("transport", ["http", "unix"])
def test_our_own_configuration_is_right(tmp_path: Path, transport: str) -> None:
    assert levels(doctor_pdns.judge(rendered(tmp_path, transport=transport))) == {"pdns.conf": "ok"}


def test_our_own_configuration_is_right_without_purging(tmp_path: Path) -> None:
    (tmp_path / "pdns.conf").write_text(render(Settings(pdns_control=None), tmp_path))
    assert levels(doctor_pdns.judge(PowerDns(read_settings(tmp_path), 32))) == {"pdns.conf": "ok"}
    assert {name.upper().replace("-", "_"): str(value) for name, value in doctor_pdns.UNPURGED.items()} == UNPURGED


@pytest.mark.parametrize(
    ("line", "check", "level"),
    [
        ("launch=bind", "launch", "problem"),
        ("remote-connection-string=http:url=http://127.0.0.1:8053/dns", "remote-connection-string", "problem"),
        ("remote-connection-string=http:url=http://127.0.0.1/dns,post=1", "remote-connection-string", "problem"),
        ("remote-connection-string=pipe:command=/bin/true", "remote-connection-string", "problem"),
        ("remote-connection-string=unix:timeout=1", "remote-connection-string", "problem"),
        (
            "remote-connection-string=http:url=http://127.0.0.1/dns,post=1,post_json=1,timeout=900",
            "remote-connection-string",
            "problem",
        ),
        (
            "remote-connection-string=http:url=http://192.0.2.7/dns,post=1,post_json=1",
            "remote-connection-string",
            "warning",
        ),
        ("remote-dnssec=no", "remote-dnssec", "warning"),
        ("consistent-backends=yes", "consistent-backends", "warning"),
        ("edns-subnet-processing=no", "edns-subnet-processing", "warning"),
        ("query-cache-ttl=0", "query-cache-ttl", "warning"),
        ("negquery-cache-ttl=3600", "negquery-cache-ttl", "warning"),
        ("zone-cache-refresh-interval=0", "zone-cache-refresh-interval", "warning"),
        ("cache-ttl=long", "cache-ttl", "problem"),
        ("distributor-threads=3", "distributor-threads", "warning"),
        ("distributor-threads=64", "distributor-threads", "problem"),
        ("receiver-threads=3", "distributor-threads", "problem"),
    ],
)
def test_each_wrong_setting_is_named(tmp_path: Path, line: str, check: str, level: str) -> None:
    found = doctor_pdns.judge(rendered(tmp_path, line))
    assert levels(found) == {f"pdns.conf {check}": level}
    assert all(finding.advice for finding in found)


def test_caches_that_nobody_is_known_to_purge(tmp_path: Path) -> None:
    seen = dataclasses.replace(rendered(tmp_path), control=None)
    assert levels(doctor_pdns.judge(seen)) == {f"pdns.conf {name}": "warning" for name in doctor_pdns.UNPURGED}


def test_purging_by_the_wrong_socket_and_by_none(tmp_path: Path) -> None:
    seen = rendered(tmp_path)
    assert levels(doctor_pdns.judge(dataclasses.replace(seen, control="/elsewhere/pdns.controlsocket"))) == {
        "purging": "problem"
    }
    assert levels(doctor_pdns.judge(dataclasses.replace(seen, control_exists=False))) == {"purging": "problem"}


def test_files_are_read_as_powerdns_reads_them(tmp_path: Path) -> None:
    (tmp_path / "pdns.d").mkdir()
    (tmp_path / "pdns.conf").write_text(
        f"# all of it\nlaunch=bind\ncache-ttl = 7 # seconds\nversion-string=a#b\ninclude-dir={tmp_path}/pdns.d\n"
    )
    (tmp_path / "pdns.d" / "1.conf").write_text("launch+=remote\nallow-axfr-ips=192.0.2.1,\\\n192.0.2.2\n")
    (tmp_path / "pdns.d" / "2.conf").write_text("cache-ttl=9\n")
    (tmp_path / "pdns.d" / "3.txt").write_text("cache-ttl=11\n")
    settings = read_settings(tmp_path)
    assert settings["launch"] == "bind, remote"
    assert settings["cache-ttl"] == "9"
    assert settings["version-string"] == "a#b"
    assert settings["allow-axfr-ips"] == "192.0.2.1,192.0.2.2"


@given(st.text(max_size=300))
def test_any_text_is_read_and_judged(text: str) -> None:
    settings: dict[str, str] = {}
    merge(settings, text)
    assert doctor_pdns.judge(PowerDns(settings, 32))
    assert doctor_pdns.listens_at(settings).port in range(1, 65536)


@pytest.mark.parametrize(
    ("settings", "server"),
    [
        ({}, Server("127.0.0.1", 53)),
        ({"local-address": "0.0.0.0, ::", "local-port": "5300"}, Server("127.0.0.1", 5300)),
        ({"local-address": "192.0.2.5:54"}, Server("192.0.2.5", 54)),
        ({"local-address": "2001:db8::1"}, Server("2001:db8::1", 53)),
        ({"local-address": "::"}, Server("::1", 53)),
    ],
)
def test_where_powerdns_listens(settings: Mapping[str, str], server: Server) -> None:
    assert doctor_pdns.listens_at(settings) == server


GOOD_REDIS = {
    "redis_version": "7.0.15",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction",
    "role": "master",
    "connected_slaves": 1,
    "master_repl_offset": 5_000_000,
    "slave0": {"ip": "192.0.2.2", "port": 6379, "state": "online", "offset": 5_000_000, "lag": 1},
}


def redis_levels(clock: float = 0.0, replicas: int = 0, **changed: Any) -> dict[str, str]:
    return levels(doctor_redis.judge(RedisFacts({**GOOD_REDIS, **changed}, clock), replicas))


def test_a_redis_that_is_right() -> None:
    assert set(redis_levels(replicas=1).values()) == {"ok"}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"aof_enabled": 0}, "redis persistence", "warning"),
        ({"aof_enabled": 0, "connected_slaves": 0}, "redis persistence", "problem"),
        ({"aof_last_write_status": "err"}, "redis persistence", "problem"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis eviction", "warning"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1000}, "redis eviction", "problem"),
        ({"role": "slave", "master_host": "192.0.2.1"}, "redis replication", "problem"),
        ({"replicas": 2}, "redis replication", "problem"),
        ({"connected_slaves": 0}, "redis replication", "info"),
        ({"slave0": {**GOOD_REDIS["slave0"], "lag": 11}}, "redis replication", "warning"),  # type: ignore[dict-item]
        ({"slave0": {**GOOD_REDIS["slave0"], "offset": 1}}, "redis replication", "warning"),  # type: ignore[dict-item]
        ({"slave0": {**GOOD_REDIS["slave0"], "state": "sync"}}, "redis replication", "warning"),  # type: ignore[dict-item]
        ({"clock": 1.5}, "clock", "warning"),
        ({"clock": -90.0}, "clock", "problem"),
    ],
)
def test_each_fault_of_redis(changed: dict[str, Any], check: str, level: str) -> None:
    assert redis_levels(**changed)[check] == level


def test_a_redis_that_is_away(tmp_path: Path) -> None:
    found = doctor_redis.examine(f"unix://{tmp_path}/none.sock", 0)
    assert levels(found) == {"redis": "problem"}
    assert levels(doctor_redis.examine("redis+sentinel://:secret@h:1/m", 0)) == {"redis": "skipped"}
    wrong = doctor_redis.examine("http://:secret@h", 0)
    assert levels(wrong) == {"redis": "problem"}
    assert "secret" not in wrong[0].found


def ready(**body: Any) -> Readiness:
    return Readiness(200, {"state": "ready", "degraded": False, "store": {"state": "following"}, "revision": 7, **body})


@pytest.mark.parametrize(
    ("body", "check", "level"),
    [
        ({}, "backend", "ok"),
        ({"degraded": True, "store": {"state": "disconnected", "detail": "refused"}}, "backend", "warning"),
        ({"broken_documents": ["pools x: no JSON"]}, "backend", "warning"),
        ({"preparing": "the token"}, "backend", "warning"),
        ({"vantage": {"name": "a", "probing": False}}, "backend", "warning"),
        ({"geo": {"country": {"files": [{"age": 91 * DAY}], "error": None}}}, "backend geo country", "warning"),
        ({"geo": {"asn": {"files": [], "error": "no such file"}}}, "backend geo asn", "warning"),
        ({"geo": {"country": {"files": [{"age": 89 * DAY}]}, "asn": None}}, "backend", "ok"),
        ({"geo": [1], "store": 7, "broken_documents": 3}, "backend", "ok"),
    ],
)
def test_what_a_process_says_of_itself(body: dict[str, Any], check: str, level: str) -> None:
    found = levels(doctor_services.judge_ready("backend", "http://h", ready(**body)))
    assert found == {"backend": "ok", check: level}


def test_a_process_that_is_not_ready_or_not_there() -> None:
    starting = Readiness(503, {"store": {"state": "disconnected", "detail": "refused"}})
    assert levels(doctor_services.judge_ready("healthd", "http://h", starting)) == {"healthd": "problem"}
    gone = doctor_services.ask_ready(f"http://127.0.0.1:{free_port()}")
    found = doctor_services.judge_ready("admin", "http://h", gone)
    assert levels(found) == {"admin": "problem"}
    assert "--server" in found[0].advice


def test_processes_on_different_stores() -> None:
    one, other = ready(store_id="a"), ready(store_id="b")
    assert levels(list(doctor_services.judge_stores({"backend": one, "admin": other}))) == {"store": "problem"}
    assert list(doctor_services.judge_stores({"backend": one, "admin": one, "healthd": ready()})) == []


VANTAGE = {"name": "hz", "reporting": True, "heartbeat": "t", "targets": 9, "overdue": 0, "suspended": ""}


def known(**changed: Any) -> Known:
    whole: dict[str, Any] = {
        "instances": [],
        "vantages": [VANTAGE],
        "unmonitored": [],
        "stale": {},
        "pinging": False,
        **changed,
    }
    return Known(**whole)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, {"vantage hz": "ok"}),
        ({"vantages": None}, {"vantages": "skipped"}),
        ({"vantages": []}, {"vantages": "problem"}),
        ({"vantages": [{**VANTAGE, "reporting": False}]}, {"vantages": "problem", "vantage hz": "warning"}),
        ({"vantages": [{**VANTAGE, "suspended": "sees all down"}]}, {"vantage hz": "warning"}),
        ({"vantages": [{**VANTAGE, "overdue": 2}]}, {"vantage hz": "warning"}),
        ({"stale": {"web": "1 of 2 report"}}, {"vantage hz": "ok", "health check web": "warning"}),
        ({"unmonitored": ["shop"]}, {"vantage hz": "ok", "instances": "info"}),
    ],
)
def test_what_the_api_knows(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert levels(doctor_services.judge_known(known(**changed))) == found


def test_icmp_matters_where_a_check_pings() -> None:
    assert doctor_services.judge_ping(True, True).level == "ok"
    assert doctor_services.judge_ping(False, True).level == "warning"
    assert doctor_services.judge_ping(False, False).level == "info"


NAMESERVERS = Answered(values=("ns1.gtm.example", "ns2.gtm.example"))


@pytest.mark.parametrize(
    ("seen", "level"),
    [
        (NAMESERVERS, "ok"),
        (Answered(values=("ns1.gtm.example",)), "warning"),
        (Answered("NXDOMAIN"), "problem"),
        (Answered("SERVFAIL"), "problem"),
        (Answered("REFUSED"), "problem"),
        (Answered(error="timed out"), "problem"),
    ],
)
def test_delegation(seen: Answered, level: str) -> None:
    assert doctor_dns.judge_delegation(ZONE, DNS, seen, NAMESERVERS).level == level


@pytest.mark.parametrize(
    ("answered", "level"),
    [
        (Answered(values=("soa",), authoritative=True), "ok"),
        (Answered(values=("soa",)), "problem"),
        (Answered("REFUSED"), "problem"),
        (Answered("SERVFAIL"), "problem"),
        (Answered(error="timed out"), "problem"),
    ],
)
def test_the_access_zone_at_powerdns(answered: Answered, level: str) -> None:
    assert doctor_dns.judge_soa(ZONE, DNS, answered).level == level


@pytest.mark.parametrize(
    ("cnames", "said"),
    [
        ({"www.shop.example": "gtm1.gtm.example"}, None),
        ({"www.shop.example": "www.cdn.example", "www.cdn.example": "gtm1.gtm.example"}, None),
        ({}, "it has no CNAME"),
        ({"www.shop.example": "old.example"}, "points elsewhere: CNAME old.example"),
        ({"www.shop.example": "a.example", "a.example": "www.shop.example"}, "points elsewhere"),
    ],
)
def test_where_a_service_domain_leads(cnames: dict[str, str], said: str | None) -> None:
    def lookup(name: str) -> Answered:
        return Answered(values=(cnames[name],)) if name in cnames else Answered()

    goal = "gtm1.gtm.example"
    targets, last = doctor_dns.chain(lookup, "www.shop.example", goal)
    found = doctor_dns.judge_domain("www.shop.example", "shop", goal, targets, last)
    assert (found is None) == (said is None)
    if found is not None and said is not None:
        assert found.level == "warning"
        assert said in found.found
        assert "www.shop.example. CNAME gtm1.gtm.example." in found.advice


def test_domains_that_this_server_answers_itself_need_no_cname() -> None:
    instance = {
        "name": "s",
        "cname": "g.gtm.example",
        "names": ["a.example"],
        "service_domains": ["A.example", "b.example"],
    }
    assert list(doctor_dns.service_domains([instance])) == [("b.example", "s", "g.gtm.example")]


def test_access_zones_are_those_of_the_instances_and_the_configured_one() -> None:
    held = known(instances=[{"cname": "gtm1.old.example"}, {"cname": "gtm2.old.example"}])
    assert access_zones(None, None) == ["gtm.example"]
    assert access_zones(None, held) == ["old.example"]
    assert access_zones("new.example", held) == ["new.example", "old.example"]


@given(st.lists(st.sampled_from(sorted(EXIT_CODES))))
def test_the_worst_finding_decides(found: list[str]) -> None:
    findings = [Finding(level, "check", "found\x1b[2J\nmore", "do") for level in found]
    worst = 2 if "problem" in found else 1 if "warning" in found else 0
    assert exit_code(findings) == worst
    assert verdict(findings) == ("ok", "warning", "problem")[worst]
    lines = report_text(findings, colour=False).splitlines()
    assert len(lines) == len(found) + 1
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.53", Server("192.0.2.53")),
        ("192.0.2.53:5353", Server("192.0.2.53", 5353)),
        ("2001:db8::53", Server("2001:db8::53")),
        ("[2001:db8::53]", Server("2001:db8::53")),
        ("[2001:db8::53]:5353", Server("2001:db8::53", 5353)),
    ],
)
def test_servers_as_they_are_typed(text: str, server: Server) -> None:
    assert server_of(text) == server


@pytest.mark.parametrize(
    "text", ["", "dns.example", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[::1]:x", "1.2.3"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no DNS server"):
        server_of(text)


@given(st.text(alphabet="0123456789abcdef.:[]", max_size=40))
def test_any_text_is_a_server_or_refused(text: str) -> None:
    try:
        found = server_of(text)
    except ValueError:
        return
    assert server_of(str(found)) == found


def test_places_come_from_options_then_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "redis-url"
    secret.write_text("redis://r:6379\n")
    environment = {
        "GTM_VAR": str(tmp_path / "v"),
        "GTM_REDIS_URL_FILE": str(secret),
        "GTM_BACKEND_PORT": "9053",
        "GTM_DNS_PORT": "5301",
    }
    found = find_places(Chosen(pdns_config=tmp_path), environment, tmp_path)
    assert (found.pdns_config, found.redis, found.backend) == (tmp_path, "redis://r:6379", "http://127.0.0.1:9053")
    assert found.dns == Server("127.0.0.1", 5301)
    assert find_places(Chosen(redis="redis://other"), environment, tmp_path).redis == "redis://other"
    assert find_places(Chosen(), {}, tmp_path).redis == f"unix://{tmp_path}/var/redis.sock"


@pytest.mark.parametrize(
    "environment",
    [
        {"GTM_BACKEND_PORT": "x"},
        {"GTM_ACCESS_ZONE": "a..b"},
        {"GTM_REDIS_URL_FILE": "/nonexistent/file"},
        {"GTM_WRITE_REPLICAS": "-1"},
    ],
)
def test_settings_that_are_not_usable_are_named(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Failure, match=next(iter(environment))):
        find_places(Chosen(), environment, tmp_path)


def test_wrong_usage_is_no_finding() -> None:
    assert "no DNS server" in run("doctor", "--resolver", "x", ends=3, environment={}).err
    assert "--backend" in run("doctor", "--backend", "x", ends=3, environment={}).err
    assert "GTM_BACKEND_PORT" in run("doctor", ends=3, environment={"GTM_BACKEND_PORT": "x"}).err
    assert "--nothing" in run("doctor", "--nothing", ends=3, environment={}).err


def test_nothing_runs(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("GTM_BACKEND_PORT", "GTM_HEALTHD_PORT", "GTM_DNS_PORT")}
    environment = {**ports, "GTM_VAR": str(tmp_path), "GTM_API": f"http://127.0.0.1:{free_port()}"}
    ran = run("doctor", "--pdns-config", str(tmp_path), "-o", "json", ends=2, environment=environment)
    found = ran.json()
    problems = {one["check"].split()[0] for one in found["findings"] if one["level"] == "problem"}
    assert found["verdict"] == "problem"
    assert problems == {"powerdns", "pdns.conf", "backend", "admin", "healthd", "redis"}
