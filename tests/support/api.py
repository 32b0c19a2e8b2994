"""The admin API in this process, on a real Redis: what tests of it begin with.

with RedisServer(folder) as redis, Admin(redis.url, folder) as admin:
    admin.post("/pools", {...})
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from werkzeug.test import TestResponse

from pdns_gtm_backend.admin.app import create_app
from pdns_gtm_backend.admin.failure_limit import FailureLimit
from pdns_gtm_backend.admin.services import Services
from pdns_gtm_backend.geo.locator import Locator
from pdns_gtm_backend.geo.text import sibling
from pdns_gtm_backend.settings import Settings
from pdns_gtm_backend.store import keys, kinds
from pdns_gtm_backend.store.repository import Commit
from pdns_gtm_backend.store.snapshot import Change

PREFIX = "/api/v1"
START_SECONDS = 60.0
STATES = (kinds.TARGET_STATES, kinds.POLICY_STATES)

PLACES = ("16909056,16909311,AU", "16909312,16909567,CN", "134744064,134744319,US", "3325256704,3325256959,CN")
"""1.2.3.0/24 is in AU, 1.2.4.0/24 in CN, 8.8.8.0/24 in US, 198.51.100.0/24 in CN."""
PLACES6 = ("2001:db8:1::,2001:db8:1:ffff:ffff:ffff:ffff:ffff,CN",)


def write_places(folder: Path) -> Path:
    """A small geo database as Debian's tor-geoipdb is written."""
    path = folder / "geoip"
    path.write_text("\n".join(PLACES) + "\n")
    sibling(path).write_text("\n".join(PLACES6) + "\n")
    return path


class Admin:
    """An application with its services and the first admin token. `name` parts several on one Redis."""

    def __init__(self, url: str, folder: Path, name: str = "admin", **settings: Any) -> None:
        var = folder / name
        var.mkdir(parents=True, exist_ok=True)
        given = {"redis_url": url, "var": var, "geo_database": write_places(var), **settings}
        self.settings = Settings(**given)
        self.services = Services(self.settings, Locator(self.settings.geo_database))
        self.app = create_app(self.services)
        self.client = self.app.test_client()
        self.token = ""

    def __enter__(self) -> "Admin":
        self.services.start()
        if not self.services.wait_until_prepared(START_SECONDS):
            self.services.stop()
            raise RuntimeError(f"the admin application is not prepared: {self.services.preparing}")
        path = self.settings.var / "admin-token"
        self.token = path.read_text().strip() if path.exists() else ""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.services.stop()

    def request(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        """The answer, whatever it is. body: JSON data; `data=` sends octets as they are."""
        sent = {"Authorization": f"Bearer {self.token if token is None else token}", **(headers or {})}
        if body is not None:
            more["json"] = body
        return self.client.open(PREFIX + path, method=verb, headers=sent, **more)

    def get(self, path: str, expect: int = 200) -> Any:
        return self._body("GET", path, None, expect)

    def post(self, path: str, body: Any, expect: int = 201) -> Any:
        return self._body("POST", path, body, expect)

    def put(self, path: str, body: Any, expect: int = 200) -> Any:
        return self._body("PUT", path, body, expect, {"If-Match": "*"})

    def patch(self, path: str, body: Any, expect: int = 200) -> Any:
        return self._body("PATCH", path, body, expect, {"If-Match": "*"})

    def delete(self, path: str, expect: int = 204) -> Any:
        return self._body("DELETE", path, None, expect, {"If-Match": "*"})

    def _body(self, verb: str, path: str, body: Any, expect: int, headers: Mapping[str, str] | None = None) -> Any:
        answer = self.request(verb, path, body, headers=headers)
        assert answer.status_code == expect, f"{verb} {path}: {answer.status} {answer.get_data(as_text=True)[:3000]}"
        return answer.get_json() if answer.data else None


@contextlib.contextmanager
def restarted(admin: Admin) -> Iterator[Admin]:
    """Another process of the same admin: the same folder, a new beginning."""
    with Admin(str(admin.settings.redis_url), admin.settings.var.parent, admin.settings.var.name) as again:
        yield again


def emptied(admin: Admin) -> Admin:
    """The application as it began: its store without objects, states, events and audit, but for the first token."""
    admin.services.failures = FailureLimit(time.monotonic)
    for drill in admin.get("/drills?state=executed&limit=1000")["items"]:
        admin.post(f"/drills/{drill['id']}/rollback", {}, 200)
    for kind in ("drills", "overrides", "alerts", "instances", "pools", "health-checks", "lines", "zones", "tokens"):
        for item in admin.get(f"/{kind}?limit=1000")["items"]:
            first = item.get("kind") == "access" or f"gtm_{item.get('id')}_" in admin.token
            if not first:
                admin.delete(f"/{kind}/{item.get('id') or item['name']}")
    for rrset in admin.get("/zones/gtm.example/rrsets")["items"]:
        admin.delete(f"/zones/gtm.example/rrsets/{rrset['name']}/{rrset['type']}")
    follower = admin.services.follower
    snapshot = follower.serving.snapshot
    states = [Change(kind, key, None) for kind in STATES for key in snapshot.documents[kind]]
    revision = follower.repository.commit(Commit(states), snapshot.position.store_id)
    assert follower.wait_for(revision, START_SECONDS)
    client = follower.repository.client
    client.delete(
        keys.EVENTS, keys.AUDIT, keys.HEARTBEATS, *client.keys(keys.verdicts("*")), keys.vantage_lease("local")
    )
    return admin


def policy(name: str, lines: list[str], *sets: Any) -> dict[str, Any]:
    """An access policy; each set is a pool's id, a list of ids, or a set as it is sent."""
    return {"name": name, "lines": lines, "pool_sets": [_set(one) for one in sets]}


def _set(one: Any) -> dict[str, Any]:
    if isinstance(one, dict):
        return one
    return {"pools": [{"pool": pool} for pool in ([one] if isinstance(one, str) else one)]}


def pool(name: str, *addresses: str, family: str = "ipv4", **more: Any) -> dict[str, Any]:
    """A pool in its short form."""
    return {"id": name, "type": family, "addresses": [{"address": address} for address in addresses], **more}


def figure(admin: Admin, **instance: Any) -> Any:
    """The figure: mainland China gets pool A, the world B, both fall back to C. Returns the instance as made."""
    for name, address in (("pool-a", "192.0.2.1"), ("pool-b", "192.0.2.2"), ("pool-c", "192.0.2.3")):
        admin.post("/pools", pool(name, address))
    policies = [policy("mainland", ["AS-CN"], "pool-a", "pool-c"), policy("world", ["default"], "pool-b", "pool-c")]
    return admin.post("/instances", {"name": "shop", "policies": policies, **instance})
