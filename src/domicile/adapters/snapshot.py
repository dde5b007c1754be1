"""One generation, opened for reading: its segments, tombstones and lexical directory behind the ``Index`` port.

A chunk's number (``ref``) is its segment's number and its row there, so it means the same in FAISS, tantivy and SQLite.
"""

from __future__ import annotations

import heapq
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.faiss import VectorFile
from domicile.adapters.manifest import Manifest, SegmentEntry
from domicile.adapters.sqlite import ChunkStore
from domicile.adapters.tantivy import LexicalFolder
from domicile.domain import Candidate, Chunk, Collection, Document
from domicile.errors import IndexDamaged
from domicile.ports import DocumentState, NewChunk, Vectors
from domicile.uris import is_erased

ROW_BITS = 32
_ROW = (1 << ROW_BITS) - 1
REMEMBERED_READERS = 64
"""Bitmaps kept for distinct sets of groups; beyond it they are made anew, a millisecond per million rows."""


def ref_of(segment: int, row: int) -> int:
    """The number of a chunk: of its segment, and its row there."""
    return segment << ROW_BITS | row


@dataclass(frozen=True, slots=True)
class Segment:
    """One sealed segment and which of its rows are alive in this generation."""

    entry: SegmentEntry
    vectors: VectorFile
    store: ChunkStore
    alive: NDArray[np.bool_]


def open_segment(folder: Path, entry: SegmentEntry, dimensions: int) -> Segment:
    """Open one segment whose files were verified.

    Raises:
        IndexDamaged: its files disagree with each other.
    """
    alive = np.ones(entry.rows, dtype=bool)
    if entry.tombstones is not None:
        bits = np.frombuffer((folder / entry.tombstones).read_bytes(), dtype=np.uint8)
        alive = ~np.unpackbits(bits, count=entry.rows, bitorder="little").astype(bool)
    if int((~alive).sum()) != entry.dead:
        raise IndexDamaged(
            f"{folder / str(entry.tombstones)}: strikes out {int((~alive).sum())} rows, expected {entry.dead}"
        )
    vectors = VectorFile(folder / entry.vectors, entry.rows, dimensions)
    return Segment(entry, vectors, ChunkStore(folder / entry.chunks, entry.rows), alive)


