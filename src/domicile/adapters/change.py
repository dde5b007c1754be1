"""One change of a collection: new segments, tombstones over the old ones, one lexical directory, one manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domicile.adapters.approximation import Approximation
from domicile.adapters.compaction import Compaction, Size
from domicile.adapters.generations import KINDS, Generations
from domicile.adapters.inverted_file import Approximator
from domicile.adapters.manifest import (
    ApproximateEntry,
    Counts,
    EmbedderEntry,
    FileEntry,
    Manifest,
    SegmentEntry,
    TuningEntry,
)
from domicile.adapters.segment_writer import SegmentWriter
from domicile.adapters.snapshot import Snapshot
from domicile.adapters.tantivy import LexicalWriter
from domicile.adapters.vector_journal import VectorJournal, text_hash
from domicile.adapters.visible import ref_of
from domicile.domain import Collection, Document, Label, Tuning
from domicile.errors import GateFailed, IndexDamaged, UnknownDocument, UnknownGeneration
from domicile.files import fsync_path
from domicile.ports import Commit, DocumentState, Gate, NewChunk, Vectors
from domicile.uris import containers, erased_hash


@dataclass(frozen=True, slots=True)
class Start:
    """What a change starts from.

    Attributes:
        parent: the generation that serves; ``None`` at the first.
        embedder: of the vectors that will be put.
        rebuild: every document is put again, and nothing of the parent stays.
    """

    generations: Generations
    parent: Snapshot | None
    collection: Collection
    embedder: EmbedderEntry
    rebuild: bool


@dataclass(frozen=True, slots=True)
class Policies:
    """When segments are merged, and when their vectors get an inverted file."""

    compaction: Compaction = field(default_factory=Compaction)
    approximation: Approximation = field(default_factory=Approximation)


class Change:
    """``ports.IndexChange``. Files are written as it goes on; only ``commit`` makes them part of a generation."""

    def __init__(self, start: Start, journal: VectorJournal, policies: Policies, now: Callable[[], datetime]) -> None:
        self._generations, self._parent = start.generations, start.parent
        self._collection, self._embedder = start.collection, start.embedder
        self._rebuild = start.rebuild
        self._journal = journal
        self._policies = policies
        self._now = now
        self._number = self._generations.next_number()
        self._id = f"{self._number:06d}"
        self._places = self._parent.states() if self._parent is not None else {}
        self._dead: dict[int, NDArray[np.bool_]] = {}
        self._deleted: set[str] = set()
        self._new: set[str] = set()
        self._erased = set(self._parent.manifest.erased) if self._parent is not None else set()
        self._floor = self._generations.floor()
        self._rewritten: set[int] = set()
        self._segments: SegmentWriter | None = None
        self._lexical: LexicalWriter | None = None
        # BM25 counts words as the collection's language stems them: another language is another directory
        self._fresh_lexical = self._rebuild or (
            self._parent is not None and self._parent.manifest.language != self._collection.language
        )
        self._begun = False
        # numbers that were fitted to the cosines of another embedder mean nothing here
        fitted = self._parent is not None and self._parent.fingerprint == self._embedder.fingerprint
        self._tuning = self._parent.tuning if fitted and self._parent is not None else Tuning()

    @property
    def current(self) -> Commit | None:
        return None if self._parent is None else _commit_of(self._parent.manifest)

    @property
    def erased(self) -> frozenset[str]:
        return frozenset(self._erased)

    def states(self) -> Mapping[str, DocumentState]:
        return {uri: state for uri, (state, _, _) in self._places.items()}

    def document(self, uri: str) -> Document | None:
        return None if self._parent is None else self._parent.document(uri, None)

    def known(self, texts: Sequence[str]) -> dict[int, Vectors]:
        hashes = [text_hash(text) for text in texts]
        found: dict[bytes, Vectors] = {}
        if self._parent is not None and self._parent.fingerprint == self._embedder.fingerprint:
            found = self._parent.known(hashes)
        found |= self._journal.known([key for key in hashes if key not in found])
        return {position: found[key] for position, key in enumerate(hashes) if key in found}

    def remember(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._journal.add([text_hash(text) for text in texts], vectors)

    def put(self, document: Document, state: str, chunks: Sequence[NewChunk], vectors: Vectors) -> None:
        if len(chunks) != len(vectors) or not chunks:
            raise ValueError(f"{len(chunks)} chunks with {len(vectors)} vectors")
        self.delete(document.uri)
        hashes = [text_hash(chunk.indexed) for chunk in chunks]
        segment, first = self._open_segments().put(document, state, chunks, vectors, hashes)
        self._add_words(segment, first, document, chunks)
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
        lexical = self._open_lexical()
        if not self._fresh_lexical:
            lexical.delete(uri)
        self._deleted.add(uri)

    def relabel(self, uri: str, label: Callable[[Label], Label], state: str) -> None:
        document, chunks, vectors = self._stored(uri)
        self.put(replace(document, label=label(document.label)), state, chunks, vectors)

    def _stored(self, uri: str) -> tuple[Document, list[NewChunk], Vectors]:
        """A document of the parent as it was put."""
        assert self._parent is not None
        state, segment, first = self._places[uri]
        document = self._parent.document(uri, None)
        assert document is not None
        return document, *self._parent.stored(segment, range(first, first + state.chunks))

    def erase(self, uris: Sequence[str]) -> list[str]:
        if self._lexical is not None:
            raise ValueError("erase before anything else is changed: the words are written anew for it")
        wanted = frozenset(uris)
        found: set[str] = set()
        for stored, segment in self._parent.held() if self._parent is not None else ():
            if concerned := wanted.intersection(containers(stored)):
                found |= concerned
                self._rewritten.add(segment)
        if unknown := wanted - found - self._once_held(wanted - found):
            raise UnknownDocument(self._collection.name, min(unknown))
        gone = [
            stored
            for stored in self._places
            if stored not in self._deleted and not wanted.isdisjoint(containers(stored))
        ]
        self._fresh_lexical = True  # a deletion alone leaves the words in the files that are shared with the parent
        for stored in gone:
            self.delete(stored)
        self._open_lexical()
        self._erased |= {erased_hash(uri) for uri in wanted}
        self._floor = self._number
        return gone

    def restore(self, uri: str) -> None:
        self._erased -= {erased_hash(container) for container in containers(uri)}

    def tune(self, tuning: Tuning) -> None:
        self._tuning = tuning

    def commit(self, gate: Gate | None = None) -> Commit:
        tuned = self._parent is not None and self._tuning != self._parent.tuning
        if not self._begun and not self._fresh_lexical and not tuned:
            if self._parent is not None:
                self._generations.restore_current(self._parent.manifest)
            self._journal.clear()
            return self.current or Commit(0, None, 0)
        self._begun = True  # a fit or a setting alone may write files, too, and an abandoned one must leave none
        manifest = self._write()
        if gate is not None:
            manifest = self._passed(manifest, gate)
        self._generations.publish(manifest)
        self._segments = self._lexical = None
        self._begun = False
        self._journal.clear()
        return _commit_of(manifest)

    def abandon(self) -> None:
        """Remove what an uncommitted change wrote, but not the journal; after a commit there is nothing to remove."""
        self._journal.close()
        if self._segments is not None:
            self._segments.abandon()
        if self._lexical is not None:
            self._lexical.abandon()
        self._segments = self._lexical = None
        if self._begun:
            self._begun = False
            self._generations.sweep()

    def _open_segments(self) -> SegmentWriter:
        if self._segments is None:
            folder = self._generations.folder / "segments"
            rows = self._policies.compaction.segment_rows
            self._begun = True
            self._segments = SegmentWriter(folder, self._number, self._embedder.dimensions, rows)
        return self._segments

    def _open_lexical(self) -> LexicalWriter:
        if self._lexical is None:
            self._begun = True
            shared = None
            if self._parent is not None and not self._fresh_lexical:
                shared = self._generations.folder / self._parent.manifest.lexical
            folder = self._generations.folder / "lexical" / self._id
            self._lexical = LexicalWriter(folder, shared, self._collection.language)
        return self._lexical

    def _once_held(self, wanted: AbstractSet[str]) -> set[str]:
        """Those of the documents that a retained generation other than the parent holds."""
        found: set[str] = set()
        for number in self._generations.numbers() if wanted else ():
            with suppress(IndexDamaged, UnknownGeneration, OSError):
                manifest = self._generations.manifest(number)
                self._generations.check(manifest)
                snapshot = Snapshot(self._generations.folder, manifest, self._collection)
                try:
                    for stored, _ in snapshot.held():
                        found.update(wanted & set(containers(stored)))
                finally:
                    snapshot.close()
        return found

    def _write(self) -> Manifest:
        """Everything but the manifest and ``CURRENT``, durable when this returns."""
        folder = self._generations.folder
        self._fold()
        segments = self._kept_segments()
        if self._fresh_lexical:
            self._index_kept(segments)
        segments += self._segments.seal() if self._segments is not None else []
        chunks = sum(segment.rows - segment.dead for segment in segments)
        lexical = self._commit_lexical(chunks)
        approximate = self._approximate(segments)
        files = [name for segment in segments for name in segment.files]
        files += [approximate.file] if approximate is not None and approximate.file is not None else []
        files += sorted(f"{lexical}/{path.name}" for path in (folder / lexical).iterdir())
        known = self._parent.manifest.files if self._parent is not None else {}
        entries = {name: known.get(name) or self._make_durable(folder / name) for name in files}
        new = [folder / segment.folder for segment in segments if segment.id.startswith(self._id)]
        for place in [
            *new,
            folder / lexical,
            *(folder / kind for kind in KINDS),
            folder,
        ]:
            fsync_path(place)
        parent = None if self._parent is None else self._parent.generation
        return Manifest(
            collection=self._collection.name,
            generation=self._number,
            parent=parent,
            parent_sha256=None if parent is None else self._generations.sha256_of_manifest(parent),
            created=self._now().isoformat(timespec="seconds"),
            embedder=self._embedder,
            language=self._collection.language,
            segments=tuple(segments),
            approximate=approximate,
            lexical=lexical,
            counts=Counts(documents=len(self._surviving()) + len(self._new), chunks=chunks),
            floor=self._floor,
            erased=tuple(sorted(self._erased)),
            tuning=TuningEntry.of(self._tuning),
            files=entries,
        )

    def _passed(self, manifest: Manifest, gate: Gate) -> Manifest:
        """The manifest with what the gate says of its generation, which nobody else can find yet.

        Raises:
            GateFailed: it says no.
        """
        candidate = Snapshot(self._generations.folder, manifest, self._collection)
        try:
            report = gate(candidate)
        finally:
            candidate.close()
        if not report.passed:
            what = f"what was to be generation {self._number} of {self._collection.name!r}"
            raise GateFailed(what, report.findings)
        return manifest.model_copy(update={"gate": report})

    def _commit_lexical(self, chunks: int) -> str:
        """The lexical folder of the new generation: the parent's where no word changed."""
        if self._lexical is None and self._parent is not None and not self._fresh_lexical:
            return self._parent.manifest.lexical
        self._open_lexical().commit(chunks)
        return f"lexical/{self._id}"

    def _approximate(self, segments: Sequence[SegmentEntry]) -> ApproximateEntry | None:
        """The inverted file of the new generation, if it is large enough for one."""
        erasing = self._floor == self._number  # the parent's may hold codes of what is erased
        parent = None if self._parent is None or self._rebuild or erasing else self._parent.manifest.approximate
        folder, dimensions = self._generations.folder, self._embedder.dimensions
        approximator = Approximator(folder, self._policies.approximation, dimensions, self._collection.recall)
        return approximator.renew(segments, parent, f"dense/{self._id}.faiss")

    def _surviving(self) -> list[str]:
        """The documents of the parent that were neither deleted nor put again."""
        return [uri for uri in self._places if uri not in self._deleted]

    def _fold(self) -> None:
        """Write what lives in the segments that are to go into the new one."""
        surviving = self._surviving()
        if self._rebuild and surviving:
            raise ValueError(f"{len(surviving)} documents were not put again, such as {surviving[0]!r}")
        sizes = []
        for entry in self._parent.manifest.segments if self._parent is not None else ():
            dead = self._dead.get(entry.number)
            live = entry.rows - (entry.dead if dead is None else int(dead.sum()))
            if live:
                sizes.append(Size(entry.number, entry.rows, live))
        written = self._segments.rows if self._segments is not None else 0
        chosen = self._policies.compaction.choose(sizes, written) | self._rewritten
        for uri in surviving:
            state, segment, _ = self._places[uri]
            if segment in chosen:
                document, chunks, vectors = self._stored(uri)
                self.put(document, state.state, chunks, vectors)

    def _index_kept(self, segments: Sequence[SegmentEntry]) -> None:
        """Bring what stays in the old segments into a fresh lexical directory."""
        kept = {segment.number for segment in segments}
        for uri in self._surviving():
            _, segment, first = self._places[uri]
            if segment in kept:
                document, chunks, _ = self._stored(uri)
                self._add_words(segment, first, document, chunks)

    def _add_words(self, segment: int, first: int, document: Document, chunks: Sequence[NewChunk]) -> None:
        lexical = self._open_lexical()
        for row, chunk in enumerate(chunks, start=first):
            lexical.add(ref_of(segment, row), document.uri, document.label.groups, chunk.indexed)

    def _kept_segments(self) -> list[SegmentEntry]:
        """The parent's segments with the new tombstones; a segment without a living row is dropped."""
        kept: list[SegmentEntry] = []
        for entry in self._parent.manifest.segments if self._parent is not None else ():
            dead = self._dead.get(entry.number)
            if dead is None:
                kept.append(entry)
            elif not dead.all():
                name = f"tombstones/{self._id}-{entry.id}.bits"
                (self._generations.folder / name).write_bytes(np.packbits(dead, bitorder="little").tobytes())
                kept.append(SegmentEntry(id=entry.id, rows=entry.rows, tombstones=name, dead=int(dead.sum())))
        return kept

    def _make_durable(self, path: Path) -> FileEntry:
        fsync_path(path)
        return FileEntry(sha256=self._generations.hash_of(path), size=path.stat().st_size)


def _commit_of(manifest: Manifest) -> Commit:
    return Commit(manifest.generation, manifest.parent, manifest.counts.chunks, manifest.gate)
