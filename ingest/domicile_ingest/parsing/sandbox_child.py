"""The process that parses: ``python -m domicile_ingest.parsing.sandbox_child MEMORY CPU OUTPUT PARENT``.

Parsers are large, partly written in C, and read what strangers wrote. Here a crash, a bomb or a hijacked parser meets
an empty environment, no file to write, no network, no other process, and limits for memory and time. It answers one
frame after the other (``sandbox_frames``) and ends with its stdin.
"""

from __future__ import annotations

import mimetypes
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

from domicile.errors import DocumentError
from domicile_ingest.parsing.confinement import allow_cpu, confine
from domicile_ingest.parsing.parse import MAX_BYTES, parse
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.parsing.sandbox_frames import (
    OUT_OF_MEMORY,
    PREFIX_BYTES,
    frame,
    header_of,
    lengths,
    refusal,
    reply,
)


def main(parser: Callable[[str, bytes], Parsed] = parse) -> int:
    """Confine this process, say so, and parse until stdin ends.

    Args:
        parser: gives the text of a file from its name and bytes, or raises ``DocumentError``.
    """
    memory, cpu, output, parent = map(int, sys.argv[1:5])
    # Ctrl-C reaches the worker, which then decides; the other way round a document would look broken.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # openpyxl takes numpy where it is installed, whose threads reserve address space core by core, and reads the
    # machine's list of media types, which is behind the walls.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    mimetypes.knownfiles.clear()
    requests, replies, nowhere = os.fdopen(os.dup(0), "rb"), os.dup(1), os.open(os.devnull, os.O_RDWR)
    walls = confine(memory, parent)
    # Native code may print, which must reach neither the frames nor, as it may quote a document, a log.
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _send(replies, frame({"ready": walls}))
    try:
        while (request := _receive(requests)) is not None:
            allow_cpu(cpu)
            _send(replies, _answer(parser, output, *request))
    except MemoryError:  # too little is left to say so in words
        os._exit(OUT_OF_MEMORY)
    return 0


def _answer(parser: Callable[[str, bytes], Parsed], output: int, ticket: str, name: str, data: bytes) -> list[bytes]:
    """The frame that tells what became of a document; whatever is raised is the document's trouble."""
    try:
        pieces = reply(ticket, parser(name, data))
        if sum(map(len, pieces)) <= output:
            return pieces
        trouble = DocumentError("too_large", f"its text and attachments exceed {output:,} bytes: split it")
    except DocumentError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        trouble = error
    except MemoryError:
        raise
    except Exception as error:
        # The message may quote the document, and this goes to a log: the type is enough.
        trouble = DocumentError("broken", f"cannot be parsed: {type(error).__name__}")
    return refusal(ticket, trouble)


def _receive(source: BinaryIO) -> tuple[str, str, bytes] | None:
    """The next ticket, name and file; ``None`` at the end of the stream."""
    prefix = source.read(PREFIX_BYTES)
    if len(prefix) < PREFIX_BYTES:
        return None
    length, body = lengths(prefix, MAX_BYTES)
    header = header_of(source.read(length))
    return str(header["ticket"]), str(header["name"]), source.read(body)


def _send(target: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[os.write(target, left) :]


if __name__ == "__main__":
    sys.exit(main())
