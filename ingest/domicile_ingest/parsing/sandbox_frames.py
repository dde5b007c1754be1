"""What the worker and a parsing process say to each other: frames of a JSON header and raw bytes.

    frame    "dsf1", length of the header (4 bytes), length of the body (8 bytes), header, body
    request  {"ticket", "name"}; the body is the file
    reply    {"ready": {wall: null, or why it is missing}}, once
             {"ticket", "title", "markdown", "table", "pages", "label", "metadata": [[field, value], …],
             "remarks": [line, …], "text": bytes, "attachments": [[name, bytes], …]}; the body is the text in UTF-8
             and then the attachments
             {"ticket", "refused": kind, "reason"}

    the exit status OUT_OF_MEMORY says the rest

The ticket is random, so that an answer that was written before its question is noticed. The worker believes nothing
that a reply says: the process that wrote it has read a stranger's file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

from domicile.domain import Page
from domicile.errors import DocumentError
from domicile.metadata import MAX_REMARKS, Metadata, read
from domicile_ingest.parsing.parsed import Attachment, Parsed, clean, one_line

OUT_OF_MEMORY = 77
PREFIX_BYTES = 16
_PREFIX = struct.Struct(">4sIQ")
_MAGIC = b"dsf1"
MAX_HEADER = 4_000_000
_KIND_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz_")

Header = Mapping[str, object]


class BadFrame(Exception):
    """The other side does not keep to the protocol."""


def frame(header: Header, body: Sequence[bytes] = ()) -> list[bytes]:
    """The pieces of a frame, in order; big ones are not copied."""
    # Halves of surrogate pairs, of which a file's name may be full, travel as escapes.
    encoded = json.dumps(header, allow_nan=False).encode("ascii")
    return [_PREFIX.pack(_MAGIC, len(encoded), sum(map(len, body))) + encoded, *body]


def lengths(prefix: bytes, max_body: int) -> tuple[int, int]:
    """The lengths of the header and of the body that follow.

    Raises:
        BadFrame: it is no frame, or longer than allowed.
    """
    magic, header, body = _PREFIX.unpack(prefix)
    if magic != _MAGIC or header > MAX_HEADER or body > max_body:
        raise BadFrame("no frame, or too long a one")
    return header, body


def header_of(encoded: bytes) -> dict[str, object]:
    """
    Raises:
        BadFrame: it is no JSON object.
    """
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise BadFrame("the header is no JSON") from error
    if not isinstance(header, dict):
        raise BadFrame("the header is no object")
    return header


def reply(ticket: str, parsed: Parsed) -> list[bytes]:
    """The frame of a text and all that belongs to it."""
    text = parsed.text.encode()
    header = {
        "ticket": ticket,
        "title": parsed.title,
        "markdown": parsed.markdown,
        "table": parsed.table,
        "pages": [[page.number, page.start, page.end] for page in parsed.pages],
        "label": _plain(parsed.label),
        "text": len(text),
        "attachments": [[attachment.name, len(attachment.data)] for attachment in parsed.attachments],
        "metadata": parsed.metadata.values,
        "remarks": parsed.metadata.remarks,
    }
    return frame(header, [text, *(attachment.data for attachment in parsed.attachments)])


def refusal(ticket: str, error: DocumentError) -> list[bytes]:
    """The frame that says why a document cannot be parsed."""
    return frame({"ticket": ticket, "refused": error.kind, "reason": one_line(error.reason)})


def parsed_of(ticket: str, header: Header, body: bytes) -> Parsed:
    """The text that the reply to a request holds.

    Raises:
        DocumentError: the reply is a refusal.
        BadFrame: anything in it is not what a parser can have said.
    """
    if header.get("ticket") != ticket:
        raise BadFrame("an answer to something else")
    if "refused" in header:
        raise _refused(header)
    sizes = [_integer(header.get("text")), *(size for _, size in _attachments(header))]
    if sum(sizes) != len(body):
        raise BadFrame("the body has another length")
    try:
        text = str(memoryview(body)[: sizes[0]], "utf-8")
        if clean(text) != text:
            raise BadFrame("the text is not normalised")
    except (UnicodeDecodeError, DocumentError) as error:
        raise BadFrame("the text cannot be one") from error
    return Parsed(
        title=_line(header.get("title")),
        text=text,
        markdown=_boolean(header.get("markdown")),
        pages=_pages(header.get("pages"), len(text)),
        label=_table(header.get("label")),
        table=_boolean(header.get("table")),
        attachments=_cut(header, body, sizes[0]),
        metadata=_metadata(header),
    )


def _plain(label: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """A label as JSON can say it. YAML knows dates, sets and more: no field of a label takes one, so it is malformed."""
    try:
        json.dumps(label, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {"malformed": "a value that no label can have"}
    return label


def _refused(header: Header) -> DocumentError:
    kind, reason = header.get("refused"), _line(header.get("reason"))
    if not isinstance(kind, str) or not 0 < len(kind) <= 30 or not _KIND_LETTERS.issuperset(kind):
        raise BadFrame("a refusal of no kind")
    return DocumentError(kind, reason)


def _attachments(header: Header) -> list[tuple[str, int]]:
    return [(_line(name), _integer(size)) for name, size in _rows(header.get("attachments"), 2)]


def _cut(header: Header, body: bytes, start: int) -> tuple[Attachment, ...]:
    found = []
    for name, size in _attachments(header):
        found.append(Attachment(name, body[start : start + size]))
        start += size
    return tuple(found)


def _metadata(header: Header) -> Metadata:
    fields: dict[str, list[object]] = {}
    for name, value in _rows(header.get("metadata"), 2):
        fields.setdefault(str(name), []).append(value)
    remarks = header.get("remarks")
    if not isinstance(remarks, list) or len(remarks) > MAX_REMARKS + 1:
        raise BadFrame("no list of remarks")
    found = read(fields)
    if found.remarks or [list(pair) for pair in found.values] != header["metadata"]:
        raise BadFrame("the metadata is not in its one form")
    return Metadata(found.values, tuple(_line(remark) for remark in remarks))


def _pages(value: object, length: int) -> tuple[Page, ...]:
    pages = []
    number = end = 0
    for row in _rows(value, 3):
        page = Page(*map(_integer, row))
        if not (number < page.number and end <= page.start <= page.end <= length):
            raise BadFrame("pages out of order")
        number, end = page.number, page.end
        pages.append(page)
    return tuple(pages)


def _rows(value: object, width: int) -> list[list[object]]:
    if not isinstance(value, list) or not all(isinstance(row, list) and len(row) == width for row in value):
        raise BadFrame("no list of rows")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadFrame("no count")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadFrame("no truth value")
    return value


def _line(value: object) -> str:
    line = one_line(value) if isinstance(value, str) else ""
    if not line:
        raise BadFrame("no line of text")
    return line


def _table(value: object) -> Mapping[str, object] | None:
    if value is not None and not isinstance(value, dict):
        raise BadFrame("no table")
    return value
