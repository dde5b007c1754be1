"""What a mail carries, under names that are safe to show and to use in a URI."""

from __future__ import annotations

import re
import unicodedata

from domicile.errors import DocumentError
from domicile_ingest.parsing.parsed import Attachment, one_line

MAX_ATTACHMENTS = 1000
MAX_ATTACHED_BYTES = 100_000_000

_MAX_NAME = 120
_UNREADABLE_TYPES = ("image/", "audio/", "video/", "font/", "model/")
_UNREADABLE_SUFFIXES = frozenset(
    "png jpg jpeg jfif gif bmp tif tiff webp heic ico svg emf wmf mp3 wav ogg m4a aac flac mp4 mov avi mkv webm wmv "
    "p7s asc sig".split()
)
_SEALS = frozenset((
    "application/pgp-signature", "application/pgp-keys", "application/pkcs7-signature", "application/x-pkcs7-signature",
))  # fmt: skip
_SUFFIXES = {
    "text/plain": "txt", "text/html": "html", "text/csv": "csv", "text/markdown": "md", "text/calendar": "ics",
    "message/rfc822": "eml", "application/pdf": "pdf", "application/rtf": "rtf", "text/rtf": "rtf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt", "application/epub+zip": "epub",
}  # fmt: skip


class Attachments:
    """Collects what a mail carries, except what holds no text; names are unique, of one line, and no paths."""

    def __init__(self) -> None:
        self._taken: list[Attachment] = []
        self._names: set[str] = set()
        self._copies: dict[str, int] = {}
        self._bytes = 0

    def add(self, name: str, kind: str, data: bytes) -> None:
        """Take a file.

        Args:
            name: as its sender wrote it; may be empty.
            kind: its declared type, such as ``text/plain``.

        Raises:
            DocumentError: ``too_large``, the mail carries too much.
        """
        name = safe_name(name)
        suffix = name.rpartition(".")[2].lower() if "." in name else ""
        if kind in _SEALS or kind.startswith(_UNREADABLE_TYPES) or suffix in _UNREADABLE_SUFFIXES:
            return
        self._bytes += len(data)
        if len(self._taken) >= MAX_ATTACHMENTS:
            raise DocumentError("too_large", f"the mail has more than {MAX_ATTACHMENTS:,} attachments: split it")
        if self._bytes > MAX_ATTACHED_BYTES:
            raise DocumentError("too_large", f"the attachments have more than {MAX_ATTACHED_BYTES:,} bytes: split it")
        name = name or f"attachment-{len(self._taken) + 1}.{_SUFFIXES.get(kind, 'bin')}"
        self._taken.append(Attachment(self._unique(name), data))

    def taken(self) -> tuple[Attachment, ...]:
        return tuple(self._taken)

    def _unique(self, name: str) -> str:
        head, dot, suffix = name.rpartition(".")
        base, ending = (head, dot + suffix) if head else (name, "")
        unique = name
        while unique.casefold() in self._names:
            # Where the last one stopped: thousands of attachments of one name must not be counted from the start.
            number = self._copies.get(name.casefold(), 1) + 1
            self._copies[name.casefold()] = number
            unique = f"{base} ({number}){ending}"
        self._names.add(unique.casefold())
        return unique


def safe_name(name: str) -> str:
    """The last part of a path, on one line, without invisible characters and leading dots; may be empty."""
    last = re.split(r"[/\\]", name[-4 * _MAX_NAME :])[-1]
    visible = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in last)
    plain = re.sub(r"\.{2,}", ".", " ".join(visible.split())).strip(". ")
    if len(plain) <= _MAX_NAME:
        return plain
    head, dot, suffix = plain.rpartition(".")
    return f"{head[: _MAX_NAME - 12].rstrip('. ')}.{suffix}" if dot and len(suffix) <= 10 else plain[:_MAX_NAME]


def name_of_mail(subject: str) -> str:
    """The name of a mail inside a mail; empty for one without a subject."""
    words = re.sub(r"[/\\]", "-", one_line(subject)).removesuffix(".eml")
    return f"{words}.eml" if words else ""
