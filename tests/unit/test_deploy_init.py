"""What the containers of docker-compose.yml start from."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from pdns_gtm_backend.dns.pdns_conf import TEMPLATE
from pdns_gtm_backend.store.connection import connect
from tests.support.scripts import script

TOP = Path(__file__).parents[2]
COMPOSE = (TOP / "docker-compose.yml").read_text()
ENVIRONMENT = {"GTM_STORE_NETWORK": "192.0.2", "GTM_PROFILES": ""}


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
