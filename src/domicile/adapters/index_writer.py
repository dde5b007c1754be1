"""Committing a change: one new segment, tombstones over the old ones, one lexical commit, one manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.faiss import VectorFileWriter
from domicile.adapters.generations import Generations
from domicile.adapters.manifest import Counts, EmbedderEntry, FileEntry, Manifest, SegmentEntry
from domicile.adapters.snapshot import Snapshot, ref_of
from domicile.adapters.sqlite import ChunkStoreWriter
from domicile.adapters.tantivy import LexicalWriter
from domicile.domain import Chunk, Collection, Document, Label
from domicile.errors import EmbedderMismatch
from domicile.files import HashMemory, fsync_path, make_folders, writer_lock
from domicile.ports import Commit, DocumentState, Embedder, NewChunk, Vectors


class LocalIndexWriter:
    """Writes the collections of one home.

    Args:
        root: ``data/collections`` of the home.
    """

    def __init__(self, root: Path, hashes: HashMemory, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._root = root
        self._hashes = hashes
        self._now = now

    @contextmanager
    def change(self, collection: Collection, embedder: Embedder) -> Iterator[Change]:
        folder = self._root / collection.name
        make_folders(folder)
        with writer_lock(folder / "lock", f"collection {collection.name!r}"):
            generations = Generations(folder, self._hashes)
            generations.prepare()
            generations.sweep()
            parent = _parent(generations, collection)
            change = Change(generations, parent, collection, embedder, self._now)
            try:
                yield change
            finally:
                change.abandon()
                if parent is not None:
                    parent.close()


def _parent(generations: Generations, collection: Collection) -> Snapshot | None:
    """What serves now: the next generation starts from the newest intact one, and so heals what is damaged."""
    if not generations.numbers():
        return None
    manifest, _ = generations.newest_intact()
    return Snapshot(generations.folder, manifest, collection)


class Change:
    """One change. Files are written as it goes on; only ``commit`` makes them part of a generation."""

    def __init__(
        self,
        generations: Generations,
        parent: Snapshot | None,
        collection: Collection,
        embedder: Embedder,
        now: Callable[[], datetime],
    ) -> None:
        if parent is not None and parent.fingerprint != embedder.fingerprint:
            raise EmbedderMismatch(
                f"collection {collection.name!r} was embedded by {parent.manifest.embedder.name} "
                f"({parent.fingerprint}), not by {embedder.name} ({embedder.fingerprint}): "
                "set models.embedder back, or ingest into a new collection"
            )
        self._generations = generations
        self._parent = parent
        self._collection = collection
        self._embedder = embedder
        self._now = now
        self._number = generations.next_number()
        self._id = f"{self._number:06d}"
        self._places = parent.states() if parent is not None else {}
        self._dead: dict[int, NDArray[np.bool_]] = {}
        self._deleted: set[str] = set()
        self._new: set[str] = set()
        self._segment: _NewSegment | None = None
        self._lexical: LexicalWriter | None = None
        self._begun = False

    @property
    def current(self) -> Commit | None:
        if self._parent is None:
            return None
        manifest = self._parent.manifest
        return Commit(manifest.generation, manifest.parent, manifest.counts.chunks)

    def states(self) -> Mapping[str, DocumentState]:
        return {uri: state for uri, (state, _, _) in self._places.items()}

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], vectors: Vectors) -> None:
        if len(chunks) != len(vectors) or not chunks:
            raise ValueError(f"{len(chunks)} chunks with {len(vectors)} vectors")
        self.delete(document.uri)
        lexical = self._open_lexical()
        if self._segment is None:
            self._segment = _NewSegment(self._generations.folder / "segments" / self._id, self._embedder.dimensions)
        first = self._segment.put(document, state, chunks, vectors)
        for row, chunk in enumerate(chunks, start=first):
            lexical.add(ref_of(self._id, row), document.uri, document.label.groups, chunk.indexed)
        self._new.add(document.uri)

    def delete(self, uri: str) -> None:
        if uri in self._new:
            raise ValueError(f"{uri!r} was put into this change")
        if uri not in self._places or uri in self._deleted:
            return
        state, segment, first = self._places[uri]
        if segment not in self._dead:
            assert self._parent is not None
            self._dead[segment] = ~self._parent.alive(segment)
        self._dead[segment][first : first + state.chunks] = True
        self._open_lexical().delete(uri)
        self._deleted.add(uri)

    def relabel(self, uri: str, label: Callable[[Label], Label], state: str) -> None:
        assert self._parent is not None
        old, number, first = self._places[uri]
        document = self._parent.document(uri, None)
        assert document is not None
        chunks = self._parent.chunks([ref_of(f"{number:06d}", row) for row in range(first, first + old.chunks)])
        self.put(
            replace(document, label=label(document.label)),
            state,
            [NewChunk(c.heading, c.page, c.start, c.end, c.text, c.context, _indexed(c)) for c in chunks],
            self._parent.vectors(number, range(first, first + old.chunks)),
        )

    def commit(self) -> Commit:
        if self._lexical is None:
            if self._parent is not None:
                self._generations.restore_current(self._parent.manifest)
            return self.current or Commit(0, None, 0)
        manifest = self._write()
        self._generations.publish(manifest)
        self._segment = self._lexical = None
        self._begun = False
        return Commit(manifest.generation, manifest.parent, manifest.counts.chunks)

    def abandon(self) -> None:
        """Remove what an uncommitted change wrote; after a commit there is nothing to remove."""
        if self._segment is not None:
            self._segment.abandon()
        if self._lexical is not None:
            self._lexical.abandon()
        self._segment = self._lexical = None
        if self._begun:
            self._begun = False
            self._generations.sweep()

    def _open_lexical(self) -> LexicalWriter:
        if self._lexical is None:
            self._begun = True
            parent = None if self._parent is None else self._generations.folder / self._parent.manifest.lexical
            self._lexical = LexicalWriter(
                self._generations.folder / "lexical" / self._id, parent, self._collection.language
            )
        return self._lexical

    def _write(self) -> Manifest:
        """Everything but the manifest and ``CURRENT``, durable when this returns."""
        folder = self._generations.folder
        segments = self._old_segments()
        if self._segment is not None:
            segments.append(SegmentEntry(id=self._id, rows=self._segment.seal()))
        chunks = sum(segment.rows - segment.dead for segment in segments)
        self._open_lexical().commit(chunks)
        lexical = f"lexical/{self._id}"
        files = [name for segment in segments for name in segment.files]
        files += sorted(f"{lexical}/{path.name}" for path in (folder / lexical).iterdir())
        known = self._parent.manifest.files if self._parent is not None else {}
        entries = {name: known.get(name) or self._make_durable(folder / name) for name in files}
        for place in [
            folder / "segments" / self._id,
            folder / lexical,
            folder / "segments",
            folder / "lexical",
            folder / "tombstones",
            folder,
        ]:
            if place.exists():
                fsync_path(place)
        return Manifest(
            collection=self._collection.name,
            generation=self._number,
            parent=None if self._parent is None else self._parent.generation,
            parent_sha256=None if self._parent is None else self._current_sha256(),
            created=self._now().isoformat(timespec="seconds"),
            embedder=EmbedderEntry(
                name=self._embedder.name, fingerprint=self._embedder.fingerprint, dimensions=self._embedder.dimensions
            ),
            language=self._collection.language,
            segments=tuple(segments),
            lexical=lexical,
            counts=Counts(documents=len(self._places) - len(self._deleted) + len(self._new), chunks=chunks),
            files=entries,
        )

    def _current_sha256(self) -> str:
        assert self._parent is not None
        return self._generations.sha256_of_manifest(self._parent.generation)

    def _make_durable(self, path: Path) -> FileEntry:
        fsync_path(path)
        return FileEntry(sha256=self._generations.hash_of(path), size=path.stat().st_size)

    def _old_segments(self) -> list[SegmentEntry]:
        """The parent's segments with the new tombstones; a segment without a living row is dropped."""
        kept: list[SegmentEntry] = []
        for entry in self._parent.manifest.segments if self._parent is not None else ():
            dead = self._dead.get(int(entry.id))
            if dead is None:
                kept.append(entry)
            elif not dead.all():
                name = f"tombstones/{self._id}-{entry.id}.bits"
                (self._generations.folder / name).write_bytes(np.packbits(dead, bitorder="little").tobytes())
                kept.append(SegmentEntry(id=entry.id, rows=entry.rows, tombstones=name, dead=int(dead.sum())))
        return kept


def _indexed(chunk: Chunk) -> str:
    """What the lexical index reads of a stored chunk."""
    return "\n".join(part for part in (chunk.title, *chunk.heading, chunk.context, chunk.text) if part)


class _NewSegment:
    """The segment that a change adds."""

    def __init__(self, folder: Path, dimensions: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._store = ChunkStoreWriter(folder / "chunks.sqlite")
        self._vectors = VectorFileWriter(dimensions)

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], vectors: Vectors) -> int:
        self._vectors.add(vectors)
        return self._store.put(document, state, chunks)

    def seal(self) -> int:
        """Finish the files; returns the number of rows."""
        self._store.seal()
        self._vectors.write(self._folder / "vectors.faiss")
        return self._vectors.rows

    def abandon(self) -> None:
        self._store.abandon()
