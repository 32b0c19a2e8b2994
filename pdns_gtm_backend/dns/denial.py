"""The order of a zone's names, by which PowerDNS proves that a name or a type does not exist (RFC 4034, RFC 5155)."""

from __future__ import annotations

import base64
import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import dns.name

from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.names import ancestors
from pdns_gtm_backend.domain.record import canonical_order, name_labels
from pdns_gtm_backend.domain.violation import shown

MAX_ORDERS: Final = 256
"""Zones whose order is kept."""
MAX_ITERATIONS: Final = 500
TO_BASE32HEX: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghijklmnopqrstuv")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The name at or before a name and the one after it, relative to the zone; the last one is followed by the first.

    unhashed: the name that `before` is the hash of; the same as `before` where nothing is hashed.
    """

    before: str
    after: str
    unhashed: str


@dataclass(frozen=True, slots=True)
class Hashing:
    """NSEC3 parameters (RFC 5155 section 4): SHA-1, salt, additional iterations."""

    iterations: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """Names of a zone in order. keys: what they sort by; names: relative to the zone."""

    zone: ServedZone
    hashing: Hashing | None
    keys: Sequence[tuple[bytes, ...]]
    names: Sequence[str]

    def around(self, relative: str) -> Neighbours:
        """The neighbours of a name relative to the zone, or of a hash. Raises ValueError where it is no name."""
        hashed_key = (relative.lower().encode("ascii", "replace"),)
        key = canonical_order(relative) if self.hashing is None else hashed_key
        index = bisect_right(self.keys, key) - 1
        after = (index + 1) % len(self.keys)
        if self.hashing is None:
            return Neighbours(self.names[index], self.names[after], self.names[index])
        return Neighbours(self.keys[index][0].decode(), self.keys[after][0].decode(), self.names[index])


class Orders:
    """The orders of zones that were asked for, made anew where a zone's names have changed. Safe for threads."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Hashing | None], Order] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()

    def zone(self, zones: Mapping[str, ServedZone], number: int) -> ServedZone | None:
        """The zone with PowerDNS's id `number`."""
        known = zones.get(self._names.get(number, ""))
        if known is None or known.zone.number != number:
            self._names = {zone.zone.number: name for name, zone in zones.items()}
            known = zones.get(self._names.get(number, ""))
        return known

    def of(self, zone: ServedZone, hashing: Hashing | None) -> Order:
        """The order of a zone: canonical, or by hash."""
        key = (zone.zone.name, hashing)
        with self._lock:
            held = self._held.get(key)
            if held is not None and _same_names(held.zone, zone):
                return held
        made = order(zone, hashing)
        with self._lock:
            if len(self._held) >= MAX_ORDERS:
                self._held.clear()
            self._held[key] = made
        return made


def _same_names(one: ServedZone, other: ServedZone) -> bool:
    return one is other or (one.static is other.static and one.owned is other.owned and one.defaults is other.defaults)


def order(zone: ServedZone, hashing: Hashing | None) -> Order:
    """The order of a zone's names. NSEC: those with records or instances (RFC 4035 section 2.3); NSEC3: also the empty
    ones above them (RFC 5155 section 7.1). Neither: what is below a delegation.
    """
    suffix = len(zone.zone.name) + 1
    relatives = [name[:-suffix] for name in _names(zone, empty=hashing is not None)]
    if hashing is None:
        pairs = sorted((canonical_order(name), name) for name in relatives)
    else:
        apex = name_labels(zone.zone.name)
        pairs = sorted(((hashed(name_labels(name) + apex, hashing),), name) for name in relatives)
    return Order(zone, hashing, [key for key, _ in pairs], [name for _, name in pairs])


def _names(zone: ServedZone, *, empty: bool) -> Iterator[str]:
    every = dict.fromkeys((*zone.names(), *zone.below)) if empty else zone.names()
    for name in every:
        if not zone.cuts or not any(parent in zone.cuts for parent in ancestors(name)):
            yield name


def hashed(labels: Sequence[bytes], hashing: Hashing) -> bytes:
    """The hash of a name as a label (RFC 5155 section 5, base32hex of RFC 4648 in lower case)."""
    wire = dns.name.Name([*labels, b""]).canonicalize().to_wire()
    digest = wire or b""
    for _ in range(hashing.iterations + 1):
        digest = hashlib.sha1(digest + hashing.salt).digest()  # noqa: S324 - the only hash that NSEC3 has
    return base64.b32encode(digest).translate(TO_BASE32HEX)


def hashing_of(metadata: Mapping[str, Sequence[str]]) -> Hashing | None:
    """The NSEC3 parameters in a zone's metadata (`NSEC3PARAM`, such as `1 0 0 -`), None = NSEC. Raises ValueError."""
    values = metadata.get("NSEC3PARAM")
    if not values:
        return None
    try:
        _algorithm, _flags, iterations, salt = values[0].split()
        found = Hashing(int(iterations), b"" if salt == "-" else bytes.fromhex(salt))
    except ValueError:
        raise ValueError(f"NSEC3PARAM {shown(values[0])} is not like '1 0 0 -'") from None
    if not 0 <= found.iterations <= MAX_ITERATIONS:
        raise ValueError(f"NSEC3PARAM {shown(values[0])}: at most {MAX_ITERATIONS} iterations (RFC 9276 wants 0)")
    return found
