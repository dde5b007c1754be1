"""URIs of documents that lie inside others: rows of a file, attachments of a mail. Pure.

``mail.eml!/report.pdf`` lies in ``mail.eml``, ``tickets.jsonl#17`` in ``tickets.jsonl``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

_ROWS = (".jsonl", ".jsonl.gz", ".ndjson")


def holds_rows(name: str) -> bool:
    """Whether a file of this name is one of rows, each a document."""
    return name.lower().endswith(_ROWS)


def file_of_row(uri: str) -> str | None:
    """The file that a row lies in; ``None`` where the URI is not of a row."""
    at = uri.find("#")
    while at >= 0 and not holds_rows(uri[:at]):
        at = uri.find("#", at + 1)  # of a folder such as "C#"
    return uri[:at] if at >= 0 else None


def containers(uri: str) -> Iterator[str]:
    """The URI itself and everything that it lies in, inside out. A row lies in its file, whatever its ``_id`` looks like."""
    yield uri
    if (file := file_of_row(uri)) is not None:
        yield (uri := file)
    while "!/" in uri:
        uri = uri.rpartition("!/")[0]
        yield uri


def is_or_lies_in(uri: str, container: str) -> bool:
    return container in containers(uri)


def erased_hash(uri: str) -> str:
    """What remains of an erased document: enough to know it again, and not its name."""
    return hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()


def is_erased(uri: str, erased: Collection[str]) -> bool:
    """Whether the document, or what it lies in, was erased; ``erased`` are hashes."""
    return bool(erased) and any(erased_hash(container) in erased for container in containers(uri))
