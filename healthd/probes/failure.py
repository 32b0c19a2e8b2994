"""Why probes fail: exceptions to a reason and a sentence."""

import errno
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final, Literal

Reason = Literal[
    "timeout",
    "refused",
    "reset",
    "tls",
    "status",
    "body",
    "unreachable",
    "resolution",
    "redirect",
    "protocol",
    "loss",
    "answer",
    "reported",
    "unreported",
    "internal",
]

UNREACHABLE: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,  # connect() to a blackhole route
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)
LOCAL: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EAGAIN,
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
        errno.EAFNOSUPPORT,
    }
)
"""The prober's own shortages: descriptors, memory, ports, an address of the family. They say nothing of the target."""

UNFINISHED: Final[Mapping[str, str]] = {
    "resolve": "the name was not resolved",
    "connect": "no connection",
    "tls": "the TLS handshake did not end",
    "request": "the request was not taken",
    "status": "no complete status and headers",
    "body": "the body was not complete",
    "answer": "no answer",
}


class ProbeFailure(Exception):
    """Ends a probe with a reason and a sentence for operators."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def explain(error: BaseException, phase: str, timeout: float, peer: str) -> tuple[Reason, str] | None:
    """The reason and the sentence for `error`, or None where no probe should raise it.

    phase: in which it was raised. timeout: of the probe, in seconds. peer: what it talked to, for the sentence.
    """
    if isinstance(error, ProbeFailure):
        return error.reason, error.detail
    if isinstance(error, TimeoutError):
        return "timeout", f"{UNFINISHED[phase]} within {timeout:g} s: {peer}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls", f"certificate of {peer} not accepted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return "tls", f"TLS with {peer} failed: {_tls_reason(error)}"
    if isinstance(error, socket.gaierror):
        local = error.errno in (socket.EAI_MEMORY, socket.EAI_SYSTEM)
        return ("internal" if local else "resolution"), f"{peer} does not resolve: {error.strerror}"
    if isinstance(error, OSError):
        return _network_failure(error, peer)
    return None


def _network_failure(error: OSError, peer: str) -> tuple[Reason, str] | None:
    if isinstance(error, ConnectionRefusedError):
        return "refused", f"connection refused by {peer}"
    if error.errno is None and isinstance(error, ConnectionError):
        return "reset", f"{peer} closed the connection without an answer"
    if isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
        return "reset", f"connection reset by {peer}"
    if error.errno in UNREACHABLE:
        return "unreachable", f"{peer}: {os.strerror(error.errno).lower()}"
    if error.errno in LOCAL:
        return "internal", f"the prober cannot reach {peer}: {os.strerror(error.errno).lower()}"
    return None


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "it was closed during the handshake"
    return (error.reason or "unknown error").replace("_", " ").lower()
