"""The compression of rich text inside Outlook's mails ([MS-OXRTFCP])."""

from __future__ import annotations

import struct

from domicile.errors import DocumentError
from domicile_ingest.parsing.parsed import MAX_CHARACTERS

_COMPRESSED, _PLAIN = b"LZFu", b"MELA"
# The dictionary's first words, which the format prescribes.
_FIRST = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_WINDOW = 4096


def decompress(data: bytes) -> bytes:
    """The rich text behind the bytes of the property.

    Raises:
        DocumentError: ``broken``, ``too_large``.
    """
    if len(data) < 16:
        raise DocumentError("broken", "the mail's rich text is cut off")
    size, form = struct.unpack_from("<4xI4s", data)
    if form == _PLAIN:
        return data[16 : 16 + size]
    if form != _COMPRESSED:
        raise DocumentError("broken", "the mail's rich text is compressed in an unknown way")
    return _unfold(data, 16)


def _unfold(data: bytes, place: int) -> bytes:
    window = bytearray(_FIRST.ljust(_WINDOW, b"\x00"))
    write = len(_FIRST)
    done = bytearray()
    while place < len(data):
        flags = data[place]
        place += 1
        for bit in range(8):
            if not flags >> bit & 1:
                piece = data[place : place + 1]
                place += 1
            else:
                reference = int.from_bytes(data[place : place + 2], "big")
                place += 2
                start, length = reference >> 4, (reference & 15) + 2
                if start == write:  # the mark of the end
                    return bytes(done)
                # A run may reach into what it writes itself.
                piece = bytes(
                    window[(start + offset) % _WINDOW] for offset in range(min(length, (write - start) % _WINDOW))
                )
                piece = (piece * length)[:length]
            for byte in piece:
                window[write] = byte
                write = (write + 1) % _WINDOW
            done += piece
        if len(done) > MAX_CHARACTERS:
            raise DocumentError("too_large", "the mail's rich text unfolds beyond reason")
    return bytes(done)
