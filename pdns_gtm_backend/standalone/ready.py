"""Does a part do its work now? Each check ends within TIMEOUT_SECONDS and answers False where it cannot tell."""

import http.client
from http import HTTPStatus
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
from redis.exceptions import RedisError

from pdns_gtm_backend.store.connection import connect

TIMEOUT_SECONDS: Final = 0.3


def http_ready(host: str, port: int) -> bool:
    """Does `/readyz` say 200?"""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def redis_ready(url: str) -> bool:
    """Does Redis take commands (it has read its files)?"""
    client = connect(url, timeout=TIMEOUT_SECONDS)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def dns_ready(host: str, port: int, zone: str) -> bool:
    """Is the zone's SOA record answered?"""
    query = dns.message.make_query(f"{zone}.", "SOA")
    try:
        answer = dns.query.udp(query, host, port=port, timeout=TIMEOUT_SECONDS)
    except (OSError, dns.exception.DNSException):
        return False
    return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer)
