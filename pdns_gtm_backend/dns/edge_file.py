"""The file by which dnsdist learns regions and regional names; `pdns-conf/dnsdist.conf` reads it in place, in memory.

Numbers are little-endian and begin at offsets that are multiples of their size. The header is of 32-bit numbers: magic,
version, size of the file; one that the reader sets; where the table of IPv4 is, and its blocks; how many pieces IPv6
has, where their first units are, and their regions; where the regions' canonical networks are, and how many; buckets of
the table of names less one, where it is, the two seeds of its hashes, and how many names there are.
"""

import secrets
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from pdns_gtm_backend.domain.client import Network
from pdns_gtm_backend.domain.edge import BITS, Pieces, Regions
from pdns_gtm_backend.domain.line import SCOPES

MAGIC: Final = 0x45544D47
VERSION: Final = 1
HEADER_BYTES: Final = 64
REGION_BYTES: Final = 16
DIRECT: Final = 0x10000
"""From here on an entry of IPv4's table is the number of a block, less this; below, it is a region."""
BLOCK: Final = 256
BUCKET: Final = 4
WORD: Final = 0xFFFF_FFFF
GOLDEN: Final = 0x9E37_79B9
SEEDS: Final = (secrets.randbits(32), secrets.randbits(32))
"""Nobody can choose a name that is taken for another one without knowing them."""

Packed = tuple[tuple[bytes, bytes, bytes, bytes, bytes], int, int]


def packed_regions(regions: Regions) -> Packed:
    """The parts of the file that regions decide, how many pieces IPv6 has, and how many regions there are."""
    starts6 = array("Q", (start for start, _ in regions.ipv6))
    cells6 = array("H", (cell for _, cell in regions.ipv6))
    first4, blocks4 = _table4(regions.ipv4)
    parts = (_little(starts6), _little(first4), _little(blocks4), _little(cells6), _canonical(regions.canonical))
    return parts, len(regions.ipv6), len(regions.canonical)


def packed(regions: Packed, names: Iterable[str]) -> bytes:
    """The whole file. regions: from `packed_regions`. names: regional ones in canonical form."""
    parts, count6, count = regions
    hashes = [name_hashes(name) for name in names]
    table = _buckets(hashes)
    body = [part + bytes(-len(part) % 8) for part in (*parts, _little(table))]
    places = [HEADER_BYTES + sum(map(len, body[:index])) for index in range(len(body) + 1)]
    at6, at_first4, at_blocks4, at_cells6, at_canonical, at_names, size = places
    header = struct.pack(
        "<16I",
        *(MAGIC, VERSION, size, 0),
        *(at_first4, at_blocks4, count6, at6, at_cells6, at_canonical, count),
        *(len(table) // BUCKET - 1, at_names, *SEEDS, len(hashes)),
    )
    return b"".join((header, *body))


@lru_cache(maxsize=65_536)
def name_hashes(name: str) -> tuple[int, int]:
    """The two numbers that a name (in canonical form, without escapes) is found by."""
    wire = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
    return burtle(wire, SEEDS[0]), burtle(wire, SEEDS[1])


def burtle(data: bytes, seed: int) -> int:
    """Bob Jenkins's hash of 1996 (lookup2), which dnsdist hashes names by, in lower case."""
    whole = len(data) // 12 * 12
    a, b, c = GOLDEN, GOLDEN, seed
    for at in range(0, whole, 12):
        x, y, z = struct.unpack_from("<3I", data, at)
        a, b, c = _mixed(a + x & WORD, b + y & WORD, c + z & WORD)
    rest = data[whole:]
    # The lowest octet of the third number is the length's.
    x, y, z = struct.unpack("<3I", rest[:8].ljust(8, b"\0") + (b"\0" + rest[8:]).ljust(4, b"\0"))
    return _mixed(a + x & WORD, b + y & WORD, c + len(data) + z & WORD)[2]


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for first, second, third in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
        a = (a - b - c & WORD) ^ c >> first
        b = (b - c - a & WORD) ^ a << second & WORD
        c = (c - a - b & WORD) ^ b >> third
    return a, b, c


def _buckets(hashes: list[tuple[int, int]]) -> "array[int]":
    """Buckets of four marks, the bucket by the first hash, the mark the second; 0 = empty."""
    size = 1
    while True:
        table = array("I", bytes(4 * BUCKET * size))
        if all(_put(table, (first & (size - 1)) * BUCKET, mark) for first, mark in hashes):
            return table
        size *= 2


def _put(table: "array[int]", bucket: int, mark: int) -> bool:
    for slot in range(bucket, bucket + BUCKET):
        if table[slot] in (0, mark):
            table[slot] = mark
            return True
    return False


def _table4(pieces: Pieces[int]) -> tuple["array[int]", "array[int]"]:
    """For each /16 its region, or a block with the region of each /24 in it."""
    first, blocks, block = array("I"), array("H"), array("H")
    known: dict[bytes, int] = {}
    for index, (start, cell) in enumerate(pieces):
        stop = pieces[index + 1][0] if index + 1 < len(pieces) else 1 << SCOPES[4]
        while start < stop:
            if not block and stop - start >= BLOCK:
                whole = (stop - start) // BLOCK
                first.extend(array("I", (cell,)) * whole)
                start += whole * BLOCK
                continue
            part = min(stop - start, BLOCK - len(block))
            block.extend(array("H", (cell,)) * part)
            start += part
            if len(block) == BLOCK:
                key = block.tobytes()
                if key not in known:
                    known[key] = len(known)
                    blocks.extend(block)
                first.append(DIRECT + known[key])
                block = array("H")
    return first, blocks


def _little(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _canonical(networks: Iterable[Mapping[int, Network]]) -> bytes:
    """For each region: 1 and three octets of IPv4, 1 and seven of IPv6, each of them 0 where it has none."""
    return b"".join((_octets(n.get(4), 4) + _octets(n.get(6), 6)).ljust(REGION_BYTES, b"\0") for n in networks)


def _octets(network: Network | None, version: int) -> bytes:
    held = SCOPES[version] // 8
    if network is None:
        return bytes(1 + held)
    return b"\1" + (network.bits >> (BITS[version] - SCOPES[version])).to_bytes(held, "big")
