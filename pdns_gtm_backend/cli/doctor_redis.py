"""Redis as a store of configuration: durable, evicting nothing, replicas close behind, and its clock near ours."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pdns_gtm_backend.cli.doctor_report import INFO, OK, PROBLEM, SKIPPED, WARNING, Finding

SENTINEL: Final = "redis+sentinel://"
SECONDS: Final = 3.0
CLOCK_WARNING: Final = 1.0
CLOCK_PROBLEM: Final = 60.0
MOST_LAG_SECONDS: Final = 10
MOST_LAG_BYTES: Final = 1_048_576
EVICT_NOTHING: Final = "noeviction"

Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What Redis says (INFO). clock: seconds that its clock is before ours. error: why it says nothing."""

    info: Data
    clock: float = 0.0
    error: str = ""


def ask_redis(url: str, now: Callable[[], float] = time.time) -> RedisFacts:
    """What the Redis at a URL says of itself. Raises ValueError where it is no URL of Redis."""
    options: Data = {
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "encoding_errors": "replace",
        "decode_responses": True,
    }
    client: redis.Redis = redis.Redis.from_url(url, **options)
    try:
        with client:
            asked = now()
            seconds, microseconds = client.time()
            clock = seconds + microseconds / 1e6 - (asked + now()) / 2
            return RedisFacts(dict(client.info()), clock)
    except (redis.RedisError, OSError) as error:
        return RedisFacts({}, error=str(error) or type(error).__name__)


def examine(url: str, write_replicas: int) -> Sequence[Finding]:
    """Look at the Redis at a URL. Nothing of the URL is shown: it may hold a password."""
    if url.startswith(SENTINEL):
        advice = "name the master itself: --redis redis://HOST:6379"
        return [Finding(SKIPPED, "redis", "the URL names sentinels", advice)]
    try:
        facts = ask_redis(url)
    except ValueError as error:
        return [Finding(PROBLEM, "redis", f"the URL is not usable: {error}", "mend GTM_REDIS_URL or --redis")]
    return judge(facts, write_replicas)


def judge(facts: RedisFacts, write_replicas: int = 0) -> Sequence[Finding]:
    """What is right and wrong with a Redis. write_replicas: that a change of configuration waits for."""
    if facts.error:
        advice = "start it, or mend GTM_REDIS_URL or --redis; answers go on meanwhile, changes do not"
        return [Finding(PROBLEM, "redis", f"does not answer: {facts.error}", advice)]
    return [
        Finding(OK, "redis", f"version {facts.info.get('redis_version')} answers"),
        _persistence(facts.info),
        _eviction(facts.info),
        *_replication(facts.info, write_replicas),
        _clock(facts.clock),
    ]


def _persistence(info: Data) -> Finding:
    check = "redis persistence"
    if info.get("aof_enabled") != 1:
        level = WARNING if replicas(info) else PROBLEM
        return Finding(level, check, "appendonly is no: a crash loses acknowledged changes", "set appendonly yes")
    if info.get("aof_last_write_status") != "ok" or info.get("aof_last_bgrewrite_status", "ok") != "ok":
        return Finding(PROBLEM, check, "the append-only file cannot be written", "look for space on its disk")
    return Finding(OK, check, "appendonly is yes, and its last write went well")


def _eviction(info: Data) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy == EVICT_NOTHING:
        return Finding(OK, "redis eviction", "maxmemory-policy is noeviction")
    advice = "set maxmemory-policy noeviction, and maxmemory so that it is never reached"
    level = PROBLEM if info.get("maxmemory") else WARNING
    return Finding(level, "redis eviction", f"maxmemory-policy is {policy}: configuration may be dropped", advice)


def replicas(info: Data) -> Sequence[Data]:
    """The replicas that are connected."""
    listed = (info.get(f"slave{number}") for number in range(int(info.get("connected_slaves", 0))))
    return [replica for replica in listed if isinstance(replica, dict)]


def _replication(info: Data, write_replicas: int) -> Iterator[Finding]:
    check, connected = "redis replication", replicas(info)
    if info.get("role") != "master":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        yield Finding(PROBLEM, check, f"this is a replica of {master}: nothing can be written", "name the master")
        return
    if len(connected) < write_replicas:
        found = f"{len(connected)} replicas are connected, GTM_WRITE_REPLICAS is {write_replicas}: changes are refused"
        yield Finding(PROBLEM, check, found, "bring replicas back, or lower GTM_WRITE_REPLICAS")
    late = [
        f"{replica.get('ip')}:{replica.get('port')} {why}" for replica in connected if (why := _late(info, replica))
    ]
    for one in late:
        yield Finding(WARNING, check, f"replica {one}", "look at its network and its disk")
    if not connected and not write_replicas:
        yield Finding(INFO, check, "no replica is connected: this Redis is the only copy")
    elif len(connected) >= write_replicas and not late:
        yield Finding(OK, check, f"{len(connected)} replicas are connected and close behind")


def _late(info: Data, replica: Data) -> str:
    if replica.get("state") != "online":
        return f"is in the state {replica.get('state')}"
    if int(replica.get("lag", 0)) > MOST_LAG_SECONDS:
        return f"was last heard of {replica['lag']} s ago"
    behind = int(info.get("master_repl_offset", 0)) - int(replica.get("offset", 0))
    return f"is {behind} bytes behind" if behind > MOST_LAG_BYTES else ""


def _clock(difference: float) -> Finding:
    if abs(difference) <= CLOCK_WARNING:
        return Finding(OK, "clock", f"Redis's clock is {abs(difference):.3f} s from ours")
    level = PROBLEM if abs(difference) > CLOCK_PROBLEM else WARNING
    side = "before" if difference > 0 else "behind"
    return Finding(level, "clock", f"Redis's clock is {abs(difference):.1f} s {side} ours", "run NTP on both machines")
