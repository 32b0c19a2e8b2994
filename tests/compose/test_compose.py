"""docker-compose.yml on a real engine: the figure's scenario, each container killed, the network cut, data kept."""

import time

import pytest

from tests.compose.engine import IMAGES, VERSION
from tests.compose.system import DEFAULTS, MAINLAND, WORLD, System

KILLED = (
    "redis",
    "redis-replica",
    "sentinel-1",
    "backend",
    "backend-2",
    "pdns",
    "pdns-2",
    "dnsdist",
    "dnsdist-2",
    "admin",
    "healthd-1",
    "healthd-2",
)


def test_the_figures_scenario(system: System, report: list[str]) -> None:
    assert {subnet: system.got(subnet) for subnet in DEFAULTS} == DEFAULTS

    with system.watched({MAINLAND: frozenset({"a1", "a2"}), WORLD: DEFAULTS[WORLD]}) as watch:
        began = time.monotonic()
        system.engine.docker("stop", "--time=0", system.container("origin-a1"))
        system.until(lambda: system.got(MAINLAND) == {"a2"}, "answer without a1", 10)
        left = time.monotonic() - began
    assert not watch.failed and not watch.wrong

    began = time.monotonic()
    system.engine.docker("stop", "--time=0", system.container("origin-a2"))
    system.until(lambda: system.got(MAINLAND) == {"c1"}, "switch to pool C", 10)
    switched = time.monotonic() - began
    assert system.got(WORLD) == DEFAULTS[WORLD]
    status = system.api.get(f"/instances/{system.cname.partition('.')[0]}/status")
    assert (status["health_check_status"], status["request_status"]) == ("exception", "error")

    for origin in ("origin-a1", "origin-a2"):
        system.engine.docker("start", system.container(origin))
    returned = system.until(lambda: system.got(MAINLAND) == DEFAULTS[MAINLAND], "return to pool A", 15)
    system.until(
        lambda: system.api.get(f"/instances/{system.cname.partition('.')[0]}/status")["request_status"] == "normal",
        "request status normal",
        5,
    )
    report.append(
        f"origin a1 stopped: gone after {left:.1f} s; a2 too: pool C after {switched:.1f} s; back: {returned:.1f} s"
    )


@pytest.mark.parametrize("service", KILLED)
def test_a_killed_container_costs_no_lookup(system: System, report: list[str], service: str) -> None:
    with system.watched() as watch:
        time.sleep(0.5)
        began = time.monotonic()
        old = system.kill(service)
        system.until(lambda: system.state(service)["Pid"] not in (0, old), f"new {service}", 30)
        system.until(lambda: system.healthy(service), f"healthy {service}", 60)
        recovered = time.monotonic() - began
        time.sleep(2)
    assert watch.lookups > 50
    assert not watch.wrong
    assert not watch.failed
    report.append(f"kill {service}: healthy after {recovered:.1f} s; {watch.summary(began)}")


def test_a_vantage_cut_off_from_redis_changes_no_answer(system: System, report: list[str]) -> None:
    container, network = system.container("healthd-1"), "gtm_store"
    with system.watched({MAINLAND: frozenset({"a1", "a2"}), WORLD: DEFAULTS[WORLD]}) as watch:
        began = time.monotonic()
        system.engine.docker("network", "disconnect", network, container)
        lost = system.until(lambda: not system.vantages()["vantage-1"]["reporting"], "loss of the vantage", 60)
        system.engine.docker("stop", "--time=1", system.container("origin-a1"))
        time.sleep(3)
        system.engine.docker("network", "connect", network, container)
        left = system.until(lambda: system.got(MAINLAND) == {"a2"}, "answer without a1", 20)
        system.engine.docker("start", system.container("origin-a1"))
    assert not watch.failed and not watch.wrong
    report.append(
        f"healthd-1 cut from Redis: seen as lost after {lost:.1f} s; an address that died meanwhile left {left:.1f} s "
        f"after its end; {watch.summary(began)}"
    )