class Snapshot:
    """A pinned generation. Immutable, so any number of threads may search it.

    Args:
        folder: of the collection.
        manifest: of a generation whose files were verified.
        held: the descriptor that keeps the generation from being collected; closed with the snapshot.

    Raises:
        IndexDamaged: parts of the generation disagree.
    """

    def __init__(self, folder: Path, manifest: Manifest, collection: Collection, held: int | None = None) -> None:
        self._release = weakref.finalize(self, os.close, held) if held is not None else None
        self.manifest = manifest
        self._collection = collection
        self._segments = {
            entry.number: open_segment(folder, entry, manifest.embedder.dimensions) for entry in manifest.segments
        }
        self._lexical = LexicalFolder(folder / manifest.lexical, manifest.language)
        self._masks: dict[tuple[int, frozenset[str] | None], NDArray[np.bool_] | None] = {}
        self._lock = threading.Lock()
        alive = sum(int(segment.alive.sum()) for segment in self._segments.values())
        if not alive == manifest.counts.chunks == self._lexical.chunks:
            raise IndexDamaged(
                f"{folder.name}: generation {manifest.generation} has {alive} vectors and {self._lexical.chunks} "
                f"lexical chunks, expected {manifest.counts.chunks}"
            )

    @property
    def collection(self) -> Collection:
        return self._collection

    @property
    def generation(self) -> int:
        return self.manifest.generation

    @property
    def fingerprint(self) -> str:
        return self.manifest.embedder.fingerprint

    def dense(self, vector: Vectors, k: int, readers: frozenset[str] | None) -> list[Candidate]:
        found = (
            Candidate(ref_of(number, row), score)
            for number, segment in self._segments.items()
            for row, score in segment.vectors.search(vector, k, self._allowed(number, readers))
        )
        return heapq.nsmallest(k, found, key=lambda candidate: (-candidate.score, candidate.ref))

    def lexical(self, question: str, k: int, readers: frozenset[str] | None) -> list[Candidate]:
        return [Candidate(ref, score) for ref, score in self._lexical.search(question, k, readers)]

    def chunks(self, refs: Sequence[int]) -> list[Chunk]:
        rows: dict[int, list[int]] = {}
        for ref in refs:
            rows.setdefault(ref >> ROW_BITS, []).append(ref & _ROW)
        found = {
            ref_of(number, row): chunk
            for number, wanted in rows.items()
            for row, chunk in self._segments[number].store.chunks(wanted).items()
        }
        return [found[ref] for ref in refs]

    def document(self, uri: str, readers: frozenset[str] | None) -> Document | None:
        for segment in self._segments.values():
            found = segment.store.document(uri)
            if found is not None and segment.alive[found[1]]:
                groups = found[0].label.groups
                return found[0] if readers is None or groups is None or not groups.isdisjoint(readers) else None
        return None

    def states(self) -> dict[str, tuple[DocumentState, int, int]]:
        """Every living document by URI, with its segment's number and its first row there."""
        return {
            state.uri: (state, number, first)
            for number, segment in self._segments.items()
            for state, first in segment.store.states()
            if segment.alive[first]
        }

    def stored(self, segment: int, rows: range) -> tuple[list[NewChunk], Vectors]:
        """The chunks of these rows of a segment as they were put, and their vectors."""
        found = self._segments[segment]
        return found.store.passages(rows), found.vectors.rows(rows)

    def known(self, hashes: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The stored vectors of these text hashes, each of shape (dimensions,); rows that are struck out count, too."""
        found: dict[bytes, Vectors] = {}
        for segment in self._segments.values():
            rows = segment.store.rows_with([text_hash for text_hash in hashes if text_hash not in found])
            found.update(zip(rows, segment.vectors.rows(rows.values()), strict=True))
        return found

    def held(self) -> Iterator[tuple[str, int]]:
        """Every document that the files hold, struck out or not, with its segment's number."""
        for number, segment in self._segments.items():
            for state, _ in segment.store.states():
                yield state.uri, number

    def verify(self) -> None:
        """Prove that every side finds the same passages, and that nothing erased is among them.

        Raises:
            IndexDamaged: it is not so.
        """
        living = {
            ref_of(number, row)
            for number, segment in self._segments.items()
            for row in np.flatnonzero(segment.alive).tolist()
        }
        words = self._lexical.refs()
        if len(words) != len(living) or living != set(words):
            odd = len(living.symmetric_difference(words)) or len(words) - len(living)
            raise IndexDamaged(f"generation {self.generation}: {odd} passages are known to one side only")
        documents = self.states()
        if len(documents) != self.manifest.counts.documents:
            raise IndexDamaged(
                f"generation {self.generation}: {len(documents)} documents, not {self.manifest.counts.documents}"
            )
        if any(is_erased(uri, self.manifest.erased) for uri in documents):
            raise IndexDamaged(f"generation {self.generation}: holds a document that was erased")

    def alive(self, segment: int) -> NDArray[np.bool_]:
        return self._segments[segment].alive

    def close(self) -> None:
        """Close the files; the snapshot must not be used any more."""
        for segment in self._segments.values():
            segment.store.close()
        if self._release is not None:
            self._release()

    def _allowed(self, number: int, readers: frozenset[str] | None) -> NDArray[np.bool_] | None:
        """The rows of a segment that may be found; ``None`` where that is all of them."""
        key = (number, readers)
        with self._lock:
            if key in self._masks:
                return self._masks[key]
        segment = self._segments[number]
        mask = segment.alive & segment.store.readable(readers)
        allowed = None if mask.all() else mask
        with self._lock:
            if len(self._masks) >= REMEMBERED_READERS * len(self._segments):
                self._masks.clear()
            self._masks[key] = allowed
        return allowed
