"""What the containers of docker-compose.yml start from."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from pdns_gtm_backend.dns.pdns_conf import TEMPLATE
from pdns_gtm_backend.store.connection import connect
from tests.support.scripts import script

TOP = Path(__file__).parents[2]
COMPOSE = (TOP / "docker-compose.yml").read_text()
ENVIRONMENT = {
    "GTM_STORE_NETWORK": "192.0.2",
    "GTM_DNS_NETWORK": "198.51.100",
    "GTM_ACCESS_ZONE": "gtm.example",
    "GTM_PROFILES": "",
}


@pytest.fixture(scope="module")
def init() -> ModuleType:
    return script("deploy/compose/init.py")


def written(root: Path) -> Mapping[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_secrets_are_made_once_and_differ_between_systems(init: ModuleType, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    init.main(first, ENVIRONMENT, TEMPLATE)
    before = written(first)
    init.main(first, ENVIRONMENT, TEMPLATE)
    init.main(other, ENVIRONMENT, TEMPLATE)
    assert written(first) == before
    for name in init.SECRETS:
        secret, elsewhere = (written(root)[f"secrets/{name}"].strip() for root in (first, other))
        assert len(secret) == 32
        assert secret != elsewhere


def test_the_password_is_only_in_the_volumes_of_those_who_need_it(init: ModuleType, tmp_path: Path) -> None:
    init.main(tmp_path, ENVIRONMENT, TEMPLATE)
    files = written(tmp_path)
    password = files["secrets/redis-password"].strip()
    assert {name.partition("/")[0] for name, text in files.items() if password in text} == {"secrets", "redis-conf"}


def test_a_secret_that_someone_put_there_is_used(init: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "redis-password").write_text("from-a-vault\n")
    init.main(tmp_path, ENVIRONMENT, TEMPLATE)
    assert "requirepass from-a-vault\n" in written(tmp_path)["redis-conf/auth.conf"]


@pytest.mark.parametrize("profiles", ["", "demo,edge", "ha", "demo,ha"])
def test_the_profile_decides_between_redis_and_sentinels(init: ModuleType, tmp_path: Path, profiles: str) -> None:
    init.main(tmp_path, {**ENVIRONMENT, "GTM_PROFILES": profiles}, TEMPLATE)
    url = written(tmp_path)["secrets/redis-url"].strip()
    client = connect(url)
    client.close()
    if "ha" in profiles:
        assert re.fullmatch(
            r"redis\+sentinel://:[0-9a-f]{32}@192.0.2.21:26379,192.0.2.22:26379,192.0.2.23:26379/gtm\?db=0", url
        )
    else:
        assert re.fullmatch(r"redis://:[0-9a-f]{32}@192.0.2.11:6379/0", url)


def test_powerdns_asks_the_backend_whose_sockets_it_shares(init: ModuleType, tmp_path: Path) -> None:
    init.main(tmp_path, ENVIRONMENT, TEMPLATE)
    text = written(tmp_path)["pdns-conf/pdns.conf"]
    assert "remote-connection-string=unix:path=/var/lib/pdns-gtm/backend.sock," in text
    assert "local-address=0.0.0.0\n" in text
    assert "socket-dir=/run/pdns\n" in text
    for number in ("", "-2"):
        assert COMPOSE.count(f'"backend{number}-var:/var/lib/pdns-gtm:ro", "pdns{number}-run:/run/pdns"') == 1
        assert COMPOSE.count(f'"backend{number}-var:/var/lib/pdns-gtm", "pdns{number}-run:/run/pdns"') == 1
    assert "GTM_PDNS_CONTROL: /run/pdns/pdns.controlsocket" in COMPOSE


def services() -> Mapping[str, str]:
    """The text of each service of the compose file."""
    listed = COMPOSE.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
    return dict(re.findall(r"^  ([a-z0-9-]+):\n((?:    .*\n)+)", listed, re.MULTILINE))


@pytest.mark.skipif(shutil.which("dnsdist") is None, reason="dnsdist is not installed here")
@pytest.mark.parametrize("number", [1, 2])
def test_dnsdist_asks_its_own_powerdns_and_is_told_by_its_own_backend(
    init: ModuleType, tmp_path: Path, number: int
) -> None:
    init.main(tmp_path, {**ENVIRONMENT, "GTM_PROFILES": "demo,edge"}, TEMPLATE)
    path = tmp_path / "pdns-conf" / init.EDGES[number]
    checked = subprocess.run(["dnsdist", "--check-config", "-C", path], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    text = path.read_text()
    assert f'address = "198.51.100.1{number}:5300"' in text
    assert f'ipairs({{"198.51.100.2{number}", "198.51.100.3{number}"}})' in text
    assert 'read("/var/lib/pdns-gtm/edge/secret")' in text

    suffix = "" if number == 1 else "-2"
    own, pdns, backend = (services()[f"{name}{suffix}"] for name in ("dnsdist", "pdns", "backend"))
    for text, last in ((pdns, 10), (own, 20), (backend, 30)):
        assert f'dns: {{ipv4_address: "${{GTM_DNS_NETWORK:-172.30.53}}.{last + number}"}}' in text
    assert f'GTM_EDGE_ADDRESS: "${{GTM_DNS_NETWORK:-172.30.53}}.{20 + number}"' in backend
    assert f"--config, /etc/pdns-gtm/{path.name}]" in own
    assert f'volumes: ["pdns-conf:/etc/pdns-gtm:ro", "edge{suffix}:/var/lib/pdns-gtm/edge:ro"]' in own
    assert f'"edge{suffix}:/var/lib/pdns-gtm/edge"]' in backend


def test_no_dnsdist_runs_that_no_backend_tells_of_changes(init: ModuleType, tmp_path: Path) -> None:
    """As by `--profile edge`, which the backend of both shapes does not see."""
    init.main(tmp_path, {**ENVIRONMENT, "GTM_PROFILES": "demo,edge"}, TEMPLATE)
    init.main(tmp_path, {**ENVIRONMENT, "GTM_PROFILES": "demo"}, TEMPLATE)
    for name in init.EDGES.values():
        path = tmp_path / "pdns-conf" / name
        assert path.read_text().startswith('error("') and "newServer" not in path.read_text()


@pytest.mark.parametrize(("profiles", "edge"), [("", ""), ("demo,edge", "1"), ("edge,ha", "1"), ("edges", "")])
def test_the_backend_tells_dnsdist_where_there_is_one(tmp_path: Path, profiles: str, edge: str) -> None:
    program = tmp_path / "python3"
    program.write_text('#!/bin/sh\necho "$*: $GTM_EDGE"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GTM_PROFILES": profiles}
    command = [TOP / "deploy" / "compose" / "start-backend"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"-m pdns_gtm_backend.dns: {edge}\n"


def test_the_addresses_are_those_of_the_compose_file(init: ModuleType) -> None:
    store = init.Store()
    fixed = {
        f"{default}.{last}" for default, last in re.findall(r'ipv4_address: "\$\{\w+:-([\d.]+)\}\.(\d+)"', COMPOSE)
    }
    assert {store.redis, *store.sentinels} <= fixed


def test_the_template_in_the_image_is_the_one_of_the_checkout() -> None:
    assert TEMPLATE.is_file()
    assert "COPY pdns-conf /usr/share/pdns-gtm/pdns-conf" in (TOP / "deploy" / "Dockerfile").read_text()


def test_the_demos_origins_are_in_the_probe_network() -> None:
    demo = script("deploy/compose/load_demo.py")
    documents = list(demo.documents("172.30.54"))
    addresses = {address["address"] for kind, pool in documents if kind == "pools" for address in pool["addresses"]}
    assert addresses == {f"172.30.54.{last}" for last in demo.HOSTS.values()}
    for name, last in demo.HOSTS.items():
        assert f'standalone.origin, {name}, "${{GTM_PROBE_NETWORK:-172.30.54}}.{last}", "{demo.PORT}"' in COMPOSE
