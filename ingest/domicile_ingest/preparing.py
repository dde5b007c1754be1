"""From a document of a source to its text: parsed, with its attachments, each a document of its own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from domicile.errors import DocumentError, DomicileError
from domicile_ingest.parsing.parsed import Parsed
from domicile_ingest.sources import Failure, Item, Parser, check_name

logger = logging.getLogger(__name__)

MAX_DEPTH = 5
"""Mails in mails in mails: deeper ones fail."""
MAX_ATTACHMENTS = 1_000
"""Of one file, at all depths together."""


@dataclass(frozen=True, slots=True)
class Text:
    """A document that was parsed.

    Attributes:
        file: the path of the file that holds it, which labels go by.
    """

    uri: str
    file: str
    digest: str
    parsed: Parsed


@dataclass(frozen=True, slots=True)
class Opened:
    """What one document of a source holds: itself, and what was attached to it.

    Attributes:
        size: bytes of the source.
    """

    uri: str
    size: int
    texts: tuple[Text, ...]
    failures: tuple[Failure, ...]


def open_item(item: Item, parser: Parser) -> Opened:
    """Parse a document and its attachments; what fails is told and does not stop the rest."""
    found = list(_open(item, parser))
    texts = tuple(entry for entry in found if isinstance(entry, Text))
    return Opened(item.uri, item.size, texts, tuple(entry for entry in found if isinstance(entry, Failure)))


def _open(item: Item, parser: Parser) -> Iterator[Text | Failure]:
    try:
        parsed = _shielded(item.uri, lambda: item.parse(parser))
    except DocumentError as error:
        # an attachment of a file that cannot be read now is not known to be gone
        yield Failure(item.uri, error.kind, error.reason, f"{item.uri}!/")
        return
    yield Text(item.uri, item.file, item.digest, parsed)
    waiting = [(item.uri, 1, attachment) for attachment in parsed.attachments]
    for number in range(MAX_ATTACHMENTS + 1):
        if not waiting:
            return
        container, depth, attachment = waiting.pop(0)
        uri = f"{container}!/{attachment.name}"
        try:
            check_name(uri)
            if depth > MAX_DEPTH or number == MAX_ATTACHMENTS:
                raise DocumentError(
                    "too_large", f"more than {MAX_DEPTH} mails deep, or {MAX_ATTACHMENTS:,} files in all"
                )
            parsed = _shielded(uri, partial(parser, attachment.name, attachment.data))
        except DocumentError as error:
            yield Failure(uri, error.kind, error.reason, f"{uri}!/")
            continue
        yield Text(uri, item.file, hashlib.sha256(attachment.data).hexdigest(), parsed)
        waiting += [(uri, depth + 1, inner) for inner in parsed.attachments]


def _shielded(uri: str, parse: Callable[[], Parsed]) -> Parsed:
    """The text of a file.

    Raises:
        DocumentError: it has none, or a parser failed in a way that nobody foresaw: that is one document's trouble.
        DomicileError: it is this machine's.
    """
    try:
        return parse()
    except DomicileError:
        raise
    except Exception as error:
        logger.error("the parser of %s failed: %s", uri, type(error).__name__)  # no traceback: it may quote the text
        raise DocumentError("broken", f"cannot be parsed: {type(error).__name__}") from error