def test_a_failover_of_redis_keeps_what_was_acknowledged(system: System, report: list[str]) -> None:
    instance = f"/instances/{system.cname.partition('.')[0]}"
    system.api.patch(instance, {"ttl": 17})
    time.sleep(0.5)
    with system.watched() as watch:
        began = time.monotonic()
        system.engine.docker("stop", "--time=1", system.container("redis"))

        def written() -> bool:
            return bool(system.api.request("PATCH", instance, {"ttl": 18}, {"If-Match": "*"}).ok)

        taken = system.until(written, "write after the failover", 60)
        assert system.api.get(instance)["ttl"] == 18
        system.engine.docker("start", system.container("redis"))
        system.until(lambda: system.healthy("redis"), "healthy redis", 30)
        password = system.execute("backend", "cat", "/run/secrets/redis-password")

        def follows() -> bool:
            info = system.execute("redis", "sh", "-c", f"REDISCLI_AUTH={password} redis-cli info replication")
            return "role:slave" in info and "master_link_status:up" in info

        system.until(follows, "old master that follows the new one", 60)
    assert not watch.failed and not watch.wrong
    system.until(lambda: system.direct.ask(system.cname, "A", MAINLAND).ttl() == 18, "new TTL in answers", 10)
    report.append(f"Redis failed over by Sentinel: writes again after {taken:.1f} s; {watch.summary(began)}")


def test_down_and_up_keep_the_data(system: System, report: list[str]) -> None:
    token, cname = system.token, system.cname
    system.api.patch(f"/instances/{cname.partition('.')[0]}", {"ttl": 23})
    time.sleep(1.5)
    system.down()
    taken = system.up()
    assert taken < 60
    assert (system.token, system.cname) == (token, cname)
    assert system.api.get(f"/instances/{cname.partition('.')[0]}")["ttl"] == 23
    report.append(f"down, up: first answer after {taken:.1f} s, with the data of before")


def test_powerdns_forgets_what_has_changed(system: System) -> None:
    """The answer is the same for every client, so PowerDNS keeps it: for 20 s, were it not purged."""
    system.api.post("/pools", {"id": "kept", "type": "ipv4", "addresses": [{"address": "192.0.2.1"}]})
    policy = {"name": "all", "lines": ["default"], "pool_sets": [{"pools": [{"pool": "kept"}]}]}
    instance = system.api.post("/instances", {"name": "kept", "policies": [policy]})

    def everywhere(address: str) -> bool:
        return all(client.a(instance["cname"]) == [address] for client in system.name_servers)

    try:
        system.until(lambda: everywhere("192.0.2.1"), "first address", 5)
        system.api.patch("/pools/kept", {"addresses": [{"address": "192.0.2.2"}]})
        system.until(lambda: everywhere("192.0.2.2"), "changed address", 3)
    finally:
        system.api.delete(f"/instances/{instance['id']}")
        system.api.delete("/pools/kept")


def test_no_secret_is_in_images_listings_or_logs(system: System) -> None:
    shown = [system.engine.docker("inspect", system.container(service)).stdout for service in system.services()]
    for name in IMAGES.values():
        shown.append(system.engine.docker("history", "--no-trunc", f"{name}:{VERSION}").stdout)
        shown.append(system.engine.docker("image", "inspect", f"{name}:{VERSION}").stdout)
    shown.append(system.engine.compose("logs", "--no-color", COMPOSE_PROFILES=system.profiles).stdout)
    shown.append(system.engine.compose("top", COMPOSE_PROFILES=system.profiles).stdout)
    secrets = system.secrets()
    assert all(len(secret) >= 32 for secret in secrets)
    for secret in secrets:
        assert not any(secret in text for text in shown)


def test_containers_hold_no_privilege(system: System) -> None:
    for service in system.services():
        status = dict(
            line.split(":\t", 1)
            for line in system.execute(service, "cat", "/proc/1/status").splitlines()
            if ":\t" in line
        )
        assert status["Uid"].split()[0] != "0", service
        assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}, service
        assert status["NoNewPrivs"] == "1", service
        refused = system.engine.docker("exec", system.container(service), "touch", "/usr/x", check=False)
        assert refused.returncode and "Read-only file system" in refused.stderr, service


def test_ping_needs_no_capability(system: System) -> None:
    system.api.post(
        "/health-checks", {"id": "echo", "protocol": "ping", "interval": 1, "timeout": 1, "fall": 1, "rise": 1}
    )
    pool = {
        "id": "pinged",
        "type": "ipv4",
        "health_checks": ["echo"],
        "addresses": [{"address": "172.30.54.31"}, {"address": "172.30.54.99"}],
    }
    system.api.post("/pools", pool)
    instance = system.api.post(
        "/instances",
        {
            "name": "pinged",
            "policies": [{"name": "all", "lines": ["default"], "pool_sets": [{"pools": [{"pool": "pinged"}]}]}],
        },
    )
    try:
        system.until(
            lambda: [a["health"] for a in system.api.get("/pools/pinged/status")["addresses"]] == ["up", "down"],
            "verdicts of pings",
            15,
        )
    finally:
        system.api.delete(f"/instances/{instance['id']}")
        system.api.delete("/pools/pinged")
        system.api.delete("/health-checks/echo")
