"""What a mail says, whatever file it lies in: header lines, the better body, and whether it is sealed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

from domicile.errors import DocumentError
from domicile.metadata import Metadata, merge, read
from domicile_ingest.parsing.attachments import Attachments
from domicile_ingest.parsing.html import read_page
from domicile_ingest.parsing.parsed import Parsed, clean, hidden_text, one_line, stem

_MAX_HEADER = 10_000
_MAX_DATE = 100
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"@]{1,64}@[^\s<>()\[\],;:\"@]{1,255}")
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")


@dataclass(frozen=True, slots=True)
class Body:
    """The words of a mail or of a part of one.

    Attributes:
        hidden: characters that its reader does not see; they are not in the text.
    """

    text: str
    markdown: bool
    hidden: int = 0


def html_body(source: str) -> Body:
    """The words of a body in HTML.

    Raises:
        DocumentError: it is nested beyond reason.
    """
    page = read_page(source)
    return Body(page.text, markdown=True, hidden=page.hidden)


def joined(bodies: Sequence[Body]) -> Body:
    """Several bodies that are read one after the other."""
    text = "\n\n".join(body.text for body in bodies)
    return Body(text, any(body.markdown for body in bodies), sum(body.hidden for body in bodies))


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
    attachments: Attachments = field(default_factory=Attachments)
    sealed: DocumentError | None = None

    def lines(self) -> list[str]:
        """The headers of interest that say anything, a line each."""
        headers = ((name, value[:_MAX_HEADER]) for name, value in (("Subject", self.subject), *self.headers))
        return [f"{name}: {' '.join(clean(value).split())}" for name, value in headers if clean(value)]

    def to_parsed(self, name: str) -> Parsed:
        """The mail as a document.

        Raises:
            DocumentError: all that it says is encrypted.
        """
        bodies = [body for body in self.bodies if body.text]
        attachments = self.attachments.taken()
        if self.sealed is not None and not bodies and not attachments:
            raise self.sealed
        text = clean("\n\n".join(("\n".join(self.lines()), *(body.text for body in bodies))))
        title = one_line(self.subject) or stem(name)
        if not text and attachments:  # what it carries must not be lost with it
            text = title
        markdown = any(body.markdown for body in bodies)
        metadata = merge(hidden_text(sum(body.hidden for body in self.bodies)), self._metadata())
        return Parsed(title, text, markdown, attachments=attachments, metadata=metadata)

    def _metadata(self) -> Metadata:
        said = {name: value[:_MAX_HEADER] for name, value in self.headers}
        people = {name.lower(): _mailboxes(said.get(name, "")) for name in ("From", "To", "Cc")}
        return read({**people, "date": _moment(said.get("Date", ""))})


def _mailboxes(header: str) -> list[str]:
    """The addresses in lower case, in which they are equal; where there is none, the names."""
    found = [address.lower() for address in _ADDRESS.findall(header)]
    return found or list(filter(None, [" ".join(header.split())]))


def _moment(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header[:_MAX_DATE])
    except Exception:  # its parser lets out what its lookups raise, and mails say "today" or nothing
        return None


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
