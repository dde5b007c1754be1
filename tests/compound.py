"""Compound binary files, written small and plain: enough for Outlook's mails and for what only looks like them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_SECTOR, _MINI = 512, 64
_END, _FREE, _FAT, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def compound(streams: Mapping[tuple[str, ...], bytes]) -> bytes:
    """A compound file with these streams; each is smaller than 4096 bytes."""
    places = sorted({place[:depth] for place in streams for depth in range(1, len(place) + 1)})
    numbers = {(): 0} | {place: number for number, place in enumerate(places, 1)}
    children: dict[tuple[str, ...], list[int]] = {}
    for place in places:
        children.setdefault(place[:-1], []).append(numbers[place])
    mini, chain, starts = b"", [], {}
    for place, content in streams.items():
        count = max(1, -(-len(content) // _MINI))
        starts[place] = len(chain)
        chain += [*range(len(chain) + 1, len(chain) + count), _END]
        mini += content.ljust(count * _MINI, b"\x00")
    directory = _entry("Root Entry", 5, _NONE, children.get((), [_NONE])[0], 0, len(mini))
    for place in places:
        siblings = children[place[:-1]]
        right = siblings[siblings.index(numbers[place]) + 1 :]
        is_stream = place in streams
        directory += _entry(
            place[-1],
            2 if is_stream else 1,
            right[0] if right else _NONE,
            children.get(place, [_NONE])[0],
            starts.get(place, 0),
            len(streams[place]) if is_stream else 0,
        )
    parts = [_filled(mini), _filled(directory), _filled(struct.pack(f"<{len(chain)}I", *chain), b"\xff")]
    fat: list[int] = []
    firsts = []
    for part in parts:
        firsts.append(len(fat))
        count = len(part) // _SECTOR
        fat += [*range(len(fat) + 1, len(fat) + count), _END]
    fat_sectors = next(number for number in range(1, 110) if (len(fat) + number) * 4 <= number * _SECTOR)
    fat_places = range(len(fat), len(fat) + fat_sectors)
    fat += [_FAT] * fat_sectors
    # The first sector holds the root's small streams; directory entry 0 says so.
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack(
        "<IIIIIIIII", 0, fat_sectors, firsts[1], 0, 4096, firsts[2], len(parts[2]) // _SECTOR, _END, 0
    )
    header += struct.pack("<109I", *fat_places, *[_FREE] * (109 - fat_sectors))
    return header + b"".join(parts) + _filled(struct.pack(f"<{len(fat)}I", *fat), b"\xff")


def _entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
    encoded = name.encode("utf-16-le") + b"\x00\x00"
    return (
        encoded.ljust(64, b"\x00")
        + struct.pack("<HBBIII", len(encoded), kind, 1, _NONE, right, child)
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )


def _filled(content: bytes, padding: bytes = b"\x00") -> bytes:
    return content.ljust(max(1, -(-len(content) // _SECTOR)) * _SECTOR, padding)
