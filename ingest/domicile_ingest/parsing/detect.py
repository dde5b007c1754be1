"""What a file is, by its content; its name only tells apart kinds of text."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Literal

from domicile.errors import DocumentError
from domicile_ingest.parsing.ole import opened

Kind = Literal["pdf", "docx", "xlsx", "pptx", "odt", "epub", "msg", "rtf", "eml", "md", "html", "csv", "tsv", "txt"]

_BY_SUFFIX: dict[str, Kind] = {
    "md": "md", "markdown": "md", "mdown": "md", "mkd": "md", "mdx": "md",
    "html": "html", "htm": "html", "xhtml": "html", "shtml": "html",
    "csv": "csv", "tsv": "tsv", "tab": "tsv", "eml": "eml",
}  # fmt: skip
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"BM\x00", "a bitmap image"),
    (b"RIFF", "a RIFF container"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "zstandard data"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ID3", "an MP3 recording"),
    (b"OggS", "an Ogg recording"),
    (b"PAR1", "a Parquet file"),
    (b"%!PS", "a PostScript file"),
)
_MAX_UNFOLDED = 300_000_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HTML_START = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(rb"([!-9;-~]{1,70}):")
# Headers that only mails have; what people write themselves takes more than one.
_OF_MAILS = {
    b"message-id",
    b"received",
    b"mime-version",
    b"return-path",
    b"delivered-to",
    b"x-mailer",
    b"dkim-signature",
}
_START = 16_384
_SVG_START = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+)?svg\b", re.IGNORECASE | re.DOTALL
)


def detect(name: str, data: bytes) -> Kind:
    """The kind of a file.

    Raises:
        DocumentError: it is empty, encrypted, or of no kind that holds text.
    """
    if not data.strip(b" \t\r\n\x0b\x0c\x00\xef\xbb\xbf\xff\xfe"):
        raise DocumentError("empty", "the file is empty")
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _inside_zip(data)
    if data.startswith(_OLE):
        return _inside_ole(data)
    if data.startswith(b"{\\rtf"):
        return "rtf"
    refuse_binary(data)
    return _textual(name, data)


def refuse_binary(data: bytes) -> None:
    """Look at the first bytes, which is cheap and safe: a folder of images need not go through a sandbox.

    Raises:
        DocumentError: they are those of a kind that holds no text.
    """
    if b"%PDF-" in data[:1024]:
        return
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise DocumentError("binary", f"the file is {what}, which holds no text to read")


def _textual(name: str, data: bytes) -> Kind:
    """
    Raises:
        DocumentError: it is a drawing.
    """
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    hint = _BY_SUFFIX.get(suffix, "txt")
    # Zero bytes out, so that the start of a UTF-16 file reads like that of any other.
    start = data[:_START].replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")
    if _SVG_START.match(start):
        raise DocumentError("unsupported", "SVG drawings are not supported")
    if hint != "html" and _HTML_START.match(start):
        return "html"
    return "eml" if hint == "txt" and _is_mail(start) else hint


def _is_mail(start: bytes) -> bool:
    """Whether a text begins with the headers of a mail, and not merely with "Note: ...\"."""
    names: set[bytes] = set()
    for number, line in enumerate(start.lstrip().split(b"\n")[:-1]):
        if not line.strip():
            break
        match = _HEADER.match(line)
        if match is not None:
            names.add(match[1].lower())
        elif not (line[:1] in b" \t" and names) and not (number == 0 and line.startswith(b"From ")):
            return False
    return b"from" in names and bool(names & _OF_MAILS or (b"subject" in names and names & {b"to", b"date"}))


def _inside_zip(data: bytes) -> Kind:
    """Office files are zip archives; their members say which."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unfolded = sum(member.file_size for member in archive.infolist())
            members = {member.filename for member in archive.infolist()}
            mimetype = b""
            if "mimetype" in members:
                with archive.open("mimetype") as member:
                    mimetype = member.read(100)
    except Exception as error:  # zipfile lets out what zlib, struct and codecs raise
        raise DocumentError("broken", "the file is a damaged zip archive") from error
    # zipfile gives no more than a member declares, so the sum bounds what any reader can unfold.
    if unfolded > _MAX_UNFOLDED:
        raise DocumentError("too_large", f"the file unfolds to {unfolded:,} bytes; {_MAX_UNFOLDED:,} are allowed")
    if mimetype.startswith(b"application/epub") or "META-INF/container.xml" in members:
        return "epub"
    if mimetype.startswith(b"application/vnd.oasis.opendocument.text"):
        return "odt"
    if mimetype:
        raise DocumentError("unsupported", f"files of type {mimetype.decode('ascii', 'replace')} are not supported")
    for folder, kind in (("word/", "docx"), ("xl/", "xlsx"), ("ppt/", "pptx")):
        if any(member.startswith(folder) for member in members):
            return kind  # type: ignore[return-value]
    raise DocumentError("binary", "the file is a zip archive: ingest its contents instead")


def _inside_ole(data: bytes) -> Kind:
    """Old Office files, mails of Outlook, and new Office files under a password."""

    with opened(data) as compound:
        names = compound.children.get((), set())
    if names & {"EncryptedPackage", "EncryptionInfo"}:
        raise DocumentError("encrypted", "the file is protected by a password")
    if "__properties_version1.0" in names:
        return "msg"
    for stream, what in (
        ("WordDocument", "old Word (.doc)"),
        ("Workbook", "old Excel (.xls)"),
        ("Book", "old Excel (.xls)"),
        ("PowerPoint Document", "old PowerPoint (.ppt)"),
    ):
        if stream in names:
            raise DocumentError("unsupported", f"{what} files are not supported: save the file in the current format")
    raise DocumentError("binary", "the file is a compound binary file of no known kind")
