import pytest

from pdns_gtm_backend.store.connection import COMMAND_TIMEOUT, connect


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://192.0.2.1:6380/3", {"host": "192.0.2.1", "port": 6380, "db": 3}),
        ("redis://user:p%40ss@192.0.2.1", {"host": "192.0.2.1", "username": "user", "password": "p@ss"}),
        ("redis://:secret@[2001:db8::1]:6380", {"host": "2001:db8::1", "port": 6380, "password": "secret"}),
        ("rediss://192.0.2.1/0", {"host": "192.0.2.1"}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
    ],
)
def test_a_url_says_where_redis_is(url: str, expected: dict[str, object]) -> None:
    options = connect(url).connection_pool.connection_kwargs
    assert {name: options.get(name) for name in expected} == expected


@pytest.mark.parametrize("url", ["redis://192.0.2.1", "redis+sentinel://192.0.2.1:26379/gtm"])
def test_time_outs_and_retries_are_chosen_here(url: str) -> None:
    options = connect(url).connection_pool.connection_kwargs
    assert options["socket_timeout"] == COMMAND_TIMEOUT
    assert options["socket_connect_timeout"] <= 1.0
    assert options["retry"].get_retries() == 0


@pytest.mark.parametrize(
    ("url", "sentinels"),
    [
        ("redis+sentinel://192.0.2.1:26379,192.0.2.2:26380/gtm", [("192.0.2.1", 26379), ("192.0.2.2", 26380)]),
        ("redis+sentinel://one.example,192.0.2.2/gtm", [("one.example", 26379), ("192.0.2.2", 26379)]),
        ("redis+sentinel://[2001:db8::1]:26379,[2001:db8::2]/gtm", [("2001:db8::1", 26379), ("2001:db8::2", 26379)]),
    ],
)
def test_a_sentinel_url_lists_the_sentinels(url: str, sentinels: list[tuple[str, int]]) -> None:
    pool = connect(url).connection_pool
    found = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    assert [(options["host"], options["port"]) for options in found] == sentinels
    assert pool.service_name == "gtm"


def test_a_sentinel_url_holds_the_login_of_redis_and_that_of_the_sentinels() -> None:
    query = "db=4&sentinel_username=watch&sentinel_password=w%26tch"
    pool = connect(f"redis+sentinel://user:p%40ss@192.0.2.1:26379/gtm?{query}").connection_pool
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("user", "p@ss", 4)
    (watcher,) = (s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels)
    assert (watcher["username"], watcher["password"]) == ("watch", "w&tch")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://192.0.2.1", "redis://"),
        ("", "redis://"),
        ("redis+sentinel://192.0.2.1:26379", "name of the master"),
        ("redis+sentinel://192.0.2.1:26379/", "name of the master"),
        ("redis+sentinel:///gtm", "no sentinel"),
        ("redis+sentinel://192.0.2.1:port/gtm", "'192.0.2.1:port'"),
        ("redis+sentinel://192.0.2.1:99999/gtm", "'192.0.2.1:99999'"),
        ("redis+sentinel://192.0.2.1,/gtm", "''"),
        ("redis+sentinel://192.0.2.1/gtm?db=x", "db"),
        ("redis+sentinel://192.0.2.1/gtm?timeout=9", "timeout"),
    ],
)
def test_another_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        connect(url)
    assert reason in str(refused.value)


def test_an_error_does_not_show_the_password() -> None:
    with pytest.raises(ValueError) as refused:
        connect("redis+sentinel://user:hunter2@192.0.2.1:port/gtm")
    assert "hunter2" not in str(refused.value)
