"""What a mail says, whatever file it lies in: header lines, a body, and what it carries under safe names."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from domicile.errors import DocumentError
from domicile_ingest.parsing.html import read_page
from domicile_ingest.parsing.parsed import Attachment, Parsed, clean, one_line, stem

MAX_ATTACHMENTS = 1000
MAX_ATTACHED_BYTES = 100_000_000

_MAX_NAME = 120
_MAX_HEADER = 10_000
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
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")


@dataclass(frozen=True, slots=True)
class Body:
    """The words of a mail or of a part of one."""

    text: str
    markdown: bool


def html_body(source: str) -> Body:
    """The words of a body in HTML.

    Raises:
        DocumentError: it is nested beyond reason.
    """
    return Body(read_page(source).text, markdown=True)


def better(plain: Body | None, rich: Body | None) -> Body | None:
    """The body to read: the plain one, unless it says much less, as "your program shows no HTML" does."""
    if plain is None or rich is None:
        return rich if plain is None else plain
    return rich if len(rich.text) > 2 * len(plain.text) + 200 else plain


@dataclass(slots=True)
class Mail:
    """A mail while it is read.

    Attributes:
        headers: name and value in the order in which they are written down.
        sealed: why a part of it cannot be read.
    """

    subject: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    attachments: Attachments = field(default_factory=lambda: Attachments())
    sealed: DocumentError | None = None

    def to_parsed(self, name: str) -> Parsed:
        """The mail as a document.

        Raises:
            DocumentError: all that it says is encrypted.
        """
        bodies = [body for body in self.bodies if body.text]
        if self.sealed is not None and not bodies:
            raise self.sealed
        subject = _header(self.subject)
        lines = [f"{key}: {_header(value)}" for key, value in [("Subject", subject), *self.headers] if _header(value)]
        text = clean("\n\n".join(("\n".join(lines), *(body.text for body in bodies))))
        title = one_line(subject) or stem(name)
        attachments = self.attachments.taken()
        if not text and attachments:  # what it carries must not be lost with it
            text = title
        return Parsed(title, text, any(body.markdown for body in bodies), attachments=attachments)


def _header(value: str) -> str:
    return " ".join(clean(value[:_MAX_HEADER]).split())


def sealed_by(kind: str, data: bytes) -> DocumentError | None:
    """Why the content of an S/MIME or PGP part cannot be read; None for any other part."""
    if kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        if _SIGNED_DATA in data[:200]:
            reason = "the mail is wrapped in an S/MIME signature, which is not opened: save it as text or HTML"
            return DocumentError("unsupported", reason)
        return DocumentError("encrypted", "the mail is encrypted with S/MIME")
    if kind == "application/pgp-encrypted" or data.lstrip()[:27] == b"-----BEGIN PGP MESSAGE-----":
        return DocumentError("encrypted", "the mail is encrypted with PGP")
    return None


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
        self._bytes += len(data)
        name = safe_name(name)
        suffix = name.rpartition(".")[2].lower() if "." in name else ""
        if kind in _SEALS or kind.startswith(_UNREADABLE_TYPES) or suffix in _UNREADABLE_SUFFIXES:
            return
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
