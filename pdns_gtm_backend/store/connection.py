"""Connections to Redis, with time-outs chosen here: the library's own (5 s, 10 retries) are longer than a fault."""

from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

CONNECT_TIMEOUT: Final = 1.0
COMMAND_TIMEOUT: Final = 1.0

Client = redis.Redis


def connect(url: str, *, timeout: float = COMMAND_TIMEOUT) -> Client:
    """A client of the master at `url`: redis://, rediss://, unix:// or redis+sentinel://host:port,host:port/name?db=0.

    A command that gets no answer within `timeout` seconds fails; nothing is tried again. Raises ValueError on another
    form of URL.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "health_check_interval": 0,
    }
    if url.startswith("redis+sentinel://"):
        return _sentinel_master(url, options)
    return redis.Redis.from_url(url, **options)


def _sentinel_master(url: str, options: dict[str, Any]) -> Client:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        if not name:
            name, port = port, "26379"
        if not port.isdecimal():
            raise ValueError(f"{host!r} in the Redis URL is not host:port of a sentinel")
        sentinels.append((name.strip("[]"), int(port)))
    service = parts.path.strip("/")
    if not service:
        raise ValueError("a redis+sentinel URL ends with the name of the master: redis+sentinel://host:26379/mymaster")
    user, _, password = credentials.rpartition(":")
    query = parse_qs(parts.query)
    login: dict[str, object] = {"username": unquote(user) or None, "password": unquote(password) or None}
    watchers: Any = Sentinel
    sentinel = watchers(sentinels, sentinel_kwargs={**options, "socket_timeout": CONNECT_TIMEOUT})
    client: Client = sentinel.master_for(service, db=int(query.get("db", ["0"])[0]), **login, **options)
    return client
