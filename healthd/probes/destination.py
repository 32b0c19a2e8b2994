"""Which address a probe goes to: the target's own, or what its name resolves to now, unless it may not be probed."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from healthd.probes.failure import ProbeFailure
from healthd.probes.loop import Task
from healthd.probes.result import Attempt
from pdns_gtm_backend.domain.private_targets import refused_target
from pdns_gtm_backend.domain.target import Target
from pdns_gtm_backend.domain.violation import shown

MAX_LOOKUPS: Final = 256


def lookup(name: str) -> str:
    """The first IPv4 address of `name`, else its first IPv6 address, by getaddrinfo.

    Blocks for as long as the system's resolver does. Raises socket.gaierror.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    preferred = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return str(preferred[4][0])


class Resolver:
    """Looks names up in threads of its own, so that nobody has to wait for longer than he wants to.

    getaddrinfo has no timeout: a lookup that is given up goes on, and whoever asks for the same name
    meanwhile joins it. limit: lookups at the same time.
    """

    def __init__(self, lookup: Callable[[str], str] = lookup, limit: int = MAX_LOOKUPS) -> None:
        self._lookup = lookup
        self._limit = limit
        self._lock = threading.Lock()
        self._pending: dict[str, Future[str]] = {}

    def submit(self, name: str) -> Future[str]:
        """Start looking `name` up. Raises ProbeFailure where too many lookups are pending."""
        with self._lock:
            pending = self._pending.get(name)
            if pending is not None:
                return pending
            if len(self._pending) >= self._limit:
                raise ProbeFailure("internal", f"{name} was not looked up: {self._limit} lookups are pending")
            future: Future[str] = Future()
            future.set_running_or_notify_cancel()
            self._pending[name] = future
        try:
            threading.Thread(target=self._run, args=(name, future), name="lookup", daemon=True).start()
        except RuntimeError as error:
            self._finish(name, future, ProbeFailure("internal", f"{name} was not looked up: {error}"))
        return future

    def _run(self, name: str, future: "Future[str]") -> None:
        try:
            address = self._lookup(name)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the future
            self._finish(name, future, error)
        else:
            self._finish(name, future, address)

    def _finish(self, name: str, future: "Future[str]", outcome: str | Exception) -> None:
        with self._lock:
            del self._pending[name]
        if isinstance(outcome, str):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)


class Destinations:
    """Gives the address to probe. allow_private: also those that `refused_target` refuses."""

    def __init__(self, *, allow_private: bool, resolver: Resolver | None = None) -> None:
        self._allow_private = allow_private
        self._resolver = resolver or Resolver()

    def address(self, target: Target, attempt: Attempt) -> str:
        """The address of `target`. Raises what `explain` knows: also where it may not be probed."""
        if target.family != "domain":
            return self._accepted(target.address)
        return self._accepted(self.resolve(target.address, attempt))

    def resolve(self, name: str, attempt: Attempt) -> str:
        """The address of `name`, whatever it is. Raises what `explain` knows."""
        try:
            return self._resolver.submit(name).result(attempt.remaining())
        except TimeoutError:
            raise _unresolved(name, attempt) from None

    async def address_of(self, target: Target, task: Task) -> str:
        """`address` for a task."""
        if target.family != "domain":
            return self._accepted(target.address)
        try:
            return self._accepted(await task.outcome(self._resolver.submit(target.address)))
        except TimeoutError:
            raise _unresolved(target.address, task) from None

    def _accepted(self, address: str) -> str:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ProbeFailure("internal", f"{shown(address)} is no IP address") from None
        refusal = None if self._allow_private else refused_target(address)
        if refusal is not None:
            raise ProbeFailure("unreachable", refusal)
        return address


def authority(address: str, port: int | None) -> str:
    """`address:port` with IPv6 addresses in brackets (RFC 3986 section 3.2)."""
    host = f"[{address}]" if ":" in address else address
    return host if port is None else f"{host}:{port}"


def _unresolved(name: str, attempt: Attempt) -> ProbeFailure:
    return ProbeFailure("resolution", f"{name} was not resolved within {attempt.timeout:g} s")
