"""New segments of a change: sealed at a bounded size, so that the memory of a commit does not grow with the corpus."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from domicile.adapters.faiss import VectorFileWriter
from domicile.adapters.manifest import PARTS, SegmentEntry, segment_id, segment_number
from domicile.adapters.sqlite import ChunkStoreWriter
from domicile.domain import Document
from domicile.errors import StorageError
from domicile.ports import NewChunk, Vectors


class SegmentWriter:
    """Writes the segments of one change, one after the other.

    Args:
        folder: ``segments`` of the collection.
        generation: that the change becomes.
        rows: at which a segment is sealed; a document is never parted.
    """

    def __init__(self, folder: Path, generation: int, dimensions: int, rows: int) -> None:
        self._folder = folder
        self._generation = generation
        self._dimensions = dimensions
        self._rows = rows
        self._sealed: list[SegmentEntry] = []
        self._open: _OpenSegment | None = None

    @property
    def rows(self) -> int:
        """Written so far, in all segments."""
        return sum(entry.rows for entry in self._sealed) + (self._open.rows if self._open else 0)

    def put(
        self,
        document: Document,
        state: str,
        chunks: Sequence[NewChunk],
        vectors: Vectors,
        hashes: Sequence[bytes],
    ) -> tuple[int, int]:
        """Add a document; returns the number of its segment and its first row there."""
        if self._open is None:
            self._open = self._begin()
        segment = self._open
        first = segment.store.put(document, state, chunks, hashes)
        segment.vectors.add(vectors)
        if segment.rows >= self._rows:
            self._seal(segment)
        return segment.number, first

    def seal(self) -> list[SegmentEntry]:
        """Finish the files; returns what was written."""
        if self._open is not None:
            self._seal(self._open)
        return self._sealed

    def abandon(self) -> None:
        """Let go of the open files; whoever sweeps removes them."""
        if self._open is not None:
            self._open.store.abandon()
            self._open = None

    def _begin(self) -> _OpenSegment:
        part = len(self._sealed)
        if part >= PARTS:
            raise StorageError(f"one run may write {PARTS} segments of {self._rows:,} passages: ingest a part first")
        return _OpenSegment(self._folder, segment_id(self._generation, part), self._dimensions)

    def _seal(self, segment: _OpenSegment) -> None:
        self._sealed.append(segment.seal())
        self._open = None


class _OpenSegment:
    def __init__(self, parent: Path, name: str, dimensions: int) -> None:
        self._folder = parent / name
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._name = name
        self.number = segment_number(name)
        self.store = ChunkStoreWriter(self._folder / "chunks.sqlite")
        self.vectors = VectorFileWriter(dimensions)

    @property
    def rows(self) -> int:
        return self.store.rows

    def seal(self) -> SegmentEntry:
        self.store.seal()
        self.vectors.write(self._folder / "vectors.faiss")
        return SegmentEntry(id=self._name, rows=self.rows)
