"""From passages to vectors: in batches across documents, without those that were embedded before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from domicile.domain import Document
from domicile.ports import Embedder, IndexChange, NewChunk, SentenceSplitter, Vectors
from domicile_ingest.flow import ordered, threads
from domicile_ingest.progress import Meter
from domicile_ingest.sources import Parser

BATCH = 64
"""Texts that are embedded at once: enough to sort by length, little enough to stop within seconds."""
_MAX_PARTS = 512
_AHEAD = 6


@dataclass(frozen=True, slots=True)
class Tools:
    """What the stages work with.

    Attributes:
        parser: of files; safe to call from several threads.
        parsers, embedders: threads of these stages.
    """

    embedder: Embedder
    splitter: SentenceSplitter
    parser: Parser
    parsers: int = 2
    embedders: int = 2


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document on its way into the index.

    Attributes:
        vectors: float32 of shape (chunks, dimensions); the rows in ``missing`` are yet to be filled.
        missing: the chunks that must be embedded, ascending.
        credit: documents and bytes of the source that are done with this one; nothing where an attachment shares them.
    """

    document: Document
    state: str
    chunks: list[NewChunk]
    vectors: Vectors
    missing: list[int]
    credit: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """Some missing chunks of a document; with ``last`` it is complete."""

    prepared: Prepared
    rows: list[int]
    last: bool


def prepare(
    document: Document,
    state: str,
    chunks: list[NewChunk],
    credit: tuple[int, int],
    change: IndexChange,
    dimensions: int,
) -> Prepared:
    """Find out which passages are known already."""
    known = change.known([chunk.indexed for chunk in chunks])
    vectors = np.zeros((len(chunks), dimensions), dtype=np.float32)
    for row, vector in known.items():
        vectors[row] = vector
    missing = [row for row in range(len(chunks)) if row not in known]
    return Prepared(document, state, chunks, vectors, missing, credit)


def batches(documents: Iterable[Prepared]) -> Iterator[list[Part]]:
    """Parts of about ``BATCH`` texts together; a long document is in several, and short ones share one."""
    parts: list[Part] = []
    count = 0
    for prepared in documents:
        at, last = 0, False
        while not last:
            rows = prepared.missing[at : at + BATCH - count]
            at, count = at + len(rows), count + len(rows)
            last = at == len(prepared.missing)
            parts.append(Part(prepared, rows, last))
            if count == BATCH or len(parts) == _MAX_PARTS:
                yield parts
                parts, count = [], 0
    if parts:
        yield parts


def write(documents: Iterable[Prepared], change: IndexChange, tools: Tools, meter: Meter) -> None:
    """Embed what is missing, ahead in threads, and hand every document to the index, in order."""
    with threads(tools.embedders, "embed") as pool:
        for parts, vectors in ordered(pool, partial(_embed, tools.embedder), batches(documents), _AHEAD):
            change.remember(_texts(parts), vectors)
            meter.embedded += len(vectors)
            for prepared in _fill(parts, vectors):
                change.restore(prepared.document.uri)
                change.put(prepared.document, prepared.state, prepared.chunks, prepared.vectors)
                meter.reused += len(prepared.chunks) - len(prepared.missing)
                meter.add(*prepared.credit)
            meter.tell()


def _texts(parts: list[Part]) -> list[str]:
    return [part.prepared.chunks[row].indexed for part in parts for row in part.rows]


def _embed(embedder: Embedder, parts: list[Part]) -> tuple[list[Part], Vectors]:
    """The vectors of all parts, one below the other."""
    texts = _texts(parts)
    if not texts:
        return parts, np.zeros((0, embedder.dimensions), dtype=np.float32)
    return parts, embedder.embed(texts, "document")


def _fill(parts: list[Part], vectors: Vectors) -> Iterator[Prepared]:
    """Put the vectors where they belong; yields the documents that are complete."""
    at = 0
    for part in parts:
        part.prepared.vectors[part.rows] = vectors[at : at + len(part.rows)]
        at += len(part.rows)
        if part.last:
            yield part.prepared
