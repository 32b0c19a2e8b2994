"""Connections to Redis, with time-outs chosen here: the library's own (5 s, 10 retries) are longer than a fault."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

CONNECT_TIMEOUT: Final = 1.0
COMMAND_TIMEOUT: Final = 1.0
SENTINEL_SCHEME: Final = "redis+sentinel://"
SENTINEL_FORM: Final = "redis+sentinel://host:26379,host:26379/name-of-the-master?db=0"
SENTINEL_PORT: Final = "26379"
SENTINEL_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", re.ASCII)
SENTINEL_OPTIONS: Final = ("db", "sentinel_username", "sentinel_password")

Client = redis.Redis


def connect(url: str, *, timeout: float = COMMAND_TIMEOUT) -> Client:
    """A client of the master at `url`: redis://, rediss://, unix:// or redis+sentinel://host:port,host:port/name?db=0.

    The login in a sentinel URL is Redis's; `sentinel_username` and `sentinel_password` are that of the sentinels.
    A command that gets no answer within `timeout` seconds fails; nothing is tried again. Raises ValueError on another
    form of URL.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "health_check_interval": 0,
    }
    if url.startswith(SENTINEL_SCHEME):
        return _sentinel_master(url, options)
    return redis.Redis.from_url(url, **options)


def _sentinel_master(url: str, options: dict[str, Any]) -> Client:
    place, _, query = url.removeprefix(SENTINEL_SCHEME).partition("?")
    authority, _, service = place.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    if not hosts:
        raise ValueError(f"the Redis URL names no sentinel: write {SENTINEL_FORM}")
    sentinels = [_sentinel(host) for host in hosts.split(",")]
    if not service:
        raise ValueError(f"the Redis URL ends with the name of the master: write {SENTINEL_FORM}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(given.keys() - set(SENTINEL_OPTIONS)):
        raise ValueError(f"{unknown[0]!r} in the Redis URL is no option; there are {', '.join(SENTINEL_OPTIONS)}")
    database = given.get("db", "0")
    if not (database.isascii() and database.isdecimal()):
        raise ValueError(f"db={database} in the Redis URL is not the number of a database")
    user, _, password = credentials.rpartition(":")
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    watcher = {"username": given.get("sentinel_username"), "password": given.get("sentinel_password")}
    make: Any = Sentinel
    sentinel = make(sentinels, sentinel_kwargs={**options, "socket_timeout": CONNECT_TIMEOUT, **watcher})
    client: Client = sentinel.master_for(unquote(service), db=int(database), **login, **options)
    return client


def _sentinel(host: str) -> tuple[str, int]:
    found = SENTINEL_HOST.fullmatch(host)
    if found is None or int(found[2] or SENTINEL_PORT) > 65535:
        raise ValueError(f"{host!r} in the Redis URL is not host:port of a sentinel")
    return found[1].strip("[]"), int(found[2] or SENTINEL_PORT)
