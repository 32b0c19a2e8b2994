"""Several servers that write at once: no update is lost, no reference is left dangling, and no id is given twice."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.api import Admin, policy, pool
from tests.support.redis_server import RedisServer
from tests.support.store import SECONDS


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Admin, Admin]]:
    folder: Path = tmp_path_factory.mktemp("a")
    with (
        RedisServer(tmp_path_factory.mktemp("r")) as redis,
        Admin(redis.url, folder, "one") as one,
        Admin(redis.url, folder, "two") as two,
    ):
        two.token = one.token
        yield one, two


def at_once(*actions: Callable[[], None]) -> None:
    """Run all of them from the same moment on."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], None]) -> None:
        start.wait()
        action()

    with ThreadPoolExecutor(len(actions)) as pool:
        for done in [pool.submit(run, action) for action in actions]:
            done.result()


def persistently(admin: Admin, verb: str, path: str, body: object) -> int:
    """Send until it is not refused for the sake of others."""
    for _ in range(100):
        status = (
            admin.app.test_client()
            .open(
                "/api/v1" + path,
                method=verb,
                json=body,
                headers={"Authorization": f"Bearer {admin.token}", "If-Match": "*"},
            )
            .status_code
        )
        if status != 503:
            return status
    return 503


def test_no_address_is_lost_between_autoscalers(pair: tuple[Admin, Admin]) -> None:
    pair[0].post("/pools", pool("scaled"))

    def scale(admin: Admin, block: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(1, 21):
                client = admin.app.test_client()
                path = f"/api/v1/pools/scaled/addresses/192.0.{block}.{number}"
                status = 503
                while status == 503:
                    status = client.put(path, json={}, headers={"Authorization": f"Bearer {admin.token}"}).status_code
                assert status == 201

        return run

    at_once(*(scale(admin, block) for block, admin in enumerate((*pair, *pair))))
    held = {a["address"] for a in pair[0].get("/pools/scaled")["addresses"]}
    assert held == {f"192.0.{block}.{number}" for block in range(4) for number in range(1, 21)}
    assert pair[1].services.follower.wait_for(pair[0].services.follower.serving.snapshot.revision, SECONDS)
    assert pair[1].get("/pools/scaled") == pair[0].get("/pools/scaled")


def test_of_changes_of_one_version_one_wins(pair: tuple[Admin, Admin]) -> None:
    made = pair[0].request("POST", "/pools", pool("contested", "192.0.2.1"))
    tag = made.headers["ETag"]
    for _ in range(15):
        answers: list[tuple[int, str]] = []

        def change(admin: Admin, count: int, tag: str = tag, answers: list[tuple[int, str]] = answers) -> None:
            answer = admin.app.test_client().patch(
                "/api/v1/pools/contested",
                json={"max_answers": count},
                headers={"Authorization": f"Bearer {admin.token}", "If-Match": tag},
            )
            answers.append((answer.status_code, answer.headers.get("ETag", "")))

        held = pair[0].get("/pools/contested")["max_answers"]
        first, second = [n for n in (1, 2, 3, 4) if n != held][:2]
        at_once(lambda: change(pair[0], first), lambda: change(pair[1], second))  # noqa: B023
        assert sorted(status for status, _ in answers) == [200, 412], answers
        tag = next(found for status, found in answers if status == 200)


def test_a_pool_is_not_deleted_under_a_new_instance(pair: tuple[Admin, Admin]) -> None:
    one, two = pair
    outcomes = set()
    for number in range(25):
        name = f"raced-{number}"
        one.post("/pools", pool(name, "192.0.2.1"))
        found: dict[str, int] = {}
        body = {"name": name, "policies": [policy("world", ["default"], name)]}
        actions = [
            lambda: found.update(deleted=persistently(one, "DELETE", f"/pools/{name}", None)),  # noqa: B023
            lambda: found.update(created=persistently(two, "POST", "/instances", body)),  # noqa: B023
        ]
        at_once(*actions[:: 1 if number % 2 else -1])
        assert (found["deleted"], found["created"]) in {(204, 422), (409, 201)}
        outcomes.add(found["deleted"])
        newest = max(a.services.follower.serving.snapshot.revision for a in pair)
        for admin in pair:
            assert admin.services.follower.wait_for(newest, SECONDS)
            snapshot = admin.services.follower.serving.snapshot
            assert all(held in snapshot.pools for i in snapshot.instances.values() for held in i.pool_ids())
    assert outcomes <= {204, 409}


def test_names_and_ids_are_given_once(pair: tuple[Admin, Admin]) -> None:
    one, two = pair
    one.post("/pools", pool("plain", "192.0.2.1"))
    body = {"name": "unique", "policies": [policy("world", ["default"], "plain")]}
    statuses: list[int] = []
    at_once(*(lambda a=admin: statuses.append(persistently(a, "POST", "/instances", body)) for admin in (*pair, *pair)))  # type: ignore[misc]
    assert sorted(statuses) == [201, 422, 422, 422]
    zones: list[int] = []
    at_once(
        *(
            lambda a=admin, n=n: zones.append(persistently(a, "POST", "/zones", {"name": f"zone-{n}.example"}))  # type: ignore[misc]
            for n, admin in enumerate((*pair, *pair))
        )
    )
    assert zones == [201] * 4
    assert two.services.follower.wait_for(one.services.follower.serving.snapshot.revision, SECONDS)
    numbers = [zone["number"] for zone in one.get("/zones")["items"]]
    assert len(set(numbers)) == len(numbers) >= 5
